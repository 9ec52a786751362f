"""Files that a real server wrote, through the page and redo checks; and each kind of damage done to them.

One small data directory for each innodb_page_size, with every kind of table, cleanly stopped.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from innoclone.innodb.create import page_compression_runs
from innoclone.innodb.page import PageChecker, PageType, Verdict
from innoclone.innodb.space import KIB, SpaceFlags, SpaceHeader
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.stream.pagecheck import check_files, check_redo, find_tablespaces
from innodb_pages import PAGE_SIZES
from servers import ServerFactory

ROWS = 1500
TWO_SYSTEM_FILES = "--innodb-data-file-path=ibdata1:12M;ibdata2:8M:autoextend"
ERROR_NO_PUNCH_HOLE = 4029


def fill(server: Server, page_size: int) -> None:
    """Tables of every kind that ends up in different pages, some of them updated and deleted from."""
    kinds = {"plain": "", "redundant": "ROW_FORMAT=REDUNDANT", "parts": "PARTITION BY HASH (id) PARTITIONS 3"}
    kinds |= {"zlib": "COMPRESSION='zlib'", "lz4": "COMPRESSION='lz4'"}
    for size in (1, 2, 4, 8, 16):
        if page_size <= 16 * KIB and size * KIB <= page_size:
            kinds[f"kbs{size}"] = f"ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE={size}"
    with server.connect() as connection, connection.cursor() as sql:
        sql.execute("CREATE DATABASE t")
        sql.execute("USE t")
        sql.execute("SET cte_max_recursion_depth = 100000")
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
        for name, options in kinds.items():
            try:
                sql.execute(
                    f"CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(100) CHARSET latin1, b LONGTEXT, KEY (v(20))) "
                    + options
                )
            except pymysql.err.MySQLError as error:
                if error.args[0] == ERROR_NO_PUNCH_HOLE:
                    continue
                raise
            values = "SELECT i, SHA2(i, 256), REPEAT(SHA2(i, 512), IF(i % 50, 1, 200)) FROM n"
            sql.execute(f"INSERT INTO {name} {numbers} {values}")
            sql.execute(f"UPDATE {name} SET v = REVERSE(v) WHERE id % 3 = 0")
            sql.execute(f"DELETE FROM {name} WHERE id % 7 = 0")
        sql.execute(
            "CREATE TABLE other (id INT PRIMARY KEY, p GEOMETRY NOT NULL SRID 0, j JSON, f TEXT, "
            "SPATIAL KEY (p), FULLTEXT (f))"
        )
        values = "SELECT i, POINT(i, i % 97), JSON_OBJECT('a', REPEAT('x', i)), CONCAT('word', i) FROM n"
        sql.execute(f"INSERT INTO other {numbers} {values}")
        sql.execute("CREATE TABLESPACE general ADD DATAFILE 'general.ibd'")
        sql.execute("CREATE TABLE shared TABLESPACE general SELECT id, v FROM plain")
        sql.execute("CREATE TABLE in_system TABLESPACE innodb_system SELECT id, v FROM plain")
        sql.execute("CREATE UNDO TABLESPACE more ADD DATAFILE 'more.ibu'")
        sql.execute("TRUNCATE parts")


@pytest.fixture(scope="module", params=PAGE_SIZES, ids=lambda size: f"{size // KIB}k")
def stopped(request: pytest.FixtureRequest, make_module_server: ServerFactory) -> Iterator[tuple[Path, int]]:
    """A cleanly stopped data directory and its page size."""
    page_size: int = request.param
    init = [TWO_SYSTEM_FILES, f"--innodb-page-size={page_size}"]
    with make_module_server("--skip-log-bin", init=init, donor=False, port=None) as server:
        fill(server, page_size)
    yield server.datadir, page_size
    shutil.rmtree(server.datadir)


def innochecksum_finds_nothing(programs: Programs, path: Path) -> bool:
    assert programs.innochecksum is not None
    return subprocess.run([*programs.innochecksum, str(path)], capture_output=True, check=False).returncode == 0


def space_of(path: Path) -> tuple[SpaceFlags, int]:
    header = SpaceHeader.parse(path.read_bytes()[:64])
    return SpaceFlags(header.flags), header.space_id


def test_nothing_is_found_after_a_clean_stop(stopped: tuple[Path, int], programs: Programs) -> None:
    directory, page_size = stopped
    report = check_files(directory)
    assert list(report.problems()) == []
    assert {file.name for file in report.files if file.not_verifiable} <= {"t/lz4.ibd"}
    names = {file.name for file in report.files}
    assert names >= {
        "ibdata1",
        "ibdata2",
        "undo_001",
        "undo_002",
        "more.ibu",
        "mysql.ibd",
        "general.ibd",
        "t/other.ibd",
    }
    assert [name for name in names if not innochecksum_finds_nothing(programs, directory / name)] == []
    log = check_redo(directory, page_size)
    assert log.problems == ()
    assert log.checkpoint_lsn == log.end_lsn  # a clean stop leaves nothing to recover


def test_flags_say_the_page_sizes(stopped: tuple[Path, int]) -> None:
    directory, page_size = stopped
    for name in find_tablespaces(directory):
        if Path(name).name == "ibdata2":
            continue
        flags, space_id = space_of(directory / name)
        assert flags.logical_page_size == page_size
        assert flags.is_shared == (name in ("ibdata1", "mysql.ibd", "general.ibd"))
        assert (space_id == 0) == (name == "ibdata1")
        block = re.fullmatch(r"t/kbs(\d+)\.ibd", name)
        assert flags.zip_size == (int(block[1]) * KIB if block else 0)


def test_any_flipped_bit_is_found(stopped: tuple[Path, int]) -> None:
    """Of every file some pages in use, one bit each; LSN and the fields from 26 on are partly not covered."""
    directory, _ = stopped
    chance = random.Random(7)
    for name in find_tablespaces(directory):
        if Path(name).name == "ibdata2" or name == "t/lz4.ibd":
            continue
        flags, space_id = space_of(directory / name)
        size = flags.physical_page_size
        data = bytearray((directory / name).read_bytes())
        checker = PageChecker(flags, space_id)
        used = [page for page in range(len(data) // size) if any(data[page * size : (page + 1) * size])]
        for number in chance.sample(used, min(len(used), 20)):
            page = data[number * size : (number + 1) * size]
            content = unpacked(page)
            # After the payload of a page-compressed page comes the hole.
            end = size if content is None else 38 + int.from_bytes(page[32:34], "big")
            offset = chance.choice([*range(16), *range(34, end)])
            page[offset] ^= 1 << chance.randrange(8)
            found = checker.bad_pages(page, number)
            # In repetitive data zlib may point back to either of two equal strings: then nothing is damaged.
            if found or content is None or content != unpacked(page):
                assert [bad.number for bad in found] == [number], (name, number, offset)


def unpacked(page: bytes | bytearray) -> bytes | None:
    """The content of a page-compressed page; None for any other page, and for one that zlib can't read."""
    if int.from_bytes(page[24:26], "big") != PageType.COMPRESSED:
        return None
    with contextlib.suppress(zlib.error):
        return page[:24] + page[26:38] + zlib.decompress(page[38 : 38 + int.from_bytes(page[32:34], "big")])
    return None


@pytest.mark.parametrize("name", ["t/plain.ibd", "t/kbs4.ibd", "undo_001", "mysql.ibd"])
def test_damage_is_found_and_named(stopped: tuple[Path, int], programs: Programs, tmp_path: Path, name: str) -> None:
    directory, _ = stopped
    source = directory / name
    if not source.exists():
        pytest.skip("no ROW_FORMAT=COMPRESSED with this page size")
    flags, _ = space_of(source)
    size = flags.physical_page_size
    data = source.read_bytes()
    pages = [data[at : at + size] for at in range(0, len(data), size)]
    damaged = tmp_path / "damaged.ibd"

    def verdicts(content: bytes) -> list[tuple[int, Verdict]]:
        damaged.write_bytes(content)
        return [tuple(bad) for bad in check_files(tmp_path).files[0].bad]

    assert verdicts(data) == []
    flipped = bytearray(data)
    flipped[3 * size + size // 2] ^= 4
    assert verdicts(flipped) == [(3, Verdict.CORRUPT)]
    assert not innochecksum_finds_nothing(programs, damaged)

    swapped = [*pages[:2], pages[3], pages[2], *pages[4:]]
    assert verdicts(b"".join(swapped)) == [(2, Verdict.MISPLACED), (3, Verdict.MISPLACED)]

    if size > 4 * KIB:
        # Page 2 written over page 3 up to the first 4 KiB: what a crash in the middle of a write leaves.
        torn = pages[2][: 4 * KIB] + pages[3][4 * KIB :]
        ((number, verdict),) = verdicts(b"".join([*pages[:3], torn, *pages[4:]]))
        assert number == 3
        assert verdict in (Verdict.TORN, Verdict.CORRUPT)
        assert not innochecksum_finds_nothing(programs, damaged)

    assert verdicts(data[: -size // 2]) == [(len(pages) - 1, Verdict.TRUNCATED)]

    other = (directory / "general.ibd").read_bytes()
    if not flags.is_compressed:
        assert verdicts(b"".join([*pages[:3], other[3 * size : 4 * size], *pages[4:]])) == [(3, Verdict.FOREIGN)]


@pytest.mark.parametrize("algorithm", ["zlib", "lz4"])
def test_holes_of_page_compressed_tables(stopped: tuple[Path, int], algorithm: str) -> None:
    """Only zeros lie where we would punch a hole, and there is something to punch."""
    directory, page_size = stopped
    path = directory / f"t/{algorithm}.ibd"
    if not path.exists():
        pytest.skip("the server can't punch holes with this page size or file system")
    data = path.read_bytes()
    holes = 0
    for run in page_compression_runs(data, page_size, path.stat().st_blksize):
        start = run.offset + run.length
        assert not any(data[start : start + run.hole])
        holes += run.hole
    assert holes > 100 * KIB


@pytest.mark.parametrize("algorithm", ["innodb", "none"])
def test_other_checksum_algorithms(make_server: ServerFactory, algorithm: str) -> None:
    with (
        make_server("--skip-log-bin", f"--innodb-checksum-algorithm={algorithm}", donor=False, port=None) as server,
        server.connect() as connection,
        connection.cursor() as sql,
    ):
        sql.execute("CREATE DATABASE t")
        for name, row_format in (("plain", ""), ("kbs8", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8")):
            sql.execute(f"CREATE TABLE t.{name} (id INT PRIMARY KEY, v TEXT) {row_format}")
            sql.execute(f"INSERT INTO t.{name} VALUES (1, REPEAT('x', 3000)), (2, REPEAT('y', 3000))")
    report = check_files(server.datadir)
    assert list(report.problems()) == []
    skipped = {file.name: file.not_verifiable for file in report.files}
    assert skipped["t/plain.ibd"] > 0
    # Adler-32 is as good as CRC-32C here.
    assert (skipped["t/kbs8.ibd"] > 0) == (algorithm == "none")


def test_redo_log_after_a_crash(make_server: ServerFactory, tmp_path: Path) -> None:
    """Our end of the log is the server's: it says at recovery up to where it read."""
    options = ["--skip-log-bin", "--innodb-redo-log-capacity=8M", "--log-error-verbosity=3"]
    server = make_server(*options, donor=False, port=None)
    data, error_log = server.datadir, tmp_path / "error.log"
    with server.connect() as connection, connection.cursor() as sql:
        sql.execute("CREATE TABLE mysql.t (id INT PRIMARY KEY AUTO_INCREMENT, v TEXT)")
        sql.execute("INSERT INTO mysql.t (v) VALUES (REPEAT('x', 20000))")
        for _ in range(8):
            sql.execute("INSERT INTO mysql.t (v) SELECT v FROM mysql.t")
    server.kill()
    log = check_redo(data)
    assert log.problems == ()
    assert log.files > 1
    assert log.checkpoint_lsn is not None
    assert log.end_lsn is not None
    assert log.checkpoint_lsn < log.end_lsn

    newest = max(data.glob("#innodb_redo/#ib_redo*[0-9]"), key=lambda path: int(path.name[8:]))
    damaged = tmp_path / "damaged"
    shutil.copytree(data / newest.parent, damaged / "#innodb_redo")
    with (damaged / "#innodb_redo" / newest.name).open("r+b") as file:
        file.seek(2048 + 700)
        file.write(b"damage")
    assert "is damaged" in check_redo(damaged).problems[0]

    with Server.start(make_server.programs, data, options=options, error_log=error_log):
        pass
    scanned = re.findall(r"scanned up to log sequence number (\d+)", error_log.read_text())
    assert int(scanned[-1]) == log.end_lsn
    assert check_redo(data).problems == ()
