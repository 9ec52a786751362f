"""Are the invariants of `load` and `ddl` kept? For a clone of a server that they ran on, booted anywhere."""

from __future__ import annotations

from pymysql.connections import Connection
from pymysql.cursors import Cursor

from innoclone.sandbox.ddl import ROWS
from innoclone.sandbox.load import ACCOUNTS, BALANCE

__all__ = ["check_invariants"]


def check_invariants(connection: Connection[Cursor]) -> list[str]:
    """What is broken; an empty list is good. Finding nothing to check counts as broken.

    On a server where the DDL loop still runs, tables come and go while this looks: check a clone, or stop it first.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema = 'traffic' OR table_schema LIKE 'ddl\\_%' ORDER BY 1, 2"
        )
        tables: list[tuple[str, str]] = [(row[0], row[1]) for row in cursor.fetchall()]
        broken = [] if tables else ["no table of the load or the DDL loop is here"]
        if ("traffic", "blobs") in tables:  # the last one that the load makes
            broken += _traffic(cursor)
        for schema, name in tables:
            if schema != "traffic":
                broken += _ddl_table(cursor, schema, name)
    return broken


def _traffic(cursor: Cursor) -> list[str]:
    broken = []
    accounts = _row(cursor, "SELECT COUNT(*), COALESCE(SUM(balance), 0) FROM traffic.accounts")
    # The load makes all rows in one transaction; before that there are none.
    if accounts not in ((ACCOUNTS, ACCOUNTS * BALANCE), (0, 0)):
        broken.append(f"traffic.accounts: {accounts[0]} rows with a sum of {accounts[1]}")
    # One statement, so that both tables are seen at the same moment where the load is running.
    sums = _row(
        cursor,
        "SELECT p.*, m.* FROM (SELECT COUNT(*), COALESCE(SUM(v), 0), COALESCE(SUM(id), 0) FROM traffic.plus) AS p,"
        " (SELECT COUNT(*), COALESCE(-SUM(v), 0), COALESCE(SUM(id), 0) FROM traffic.minus) AS m",
    )
    if sums[:3] != sums[3:]:
        broken.append(f"traffic.plus and traffic.minus: (rows, sum, ids) are {sums[:3]} and {sums[3:]}")
    (bad,) = _row(cursor, "SELECT COUNT(*) FROM traffic.blobs WHERE checksum <> CRC32(body)")
    if bad:
        broken.append(f"traffic.blobs: {bad} rows with a wrong checksum")
    return broken


def _ddl_table(cursor: Cursor, schema: str, name: str) -> list[str]:
    count, distinct, bad = _row(
        cursor,
        f"SELECT COUNT(*), COUNT(DISTINCT id), COALESCE(SUM(checksum <> CRC32(payload)), 0) FROM `{schema}`.`{name}`",  # noqa: S608 - names from the server's own dictionary
    )
    right = count % ROWS == 0 if name.startswith("wave_") else count == ROWS
    if not right or distinct != count or bad:
        return [f"{schema}.{name}: {count} rows, {distinct} different, {bad} with a wrong checksum"]
    return []


def _row(cursor: Cursor, statement: str) -> tuple[int, ...]:
    cursor.execute(statement)
    return tuple(int(value) for value in cursor.fetchone() or ())
