"""``--write-changed-only``: an earlier clone is updated over the network, and only what differs is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from broken_off import assert_equal, break_off, copied, said
from clones import booted, check_tables, clone_server, flush, innochecksum, rows
from innoclone.errors import TargetExists
from innoclone.sandbox.fill import fill
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import ServerFactory

MIB = 1 << 20


@pytest.fixture
def donor(make_server: ServerFactory) -> Server:
    """A donor with some of everything, and a table that is long enough for several chunks of I/O."""
    server = make_server()
    fill(server.connect, 30 * MIB)
    rows(server, "CREATE DATABASE big")
    rows(server, "CREATE TABLE big.t (id INT AUTO_INCREMENT PRIMARY KEY, b VARBINARY(4000))")
    rows(server, "INSERT INTO big.t (b) VALUES (RANDOM_BYTES(1000))")
    for _ in range(13):
        rows(server, "INSERT INTO big.t (b) SELECT RANDOM_BYTES(1000) FROM big.t LIMIT 4000")
    flush(server)
    return server


def written(notes: list[str]) -> int:
    """Bytes that the clone says it wrote."""
    (note,) = [note for note in notes if note.startswith("brought an earlier clone up to date")]
    found = re.search(r": ([\d.,]+) (KiB|MiB) written", note)
    assert found is not None
    return int(float(found[1].replace(",", "")) * {"KiB": 1024, "MiB": MIB}[found[2]])


def pages_written(donor: Server) -> int:
    """Bytes of pages that the server wrote to its files since it was started."""
    ((_, pages),) = rows(donor, "SHOW GLOBAL STATUS LIKE 'Innodb_pages_written'")
    return int(str(pages)) * 16384


@pytest.mark.parametrize("options", [{}, {"verify_pages": False}, {"threads": 1, "max_data_bandwidth": 60}], ids=str)
def test_brought_up_to_date(donor: Server, programs: Programs, tmp_path: Path, options: dict[str, Any]) -> None:
    """Nothing changed but what the server itself does: no more is written than that. Then changes of every kind:
    the clone is the donor's again."""
    directory = tmp_path / "clone"
    before = pages_written(donor)
    clone_server(donor, directory)
    with pytest.raises(TargetExists):
        clone_server(donor, directory, **options)
    again = written(clone_server(donor, directory, write_changed_only=True, **options).notes)
    assert again < 2 * MIB + (pages_written(donor) - before)  # purge and statistics change pages in their own time
    rows(donor, "UPDATE big.t SET b = RANDOM_BYTES(1000) WHERE id % 1000 = 7")
    rows(donor, "CREATE TABLE big.new AS SELECT * FROM big.t LIMIT 500")
    rows(donor, "RENAME TABLE shop.customers TO big.moved")
    rows(donor, "TRUNCATE TABLE shop.items")
    flush(donor)
    result = clone_server(donor, directory, write_changed_only=True, **options)
    assert 0 < written(result.notes) < 16 * MIB  # 9 of them are those of big.new
    assert_equal(programs, directory, donor)


def test_after_the_clone_was_used(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """What a server wrote into the clone is undone."""
    directory = tmp_path / "clone"
    clone_server(donor, directory)
    with booted(programs, directory) as server:
        rows(server, "DELETE FROM big.t WHERE id % 3 = 0")
        rows(server, "DROP TABLE shop.items")
        rows(server, "CREATE TABLE big.mine (id INT PRIMARY KEY)")
    clone_server(donor, directory, write_changed_only=True, discard_changes=True)
    assert_equal(programs, directory, donor)
    assert not (directory / "big" / "mine.ibd").exists()


def test_broken_off_and_continued(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """It goes on, with the files of the earlier clone that it had taken."""
    directory = tmp_path / "clone"
    clone_server(donor, directory)
    rows(donor, "UPDATE big.t SET b = RANDOM_BYTES(1000) WHERE id % 10 = 7")
    flush(donor)
    break_off(donor, directory, copied(10 * MIB), write_changed_only=True, max_data_bandwidth=30.0)
    result = clone_server(donor, directory, write_changed_only=True)
    assert "in FILE_COPY" in said(result)[0]
    assert written(result.notes) < 20 * MIB
    assert_equal(programs, directory, donor)
    with booted(programs, directory) as server:
        assert check_tables(server) == []
    assert innochecksum(programs, directory) == []
