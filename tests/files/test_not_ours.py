"""What lies where we want to put something, and is somebody else's, stays."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from innoclone.commands.discard import discard
from innoclone.errors import TargetExists, UsageError
from innoclone.files.marks import begin_directory
from innoclone.sandbox import server as sandbox
from innoclone.server.mysqld import remove_runtime
from innoclone.server.programs import Programs
from innoclone.sinks.directory import Target
from innoclone.transport.listening import Listener


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A clone over the network that was broken off: tablespaces of every kind of name, of which some have begun."""
    directory = tmp_path / "clone"
    begin_directory(directory)
    (directory / "#innoclone" / "status.json").write_text('{"operation": "clone"}')
    for name in ("mysql", "schema", "#innodb_redo"):
        (directory / name).mkdir()
    page = bytes(24) + (8).to_bytes(2, "big") + bytes(4096)
    for name, content in {
        "mysql.ibd": b"", "schema/t.ibd": b"anything", "undo_001": page, "other.ibu": page, "odd-system": page,
        "not-yet": bytes(4096), "auto.cnf": b"[auto]\n",
        "ibdata1": page, "ib_buffer_pool": b"1,2\n", "#innodb_redo/#ib_redo0": b"redo",
    }.items():  # fmt: skip
        (directory / name).write_bytes(content)
    return directory


def test_an_unfinished_clone_goes_whole(unfinished: Path) -> None:
    assert discard(unfinished)
    assert not unfinished.exists()


@pytest.mark.parametrize("place", ["notes", "schema/dump.sql", "mine/deep/notes", "link"])
def test_what_somebody_put_into_an_unfinished_clone_stays(unfinished: Path, tmp_path: Path, place: str) -> None:
    path = unfinished / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if place == "link":
        path.symlink_to(tmp_path)
    else:
        path.write_text("not to be lost")
    shown = place.removesuffix("/notes") if "deep" in place else place
    for attempt in (lambda: discard(unfinished), lambda: Target(unfinished)):
        with pytest.raises(TargetExists, match=shown) as caught:
            attempt()
        assert caught.value.advice == "move that elsewhere, it would be lost"
        assert path.is_symlink() or path.read_text() == "not to be lost"
        assert (unfinished / "odd-system").exists()
    path.unlink()
    if "deep" in place:
        path.parent.rmdir()
    Target(unfinished).discard()


def test_a_socket_of_another_kind_is_alive() -> None:
    """Nobody is refused by it, so nothing proves that it was left behind; and the end removes only our own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        path = Path(folder) / "s"
        theirs.bind(str(path))
        with pytest.raises(UsageError):
            Listener(host=None, port=0, path=path)
        assert path.is_socket()
        ours = Path(folder) / "ours"
        listener = Listener(host=None, port=0, path=ours)
        ours.unlink()
        ours.write_text("another thing")
        listener.close()
        assert ours.read_text() == "another thing"


def test_a_sandbox_without_its_note_is_data(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory is thrown away only where the first start is known to have been broken off."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    data = sandbox.state_directory() / "mine" / "data"
    data.mkdir(parents=True)
    (data / "ibdata1").write_bytes(b"page")
    with pytest.raises(TargetExists, match=r"sandbox\.json"):
        sandbox.start("mine", programs=programs)
    assert (data / "ibdata1").read_bytes() == b"page"


def test_only_a_servers_own_folder_goes(tmp_path: Path) -> None:
    """Whatever path a damaged note has for its socket."""
    for name in ("innoclone-abc", "precious"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        remove_runtime(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
