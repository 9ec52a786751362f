"""Files that a donor names: none lands outside of the target or its mappings, or passes for something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena import Arena
from hostile import Action, Donor, Peer, Source, small_files, table_file
from innoclone.errors import DiskSpace, EncryptionNeedsTls, FileNameClash, PathRefused, ProtocolError
from innoclone.files.names import place
from innoclone.receive.recipient import Received
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from innoclone.wire.rpc import DataDescription

SYSTEM, TABLE, UNDO, DICTIONARY, NO_SPACE = 0, 5, 0xFFFFFFEF, 0xFFFFFFFE, 0xFFFFFFFF
SPACES = [SYSTEM, TABLE, UNDO, DICTIONARY, NO_SPACE]
TABLE_INDEX = 3  # of ./db/t.ibd

OUTSIDE = [
    "../evil.ibd", "./../evil.ibd", "db/../../evil.ibd", "./db/../../evil.ibd", "..", "./..", "/..", "../link/t.ibd",
    "/evil.ibd", "//evil.ibd", "/proc/self/mem", "/dev/sda1.ibd", "a/b/c.ibd", "./a/b/c.ibd", "~/evil.ibd/x",
]  # fmt: skip
STRANGE = ["", ".", "./", "/", "\n.ibd", "\x01.ibd", "\x1b[2J.ibd", "x\x7f.ibd", "x\x9b31m.ibd", "db/\r.ibd"]
LONG = ["x" * 300 + ".ibd", "db/" + "x" * 300 + ".ibd", "x" * 300 + "/t.ibd", "é" * 140 + ".ibd"]
OTHER_FILES = [
    "auto.cnf", "mysqld-auto.cnf", "my.cnf", "mysqld.my", "binlog.index", "private_key.pem", "plugin.so", "mysqld.pid",
    "#ib_16384_0.dblwr", "ibtmp1.json", "#innoclone/manifest.json", "#innoclone/x.ibd", "#clone/x.ibd",
    "#clone/#status_fix", "#clone/#status_in_progress", "#innodb_redo/#ib_redo0", "#innodb_redo/x.ibd", "#clone",
    "db/auto.cnf", "db/t.frm", "db/t.so", "db/t.ibd.cnf", "#innoclone/lock",
]  # fmt: skip


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


def donor_with(name: str, space_id: int) -> Donor:
    """One more file, which has this name."""
    return Donor([*small_files(), Source(name, space_id, table_file(space_id, 1))])


def between_stages(*changes: FileMetadata) -> Action:
    """What DDL did during FILE_COPY, told before PAGE_COPY starts."""

    def action(peer: Peer, payload: bytes) -> None:
        for change in changes:
            peer.send(DataDescription(change).serialize())
        peer.send(payload)

    return action


def changed(index: int, name: str, flags: FileFlag, **others: int) -> FileMetadata:
    """A descriptor of PAGE_COPY for file ``index`` of the small donor, or of a new file."""
    files = [*small_files(), Source(name, 77, table_file(77, 1))]
    meta = replace(files[min(index, 4)].metadata(index), stage=StageNumber.PAGE_COPY, name=name, flags=flags)
    return replace(meta, **others)


# ---- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space_id", [SYSTEM, TABLE])
@pytest.mark.parametrize("name", [*OUTSIDE, *STRANGE, *LONG])
def test_a_name_that_leads_outside_or_nowhere(arena, name, space_id):
    error = arena.refused(donor_with(name, space_id))
    assert isinstance(error, PathRefused)
    assert (error.code, error.exit_status) == (1525, 8)
    assert error.message.isprintable()


@pytest.mark.parametrize("name", ["x" * 5000, "x\0.ibd", "\0"])
def test_a_name_that_is_none(arena, name):
    assert isinstance(arena.refused(donor_with(name, TABLE)), ProtocolError)


@pytest.mark.parametrize("space_id", SPACES)
@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_name_that_means_something_else_to_a_server(arena, name, space_id):
    assert isinstance(arena.refused(donor_with(name, space_id)), PathRefused)


@pytest.mark.parametrize(("name", "space_id"), [("ibdata1", TABLE), ("ib_buffer_pool", SYSTEM), ("undo_001", TABLE)])
def test_a_name_of_another_kind_of_file(arena, name, space_id):
    donor = Donor([Source("./db/first.ibd", 4, table_file(4, 1)), Source(name, space_id, table_file(space_id, 1))])
    assert isinstance(arena.refused(donor), PathRefused)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([*SPACES, 1, 0xFFFFFFF0]))
def test_any_name_stays_below_the_target(name, space_id):
    root = Path("/target")
    try:
        path = place(name, space_id, root)
    except PathRefused:
        return
    assert ".." not in path.parts
    assert path.parent == root or (path.parent.parent == root and path.parent.name[0] != "#")
    assert path.name[0] != "#" or path.suffix == ".ibd"


@pytest.mark.parametrize("again", ["./db/t.ibd", "db/t.ibd", "db//t.ibd", "./db/./t.ibd", "db/t.ibd/"])
def test_two_files_of_one_name(arena, again):
    error = arena.refused(donor_with(again, 6))
    assert isinstance(error, ProtocolError)
    assert "hostile" in error.advice


@pytest.mark.parametrize(("name", "space_ids"), [("ibdata1", (SYSTEM,)), ("same.ibu", (UNDO, UNDO - 1))])
def test_two_files_of_one_name_as_an_honest_donor_has_them(arena, name, space_ids):
    """Undo and system tablespace files come without their directories."""
    files = [Source(name, space_id, table_file(space_id, 1)) for space_id in space_ids]
    error = arena.refused(Donor([*small_files(), *files]))
    assert isinstance(error, FileNameClash)
    assert (error.code, error.exit_status) == (3869, 5)
    assert name in error.message
    assert "hostile" not in error.advice


def test_two_files_that_a_mapping_puts_at_one_place(arena):
    files = [Source(f"/{folder}/x.ibd", number, table_file(number, 1)) for number, folder in ((6, "a"), (7, "b"))]
    mapping = (("/a", str(arena.mapped)), ("/b", str(arena.mapped)))
    error = arena.refused(Donor([*small_files(), *files]), mapping=mapping)
    assert isinstance(error, PathRefused)
    assert all(name in error.message for name in ("/a/x.ibd", "/b/x.ibd"))
    assert "--map-path" in error.advice


def test_a_file_system_that_takes_two_names_for_one(arena):
    """Which it would be is played by a file that is there already."""

    def beforehand(peer: Peer, payload: bytes) -> None:
        (arena.target / "db").mkdir()
        (arena.target / "db" / "t.ibd").touch()
        peer.send(payload)

    error = arena.refused(Donor().at("master file start", beforehand))
    assert isinstance(error, PathRefused)
    assert "takes two names" in error.advice


def test_names_that_differ_in_case_are_two_files(arena):
    assert isinstance(arena.receive(donor_with("./db/T.ibd", 6)), Received)
    assert (arena.target / "db" / "T.ibd").read_bytes() == table_file(6, 1)
    assert (arena.target / "db" / "t.ibd").exists()


# ---- mappings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/old/../evil.ibd", "/old/db/../../evil.ibd", "/older/x.ibd", "/old/x.cnf", "/old/link/new.ibd", "/old",
     "/new/x.ibd", "/old/db/there.ibd", "/old/link/t.ibd"],
)  # fmt: skip
def test_a_mapping_is_no_way_out(arena, name):
    error = arena.refused(donor_with(name, 6), mapping=(("/old", str(arena.mapped)),))
    assert isinstance(error, PathRefused)


def test_a_mapped_file_is_written_there_and_removed_after_a_failure(arena):
    donor = donor_with("/old/db/new.ibd", 6)
    mapping = (("/old", str(arena.mapped)),)
    arena.refused(donor_with("/old/db/new.ibd", 6).at("master page end", Peer.close), mapping=mapping)
    assert isinstance(arena.receive(donor, mapping=mapping), Received)
    assert (arena.mapped / "db" / "new.ibd").read_bytes() == table_file(6, 1)


@pytest.mark.parametrize("flags", [FileFlag.DELETED, FileFlag.DELETED | FileFlag.RENAMED])
def test_a_file_that_the_donor_never_sent_is_not_removed(arena, flags):
    """DDL made it and dropped it again, says the donor; what has this name here is somebody else's."""
    change = changed(4, "/old/db/there.ibd", flags)
    donor = Donor().at("master page start", between_stages(change, change))
    assert isinstance(arena.receive(donor, mapping=(("/old", str(arena.mapped)),)), Received)
    assert arena.listing() == arena.before


# ---- DDL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../evil.ibd", "/evil.ibd", "/old/../evil.ibd", "/old/db/there.ibd", "/old/link/t.ibd", "#clone/x.ibd", "t.cnf"],
)
def test_a_rename_is_no_way_out(arena, name):
    donor = Donor().at("master page start", between_stages(changed(TABLE_INDEX, name, FileFlag.RENAMED)))
    assert isinstance(arena.refused(donor, mapping=(("/old", str(arena.mapped)),)), PathRefused)


@pytest.mark.parametrize(
    "changes",
    [
        [changed(TABLE_INDEX, "./db/n.ibd", FileFlag.RENAMED), changed(2, "./db/n.ibd", FileFlag.RENAMED)],
        [changed(TABLE_INDEX, "mysql.ibd", FileFlag.RENAMED)],
        [changed(TABLE_INDEX, "./db/n.ibd", FileFlag.RENAMED), changed(4, "./db/n.ibd", FileFlag(0))],
        [changed(TABLE_INDEX, "", FileFlag.DELETED), changed(TABLE_INDEX, "./db/n.ibd", FileFlag.RENAMED)],
        [changed(99, "./db/n.ibd", FileFlag.RENAMED)],
        [changed(99, "./db/n.ibd", FileFlag(0))],
        [changed(99, "./db/n.ibd", FileFlag.DELETED)],
        [changed(4, "n.cnf", FileFlag(0))],
        [changed(4, "../evil.ibd", FileFlag.DELETED)],
        [changed(4, "./db/n.ibd", FileFlag(0), fsp_flags=0xFFFFFFFF)],
    ],
    ids=["two to one", "onto another", "onto a new one", "dropped before", "unknown renamed", "unknown",
         "unknown dropped", "strange", "strange and dropped", "no tablespace"],
)  # fmt: skip
def test_ddl_that_cannot_be(arena, changes):
    assert isinstance(arena.refused(Donor().at("master page start", between_stages(*changes))), ProtocolError)


def test_renames_may_swap_names(arena):
    files = [*small_files(), Source("./db/u.ibd", 6, table_file(6, 2))]
    swap = [
        replace(files[TABLE_INDEX].metadata(TABLE_INDEX), stage=StageNumber.PAGE_COPY, name="./db/u.ibd"),
        replace(files[4].metadata(4), stage=StageNumber.PAGE_COPY, name="./db/t.ibd"),
    ]
    donor = Donor(files).at("master page start", between_stages(*(replace(m, flags=FileFlag.RENAMED) for m in swap)))
    assert isinstance(arena.receive(donor), Received)
    assert (arena.target / "db" / "t.ibd").read_bytes() == table_file(6, 2)
    assert (arena.target / "db" / "u.ibd").stat().st_size == len(table_file(TABLE, 4))


def test_a_new_table_may_take_the_name_of_a_renamed_one(arena):
    donor = Donor().at(
        "master page start",
        between_stages(changed(TABLE_INDEX, "./db/old.ibd", FileFlag.RENAMED), changed(4, "./db/t.ibd", FileFlag(0))),
    )
    assert isinstance(arena.receive(donor), Received)
    assert {path.name for path in (arena.target / "db").iterdir()} == {"old.ibd", "t.ibd"}


# ---- sizes and encryption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 << 60, 1 << 63, (1 << 64) - 1, (1 << 48) + 1])
@pytest.mark.parametrize("field", ["size", "allocated"])
def test_a_size_that_no_file_has(arena, field, size):
    assert isinstance(arena.refused(Donor().at("master file metadata", described(**{field: size}))), ProtocolError)


def described(**changes: object) -> Action:
    """The first file's metadata, changed."""
    meta = replace(small_files()[0].metadata(0), **changes)  # type: ignore[arg-type]
    return lambda peer, _: peer.send(DataDescription(meta).serialize())


def test_more_than_the_disk_holds(arena):
    first = replace(small_files()[0].metadata(0), allocated=1 << 47)

    def large(peer: Peer, payload: bytes) -> None:
        peer.send(DataDescription(first).serialize() if b"ib_buffer_pool" in payload else payload)

    error = arena.refused(Donor().at("master file metadata", large))
    assert isinstance(error, DiskSpace)
    assert (error.code, error.exit_status) == (3873, 9)
    assert "131,072.00 GiB are needed" in error.message


@pytest.mark.parametrize("flags", [FileFlag.ENCRYPTED, FileFlag.ENCRYPTED | FileFlag.ZLIB, FileFlag.HAS_KEY])
def test_encryption_without_tls_is_refused_before_any_data(arena, flags):
    files = small_files()
    files[TABLE_INDEX].flags = flags
    if flags & FileFlag.HAS_KEY:
        meta = replace(files[TABLE_INDEX].metadata(TABLE_INDEX), key=bytes(64))
        donor = Donor().at("master file metadata", lambda peer, _: peer.send(DataDescription(meta).serialize()))
        meta = replace(meta, index=0)
    else:
        donor = Donor(files)
    error = arena.refused(donor)
    assert isinstance(error, EncryptionNeedsTls)
    assert (error.code, error.exit_status) == (3872, 5)


@pytest.mark.parametrize("flags", [FileFlag(0), FileFlag.RENAMED])
def test_encryption_that_ddl_switched_on_is_refused_without_tls(arena, flags):
    change = changed(TABLE_INDEX, "./db/n.ibd", flags | FileFlag.ENCRYPTED)
    error = arena.refused(Donor().at("master page start", between_stages(change)))
    assert isinstance(error, EncryptionNeedsTls)


def test_tablespace_flags_that_make_no_sense(arena):
    files = small_files()
    files[TABLE_INDEX].fsp_flags = 0x7FFF8000
    assert isinstance(arena.refused(Donor(files)), ProtocolError)
