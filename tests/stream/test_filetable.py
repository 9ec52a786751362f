"""The table of files: descriptors in, actions out, and no file anywhere; what a new process makes of a journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from innoclone.errors import FileError, PathRefused, ProtocolError
from innoclone.files.names import REDO_DIR
from innoclone.innodb.create import initial_file
from innoclone.receive.carryout import carry_out, carry_out_again
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import Action, Adopt, Create, Drop, FileTable, Rename
from innoclone.wire.descriptors import NO_FSP_FLAGS, FileFlag, FileMetadata, StageNumber
from innodb_pages import PLAIN

VERSION = 90704
NO_FILE_FLAGS = FileFlag(0)
FILE, PAGES, REDO = StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY
ROOT = Path("/nowhere")


class Places:
    """Where files would go; there is nothing."""

    def place(self, name: str, space_id: int) -> Path:
        return ROOT / name

    def redo_path(self, index: int, *, old_format: bool = False) -> Path:
        return ROOT / f"redo{index}"


def described(index: int, name: str, flags: FileFlag = NO_FILE_FLAGS, size: int = 65536) -> FileMetadata:
    return FileMetadata(FILE, size, size, PLAIN.raw, 4096, flags, index + 5, index, index + 1, index + 1, name)


def redo(index: int = 0) -> FileMetadata:
    return FileMetadata(REDO, 65536, 0, NO_FSP_FLAGS, 0, NO_FILE_FLAGS, 0xFFFFFFF0, index, 1, 1, "")


@pytest.fixture
def table() -> FileTable:
    """With two files, as after the list."""
    table = FileTable(Places(), VERSION, verify=True)
    for index, name in enumerate(("db/a.ibd", "db/b.ibd")):
        meta = described(index, name)
        found = table.add(meta, FILE, in_stage=True)
        assert found == (Adopt(ROOT / name, name, meta.space_id, meta.fsp_flags, meta.size),)
    return table


def between(table: FileTable, meta: FileMetadata) -> tuple[Action, ...] | None:
    return table.add(meta, PAGES, in_stage=False)


def test_what_is_repeated_asks_for_nothing(table: FileTable) -> None:
    assert table.add(described(0, "db/a.ibd"), FILE, in_stage=True) is None
    assert table.add(redo(), REDO, in_stage=True) == (Create(ROOT / "redo0"),)
    assert table.add(redo(), REDO, in_stage=True) is None
    gone = described(0, "db/a.ibd", FileFlag.DELETED)
    assert table.add(gone, FILE, in_stage=True) == (Drop(ROOT / "db/a.ibd"),)
    assert table.add(gone, FILE, in_stage=True) is None
    assert between(table, gone) == ()


def test_two_files_change_their_names(table: FileTable) -> None:
    """Each waits under a name of its own, until the next stage begins."""
    for index, name in ((0, "db/b.ibd"), (1, "db/a.ibd")):
        old, waiting = table.data[index].path, ROOT / f"{name}.#clone_ddl"
        assert between(table, described(index, name, FileFlag.RENAMED)) == (Rename(old, waiting),)
    assert between(table, described(1, "db/a.ibd", FileFlag.RENAMED)) == (), "a donor that is asked to go on repeats it"
    assert table.begin_stage() == (
        Rename(ROOT / "db/b.ibd.#clone_ddl", ROOT / "db/b.ibd"),
        Rename(ROOT / "db/a.ibd.#clone_ddl", ROOT / "db/a.ibd"),
    )
    assert table.begin_stage() == ()
    assert table.changes[:2] == ["renamed db/a.ibd to db/b.ibd", "renamed db/b.ibd to db/a.ibd"]


def test_a_file_that_ddl_made_has_its_first_page(table: FileTable) -> None:
    meta = described(2, "db/c.ibd")
    page0, size = initial_file(meta.space_id, PLAIN, VERSION)
    assert between(table, meta) == (Create(ROOT / "db/c.ibd", page0, size),)
    assert between(table, described(3, "db/d.ibd", FileFlag.DELETED)) == (), "it has come and gone"
    assert [file.metadata.name for file in table.all_files()] == ["db/a.ibd", "db/b.ibd", "db/c.ibd"]


def test_a_dropped_file_leaves_its_name(table: FileTable) -> None:
    between(table, described(0, "db/a.ibd", FileFlag.RENAMED | FileFlag.DELETED))
    assert isinstance((between(table, described(2, "db/a.ibd")) or ())[0], Create)
    with pytest.raises(ProtocolError, match="after it was dropped"):
        between(table, described(0, "db/x.ibd", FileFlag.RENAMED))


@pytest.mark.parametrize(
    ("meta", "in_stage"),
    [
        (described(2, "db/a.ibd"), True),  # two files of one name
        (described(2, "db/a.ibd"), False),
        (described(7, "db/z.ibd"), False),  # a number is left out
        (described(0, "db/other.ibd"), True),
        (replace(described(2, "db/c.ibd"), fsp_flags=NO_FSP_FLAGS), False),
        (replace(redo(), index=5000), True),
    ],
)
def test_what_no_donor_sends(table: FileTable, meta: FileMetadata, in_stage: bool) -> None:
    with pytest.raises(ProtocolError):
        table.add(meta, FILE, in_stage=in_stage)


# ---- done once more --------------------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Target:
    found = Target(tmp_path / "clone", fsync=False)
    found.start()
    return found


@pytest.mark.parametrize("done", [False, True])
def test_a_rename_is_done_once(target: Target, done: bool) -> None:
    old, new = target.root / "db" / "a.ibd", target.root / "db" / "b.ibd"
    target.create(old, b"content", 7)
    action = Rename(old, new)
    if done:
        carry_out(action, target)
    carry_out_again(action, target)
    assert new.read_bytes() == b"content"
    assert not old.exists()


def test_a_rename_onto_another_file_is_refused(target: Target) -> None:
    old, new = target.root / "db" / "a.ibd", target.root / "db" / "b.ibd"
    for path in (old, new):
        target.create(path)
    with pytest.raises(PathRefused):
        carry_out_again(Rename(old, new), target)
    with pytest.raises(FileError):
        carry_out_again(Rename(target.root / "db" / "x.ibd", target.root / "db" / "y.ibd"), target)


def test_half_a_new_file_is_made_anew_and_redo_is_kept(target: Target) -> None:
    new, log = target.root / "db" / "a.ibd", target.root / REDO_DIR / "#ib_redo0"
    target.create(new)
    carry_out_again(Create(new, b"page", 100), target)
    assert new.read_bytes() == b"page" + bytes(96)
    carry_out_again(Create(log), target)
    log.write_bytes(b"came already")
    carry_out_again(Create(log), target)
    assert log.read_bytes() == b"came already"


def test_a_drop_is_done_again_without_harm(target: Target) -> None:
    path = target.root / "db" / "a.ibd"
    target.create(path)
    for _ in range(2):
        carry_out_again(Drop(path), target)
    assert not path.exists()
