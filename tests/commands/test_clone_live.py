"""Clones of live stock servers: under write load and every kind of DDL, for every page size, exact to the position."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from clones import assert_sound, booted, clone_server, rows
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Compression, SslMode
from servers import ServerFactory

MIB = 1 << 20


@pytest.mark.parametrize("page_size", ["16k", "4k", "8k", "32k", "64k"])
def test_clone_under_load_and_ddl(
    page_size: str, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """Several clones in a row while everything changes; each boots and keeps every invariant."""
    size = [f"--innodb-page-size={page_size}"]
    server = make_server(init=size)
    fill(server.connect, 24 * MIB)
    with Load(server.connect, threads=2) as load, DdlLoop(server.connect) as ddl:
        changes = 0
        for round_ in range(3 if page_size == "16k" else 1):
            directory = tmp_path / f"clone-{round_}"
            result = clone_server(server, directory, threads=3)
            changes += sum("followed DDL" in note for note in result.notes)
    assert (load.errors, ddl.errors) == ([], [])
    assert load.transactions > 0
    assert sum(ddl.done.values()) > 0
    for directory in sorted(tmp_path.glob("clone-?")):
        assert_sound(programs, directory, size)


def test_committed_set_is_the_binlog_up_to_the_position(
    make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """One row per transaction: as many rows as transactions in the reported set, which ends at the position."""
    server = make_server()
    rows(server, "CREATE DATABASE journal")
    rows(server, "CREATE TABLE journal.entries (id INT AUTO_INCREMENT PRIMARY KEY, t INT, KEY (t))")
    before = _transactions(str(rows(server, "SELECT @@global.gtid_executed")[0][0]))
    stop = threading.Event()

    def write(number: int) -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO journal.entries (t) VALUES (%s)", (number,))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        for round_ in range(4):
            clone_server(server, tmp_path / f"clone-{round_}", threads=1 + round_)
            time.sleep(0.1)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    counts = []
    for round_ in range(4):
        with booted(programs, tmp_path / f"clone-{round_}") as clone:
            state = rows(
                clone, "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED, STATE FROM performance_schema.clone_status"
            )
            file, position, gtids, stage = state[0]
            (count,) = rows(clone, "SELECT COUNT(*) FROM journal.entries")[0]
        assert stage == "Completed"
        assert _end_of_last(server, str(file), _transactions(str(gtids))) == position
        assert count == _transactions(str(gtids)) - before
        counts.append(count)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def _transactions(gtid_set: str) -> int:
    """How many transactions a set of one server holds."""
    found = re.findall(r":(\d+)(?:-(\d+))?", gtid_set)
    return sum(int(last or first) - int(first) + 1 for first, last in found)


def _end_of_last(server: Server, file: str, number: int) -> int:
    """Where transaction ``number`` ends in the donor's binary log."""
    events = rows(server, f"SHOW BINLOG EVENTS IN '{file}'")
    ends, current = 0, 0
    for _, _, kind, _, end, info in events:
        match = re.search(r":(\d+)'$", str(info)) if kind == "Gtid" else None
        if match:
            current = int(match[1])
        if current == number:
            ends = int(str(end))
    return ends


@pytest.mark.parametrize(
    ("ssl_mode", "compression"),
    [
        (SslMode.REQUIRED, Compression("off")),
        (SslMode.REQUIRED, Compression("zstd", 1)),
        (SslMode.DISABLED, Compression("zlib")),
    ],
    ids=["tls", "tls-zstd", "zlib"],
)
def test_transports(
    ssl_mode: SslMode, compression: Compression, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """TLS and both compressions, under load and DDL."""
    server = make_server()
    fill(server.connect, 16 * MIB)
    with Load(server.connect), DdlLoop(server.connect):
        result = clone_server(server, tmp_path / "clone", threads=2, ssl_mode=ssl_mode, compression=compression)
    assert result.compression == compression.algorithm
    assert bool(result.cipher) == (ssl_mode is SslMode.REQUIRED)
    if compression.algorithm == "off":
        assert result.network >= result.data
    else:
        assert result.network < result.data
    assert_sound(programs, tmp_path / "clone")


def test_block_ddl(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """With the backup lock no DDL runs, so none is followed; writes go on."""
    server = make_server()
    fill(server.connect, 16 * MIB)
    with Load(server.connect) as load, DdlLoop(server.connect) as ddl:
        result = clone_server(server, tmp_path / "clone", threads=2, block_ddl=True)
    assert [note for note in result.notes if "DDL" in note] == []
    assert (load.errors, ddl.errors) == ([], [])
    assert_sound(programs, tmp_path / "clone")
