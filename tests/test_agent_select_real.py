"""SELECT beside a real server: the same rows in both, the same queries, and every column and value compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.types import text_of
from innoclone.wire.results import ColumnType
from servers import ServerFactory
from test_agent_select import run

CASES = json.loads((Path(__file__).parent / "recorded" / "select-answers.json").read_text())
QUERIES = Path(__file__).parent / "recorded" / "select-queries.txt"


def given_rows(connection: Connection[Any]) -> None:
    """The recorded rows in tables of the same definition, in a schema that is the default one."""
    with connection.cursor() as cursor:
        cursor.execute("SET NAMES utf8mb4 COLLATE utf8mb4_0900_ai_ci")
        cursor.execute("CREATE DATABASE given DEFAULT CHARACTER SET utf8mb4")
        cursor.execute("USE given")
        for table in ("clone_status", "clone_progress"):
            names = ", ".join(CASES[table]["columns"])
            cursor.execute(f"CREATE TABLE {table} AS SELECT {names} FROM performance_schema.{table} LIMIT 0")
            for row in CASES[table]["rows"]:
                cursor.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Iterator[Connection[Any]]:
    connection = make_module_server().connect()
    given_rows(connection)
    with connection.cursor() as cursor:
        cursor.execute("SET group_concat_max_len = DEFAULT")
    yield connection
    connection.close()


def described(name: str, kind: ColumnType, length: int, decimals: int, collation: int) -> tuple[Any, ...]:
    """Decimals mean nothing for text, and depend on how MySQL runs the query."""
    texts = (ColumnType.STRING, ColumnType.VAR_STRING, ColumnType.BLOB, ColumnType.LONG_BLOB)
    return name, kind.name, length, None if kind in texts else decimals, collation


def ours(query: str) -> Any:
    """Columns and rows, or the error."""
    try:
        result = run(query)
    except StatementError as error:
        return error.code, error.message
    columns = [described(c.name, c.type, c.length, c.decimals, c.collation) for c in result.columns]
    rows = [[text_of(v, kind) for v, kind in zip(row, result.types, strict=True)] for row in result.rows]
    return columns, rows


def theirs(connection: Connection[Any], query: str) -> Any:
    with connection.cursor() as cursor:
        try:
            cursor.execute(query)
        except pymysql.Error as error:
            return error.args
        fields = cursor._result.fields  # type: ignore[union-attr]
    columns = [described(f.name, ColumnType(f.type_code), f.length, f.scale, f.charsetnr) for f in fields]
    return columns, raw_rows(connection, query)


def raw_rows(connection: Connection[Any], query: str) -> list[list[str | None]]:
    """As the text protocol has them."""
    decoders, connection.decoders = connection.decoders, {}
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return [[v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in row]
                    for row in cursor.fetchall()]  # fmt: skip
    finally:
        connection.decoders = decoders


def test_the_same_answers(server: Connection[Any]) -> None:
    different = []
    for query in QUERIES.read_text().splitlines():
        if query and not query.startswith("--") and (mine := ours(query)) != (real := theirs(server, query)):
            different.append((query, mine, real))
    for query, mine, real in different:
        print(query)
        if isinstance(mine[0], int) or isinstance(real[0], int) or len(mine[0]) != len(real[0]):
            print(f"  ours   {mine}\n  theirs {real}")
            continue
        for one, other in zip(mine[0], real[0], strict=True):
            if one != other:
                print(f"  ours   {one}\n  theirs {other}")
        if mine[1] != real[1]:
            print(f"  ours   {mine[1]}\n  theirs {real[1]}")
    assert different == []
