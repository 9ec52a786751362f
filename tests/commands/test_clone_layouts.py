"""Donors that keep files in unusual places: several system files, undo and tablespaces outside, mapped paths."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pymysql
import pytest

from clones import booted, check_tables, clone_server, flush, innochecksum, outside_donor, rows
from innoclone.errors import FileNameClash, PathRefused
from innoclone.records.manifest import read_manifest
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.preflight import check
from innoclone.server.programs import Programs
from servers import ServerFactory, endpoint_of

MIB = 1 << 20
FOREIGN = "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'misc' AND ENGINE <> 'InnoDB'"


def test_several_system_files(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """ibdata1 and ibdata2, with tables in the system tablespace; pages of the second file go on counting."""
    layout = ["--innodb-data-file-path=ibdata1:12M;ibdata2:8M:autoextend"]
    server = make_server("--innodb-file-per-table=OFF", init=layout)
    rows(server, "CREATE DATABASE inside")
    rows(server, "CREATE TABLE inside.t (id INT AUTO_INCREMENT PRIMARY KEY, b VARBINARY(2000))")
    rows(server, "INSERT INTO inside.t (b) VALUES (RANDOM_BYTES(1000))")
    for _ in range(14):
        rows(server, "INSERT INTO inside.t (b) SELECT RANDOM_BYTES(900) FROM inside.t")
    checksum = rows(server, "CHECKSUM TABLE inside.t")
    directory = tmp_path / "clone"
    clone_server(server, directory, threads=2)
    assert (directory / "ibdata2").stat().st_size > 12 * MIB
    with booted(programs, directory, layout) as clone:
        assert rows(clone, "CHECKSUM TABLE inside.t") == checksum
        assert check_tables(clone) == []


def test_tablespaces_outside_are_mapped(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """--map-path puts them elsewhere, and a server that is told so finds them there, not at the donor's places."""
    server, outside = outside_donor(make_server, tmp_path)
    before = {path: path.read_bytes() for path in outside.rglob("*.ibd")}
    here = tmp_path / "here"
    directory = tmp_path / "clone"
    mapping = ((str(outside / "tables"), str(here / "tables")), (str(outside / "general"), str(here / "general")))
    result = clone_server(server, directory, threads=2, map_paths=mapping)
    assert (here / "general" / "g.ibd").is_file()
    assert (here / "tables" / "away" / "t.ibd").is_file()
    manifest = read_manifest(directory)
    assert set(manifest["external_directories"]) == {str(here / "general"), str(here / "tables" / "away")}
    server.stop()
    shutil.move(outside, tmp_path / "gone")  # a clone that still looked there would fail now
    directories = ";".join(manifest["external_directories"])
    assert innochecksum(programs, directory) == []
    with booted(programs, directory, [f"--innodb-directories={directories}"]) as clone:
        assert rows(clone, "SELECT * FROM away.t ORDER BY 1") == [(1, 10), (2, 20)]
        assert rows(clone, "SELECT * FROM away.p ORDER BY 1") == [(1,), (11,)]
        assert rows(clone, "SELECT * FROM away.g ORDER BY 1") == [(3, 30)]
    assert before
    assert result.directory == directory


def test_tablespaces_outside_are_refused_without_a_mapping(make_server: ServerFactory, tmp_path: Path) -> None:
    """Nothing is written there, and the message says what to do."""
    server, outside = outside_donor(make_server, tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in outside.rglob("*.ibd")}
    directory = tmp_path / "clone"
    with pytest.raises(PathRefused) as caught:
        clone_server(server, directory)
    assert "--map-path" in caught.value.advice
    assert caught.value.code == 1525
    assert not directory.exists()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in outside.rglob("*.ibd")} == before


def test_undo_files_of_one_name_in_two_directories(make_server: ServerFactory, tmp_path: Path) -> None:
    """A stock recipient fails in the midst of it with the same number and words; here nothing is begun."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    server = make_server(f"--innodb-directories={folders[0]};{folders[1]}")
    for number, folder in enumerate(folders):
        rows(server, f"CREATE UNDO TABLESPACE u{number} ADD DATAFILE '{folder}/same.ibu'")
    directory = tmp_path / "clone"
    problems = check(endpoint_of(server), directory).problems
    assert [(problem.code, problem.message) for problem in problems] == [
        (3869, "the donor has multiple undo files with same name: same.ibu")
    ]
    for narrow in (False, True):
        if narrow:  # without PROCESS it is seen only when the donor lists its files
            rows(server, f"REVOKE PROCESS ON *.* FROM {ACCOUNT}, {ACCOUNT}@localhost")
        with pytest.raises(FileNameClash, match=r"same\.ibu") as caught:
            clone_server(server, directory)
        assert "SET INACTIVE" in caught.value.advice
        assert not directory.exists()
    rows(server, "ALTER UNDO TABLESPACE u1 SET INACTIVE")
    deadline = time.monotonic() + 60
    while rows(server, "SELECT STATE FROM information_schema.INNODB_TABLESPACES WHERE NAME = 'u1'") != [("empty",)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    rows(server, "DROP UNDO TABLESPACE u1")
    clone_server(server, directory)


def test_more_undo_and_unusual_names(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """What `sandbox fill` makes: extra undo, general tablespaces, compressed, page-compressed, encoded names.

    And tables of other engines are on the clone what the notes say."""
    server = make_server()
    fill(server.connect, 40 * MIB)
    flush(server)  # pages in memory are sent, and written, without holes
    for engine in ("MEMORY", "BLACKHOLE", "ARCHIVE"):
        rows(server, f"CREATE TABLE misc.of_{engine} (a INT) ENGINE={engine}")
    rows(server, "CREATE TABLE misc.part (a INT) ENGINE=MyISAM")
    rows(server, "CREATE TABLE misc.whole (a INT) ENGINE=MERGE UNION=(misc.part)")
    server_tables = rows(
        server,
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND"
        " ENGINE = 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'sys') ORDER BY 1, 2",
    )
    checksums = {pair: rows(server, f"CHECKSUM TABLE `{pair[0]}`.`{pair[1]}`") for pair in server_tables}
    directory = tmp_path / "clone"
    result = clone_server(server, directory, threads=4)
    notes = {note.split()[1]: note for note in result.notes if "a clone copies InnoDB only" in note}
    assert list(directory.glob("*.ibu"))
    sparse = {path.relative_to(server.datadir) for path in server.datadir.rglob("*.ibd") if _used(path) < 0.8}
    assert sparse, "there are page-compressed tables"
    assert {path.relative_to(directory) for path in directory.rglob("*.ibd") if _used(path) < 0.8} >= sparse
    with booted(programs, directory) as clone:
        assert {pair: rows(clone, f"CHECKSUM TABLE `{pair[0]}`.`{pair[1]}`") for pair in server_tables} == checksums
        foreign = dict(rows(clone, FOREIGN))
        assert (
            set(foreign.values()) == notes.keys() >= {"MyISAM", "CSV", "MEMORY", "BLACKHOLE", "ARCHIVE", "MRG_MYISAM"}
        )
        for table, engine in foreign.items():
            if "will be empty" in notes[engine]:
                assert rows(clone, f"SELECT COUNT(*) FROM misc.`{table}`") == [(0,)]
                continue
            assert "error 1017" in notes[engine]
            with pytest.raises(pymysql.Error) as caught:
                rows(clone, f"SELECT * FROM misc.`{table}`")
            assert caught.value.args[0] == 1017
            rows(clone, f"DROP TABLE IF EXISTS misc.`{table}`")
        assert check_tables(clone) == []
    assert innochecksum(programs, directory) == []


def _used(path: Path) -> float:
    """The part of a file that takes space on disk."""
    return path.stat().st_blocks * 512 / path.stat().st_size
