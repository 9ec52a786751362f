"""The write load, the loop of DDL and the check of their invariants (innoclone.sandbox.load, ddl, invariants)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from innoclone.sandbox.ddl import OPERATIONS, DdlLoop
from innoclone.sandbox.invariants import check_invariants
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from servers import ServerFactory


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    return make_module_server()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def check(server: Server) -> list[str]:
    with server.connect() as connection:
        return check_invariants(connection)


def test_load_and_every_ddl_keep_the_invariants(server: Server) -> None:
    assert check(server) == ["no table of the load or the DDL loop is here"]
    load, ddl = Load(server.connect, threads=3), DdlLoop(server.connect)
    with load:
        wait_for(lambda: load.transactions > 50)
        assert check(server) == []  # also in the middle of it
        with ddl:
            wait_for(lambda: all(ddl.done.values()) or bool(ddl.errors))
    assert load.errors == ddl.errors == []
    assert load.transactions > 100
    assert set(ddl.done) == set(OPERATIONS)
    assert check(server) == []


def test_a_second_round_starts_from_anything(server: Server) -> None:
    """A loop that was stopped in the middle is followed by one that works."""
    with DdlLoop(server.connect) as first:
        time.sleep(0.3)
    with DdlLoop(server.connect) as second:
        wait_for(lambda: sum(second.done.values()) >= len(OPERATIONS) or bool(second.errors))
    assert first.errors == second.errors == []
    assert check(server) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE traffic.accounts SET balance = balance + 1 WHERE id = 5", "traffic.accounts: 1000 rows"),
        ("DELETE FROM traffic.accounts WHERE id = 5", "traffic.accounts: 999 rows"),
        ("INSERT INTO traffic.plus (v) VALUES (1)", "traffic.plus and traffic.minus"),
        ("UPDATE traffic.blobs SET body = 'x' WHERE id = 3", "traffic.blobs: 1 rows"),
        ("DELETE FROM ddl_a.keep_source WHERE id = 1", "ddl_a.keep_source: 499 rows"),
        ("UPDATE ddl_a.keep_source SET payload = 'x' WHERE id = 1", "1 with a wrong checksum"),
        ("DELETE FROM ddl_a.wave_emptied WHERE id = 1", "ddl_a.wave_emptied: 499 rows"),
    ],
)
def test_damage_is_found(server: Server, damage: str, message: str) -> None:
    with server.connect(autocommit=False) as connection, connection.cursor() as cursor:
        assert check_invariants(connection) == []
        cursor.execute(damage)
        faults = check_invariants(connection)
        connection.rollback()
    assert len(faults) == 1
    assert message in faults[0]


def test_what_goes_wrong_is_kept(make_server: ServerFactory) -> None:
    server = make_server()
    load = Load(server.connect, threads=1).start()
    ddl = DdlLoop(server.connect).start()
    server.kill()
    load.stop()
    ddl.stop()
    assert load.errors
    assert ddl.errors


@pytest.mark.parametrize("page_size", ["4k", "64k"])
def test_other_page_sizes(make_server: ServerFactory, page_size: str) -> None:
    server = make_server(init=[f"--innodb-page-size={page_size}"])
    with DdlLoop(server.connect) as ddl:
        wait_for(lambda: sum(ddl.done.values()) >= len(OPERATIONS) or bool(ddl.errors))
    assert ddl.errors == []
    assert check(server) == []
