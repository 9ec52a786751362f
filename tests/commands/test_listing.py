"""What is in a folder of clones (innoclone.commands.listing), what shares blocks, what ``verify`` leaves behind."""

from __future__ import annotations

import array
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import innoclone
from innoclone.cli.clonetable import listing_lines
from innoclone.commands import generations as operation
from innoclone.commands import local as local_operation
from innoclone.commands.boot import boot
from innoclone.commands.generations import add_generation, preview
from innoclone.commands.listing import Kind, Sharing, list_clones
from innoclone.commands.options import BootOptions, LocalOptions, RestoreOptions, VerifyOptions
from innoclone.commands.restore import restore
from innoclone.commands.verify import verify
from innoclone.errors import TargetUnusable, VerifyFailed
from innoclone.files import extents
from innoclone.files import generations as folder_of_generations
from innoclone.files.extents import file_system_of, usage_of
from innoclone.files.generations import name_for, point_latest
from innoclone.files.lock import take_lock
from innoclone.files.manifest import update_manifest
from innoclone.files.marks import begin_directory
from innoclone.files.outside import identity_of
from innoclone.records.retention import Policy, Span
from innoclone.server.mysqld import Server
from restores import linked_clone
from servers import PASSWORD, endpoint_of

MIB = 1 << 20
DAY = 86400.0
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def innoclone_program(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "innoclone", *words]
    environment = {**os.environ, "MYSQL_PWD": PASSWORD}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def as_if_made(clone: Path, directory: Path, series: str) -> Path:
    """A generation; a copy of one would not count."""
    linked_clone(clone, directory)
    update_manifest(directory, series=series, outside={"of": identity_of(directory), "files": []})
    return directory


@pytest.fixture
def series(small_clone: Path, tmp_path: Path) -> Path:
    """A folder with a clone of each of ten days, of one series, the newest a day old."""
    folder = tmp_path / "series"
    folder.mkdir()
    for days in range(10, 0, -1):
        one = as_if_made(small_clone, folder / name_for(NOW - days * DAY), "abc")
    point_latest(folder, one)
    return folder


def test_a_folder_with_everything(small_clone: Path, small_donor: Server, series: Path) -> None:
    """Generations, a plain clone, another series, unfinished and foreign ones: each as what it is."""
    linked_clone(small_clone, series / "by hand")
    other = linked_clone(small_clone, series / name_for(NOW))
    update_manifest(other, series="of another folder")
    unfinished = series / name_for(NOW + 1)
    begin_directory(unfinished)
    (series / "2020-01-01").mkdir()
    (series / "2020-01-01" / "dump.sql").touch()
    (series / "a file").touch()
    (series / "data" / "mysql").mkdir(parents=True)
    (series / "data" / "mysql.ibd").touch()
    (series / "damaged" / "#innoclone").mkdir(parents=True)
    (series / "damaged" / "#innoclone" / "manifest.json").write_text("{")
    (series / "elsewhere").symlink_to(small_clone)
    odd = linked_clone(small_clone, series / "odd")
    update_manifest(odd, donor="db1", position=[1])
    bare = linked_clone(small_clone, series / "bare")
    update_manifest(bare, donor={"host": "db1"}, position={"binlog_file": "b.1"}, restored={}, verified={})
    before = sorted(str(path) for path in series.rglob("*"))
    holder = take_lock(series / "by hand" / "#innoclone", series / "by hand")
    try:
        found = list_clones(series)
        lines = "\n".join(listing_lines(found))
    finally:
        os.close(holder)
        (series / "by hand" / "#innoclone" / "lock").unlink()
    assert sorted(str(path) for path in series.rglob("*")) == before
    kinds = {entry.path.name: entry.kind for entry in found.entries}
    assert [entry.kind for entry in found.entries].count(Kind.GENERATION) == 10
    assert kinds["by hand"] is kinds[other.name] is Kind.CLONE
    assert kinds[unfinished.name] is Kind.UNFINISHED
    assert kinds["2020-01-01"] is kinds["damaged"] is Kind.FOREIGN
    assert kinds["data"] is Kind.DATA
    assert kinds["odd"] is kinds["bare"] is Kind.FOREIGN
    assert len(kinds) == 18
    assert [entry.path.name for entry in found.entries if entry.latest] == [name_for(NOW - DAY)]
    one = next(entry for entry in found.entries if entry.latest)
    size = sum(row["size"] for row in one.manifest["files"])
    assert one.usage is not None
    assert one.usage.size >= size > 0
    assert one.usage.exclusive == 0 or one.usage.exclusive is not None
    assert one.donor == f"clone@127.0.0.1:{small_donor.port}"
    assert f"{one.path.name} (latest)" in lines
    assert "2020-01-01: not innoclone's" in lines
    assert f"{unfinished.name}: unfinished clone" in lines
    assert f"by hand: process {os.getpid()}" in lines
    assert "damaged: can't read" in lines
    assert "data: a data directory without a manifest" in lines


def test_json_and_one_clone_by_itself(small_clone: Path, series: Path) -> None:
    shutil.rmtree((series / "latest").resolve())
    done = innoclone_program("list", "--json", str(series))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["event"], result["folder"], result["latest"]) == ("result", str(series), None)
    assert len(result["clones"]) == 9
    one = result["clones"][0]
    assert one["kind"] == "generation"
    assert one["donor"]["uuid"]
    assert {"size", "exclusive", "shared", "position", "verified", "server_pid", "finished"} <= one.keys()
    assert f"latest leads to {name_for(NOW - DAY)}, which isn't there" in innoclone_program("list", str(series)).stdout
    (alone,) = innoclone.list_clones(small_clone).entries
    assert (alone.path, alone.kind) == (small_clone, Kind.CLONE)
    with pytest.raises(TargetUnusable):
        list_clones(series / "nothing")


def test_what_rules_would_do(series: Path) -> None:
    """Said, not done; of the folder's own series only."""
    found = list_clones(series, Policy(last=1, daily=3, within=Span(hours=30)), now=NOW)
    kept = [entry.reasons for entry in found.entries]
    assert kept == [()] * 7 + [("daily",), ("within", "daily"), ("within", "last", "daily")]
    lines = listing_lines(found)
    assert f"{name_for(NOW - DAY)}: kept (within, last, daily)" in lines
    assert f"{name_for(NOW - 10 * DAY)}: would be removed" in lines
    assert "these rules keep 3 of 10 generations" in lines
    done = innoclone_program("list", "--keep-within=2d", str(series))
    assert "these rules keep 3 of 10 generations" in done.stdout
    assert innoclone_program("list", "--keep-within=2w", str(series)).returncode == 2
    assert len([path for path in series.iterdir() if not path.is_symlink()]) == 10


def test_a_clone_and_its_rules(
    small_donor: Server, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dry run says is what is done, once the new clone is there, and not if it fails; and the new one stays,
    whatever the clock says."""
    folder = tmp_path / "gens"
    options = ["local", "-h127.0.0.1", f"-P{small_donor.port}", "-uclone", "--ssl-mode=DISABLED", f"--to={folder}"]
    options += ["--full-copies", "--generations=1", "--keep-weekly=3"]
    first = innoclone_program(*options)
    assert first.returncode == 0, first.stderr
    (made,) = (path for path in folder.iterdir() if not path.is_symlink())
    assert f"cloning clone@127.0.0.1:{small_donor.port} into {made}" in first.stderr
    assert f"the clone is {made}, and {folder / 'latest'} leads to it" in first.stderr
    series = json.loads((made / "#innoclone" / "manifest.json").read_text())["series"]
    now = operation.time.time()
    ages = (7, 8, 14, 15, 30, -400)
    for days in ages:
        as_if_made(small_clone, folder / name_for(now - days * DAY), series)
    there = {path.name for path in folder.iterdir()}

    dry = innoclone_program(*options, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    said = json.loads(dry.stdout.splitlines()[-1])
    assert {path.name for path in folder.iterdir()} == there
    going = {Path(path).name for path in said["removed"]}
    assert said["stuck"] == []
    assert name_for(now - 30 * DAY) in going
    assert name_for(now + 400 * DAY) not in going, "made when a clock was wrong"
    donor = endpoint_of(small_donor)
    choice = LocalOptions(donor=donor, directory=folder, generations=1, keep=Policy(weekly=3), full_copies=True)
    assert {path.name for path in preview(choice).removed} == going
    (folder / name_for(now - 30 * DAY) / "notes.txt").touch()
    found = preview(choice)
    assert {path.name for path in found.removed} == going - {name_for(now - 30 * DAY)}
    assert [(path.name, "notes.txt" in why) for path, why in found.stuck] == [(name_for(now - 30 * DAY), True)]
    (folder / name_for(now - 30 * DAY) / "notes.txt").unlink()

    monkeypatch.setattr(local_operation, "local", failing)
    with pytest.raises(RuntimeError):
        add_generation(choice)
    assert {path.name for path in folder.iterdir() if not is_begun(path)} == there
    monkeypatch.undo()
    result = add_generation(choice)
    left = {path.name for path in folder.iterdir()}
    assert left == there - going | {result.directory.name}
    assert (folder / "latest").resolve() == result.directory

    monkeypatch.setattr(operation, "name_for", lambda _: folder_of_generations.name_for(now - 900 * DAY))
    back = add_generation(choice)
    assert back.directory.is_dir(), "a clock that was set back"
    for wrong in (["--generations=1"], [f"--to={folder}"], ["--dry-run", str(tmp_path / "x")]):
        assert innoclone_program("local", *wrong).returncode == 2


def failing(*_: object, **__: object) -> None:
    raise RuntimeError


def is_begun(path: Path) -> bool:
    return (path / "#clone" / "#status_in_progress").exists()


# ---- verified ---------------------------------------------------------------------------------------------------


def test_verify_leaves_a_record(small_clone: Path, small_donor: Server, tmp_path: Path) -> None:
    """Pages, then tables; it ends with what changes the clone, and a copy has none; damage is told too."""
    clone = tmp_path / "clone"
    restore(RestoreOptions(small_clone, clone, verify_pages=False))

    def verified() -> str:
        row = next(line for line in listing_lines(list_clones(tmp_path)) if line.startswith("clone "))
        return row.rpartition("  ")[2]

    assert verified() == "no"
    verify(VerifyOptions(clone))
    assert verified().startswith("pages, ")
    subprocess.run(["cp", "-a", str(clone), str(tmp_path / "copy")], check=True)
    copied = [line for line in listing_lines(list_clones(tmp_path)) if line.startswith("copy ")]
    assert "no, changed since" in copied[0]
    shutil.rmtree(tmp_path / "copy")
    boot(BootOptions(clone))
    assert verified().startswith("no, changed since ")
    report = verify(VerifyOptions(clone, against=endpoint_of(small_donor)))
    assert verified().startswith("pages and tables, ")
    (entry,) = list_clones(clone).entries
    record = entry.fields["verified"]
    assert (record["sound"], record["current"], record["position"]) == (True, True, report.position)
    assert record["tables"] > 0
    assert record["against"] == str(endpoint_of(small_donor))
    assert PASSWORD not in json.dumps(entry.fields)
    with (clone / "theirs" / "t.ibd").open("r+b") as file:
        file.seek(4 * 16384 + 500)
        file.write(b"?!")
    assert verified().startswith("no, changed since ")
    with pytest.raises(VerifyFailed):
        verify(VerifyOptions(clone))
    assert verified().startswith("DAMAGED, ")


def test_a_clone_that_nobody_may_write_to_is_verified_all_the_same(
    small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = linked_clone(small_clone, tmp_path / "clone")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("innoclone.records.verdict.update_manifest", refuse)
    status = innoclone.CloneStatus()
    assert verify(VerifyOptions(clone), status=status).findings() == []
    assert "the verdict isn't noted in the clone: Permission denied" in status.notes


# ---- sharing ----------------------------------------------------------------------------------------------------


def test_where_blocks_are_shared(small_donor: Server, small_clone: Path, mounted_xfs: Path) -> None:
    """Of generations on XFS only what differs is a clone's own; a restore there takes no space."""
    folder = mounted_xfs / "gens"
    choice = LocalOptions(donor=endpoint_of(small_donor), directory=folder, generations=3)
    first = add_generation(choice).directory
    second = folder / name_for(operation.time.time() - DAY)
    restored = innoclone.restore(first, second)
    assert restored.methods == ("reflink",)
    assert restored.pages_checked > 1000
    with (second / "theirs" / "t.ibd").open("r+b") as file:
        file.seek(MIB)
        file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    found = list_clones(folder)
    assert (found.file_system, found.sharing) == ("xfs", Sharing.YES)
    assert len(found.entries) == 2
    for entry in found.entries:
        assert entry.usage is not None
        assert entry.usage.shared is not None
        assert entry.usage.exclusive is not None
        assert entry.usage.shared > entry.usage.allocated - 3 * MIB
        assert MIB <= entry.usage.exclusive < 3 * MIB
    assert "can't share" not in "\n".join(listing_lines(found))


def test_extents_are_counted_however_many_calls_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's answer in its own layout, as of a file system that shares blocks; without one, nothing is known."""
    path = tmp_path / "one"
    path.write_bytes(os.urandom(1_000_000))
    step = 100_000
    asked = []

    def answer(_: int, request: int, room: array.array[int], __: bool) -> int:
        start, length, flags, mapped, count, _reserved = extents.HEADER.unpack_from(room)
        assert (request, length, flags, mapped) == (0xC020660B, extents.WHOLE - start, extents.SYNC, 0)
        assert len(room) == extents.HEADER.size + count * extents.EXTENT.size
        asked.append(start)
        found = range(start // step, min(10, start // step + count))
        for index, number in enumerate(found):
            marks = (extents.SHARED if number % 2 else 0) | (extents.LAST if number == 9 else 0)
            place = extents.HEADER.size + index * extents.EXTENT.size
            extents.EXTENT.pack_into(room, place, number * step, 7, step, 0, 0, marks, 0, 0, 0)
        extents.HEADER.pack_into(room, 0, start, length, flags, len(found), count, 0)
        return 0

    monkeypatch.setattr(extents, "AT_ONCE", 4)
    monkeypatch.setattr(extents.fcntl, "ioctl", answer)
    assert usage_of(path).shared == 5 * step
    assert asked == [0, 4 * step, 8 * step]

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(extents.fcntl, "ioctl", refuse)
    assert (usage_of(path).shared, usage_of(path).exclusive) == (None, None)
    assert (usage_of(path) + usage_of(path)).size == 2_000_000


def test_where_they_are_not(small_clone: Path, tmp_path: Path) -> None:
    """Said in a line; a hard link is shared everywhere."""
    path = tmp_path / "one"
    path.write_bytes(os.urandom(100_000))
    alone = usage_of(path)
    os.link(path, tmp_path / "two")
    both = usage_of(path)
    assert alone.size == both.size == 100_000
    assert both.shared == both.allocated >= 100_000
    assert both.exclusive == 0
    assert alone.exclusive in (alone.allocated, None)
    found = list_clones(small_clone)
    assert found.file_system == file_system_of(small_clone) != ""
    lines = "\n".join(listing_lines(found))
    assert ("can't share blocks" in lines) == (found.sharing is Sharing.NO)
