"""Incremental local clones: generations in place under load and DDL, bases of every kind, always equal to the donor."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clones import booted, clone_server, innochecksum, rows
from innoclone.errors import TargetExists, TargetUnusable
from innoclone.files import copying
from innoclone.files.marks import is_unfinished
from innoclone.innodb.page import checksum
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sources import localcopy
from local_clones import (
    MIB,
    assert_equal,
    assert_sound_copy,
    checksums,
    local_clone,
    local_process,
    refuses_to_boot,
)
from servers import ServerFactory


@pytest.mark.parametrize("page_size", ["16k", "4k", "64k"])
def test_generations_under_load_and_ddl(
    page_size: str, make_server: ServerFactory, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One directory, brought up to date again and again while everything changes, then once in quiet: equal."""
    if page_size == "4k":  # once as for files that are not cached: with O_DIRECT
        monkeypatch.setattr(copying, "is_cached", lambda *_: False)
        monkeypatch.setattr(localcopy, "PIECE", MIB)
    size = [f"--innodb-page-size={page_size}"]
    server = make_server(init=size)
    fill(server.connect, 16 * MIB)
    directory = tmp_path / "clone"
    local_clone(server, directory)
    with Load(server.connect, threads=2) as load, DdlLoop(server.connect) as ddl:
        for generation in range(2 if page_size == "16k" else 1):
            assert local_clone(server, directory, threads=1 + generation).incremental
            assert_sound_copy(programs, directory, size)
    assert (load.errors, ddl.errors) == ([], [])
    result = local_clone(server, directory)
    assert result.summary.pages_written < result.summary.pages_compared
    assert_equal(programs, directory, checksums(server), size)


@pytest.fixture(scope="module")
def donor_of_changes(make_module_server: ServerFactory) -> Server:
    """A server that this module's tests change as they like."""
    server = make_module_server()
    fill(server.connect, 16 * MIB)
    return server


_SOURCE = "SELECT * FROM shop.sessions"
_BEFORE = [
    "CREATE DATABASE g",
    "CREATE DATABASE doomed",
    f"CREATE TABLE doomed.t (PRIMARY KEY (id)) {_SOURCE}",
    *(f"CREATE TABLE g.{name} (PRIMARY KEY (id)) {_SOURCE}" for name in ("left_one", "right_one", "moving", "short")),
    f"CREATE TABLE g.rows_format (PRIMARY KEY (id)) ROW_FORMAT=COMPACT {_SOURCE}",
    f"CREATE TABLE g.zipped (PRIMARY KEY (id)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 {_SOURCE}",
    f"CREATE TABLE g.holes (PRIMARY KEY (id)) COMPRESSION='zlib' {_SOURCE}",
    "CREATE TABLE g.parts (id BIGINT PRIMARY KEY, v CHAR(200)) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN"
    " (1000), PARTITION p1 VALUES LESS THAN (2000), PARTITION p2 VALUES LESS THAN MAXVALUE)",
    "INSERT INTO g.parts SELECT id, token FROM shop.sessions",
    f"CREATE TABLE g.imported (PRIMARY KEY (id)) {_SOURCE}",
    "CREATE TABLESPACE g_space ADD DATAFILE 'g_space.ibd'",
    f"CREATE TABLE g.placed (PRIMARY KEY (id)) TABLESPACE g_space {_SOURCE}",
    "CREATE UNDO TABLESPACE g_undo ADD DATAFILE 'g_undo.ibu'",
]
_AFTER = [
    "DROP DATABASE doomed",
    "RENAME TABLE g.left_one TO g.x, g.right_one TO g.left_one, g.x TO g.right_one",
    "CREATE DATABASE h",
    "RENAME TABLE g.moving TO h.moved",
    "TRUNCATE TABLE g.short",
    "ALTER TABLE g.rows_format ROW_FORMAT=DYNAMIC",
    "ALTER TABLE g.zipped KEY_BLOCK_SIZE=2",
    "UPDATE g.holes SET user = user + 1 WHERE id % 7 = 0",
    "ALTER TABLE g.parts TRUNCATE PARTITION p0",
    "ALTER TABLE g.parts DROP PARTITION p1",
    "ALTER TABLE g.parts REORGANIZE PARTITION p2 INTO (PARTITION p3 VALUES LESS THAN (3000), PARTITION p4 VALUES LESS"
    " THAN MAXVALUE)",
    "ALTER TABLESPACE g_space RENAME TO g_room",
    "UPDATE g.placed SET user = user + 1",
]


def test_every_change_between_generations(donor_of_changes: Server, programs: Programs, tmp_path: Path) -> None:
    """IMPORT, undo truncation, partitions, swaps, formats, holes, renamed general tablespace, a dropped schema."""
    server, directory = donor_of_changes, tmp_path / "clone"
    for statement in _BEFORE:
        rows(server, statement)
    _flush(server, "g.holes, g.left_one, g.right_one, g.moving")  # without their first page files are not recognized
    local_clone(server, directory)
    assert (directory / "doomed").is_dir()
    sparse = _allocated(directory / "g" / "holes.ibd")
    assert sparse < (directory / "g" / "holes.ibd").stat().st_size * 0.9
    for statement in _AFTER:
        rows(server, statement)
    _flush(server, "g.holes")
    _import_table(server)
    _truncate_undo(server)
    result = local_clone(server, directory, incremental="require")
    assert result.incremental
    assert result.summary.renamed >= 3, "two swapped, one moved"
    assert result.summary.removed >= 3, "doomed.t, two partitions and what was rebuilt"
    assert not (directory / "doomed").exists(), "an empty directory would be a schema"
    assert _allocated(directory / "g" / "holes.ibd") < (directory / "g" / "holes.ibd").stat().st_size * 0.9
    assert_equal(programs, directory, checksums(server))
    again = local_clone(server, directory)
    assert again.summary.pages_written < again.summary.pages_compared / 10, "what the server has flushed meanwhile"
    for statement in ("DROP DATABASE g", "DROP DATABASE h", "DROP TABLESPACE g_room"):
        rows(server, statement)
    local_clone(server, directory)
    assert_equal(programs, directory, checksums(server))


def _flush(server: Server, tables: str) -> None:
    """Write the tables' changed pages to disk."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"FLUSH TABLES {tables} FOR EXPORT")


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def _import_table(server: Server) -> None:
    """The file of one table becomes that of another, with its own space id written into it."""
    folder = server.datadir / "g"
    rows(server, "CREATE TABLE g.fresh LIKE g.imported")
    rows(server, "ALTER TABLE g.fresh DISCARD TABLESPACE")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES g.imported FOR EXPORT")
        for suffix in ("ibd", "cfg"):
            shutil.copy(folder / f"imported.{suffix}", folder / f"fresh.{suffix}")
        cursor.execute("UNLOCK TABLES")
    rows(server, "ALTER TABLE g.fresh IMPORT TABLESPACE")


def _truncate_undo(server: Server) -> None:
    rows(server, "ALTER UNDO TABLESPACE innodb_undo_001 SET INACTIVE")
    state = "SELECT state FROM information_schema.innodb_tablespaces WHERE name = 'innodb_undo_001'"
    deadline = time.monotonic() + 60
    while rows(server, state) != [("empty",)] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rows(server, state) == [("empty",)]
    rows(server, "ALTER UNDO TABLESPACE innodb_undo_001 SET ACTIVE")


# ---- bases -------------------------------------------------------------------------------------------------


def _booted_and_changed(server: Server, directory: Path, programs: Programs, *, kill: bool = False) -> None:
    clone = Server.start(programs, directory, error_log=directory.with_suffix(".err"), timeout=120)
    try:
        for statement in (
            "CREATE USER evil",
            "CREATE DATABASE other",
            f"CREATE TABLE other.t (PRIMARY KEY (id)) {_SOURCE}",
            "UPDATE shop.items SET amount = amount + 1",
            "TRUNCATE TABLE shop.nothing_yet",
            "DROP TABLE packed.compact_rows",
            "RENAME TABLE packed.redundant_rows TO packed.compact_rows",
            "OPTIMIZE TABLE packed.zip_8k",
        ):
            rows(clone, statement)
        if not kill:
            clone.stop()
    finally:
        clone.kill()


def _untouched(server: Server, directory: Path, programs: Programs) -> None:
    """As it was."""


def _killed(server: Server, directory: Path, programs: Programs) -> None:
    _booted_and_changed(server, directory, programs, kill=True)


def _remote(server: Server, directory: Path, programs: Programs) -> None:
    shutil.rmtree(directory)
    clone_server(server, directory)


def _stock(server: Server, directory: Path, programs: Programs) -> None:
    shutil.rmtree(directory)
    rows(server, f"CLONE LOCAL DATA DIRECTORY = '{directory}'")


def _of_another_server(server: Server, directory: Path, programs: Programs) -> None:
    """Tables of the same names and tablespace ids, with other rows."""
    shutil.rmtree(directory)
    clone_server(server, directory.with_name("second"))
    with booted(programs, directory.with_name("second")) as second:
        rows(second, "UPDATE shop.orders SET note = UUID()")
        rows(second, "UPDATE shop.items SET article = article + 7")
    shutil.move(directory.with_name("second"), directory)


def _garbage(server: Server, directory: Path, programs: Programs) -> None:
    """Longer, shorter, torn, empty and senseless files."""
    dice = random.Random(3)
    for number, path in enumerate(sorted(directory.rglob("*.ibd"))):
        with path.open("r+b") as file:
            if number % 5 == 0:
                file.seek(0, 2)
                file.write(dice.randbytes(3 * MIB + 5000))
            elif number % 5 == 1:
                file.truncate(70_000)
            elif number % 5 == 2:
                file.seek(17_000)
                file.write(dice.randbytes(20_000))
            elif number % 10 == 3:
                file.truncate(0)
            elif number % 10 == 8:
                file.write(dice.randbytes(100))


Change = Callable[[Server, Path, Programs], None]


@pytest.mark.parametrize(
    "change", [_untouched, _booted_and_changed, _killed, _remote, _stock, _of_another_server, _garbage]
)
def test_any_base_will_do(change: Change, donor_of_changes: Server, programs: Programs, tmp_path: Path) -> None:
    """Whatever happened to the earlier clone, and to the donor: the new one is the donor's, to the last row."""
    server, directory = donor_of_changes, tmp_path / "clone"
    local_clone(server, directory)
    change(server, directory, programs)
    rows(server, "UPDATE shop.items SET amount = 1 + (amount + 3) % 9 WHERE id % 50 = 0")
    rows(server, "ALTER TABLE `größe-Daten`.`größe-Daten` ENGINE=InnoDB")
    has_lived = change in (_booted_and_changed, _killed, _of_another_server)
    result = local_clone(server, directory, discard_changes=has_lived)
    assert result.incremental
    assert result.summary.reused > 20
    left = {path.name for path in directory.iterdir()}
    assert not left & {"auto.cnf", "binlog.index", "ibtmp1", "other", "#innodb_temp"}
    assert not [name for name in left if name.endswith(".dblwr")]
    assert_equal(programs, directory, checksums(server))


def test_hard_links_are_not_written_through(donor_of_changes: Server, tmp_path: Path) -> None:
    """Somebody's cheap copy of the clone (cp -al) stays what it was."""
    directory, links = tmp_path / "clone", tmp_path / "links"
    local_clone(donor_of_changes, directory)
    subprocess.run(["cp", "-al", str(directory), str(links)], check=True, timeout=60)
    before = (links / "shop" / "orders.ibd").read_bytes()
    rows(donor_of_changes, "UPDATE shop.orders SET note = UUID()")
    _flush(donor_of_changes, "shop.orders")
    assert local_clone(donor_of_changes, directory).incremental
    assert (links / "shop" / "orders.ibd").read_bytes() == before
    assert (directory / "shop" / "orders.ibd").read_bytes() != before


def test_two_histories_from_one_directory(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """The donor and the base are copies of one stopped server: mostly some of their pages differ and have one LSN."""
    first = make_server()
    rows(first, "CREATE DATABASE twins")
    rows(first, "CREATE TABLE twins.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT, pad CHAR(200))")
    rows(first, "INSERT INTO twins.t (v, pad) VALUES (0, 'x')")
    for _ in range(13):
        rows(first, "INSERT INTO twins.t (v, pad) SELECT v, pad FROM twins.t")
    directory = tmp_path / "clone"
    local_clone(first, directory)
    with booted(programs, directory):
        pass  # recovered and shut down: from here on two lives
    copies = [tmp_path / "one", tmp_path / "two"]
    for number, copy in enumerate(copies):
        shutil.copytree(directory, copy)
        (copy / "auto.cnf").unlink()
        with booted(programs, copy, ["--skip-log-bin"]) as twin:
            for low in range(1, 8000, 100):  # the same statements in the same order, other values
                rows(twin, f"UPDATE twins.t SET v = {low + number} WHERE id BETWEEN {low} AND {low + 9}")
    equal = _pages_that_only_look_equal(copies[0] / "twins" / "t.ibd", copies[1] / "twins" / "t.ibd")
    donor = Server.start(
        programs, copies[0], port=0, error_log=tmp_path / "one.err", timeout=120,
        options=["--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    )  # fmt: skip
    try:
        result = local_clone(donor, copies[1], discard_changes=True)
        assert result.incremental
        assert result.summary.pages_written >= equal
        assert_equal(programs, copies[1], checksums(donor))
    finally:
        donor.kill()


def test_pages_that_look_equal(donor_of_changes: Server, programs: Programs, tmp_path: Path) -> None:
    """Other rows under the same LSN and a right checksum, and other bytes where no checksum covers them."""
    server, directory = donor_of_changes, tmp_path / "clone"
    _flush(server, "shop.orders")
    local_clone(server, directory)
    path = directory / "shop" / "orders.ibd"
    whole = path.read_bytes()
    pages = [bytearray(whole[at : at + 16384]) for at in range(0, len(whole), 16384)]
    forged = 0
    for number, page in enumerate(pages):
        if not any(page):
            continue
        forged += 1
        if number % 2:
            page[8000:8100] = bytes(byte ^ 0x55 for byte in page[8000:8100])
            page[:4] = page[-8:-4] = checksum(page).to_bytes(4, "big")
        else:
            page[26:34] = bytes(byte ^ 0x55 for byte in page[26:34])
    path.write_bytes(b"".join(pages))
    assert innochecksum(programs, directory) == []
    assert _pages_that_only_look_equal(path, server.datadir / "shop" / "orders.ibd") == forged
    assert local_clone(server, directory).summary.pages_written >= forged > 10
    assert path.read_bytes() == whole
    assert_equal(programs, directory, checksums(server))


def _pages_that_only_look_equal(one: Path, other: Path, page: int = 16384) -> int:
    left, right = one.read_bytes(), other.read_bytes()
    return sum(
        left[at : at + page] != right[at : at + page] and left[at + 16 : at + 24] == right[at + 16 : at + 24]
        for at in range(0, min(len(left), len(right)), page)
    )


def test_killed_at_random_moments(donor_of_changes: Server, programs: Programs, tmp_path: Path) -> None:
    """kill -9 in place: no server starts on what is left, the next run comes to an exact end."""
    server, directory = donor_of_changes, tmp_path / "clone"
    local_clone(server, directory)
    dice, unfinished = random.Random(), 0
    for _ in range(4):
        rows(server, "UPDATE shop.orders SET note = UUID() WHERE id % 3 = 0")
        process = local_process(server, directory, "--max-data-bandwidth=60")
        moment = dice.uniform(0.5, 2.5)
        with contextlib.suppress(Exception):
            process.wait(moment)
        process.kill()
        process.communicate()
        if is_unfinished(directory):
            unfinished += 1
            if unfinished == 1:
                assert refuses_to_boot(programs, directory)
    assert unfinished > 0, "the process was never killed in the middle"
    result = local_clone(server, directory)
    assert result.incremental
    assert_equal(programs, directory, checksums(server))


def test_choices(donor_of_changes: Server, tmp_path: Path) -> None:
    """off, require; an unfinished clone is begun anew with off."""
    directory = tmp_path / "clone"
    with pytest.raises(TargetUnusable, match="no earlier clone"):
        local_clone(donor_of_changes, directory, incremental="require")
    assert not directory.exists()
    assert not local_clone(donor_of_changes, directory, incremental="off").incremental
    with pytest.raises(TargetExists, match="holds an earlier clone"):
        local_clone(donor_of_changes, directory, incremental="off")
    assert not is_unfinished(directory)
    (directory / "#clone" / "#status_in_progress").touch()
    result = local_clone(donor_of_changes, directory, incremental="off")
    assert not result.incremental
    assert any("begins anew" in note for note in result.notes)
