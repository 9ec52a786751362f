"""Dated clones in a folder: which are ours, and that nothing else is ever removed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetBusy, TargetExists
from innoclone.files import generations as module
from innoclone.files.generations import (
    LATEST,
    NEXT_LATEST,
    Generation,
    begin_generation,
    check_latest,
    generations_of,
    give_base,
    name_for,
    point_latest,
    refuse_removal,
    remove_generations,
    remove_unfinished,
    series_id,
    series_of,
    shares_blocks,
)
from innoclone.files.keyring import CloneKeyring, keyring_home, noted_keyring
from innoclone.files.lock import Holder, _start_ticks
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.files.outside import Outside
from made_clones import LIKE_US, contents, finished_clone, locked, opened

DONOR, OTHER = "d-1", "d-2"
FIRST, SECOND, THIRD = (f"2026-11-2{day}T01-02-03Z" for day in (1, 2, 3))


def generation(path: Path, *, donor: str = DONOR, series: str | None = "s", local: bool = True) -> Generation:
    """A finished one; ``series`` None: made before there were such ids."""
    fields: dict[str, object] = {"donor": {"uuid": donor}, "options": {"local": local}}
    if series is not None:
        fields["series"] = series
    manifest = finished_clone(path) / "#innoclone" / "manifest.json"
    fields["outside"] = Outside(path).for_manifest  # which says what directory it is
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | fields))
    return Generation(path, json.loads(manifest.read_text()), 0.0)


def paths(found: list[Generation]) -> list[str]:
    return [one.path.name for one in found]


# ---- which they are --------------------------------------------------------------------------------------------


def test_a_name_is_a_moment(tmp_path: Path) -> None:
    for moment in (1_800_000_000.0, 1_700_000_000.0):
        generation(tmp_path / name_for(moment))
    found = generations_of(tmp_path)
    assert [one.moment for one in found] == [1_700_000_000.0, 1_800_000_000.0]
    assert name_for(1_700_000_000.0) == "2023-11-14T22-13-20Z"


def test_only_finished_clones_of_ours_of_such_a_name_are_generations(tmp_path: Path) -> None:
    generation(tmp_path / FIRST)
    generation(tmp_path / "backup")
    generation(tmp_path / "2026-13-77T99-99-99Z")  # no date
    begin_directory(tmp_path / SECOND)
    (tmp_path / "2026-11-24T01-02-03Z").symlink_to(FIRST)
    (tmp_path / "2026-11-25T01-02-03Z").write_text("of somebody")
    (tmp_path / "2026-11-26T01-02-03Z").mkdir()
    (tmp_path / "2026-11-26T01-02-03Z" / "data").write_text("of somebody")
    damaged = generation(tmp_path / "2026-11-27T01-02-03Z").path / "#innoclone" / "manifest.json"
    damaged.write_text("torn")
    assert paths(generations_of(tmp_path)) == [FIRST]


@pytest.mark.parametrize("manifest", [{}, {"donor": None, "options": [], "outside": 7, "series": None}])
def test_a_poor_manifest_proves_nothing(tmp_path: Path, manifest: dict[str, object]) -> None:
    one = Generation(tmp_path, manifest, 0.0)
    assert (one.donor, one.is_local, one.is_copy) == ("", False, False)
    assert one.series == ("" if manifest else None)


def test_a_copy_is_another_directory(tmp_path: Path) -> None:
    assert not generation(tmp_path / FIRST).is_copy
    shutil.copytree(tmp_path / FIRST, tmp_path / "elsewhere" / FIRST)
    (copy,) = generations_of(tmp_path / "elsewhere")
    assert copy.is_copy
    shutil.rmtree(tmp_path / "elsewhere" / FIRST)
    assert copy.is_copy, "what is gone is not proven to be ours"


def test_a_series_is_what_was_made_here_of_one_donor(tmp_path: Path) -> None:
    assert series_id(tmp_path, DONOR) == ""
    assert series_of(tmp_path, DONOR) == []
    generation(tmp_path / FIRST)
    generation(tmp_path / SECOND, donor=OTHER)
    generation(tmp_path / THIRD, series="another")
    assert series_id(tmp_path, DONOR) == "another", "the newest one's"
    (tmp_path / LATEST).symlink_to(FIRST)
    assert series_id(tmp_path, DONOR) == "s", "or that of latest"
    assert paths(series_of(tmp_path, DONOR)) == [FIRST]
    assert paths(series_of(tmp_path, OTHER)) == [SECOND]


def test_a_copy_never_counts(tmp_path: Path) -> None:
    """Somebody keeps it: it neither goes, nor says of which series a folder is."""
    generation(tmp_path / "a" / FIRST)
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a" / FIRST, tmp_path / "b" / FIRST)
    assert series_id(tmp_path / "b", DONOR) == ""
    assert series_of(tmp_path / "b", DONOR) == []


def test_those_without_ids_count_if_they_are_local(tmp_path: Path) -> None:
    generation(tmp_path / FIRST, series=None)
    generation(tmp_path / SECOND, series=None, local=False)
    generation(tmp_path / THIRD, series="")
    assert paths(series_of(tmp_path, DONOR)) == [FIRST]


# ---- making one ------------------------------------------------------------------------------------------------


def test_a_new_one_says_whose_it_is(tmp_path: Path) -> None:
    new = tmp_path / FIRST
    tmp_path.chmod(0o711)
    assert begin_generation(new, DONOR, "s", like=tmp_path) == "s"
    assert is_unfinished(new)
    note = json.loads((new / "#innoclone" / "series.json").read_text())
    assert (note["donor"], note["series"], note["pid"]) == (DONOR, "s", os.getpid())
    assert stat.S_IMODE(new.stat().st_mode) == 0o711
    ids = {begin_generation(tmp_path / name, DONOR, "") for name in (SECOND, THIRD)}
    assert len(ids) == 2
    assert all(len(one) == 16 for one in ids)


def test_what_has_its_name_stays(tmp_path: Path) -> None:
    (tmp_path / FIRST).write_text("of somebody")
    with pytest.raises(TargetExists, match="exists already"):
        begin_generation(tmp_path / FIRST, DONOR, "s")
    assert (tmp_path / FIRST).read_text() == "of somebody"
    with pytest.raises(FileError, match="can't create"):
        begin_generation(tmp_path / "missing" / FIRST, DONOR, "s")


def test_sharing_is_tried_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not shares_blocks(Path("/proc"))
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "ioctl", lambda *_: 0)
        assert shares_blocks(tmp_path)
    shares_blocks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def shared(target: int, request: int, source: int) -> int:
    """FICLONE as it looks from outside, for a file system that has none."""
    assert request == module.FICLONE
    os.pwrite(target, os.pread(source, 1 << 20, 0), 0)
    return 0


def test_the_tablespaces_of_the_older_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", shared)
    older = finished_clone(tmp_path / FIRST)
    (older / "my.cnf").touch()
    (older / "schema" / "t.ibd").chmod(0o600)
    new = tmp_path / SECOND
    begin_generation(new, DONOR, "s")
    give_base(older, new)
    for name in ("mysql.ibd", "schema/t.ibd"):
        assert (new / name).read_bytes() == (older / name).read_bytes()
        assert (new / name).stat().st_mode == (older / name).stat().st_mode
    assert not (new / "my.cnf").exists()
    assert is_unfinished(new)
    (new / "mysql.ibd").write_bytes(b"mine")
    with pytest.raises(FileError, match="can't share blocks"):
        give_base(older, new)
    assert (new / "mysql.ibd").read_bytes() == b"mine", "nothing that is there is overwritten"


# ---- latest ----------------------------------------------------------------------------------------------------


def test_latest_follows(tmp_path: Path) -> None:
    for name in (FIRST, SECOND):
        point_latest(tmp_path, tmp_path / name)
        assert str((tmp_path / LATEST).readlink()) == name
    (tmp_path / NEXT_LATEST).symlink_to(FIRST)  # of a run that was killed
    point_latest(tmp_path, tmp_path / THIRD)
    assert str((tmp_path / LATEST).readlink()) == THIRD
    assert not os.path.lexists(tmp_path / NEXT_LATEST)


@pytest.mark.parametrize("name", [LATEST, NEXT_LATEST])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_link_of_ours_stays(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "file":
        path.write_text("of somebody")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/srv/precious")
    state = path.lstat()
    for attempt in (lambda: check_latest(tmp_path), lambda: point_latest(tmp_path, tmp_path / FIRST)):
        with pytest.raises(TargetExists, match="not a symbolic link to a generation"):
            attempt()
    assert path.lstat() == state


# ---- removing --------------------------------------------------------------------------------------------------


def test_old_ones_go(tmp_path: Path) -> None:
    old = [generation(tmp_path / FIRST), generation(tmp_path / SECOND)]
    generation(tmp_path / THIRD)
    assert remove_generations(old) == ([tmp_path / FIRST, tmp_path / SECOND], [])
    assert [path.name for path in tmp_path.iterdir()] == [THIRD]


def test_what_has_something_of_its_own_stays_unless_it_may_go(tmp_path: Path) -> None:
    one = generation(tmp_path / FIRST)
    (one.path / "auto.cnf").write_text("[auto]")
    before = contents(tmp_path)
    gone, (kept,) = remove_generations([one, generation(tmp_path / SECOND)])
    assert gone == [tmp_path / SECOND]
    assert isinstance(kept, TargetExists)
    assert "auto.cnf" in kept.message
    assert contents(tmp_path) == before
    refuse_removal(one.path, discard_changes=True)
    assert remove_generations([one], discard_changes=True) == ([one.path], [])


def test_what_is_in_use_stays_whatever_may_go(tmp_path: Path) -> None:
    one = generation(tmp_path / FIRST)
    before = contents(tmp_path)
    with opened(one.path / "mysql.ibd") as pid:
        gone, (kept,) = remove_generations([one], discard_changes=True)
    assert not gone
    assert isinstance(kept, TargetBusy)
    assert str(pid) in kept.message
    assert contents(tmp_path) == before
    with locked(one.path / "#innoclone", LIKE_US), pytest.raises(TargetBusy):
        refuse_removal(one.path, discard_changes=True)


def test_what_can_not_be_locked_or_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = generation(tmp_path / FIRST)
    (one.path / "#innoclone" / "lock").mkdir()
    gone, (kept,) = remove_generations([one])
    assert (gone, isinstance(kept, FileError)) == ([], True)
    assert "can't lock" in kept.message
    assert (one.path / "mysql.ibd").exists()
    (one.path / "#innoclone" / "lock").rmdir()

    def fails(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "remove_clone", fails)
    gone, (kept,) = remove_generations([one])
    assert (gone, kept.message) == ([], f"can't remove {one.path}: Input/output error")


# ---- what was cut short ----------------------------------------------------------------------------------------


def begun(path: Path, donor: str = DONOR, series: str = "s", **more: object) -> Path:
    """A generation whose maker, of another host if nothing else is said, was killed."""
    begin_generation(path, donor, series)
    note = path / "#innoclone" / "series.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"host": "elsewhere", **more}))
    return path


def test_what_was_broken_off_goes(tmp_path: Path) -> None:
    begun(tmp_path / FIRST)
    begin_generation(tmp_path / SECOND, DONOR, "s")  # by this very process
    assert {path.name for path in remove_unfinished(tmp_path, DONOR, "s")[0]} == {FIRST, SECOND}
    begun(tmp_path / FIRST, series="any")
    assert remove_unfinished(tmp_path, DONOR, "") == ([tmp_path / FIRST], []), "no series was ever finished"
    assert list(tmp_path.iterdir()) == []


def test_the_keyring_that_was_made_for_it_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    begun(folder / FIRST)
    home = keyring_home(folder)
    for one in (None, folder / FIRST):  # another's, and its own
        CloneKeyring(home, generation=one).master()
    noted = noted_keyring(folder / FIRST)
    assert noted is not None
    assert remove_unfinished(folder, DONOR, "s") == ([folder / FIRST, noted.path], [])
    assert len([*home.iterdir()]) == 1


def of_another_donor(path: Path) -> None:
    begun(path, donor=OTHER)


def of_another_series(path: Path) -> None:
    begun(path, series="another")


def about_to_be_locked(path: Path) -> None:
    """Its maker, another process that is alive, has not taken the lock yet."""
    begun(path, pid=os.getppid(), ticks=_start_ticks(os.getppid()), host=Holder.this_process().host)


def of_a_plain_clone(path: Path) -> None:
    begin_directory(path)


def with_a_torn_note(path: Path) -> None:
    (begun(path) / "#innoclone" / "series.json").write_text("{")


def finished(path: Path) -> None:
    generation(path)


def a_link(path: Path) -> None:
    begun(path.parent / "real")
    path.symlink_to("real")


def of_another_name(path: Path) -> None:
    begun(path.with_name("mine"))


@pytest.mark.parametrize(
    "make",
    [of_another_donor, of_another_series, about_to_be_locked, of_a_plain_clone, with_a_torn_note, finished, a_link,
     of_another_name],
)  # fmt: skip
def test_anything_else_stays(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / FIRST)
    before = contents(tmp_path)
    assert remove_unfinished(tmp_path, DONOR, "s") == ([], [])
    assert contents(tmp_path) == before


def test_what_somebody_works_on_stays(tmp_path: Path) -> None:
    begun(tmp_path / FIRST)
    with locked(tmp_path / FIRST / "#innoclone", LIKE_US):
        assert remove_unfinished(tmp_path, DONOR, "s") == ([], [])
    assert is_unfinished(tmp_path / FIRST)


def test_what_somebody_put_something_into_stays_and_is_told(tmp_path: Path) -> None:
    (begun(tmp_path / FIRST) / "notes").write_text("of mine")
    begun(tmp_path / SECOND)
    gone, (kept,) = remove_unfinished(tmp_path, DONOR, "s")
    assert gone == [tmp_path / SECOND]
    assert "notes" in kept.message
    assert (tmp_path / FIRST / "notes").read_text() == "of mine"


@pytest.mark.parametrize(
    ("donor", "series", "goes"),
    [(DONOR, "s", True), (OTHER, "s", False), (DONOR, "another", False), (DONOR, "", False), (DONOR, None, False)],
)
def test_a_removal_that_was_cut_short_goes_on(tmp_path: Path, donor: str, series: str | None, goes: bool) -> None:
    """Marked as unfinished, but with its manifest: only where that says that it is of the series."""
    begin_directory(generation(tmp_path / FIRST, donor=donor, series=series).path)
    before = contents(tmp_path)
    assert remove_unfinished(tmp_path, DONOR, "s") == ([tmp_path / FIRST] if goes else [], [])
    assert contents(tmp_path) == ({} if goes else before)


def test_a_copy_of_such_a_removal_stays(tmp_path: Path) -> None:
    begin_directory(generation(tmp_path / "a" / FIRST).path)
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a" / FIRST, tmp_path / "b" / FIRST)
    assert remove_unfinished(tmp_path / "b", DONOR, "s") == ([], [])
    assert (tmp_path / "b" / FIRST / "mysql.ibd").exists()
