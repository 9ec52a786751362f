"""innoclone.verification.compare and snapshot: a donor that changes meanwhile, a clone's server that ends meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from clones import rows
from innoclone import errors
from innoclone.sandbox.load import Background
from innoclone.server.mysqld import Server
from innoclone.server.snapshot import open_snapshots
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql
from innoclone.verification.compare import (
    Outcome,
    Side,
    Table,
    checksum_statement,
    compare_tables,
    list_tables,
    read_definitions,
)
from servers import ServerFactory, endpoint_of

TABLES = [f"many.t{n}" for n in range(12)]


@pytest.fixture
def pair(make_server: ServerFactory) -> list[Server]:
    """Two servers with the same tables."""
    servers = [make_server(), make_server()]
    for server in servers:
        rows(server, "CREATE SCHEMA many")
        for name in TABLES:
            rows(server, f"CREATE TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
            rows(server, f"INSERT INTO {name} (v) VALUES (1), (2)")
    return servers


def side(opened: ExitStack, server: Server, connections: Sequence[Sql] = ()) -> Side:
    """Everything of a server that a comparison starts from."""
    sql = opened.enter_context(Sql(Endpoint(socket=server.socket)))
    tables = list_tables(sql)
    sql.rows("START TRANSACTION")  # savepoints need one
    return Side(connections or [sql], tables, read_definitions(sql, tables))


def compare(donor: Side, clone: Side) -> dict[str, Outcome]:
    results = compare_tables(donor, clone, stopped=threading.Event())
    return {result.name: result.outcome for result in results}


def test_ddl_on_the_donor_is_no_difference(pair: list[Server]) -> None:
    """What DDL changed after the snapshot was taken is not compared, whatever InnoDB still lets us read of it."""
    server, other = pair
    statements = {
        "t0": "ALTER TABLE many.t0 ADD COLUMN n INT, ALGORITHM=INSTANT",
        "t1": "ALTER TABLE many.t1 RENAME COLUMN v TO w",
        "t2": "ALTER TABLE many.t2 COMMENT = 'another'",
        "t3": "ALTER TABLE many.t3 DROP COLUMN v",
        "t4": "ALTER TABLE many.t4 ADD KEY (v)",
        "t5": "TRUNCATE many.t5",
        "t6": "DROP TABLE many.t6",
        "t7": "RENAME TABLE many.t7 TO many.elsewhere",
        "t8": "ALTER TABLE many.t8 ADD COLUMN g INT AS (v + 1) VIRTUAL",
    }
    with ExitStack() as opened:
        before = side(opened, server)
        with open_snapshots(endpoint_of(server), 2, gtids=True) as snapshot:
            for statement in statements.values():
                rows(server, statement)
            rows(server, "UPDATE many.t9 SET v = 100")
            rows(server, "UPDATE many.t10 SET v = 200 WHERE id = 1")
            rows(other, "UPDATE many.t10 SET v = 100 WHERE id = 1")
            donor = Side(snapshot.connections, before.tables, before.definitions)
            clone = side(opened, other)
            second = opened.enter_context(Sql(Endpoint(socket=other.socket)))
            result = compare(donor, Side([*clone.connections, second], clone.tables))
            # The snapshots are still open, and hold no lock that DDL would wait for.
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET SESSION lock_wait_timeout = 1")
                cursor.execute("ALTER TABLE many.t9 ADD COLUMN more INT")
    assert {name for name, outcome in result.items() if outcome is Outcome.NOT_COMPARED} == {
        f"many.{name}" for name in statements
    }
    assert result["many.t10"] is Outcome.DIFFERS
    assert result["many.t9"] is result["many.t11"] is Outcome.EQUAL


def test_the_clones_server_ends(pair: list[Server]) -> None:
    """Nothing is equal then, and the comparison comes to its end."""
    server, other = pair
    with ExitStack() as opened:
        donor, clone = side(opened, server), side(opened, other)
        other.kill()
        result = compare(donor, clone)
    assert set(result) == set(TABLES)
    assert set(result.values()) == {Outcome.DIFFERS, Outcome.NOT_COMPARED}


def test_the_donor_ends(pair: list[Server]) -> None:
    server, other = pair
    with ExitStack() as opened:
        donor, clone = side(opened, server), side(opened, other)
        server.kill()
        with pytest.raises(errors.CloneError):
            compare(donor, clone)


def test_stopped(pair: list[Server]) -> None:
    """While a statement waits for a lock that nobody gives back."""
    server, other = pair
    stopped = threading.Event()
    with ExitStack() as opened:
        donor, clone = side(opened, server), side(opened, other)
        lock = opened.enter_context(other.connect())
        lock.cursor().execute("LOCK TABLES many.t0 WRITE")
        threading.Timer(0.5, stopped.set).start()
        with pytest.raises(errors.Interrupted):
            compare_tables(donor, clone, stopped=stopped)


def test_a_table_without_columns_that_may_be_seen_and_awkward_names() -> None:
    assert checksum_statement(Table("a`b", "c d", "InnoDB", 0, (("x`y", "float"), ("ü", "json")))) == (
        "SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(',', CAST(`x``y` AS DOUBLE), CRC32(`ü`), ISNULL(`x``y`),"
        " ISNULL(`ü`)))), 0) FROM `a``b`.`c d`"
    )
    assert "CRC32('')" in checksum_statement(Table("a", "b", "InnoDB", 0, ()))


class Inserts(Background):
    """One row a transaction, so that rows can be counted against GTIDs."""

    def __init__(self, server: Server) -> None:
        super().__init__(3)
        self._server = server

    def _prepare(self) -> None:
        rows(self._server, "CREATE SCHEMA writers")
        rows(self._server, "CREATE TABLE writers.numbered (id INT AUTO_INCREMENT PRIMARY KEY)")

    def _run(self, number: int) -> None:
        with self._server.connect() as connection, connection.cursor() as cursor:
            while not self._stopping.is_set():
                cursor.execute("INSERT INTO writers.numbered VALUES ()")


def transactions(gtids: str) -> int:
    """How many are in a GTID set of one server."""
    ranges = [part.split("-") for part in gtids.split(":")[1:]]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)


def test_snapshots_hold_exactly_what_their_label_says(make_server: ServerFactory) -> None:
    """While three connections commit: each snapshot has as many rows as its GTID set has transactions since."""
    server = make_server()
    writers = Inserts(server)
    with writers:
        labels, differences = set(), set()
        for _ in range(20):
            with open_snapshots(endpoint_of(server), 3, gtids=True) as snapshot:
                assert snapshot.label is not None
                labels.add(snapshot.label)
                counts = {sql.value("SELECT COUNT(*) FROM writers.numbered") for sql in snapshot.connections}
                differences |= {transactions(snapshot.label) - count for count in counts}
    assert writers.errors == []
    assert len(labels) > 10, "there was something to tell apart"
    assert len(differences) == 1
