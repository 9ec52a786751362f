"""What shows that a clone has had a life of its own: each sign by itself, without a server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from innoclone.errors import FileError, TargetExists
from innoclone.files import ownlife
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.files.ownlife import PRIVATE_MARK, has_private_uuid, is_as_left, left_behind, losses, refuse_losses
from made_clones import finished_clone
from redo_logs import redo_file

UUID = "188faaef-e715-11f1-9fe9-02fc00000001"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A clone that was recovered by a private server, with its redo log."""
    directory = finished_clone(tmp_path / "plain")
    (directory / "#innodb_redo").mkdir()
    (directory / "#innodb_redo" / "#ib_redo4").write_bytes(redo_file(8192, 3, checkpoint=8192 + 1024))
    (directory / "#clone" / "#replace_files").unlink()
    update_manifest(directory, left=left_behind(directory))
    return directory


def test_what_is_as_it_was_left_has_no_life(plain: Path) -> None:
    for name in ("mysql_upgrade_history", "ib_buffer_pool"):
        (plain / name).touch()
    (plain / "empty-schema").mkdir()
    assert losses(plain) == []
    refuse_losses(plain)


def test_the_redo_log_tells(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another block, another header, another size, another file; spare files hold no log."""
    log = plain / "#innodb_redo" / "#ib_redo4"
    whole = log.read_bytes()
    (plain / "#innodb_redo" / "#ib_redo5_tmp").write_bytes(b"spare")
    assert losses(plain) == []
    for changed in (
        redo_file(8192, 3, checkpoint=8192 + 1024, last_length=40), redo_file(8192, 4, checkpoint=8192 + 1536),
        redo_file(8192, 3, uuid=78, checkpoint=8192 + 1024), whole + bytes(512), whole[:100], b"",
    ):  # fmt: skip
        log.write_bytes(changed)
        assert losses(plain) == ["data that a server wrote after the clone"]
        with pytest.raises(TargetExists, match="data that a server wrote") as caught:
            refuse_losses(plain)
        assert "--discard-changes" in caught.value.advice
    log.write_bytes(whole)
    (plain / "ib_logfile0").write_bytes(whole)
    assert losses(plain) == ["data that a server wrote after the clone"]
    (plain / "ib_logfile0").unlink()

    manifest = read_manifest(plain)

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(FileError, match=r"can't read the redo log of .*: Input/output error"):
        is_as_left(plain, manifest)


def test_a_private_server_that_was_cut_off_is_known_by_its_uuid(plain: Path) -> None:
    (plain / "#innodb_redo" / "#ib_redo4").write_bytes(b"changed")
    mark, auto = plain / "#innoclone" / PRIVATE_MARK, plain / "auto.cnf"
    mark.touch()
    assert losses(plain) == [], "it has not even got one"
    auto.write_text(f"server-uuid={UUID}")
    assert len(losses(plain)) == 2, "no mark of which one it got"
    mark.write_text(UUID)
    assert losses(plain) == []
    auto.write_text("server-uuid=another")
    assert losses(plain) == ["data that a server wrote after the clone", "its server UUID (auto.cnf)"]
    mark.unlink()
    mark.mkdir()
    with pytest.raises(FileError, match="can't tell whose UUID"):
        has_private_uuid(plain)


def test_before_there_was_such_a_field_the_uuid_tells(plain: Path) -> None:
    manifest = plain / "#innoclone" / "manifest.json"
    fields = json.loads(manifest.read_text())
    del fields["left"]
    manifest.write_text(json.dumps(fields))
    assert losses(plain) == []
    (plain / "auto.cnf").touch()
    assert losses(plain) == ["data that a server wrote after the clone", "its server UUID (auto.cnf)"]


def test_what_was_never_recovered_was_never_written_to(tmp_path: Path) -> None:
    directory = finished_clone(tmp_path / "clone")
    (directory / "#innodb_redo").mkdir()
    (directory / "#innodb_redo" / "#ib_redo4").write_bytes(b"anything")
    assert losses(directory) == []


def test_logs_and_files_are_named(plain: Path) -> None:
    (plain / "binlog.000001").write_bytes(b"\xfebin...")
    assert losses(plain) == ["1 binary or relay log (binlog.000001)"]
    (plain / "binlog.000002").write_bytes(b"\xfebin...")
    (plain / "binlog.index").touch()
    assert losses(plain) == ["2 binary or relay logs (binlog.000001 to binlog.000002)"]
    for name in ("notes.000003", "a", "b", "c"):
        (plain / name).write_bytes(b"text")
    (plain / "d.000001").mkdir()
    (plain / "d.000001" / "dump").touch()
    assert losses(plain)[1] == "a, b, c, d.000001 and 1 more"


def test_a_log_that_can_not_be_read_is_a_file_of_somebodys(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plain / "binlog.000001").write_bytes(b"\xfebin...")
    before = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "binlog.000001":
            raise PermissionError
        return before(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    assert losses(plain) == ["binlog.000001"]


def test_what_is_no_finished_clone_is_not_judged(plain: Path, tmp_path: Path) -> None:
    assert losses(tmp_path / "missing") == losses(tmp_path) == []
    (plain / "#clone" / "#status_in_progress").touch()
    (plain / "auto.cnf").touch()
    assert losses(plain) == []


@pytest.mark.parametrize("text", ["torn", "{}", '{"format": 1}', '{"format": 1, "files": [7]}'])
def test_a_manifest_that_tells_nothing_proves_nothing(plain: Path, text: str) -> None:
    (plain / "#innoclone" / "manifest.json").write_text(text)
    assert any("of which its manifest does not tell" in line for line in losses(plain))


def test_foreign_files_among_tables_and_links_count(plain: Path, tmp_path: Path) -> None:
    (plain / "schema" / "dump.sql").touch()
    assert losses(plain) == [f"{plain / 'schema'} holds tables and also dump.sql, which is none"]
    (plain / "schema" / "dump.sql").unlink()
    (plain / "mine").symlink_to(tmp_path)
    assert losses(plain) == ["mine"]


def test_without_a_manifest_only_what_no_server_recovered_is_a_clone(plain: Path) -> None:
    shutil.rmtree(plain / "#innoclone")
    assert losses(plain) == ["data that may be its own: there is no manifest to tell"]
    (plain / "#clone" / "#replace_files").touch()
    assert losses(plain) == []


def test_what_can_not_be_looked_through_is_no_clone_without_a_life(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise FileError("can't look into it")

    monkeypatch.setattr(ownlife, "belongings", refuse)
    with pytest.raises(FileError, match="can't look into it"):
        losses(plain)
