"""innoclone.commands.verify: what is whole is found whole, and every kind of damage is found and named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clones import clone_server, rows
from innoclone import errors
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, VerifyOptions
from innoclone.commands.verify import VerifyReport, verify
from innoclone.files.manifest import read_manifest
from innoclone.files.ownlife import LEFT
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.records.verdict import FIELD
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server import cloned
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.stream.pagecheck import find_tablespaces
from innoclone.verification.compare import Outcome
from servers import ServerFactory, endpoint_of

MIB = 1 << 20
PAGE = 16384

# Every type there is, with values that a careless checksum would lose.
TYPES = """
CREATE TABLE kinds.all_types (
  id INT AUTO_INCREMENT PRIMARY KEY, bits BIT(9), fl FLOAT, db DOUBLE, de DECIMAL(30,10), ye YEAR, da DATE,
  dt DATETIME(6), ts TIMESTAMP(3) NULL, ti TIME(2), ch CHAR(10), la VARCHAR(20) CHARACTER SET latin1, bi BINARY(4),
  vb VARBINARY(10), tx TEXT, bl LONGBLOB, en ENUM('a','b'), se SET('x','y'), js JSON, ge GEOMETRY,
  po POINT SRID 4326, ve VECTOR(3), vi DOUBLE AS (db + 1) VIRTUAL, st VARCHAR(25) AS (CONCAT(la, 'x')) STORED,
  hidden INT INVISIBLE)
"""
ALL_TYPES = """
INSERT INTO {}
  (bits, fl, db, de, ye, da, dt, ts, ti, ch, la, bi, vb, tx, bl, en, se, js, ge, po, ve, hidden)
VALUES (b'101', 1.1, 1e-300, 1.5, 2020, '2020-01-01', '2020-01-01 01:02:03.000004', '2020-01-01 01:02:03.004',
        '10:00:00.12', 'a b', 'é', X'0001', X'00', 't', X'0001FF', 'a', 'x,y', '{{"a": 1.5}}', POINT(1, 2),
        ST_SRID(POINT(1, 2), 4326), TO_VECTOR('[1,2,3]'), 5),
       (NULL, 1.1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', '', NULL, '', '', '', NULL, '', NULL, NULL, NULL,
        NULL, 0)
"""
VALUES = {
    "all_types": ALL_TYPES,
    "plain": "INSERT INTO {} VALUES (1, 10, 1), (2, 20, 2), (3, 30, 3)",
    "no_key": "INSERT INTO {} VALUES (1), (1), (2), (2)",
}
SEE_ALL = "GRANT TRIGGER, EVENT ON *.* TO clone@'%', clone@localhost"
KINDS = (
    "CREATE SCHEMA kinds",
    TYPES,
    "CREATE TABLE kinds.plain (id INT PRIMARY KEY, v INT, w INT)",
    "CREATE TABLE kinds.no_key (v INT)",
    *(insert.format(f"kinds.{name}") for name, insert in VALUES.items()),
    "CREATE VIEW kinds.seen AS SELECT id FROM kinds.plain",
    "CREATE TRIGGER kinds.before_insert BEFORE INSERT ON kinds.plain FOR EACH ROW SET NEW.w = NEW.w + 1",
    "CREATE PROCEDURE kinds.nothing() SELECT 1",
)


@pytest.fixture(scope="module")
def source(make_module_server: ServerFactory) -> Server:
    """A donor at rest, with tables of every kind."""
    server = make_module_server()
    fill(server.connect, 8 * MIB)
    for statement in (*KINDS, SEE_ALL):
        rows(server, statement)
    return server


@pytest.fixture(scope="module")
def booted_clone(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that was recovered; to be copied, not to be used."""
    directory = tmp_path_factory.mktemp("booted") / "clone"
    clone_server(source, directory)
    boot(BootOptions(directory))
    return directory


@pytest.fixture(scope="module")
def pristine_clone(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that no server has run on; to be copied, not to be used."""
    directory = tmp_path_factory.mktemp("pristine") / "clone"
    clone_server(source, directory)
    return directory


@pytest.fixture
def pristine(pristine_clone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine_clone, tmp_path / "clone"))


@pytest.fixture
def recovered(booted_clone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(booted_clone, tmp_path / "clone"))


@contextmanager
def changing(programs: Programs, directory: Path) -> Iterator[Callable[[str], None]]:
    """Statements on a clone that leave no trace but what they change."""
    with cloned.private_server(programs, directory, read_manifest(directory)) as server:
        yield lambda statement: rows(server, statement) and None


def outcomes(report: VerifyReport) -> dict[str, Outcome]:
    return {result.name: result.outcome for result in (*report.tables, *report.objects)}


# ---- pages -------------------------------------------------------------------------------------------------


def test_pages_are_whole_before_and_after_the_boot(pristine: Path) -> None:
    status = CloneStatus()
    report = verify(VerifyOptions(pristine), status=status)
    assert report.findings() == []
    assert report.pages.pages > 1000
    assert str(report) == f"{report.pages.pages} pages of {len(report.pages.files)} files sound; tables not compared"
    assert report.gaps() == ["tables: not compared (no server was named)"]
    row = status.stages[Stage.PAGE_CHECK]
    assert row.state is State.COMPLETED
    assert row.data == report.pages.bytes
    boot(BootOptions(pristine))
    assert verify(VerifyOptions(pristine)).findings() == []


def damage(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE + 5000)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 0x40]))


def test_damage_is_found_and_named(pristine: Path) -> None:
    name = next(name for name in find_tablespaces(pristine) if "files.ibd" in name)
    damage(pristine / name, 7)
    with pytest.raises(errors.VerifyFailed, match=rf"{name}: page 7 is ") as caught:
        verify(VerifyOptions(pristine))
    assert caught.value.exit_status == 11


@pytest.mark.parametrize("kind", ["truncated", "missing", "extra", "swapped", "redo", "redo missing"])
def test_files_that_are_not_the_clones(pristine: Path, kind: str) -> None:
    tables = [pristine / name for name in find_tablespaces(pristine) if name.startswith("shop/")]
    redo = next((pristine / "#innodb_redo").glob("#ib_redo*"))
    expected = str(tables[0].relative_to(pristine))
    match kind:
        case "truncated":
            os.truncate(tables[0], tables[0].stat().st_size - PAGE)
        case "missing":
            tables[0].unlink()
        case "extra":
            (pristine / "shop" / "more.ibd").write_bytes(b"")
            expected = "shop/more.ibd: not part of the clone"
        case "swapped":
            tables[0].rename(pristine / "x")
            tables[1].rename(tables[0])
            (pristine / "x").rename(tables[1])
        case "redo":
            redo.write_bytes(b"\0" * redo.stat().st_size)
            expected = "redo log: "
        case "redo missing":
            redo.unlink()
            expected = f"{redo.relative_to(pristine)}: missing"
    with pytest.raises(errors.VerifyFailed, match=expected):
        verify(VerifyOptions(pristine))


def test_damage_after_the_boot(recovered: Path) -> None:
    name = next(name for name in find_tablespaces(recovered) if "files.ibd" in name)
    os.truncate(recovered / name, 4 * PAGE)
    damage(recovered / "undo_001", 3)
    with pytest.raises(errors.VerifyFailed) as caught:
        verify(VerifyOptions(recovered))
    assert f"{name}: truncated" in caught.value.message
    assert "undo_001: page 3" in caught.value.message


def test_a_clone_that_a_server_was_kept_on(recovered: Path, programs: Programs) -> None:
    """Tables came and went: each is judged by its own pages."""
    with Server.start(programs, recovered) as server:
        rows(server, "DROP TABLE shop.sessions")
        rows(server, "CREATE TABLE shop.newer (id INT)")
    report = verify(VerifyOptions(recovered))
    assert "shop/newer.ibd" in {file.name for file in report.pages.files}
    damage(recovered / "shop" / "newer.ibd", 0)
    with pytest.raises(errors.VerifyFailed, match=r"shop/newer\.ibd"):
        verify(VerifyOptions(recovered))


# ---- content -----------------------------------------------------------------------------------------------


def test_a_donor_at_rest(pristine: Path, source: Server) -> None:
    """All equal, of every engine and type; the clone was booted for it and then left as a boot leaves it."""
    status = CloneStatus()
    report = verify(VerifyOptions(pristine, endpoint_of(source)), status=status)
    result = outcomes(report)
    assert {name for name, outcome in result.items() if outcome is not Outcome.EQUAL} == {
        "misc.myisam_rows", "misc.csv_rows",
    }  # fmt: skip
    assert result["misc.myisam_rows"] is Outcome.NOT_CLONED
    assert {"views", "routines", "triggers", "events", "accounts", "kinds.all_types", "shop.events"} <= result.keys()
    expected = rows(
        source,
        "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
        " AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema')",
    )
    assert {table.name for table in report.tables} == {name for (name,) in expected}
    counted = {table.name: table.rows for table in report.tables}
    assert counted["kinds.plain"] == 3
    assert counted["shop.customers"] == rows(source, "SELECT COUNT(*) FROM shop.customers")[0][0]
    assert report.position == rows(source, "SELECT @@gtid_executed")[0][0] == status.gtid_executed
    assert str(report).endswith(f"{len(expected) - 2} tables equal, 0 not compared, 2 not cloned, 0 differ")
    assert not (pristine / "auto.cnf").exists()
    assert not list(pristine.glob("*relay*"))
    assert read_manifest(pristine)["position"]["gtid_executed"] == report.position


# What is done to a table of its own in the clone, and what must be said of it.
CHANGES = {
    "value": ("plain", "UPDATE {} SET v = 11 WHERE id = 1", "content differs"),
    "places": ("plain", "UPDATE {} SET v = 30 - v WHERE id < 3", "content differs"),
    "equal_rows": ("no_key", "UPDATE {} SET v = 3 WHERE v = 1", "content differs"),
    "null": ("all_types", "UPDATE {} SET ch = NULL WHERE id = 2", "content differs"),
    "float": ("all_types", "UPDATE {} SET fl = 1.1000001 WHERE id = 1", "content differs"),
    "blob": ("all_types", "UPDATE {} SET bl = X'0001FE' WHERE id = 1", "content differs"),
    "point": ("all_types", "UPDATE {} SET po = ST_SRID(POINT(1, 3), 4326) WHERE id = 1", "content differs"),
    "vector": ("all_types", "UPDATE {} SET ve = TO_VECTOR('[1,2,4]') WHERE id = 1", "content differs"),
    "json": ("all_types", "UPDATE {} SET js = '{{\"a\": 1.25}}' WHERE id = 1", "content differs"),
    "enum": ("all_types", "UPDATE {} SET en = 'b' WHERE id = 1", "content differs"),
    "hidden": ("all_types", "UPDATE {} SET hidden = 6 WHERE id = 1", "content differs"),
    "generated": ("all_types", "UPDATE {} SET la = 'è' WHERE id = 1", "content differs"),
    "missing_row": ("plain", "DELETE FROM {} WHERE id = 2", "3 rows on the donor, 2 in the clone"),
    "missing_table": ("plain", "DROP TABLE {}", "the clone has no such table"),
    "more_index": ("plain", "ALTER TABLE {} ADD KEY (v)", "its definition differs"),
    "more_column": ("plain", "ALTER TABLE {} ADD COLUMN x INT", "its definition differs"),
    "less_column": ("plain", "ALTER TABLE {} DROP COLUMN w", "its definition differs"),
}


def test_every_difference_is_found_and_named(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """What is found is what was changed, and nothing else."""
    server = make_server()
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in (*KINDS, SEE_ALL):
            cursor.execute(statement)
        for name, (model, _, _) in CHANGES.items():
            cursor.execute(f"CREATE TABLE kinds.{name} LIKE kinds.{model}")
            cursor.execute(VALUES[model].format(f"kinds.{name}"))
    directory = tmp_path / "clone"
    clone_server(server, directory)
    boot(BootOptions(directory))
    with changing(programs, directory) as change:
        for name, (_, statement, _) in CHANGES.items():
            change(statement.format(f"kinds.{name}"))
        change("CREATE TABLE kinds.extra_table (id INT)")
        change("DROP VIEW kinds.seen")
        change("DROP PROCEDURE kinds.nothing")
        change("DROP TRIGGER kinds.before_insert")
    # As on a clone that a server was kept on: missing and new files are no findings of the page check then.
    (directory / "auto.cnf").write_text("[auto]\nserver-uuid=00000000-0000-0000-0000-000000000001\n")
    status = CloneStatus()
    with pytest.raises(errors.VerifyFailed, match="and 16 more") as caught:
        verify(VerifyOptions(directory, endpoint_of(server)), status=status)
    assert caught.value.exit_status == 11
    found = dict(note.split(": differs ", 1) for note in status.notes if ": differs " in note)
    for name, (_, _, why) in CHANGES.items():
        assert why in found.pop(f"kinds.{name}")
    assert found == {
        "kinds.extra_table": "(the donor has no such table)",
        "views": "(missing kinds.seen)",
        "routines": "(missing kinds.nothing)",
        "triggers": "(missing kinds.before_insert)",
    }


def test_an_account_that_may_not_see_everything(recovered: Path, source: Server) -> None:
    """What it may not see is not compared, and said so."""
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("CREATE USER IF NOT EXISTS narrow IDENTIFIED BY 'x'")
        cursor.execute("GRANT SELECT ON shop.* TO narrow")
    try:
        report = verify(VerifyOptions(recovered, endpoint_of(source, user="narrow", password="x")))
    finally:
        with source.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_log_bin = 0")
            cursor.execute("DROP USER narrow")
    result = outcomes(report)
    assert result["shop.customers"] is Outcome.EQUAL
    assert result["kinds.plain"] is Outcome.NOT_COMPARED
    assert result["triggers"] is result["accounts"] is Outcome.NOT_COMPARED
    assert any("kinds.plain" in gap and "may not read" in gap for gap in report.gaps())


# ---- a donor that is written to ----------------------------------------------------------------------------


@pytest.fixture
def busy(make_server: ServerFactory) -> Server:
    server = make_server()
    fill(server.connect, 4 * MIB)
    return server


def test_a_busy_donor_is_met_at_one_gtid_set(busy: Server, tmp_path: Path) -> None:
    """Rows, tables and accounts change on, and MyISAM rows that a clone lacks too. All is equal at one point."""
    directory = tmp_path / "clone"
    status = CloneStatus()
    with Load(busy.connect) as load:
        clone_server(busy, directory)
        boot(BootOptions(directory))
        before = read_manifest(directory)
        rows(busy, "CREATE TABLE shop.later (id INT PRIMARY KEY)")
        rows(busy, "INSERT INTO shop.later VALUES (1), (2)")
        rows(busy, "CREATE USER later IDENTIFIED BY 'x'")
        rows(busy, "UPDATE misc.myisam_rows SET word = 'changed'")
        report = verify(VerifyOptions(directory, endpoint_of(busy), threads=2), status=status)
    assert load.errors == []
    result = outcomes(report)
    assert {name for name, outcome in result.items() if outcome is not Outcome.EQUAL} == {
        "misc.myisam_rows", "misc.csv_rows",
    }  # fmt: skip
    assert {"traffic.accounts", "traffic.plus", "shop.later"} <= result.keys()
    assert report.position not in ("", before["position"]["gtid_executed"])
    assert rows(busy, f"SELECT GTID_SUBSET('{report.position}', @@gtid_executed)") == [(1,)]
    assert status.stages[Stage.CATCH_UP].state is State.COMPLETED
    after = read_manifest(directory)
    assert after.pop(FIELD)["position"] == report.position
    assert after | {LEFT: before[LEFT]} == before, "the clone itself has not moved"
    assert not (directory / "auto.cnf").exists()
    assert [path.name for path in tmp_path.glob("clone*")] == ["clone"], "the copy is gone"


def test_a_difference_on_a_busy_donor(busy: Server, programs: Programs, tmp_path: Path) -> None:
    """The damaged row is not one that the load touches; a missing row that a change needs stops the replica."""
    directory = tmp_path / "clone"
    clone_server(busy, directory)
    boot(BootOptions(directory))
    rows(busy, "UPDATE shop.customers SET name = 'moved on' WHERE id = 1")
    with changing(programs, directory) as change:
        change("DELETE FROM docs.files WHERE id = 2")
    with pytest.raises(errors.VerifyFailed, match=r"docs\.files: differs \(\d+ rows on the donor"):
        verify(VerifyOptions(directory, endpoint_of(busy)))
    rows(busy, "UPDATE docs.files SET name = 'another' WHERE id = 2")
    with pytest.raises(errors.VerifyFailed, match=r"can't follow the donor.*docs\.files"):
        verify(VerifyOptions(directory, endpoint_of(busy)))
    assert [path.name for path in tmp_path.glob("clone*")] == ["clone"], "the copy is gone"


def test_a_clone_that_cannot_follow(busy: Server, tmp_path: Path) -> None:
    """Without REPLICATION SLAVE: what is equal is equal, the rest is not compared, and the reason is told."""
    directory = tmp_path / "clone"
    clone_server(busy, directory)
    rows(busy, "UPDATE shop.customers SET name = 'moved on' WHERE id = 1")
    rows(busy, "CREATE USER reader IDENTIFIED BY 'x'")
    rows(busy, "GRANT SELECT, PROCESS ON *.* TO reader")
    status = CloneStatus()
    report = verify(VerifyOptions(directory, endpoint_of(busy, user="reader", password="x")), status=status)
    result = outcomes(report)
    assert result["shop.customers"] is Outcome.NOT_COMPARED
    assert result["docs.files"] is Outcome.EQUAL
    assert report.count(Outcome.DIFFERS) == 0
    assert report.position == ""
    assert any("REPLICATION SLAVE" in note for note in status.notes), status.notes


def test_a_clone_that_was_written_to(busy: Server, programs: Programs, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    clone_server(busy, directory)
    with Server.start(programs, directory, options=["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]) as server:
        rows(server, "CREATE TABLE shop.own (id INT)")
        uuid = rows(server, "SELECT @@server_uuid")[0][0]
    with pytest.raises(errors.VerifyFailed, match=f"transactions that .* has not: {uuid}:1"):
        verify(VerifyOptions(directory, endpoint_of(busy)))


def test_a_donor_without_gtids(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """At rest it is compared at its binary log position; a difference is one. Once it has moved on, it is in doubt."""
    server = make_server("--gtid-mode=OFF")
    fill(server.connect, MIB)
    directory = tmp_path / "clone"
    clone_server(server, directory)
    report = verify(VerifyOptions(directory, endpoint_of(server)))
    stands = rows(server, "SHOW BINARY LOG STATUS")[0]
    assert report.position == f"{stands[0]}:{stands[1]}"
    assert report.count(Outcome.NOT_COMPARED) == 0
    with changing(programs, directory) as change:
        change("DELETE FROM docs.places WHERE id = 1")
    with pytest.raises(errors.VerifyFailed, match=r"docs\.places"):
        verify(VerifyOptions(directory, endpoint_of(server)))
    rows(server, "DELETE FROM docs.files WHERE id = 1")
    report = verify(VerifyOptions(directory, endpoint_of(server)))
    assert {name for name, outcome in outcomes(report).items() if outcome is Outcome.NOT_COMPARED} == {
        "docs.places", "docs.files",
    }  # fmt: skip
