"""What looks like the clone that is meant and is another one: of another server, a copy, a newer generation."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clones import booted, clone_server, rows
from innoclone.commands import local as local_module
from innoclone.commands import verify as verify_module
from innoclone.commands.boot import boot
from innoclone.commands.generations import add_generation
from innoclone.commands.options import BootOptions, LocalOptions, VerifyOptions
from innoclone.commands.verify import verify
from innoclone.errors import DiskSpace, TargetBusy, TargetExists, TargetUnusable
from innoclone.files import marks
from innoclone.files.generations import Generation, point_latest, remove_generations, remove_unfinished, series_of
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.files.outside import identity_of
from innoclone.files.ownlife import losses
from innoclone.records.status import CloneStatus
from innoclone.server.cloned import Visit
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sinks.directory import Target
from local_clones import local_clone
from restores import linked_clone, restored
from servers import endpoint_of

QUIET = ("--disable-log-bin", "--loose-auto-generate-certs=OFF", "--loose-sha256-password-auto-generate-rsa-keys=OFF",
         "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF")  # fmt: skip
HOLD = (
    "import os, sys; from pathlib import Path; from innoclone.files.lock import take_lock;"
    "take_lock(Path(sys.argv[1]) / '#innoclone', Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def clone(small_clone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_clone, tmp_path / "clone"))


def of_another_server(clone: Path) -> None:
    donor = read_manifest(clone)["donor"]
    update_manifest(clone, donor=donor | {"uuid": "188faaef-e715-11f1-9fe9-02fc00000001", "host": "elsewhere"})


def contents(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): path.lstat().st_mtime_ns for path in directory.rglob("*")}


@pytest.mark.parametrize("update", ["local", "keep-base", "write-changed-only"])
def test_a_clone_of_another_server_is_not_updated(update: str, clone: Path, small_donor: Server) -> None:
    """The wrong login path at three in the morning: the other server's backup stays, unless the word is said."""
    of_another_server(clone)
    before = contents(clone)

    def run(status: CloneStatus | None = None, **options: Any) -> Any:
        if update == "write-changed-only":
            return clone_server(small_donor, clone, write_changed_only=True, status=status, **options)
        return local_clone(small_donor, clone, keep_base=update == "keep-base", status=status, **options)

    with pytest.raises(TargetExists, match=r"clone of another server .* clone@elsewhere") as caught:
        run()
    assert "--discard-changes" in caught.value.advice
    assert contents(clone) == before
    if update == "local":
        status = CloneStatus()
        run(status, discard_changes=True)
        assert any("elsewhere" in note and "goes" in note for note in status.notes)
        assert read_manifest(clone)["donor"]["host"] != "elsewhere"


def test_what_is_in_the_place_of_a_successor_stays(clone: Path, small_donor: Server) -> None:
    """--keep-base makes the new clone beside: not in what a link leads to, and not in the place of a server's data."""
    beside = clone.with_name("clone.innoclone-new")
    other = Path(shutil.copytree(clone, clone.with_name("other")))
    beside.symlink_to(other)
    before = contents(other)
    with pytest.raises(TargetExists, match="symbolic link"):
        local_clone(small_donor, clone, keep_base=True)
    assert contents(other) == before
    beside.unlink()
    other.rename(beside)
    of_another_server(beside)
    with pytest.raises(TargetExists, match="another server"):
        local_clone(small_donor, clone, keep_base=True)
    (beside / "notes.txt").write_text("mine")
    with pytest.raises(TargetExists, match=r"notes\.txt"):
        local_clone(small_donor, clone, keep_base=True)
    assert (beside / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["#innoclone", "#clone"])
def test_a_folder_of_ours_that_is_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    """What it leads to would be emptied."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    begin_directory(tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone" / name)
    (tmp_path / "clone" / name).symlink_to(theirs)
    (theirs / "#status_in_progress").touch()
    (theirs / "keep").touch()
    with pytest.raises(TargetUnusable, match="symbolic link"):
        Target(tmp_path / "clone", reuse=True, discard_changes=True)
    assert (theirs / "keep").exists()


# ---- generations -----------------------------------------------------------------------------------------------


def generation(path: Path) -> Path:
    """What looks like a finished one of the donor ``d`` and the series ``s``, with some data."""
    (path / "#innoclone").mkdir(parents=True)
    manifest = {"format": 1, "donor": {"uuid": "d"}, "files": [], "series": "s", "outside": {"of": identity_of(path)}}
    (path / "#innoclone" / "manifest.json").write_text(json.dumps(manifest))
    (path / "ibdata1").touch()
    (path / "mysql").mkdir()
    return path


def test_a_copy_of_a_generation_is_somebodys(tmp_path: Path) -> None:
    """Whoever copies one wants to keep it: beside the others, or in a folder where a series begins later."""
    folder, archive = tmp_path / "folder", tmp_path / "archive"
    ours = [generation(folder / f"2026-01-0{day}T00-00-00Z") for day in (3, 4)]
    point_latest(folder, ours[-1])
    shutil.copytree(ours[0], folder / "2026-01-01T00-00-00Z")
    shutil.copytree(ours[0], archive / ours[0].name)
    assert [one.path for one in series_of(folder, "d")] == ours
    assert series_of(archive, "d") == []
    ours[0].rename(archive / "2026-01-05T00-00-00Z")  # the very directory
    assert [one.path.name for one in series_of(archive, "d")] == ["2026-01-05T00-00-00Z"]


def test_a_removal_that_was_cut_short_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next run of the series, and of no other; a copy of what is left stays."""
    old = generation(tmp_path / "2026-01-01T00-00-00Z")
    remove = marks.remove

    def killed(entry: Path) -> None:
        remove(entry)
        raise KeyboardInterrupt

    monkeypatch.setattr(marks, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_generations([Generation(old, {}, 0.0)])
    monkeypatch.undo()
    assert is_unfinished(old)
    copy = Path(shutil.copytree(old, tmp_path / "2026-01-02T00-00-00Z"))
    assert remove_unfinished(tmp_path, "other", "s") == ([], [])
    assert remove_unfinished(tmp_path, "d", "of another folder") == ([], [])
    assert remove_unfinished(tmp_path, "d", "s") == ([old], [])
    assert copy.exists()


def test_a_generation_that_is_refused_leaves_nothing(
    small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk has no room for it."""

    def full(*_: object, **__: object) -> None:
        raise DiskSpace("no room")

    monkeypatch.setattr(local_module, "check", full)
    with pytest.raises(DiskSpace):
        add_generation(
            LocalOptions(donor=endpoint_of(small_donor), directory=tmp_path / "g", generations=1, full_copies=True)
        )
    assert list((tmp_path / "g").iterdir()) == []


def test_the_clone_that_latest_led_to_is_meant(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends meanwhile lets it lead to a newer one, which must not get the older one's position or verdict."""
    newer = Path(shutil.copytree(clone, tmp_path / "newer"))
    before = contents(newer)
    latest = tmp_path / "latest"

    def lead_to(directory: Path) -> None:
        latest.unlink(missing_ok=True)
        latest.symlink_to(directory.name)

    lead_to(clone)
    found = boot(BootOptions(latest), visit=Visit(then=lambda _: lead_to(newer)))
    assert found.directory == clone
    assert read_manifest(clone)["position"]["binlog_file"]
    lead_to(clone)
    check_pages = verify_module.check_pages

    def and_meanwhile(*arguments: Any, **options: Any) -> Any:
        lead_to(newer)
        return check_pages(*arguments, **options)

    monkeypatch.setattr(verify_module, "check_pages", and_meanwhile)
    verify(VerifyOptions(latest))
    assert read_manifest(clone)["verified"]["sound"]
    assert contents(newer) == before


# ---- servers ---------------------------------------------------------------------------------------------------


def test_a_server_after_a_private_one_that_was_killed(clone: Path, tmp_path: Path, programs: Programs) -> None:
    """What the private one leaves is no life of its own; what a real one does then is, though it leaves little."""
    cut = tmp_path / "cut"

    def killed(server: Server) -> None:
        server.kill()
        shutil.copytree(clone, cut)

    with contextlib.suppress(Exception):
        boot(BootOptions(clone), visit=Visit(then=killed))
    assert losses(cut) == []
    again = Path(shutil.copytree(cut, tmp_path / "again"))
    boot(BootOptions(again))
    assert losses(again) == []
    with booted(programs, cut, QUIET) as server:
        rows(server, "CREATE DATABASE mine")
    found = losses(cut)
    assert "data that a server wrote after the clone" in found
    assert any("auto.cnf" in one for one in found)
    with pytest.raises(TargetUnusable, match="server of its own"):
        restored(cut, tmp_path / "new")


@pytest.mark.parametrize("keep", [False, True])
def test_no_server_is_started_on_hard_links(keep: bool, clone: Path, tmp_path: Path) -> None:
    """It would write into the clone that they are links to; a restore of them is a copy of its own."""
    before = contents(clone)
    links = linked_clone(clone, tmp_path / "links")
    with pytest.raises(TargetUnusable, match="hard link") as caught:
        boot(BootOptions(links, keep=keep))
    assert "innoclone restore" in caught.value.advice
    verify(VerifyOptions(links))
    restored(links, tmp_path / "new")
    assert contents(clone) == before
    shutil.rmtree(links)
    boot(BootOptions(tmp_path / "new"))


@pytest.fixture
def held(clone: Path) -> Iterator[None]:
    """Another process of ours holds the clone, as a restore does that reads it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(clone)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield
    process.communicate()


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("keep", [False, True])
def test_no_server_is_started_on_what_is_being_restored(keep: bool, clone: Path) -> None:
    """It would change the files under the restore."""
    with pytest.raises(TargetBusy, match="is working on"):
        boot(BootOptions(clone, keep=keep))
    verify(VerifyOptions(clone))  # only reads
