"""SELECT over given rows, by the agent and by a real server."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

import pymysql
from pymysql.connections import Connection

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import Budget, current, running
from innoclone.agent.sql.lexer import tokens_of
from innoclone.agent.sql.parsing import parse_select
from innoclone.agent.sql.plans import Settings, Table
from innoclone.agent.sql.select import Result, run_select
from innoclone.agent.sql.values import NULL, Column, SqlType, Value, datetime_type, text_of, to_moment
from innoclone.agent.tables.columns import CLONE_PROGRESS, CLONE_STATUS
from innoclone.wire.results import ColumnType
from paths import RECORDED

CASES = json.loads((RECORDED / "select-answers.json").read_text())


class NoSession:
    """Nobody is logged in."""

    schema = "given"
    settings = Settings()

    def function(self, name: str, decimals: int) -> tuple[SqlType, Value] | None:
        return (datetime_type(decimals), datetime(2026, 11, 23)) if name == "NOW" else None

    def variable(self, name: str) -> tuple[SqlType, Value]:
        raise StatementError(1193, name)

    def user_variable(self, name: str) -> tuple[SqlType, Value]:
        return NULL, None

    def assign(self, name: str, kind: SqlType, value: Value) -> None:
        pass


class GivenRows:
    """The recorded tables, which have only the real columns."""

    def table(self, schema: str, name: str, alias: str) -> Table:
        if schema.lower() not in ("", "performance_schema") or name.lower() not in ("clone_status", "clone_progress"):
            raise StatementError(1146, schema, name)
        defined = {"clone_status": CLONE_STATUS, "clone_progress": CLONE_PROGRESS}[name.lower()]
        given = CASES[name.lower()]
        columns = [next(c for c in defined if c.name == real) for real in given["columns"]]
        rows = [tuple(_given(v, c) for v, c in zip(row, columns, strict=True)) for row in given["rows"]]
        return Table(alias, schema.lower() or "performance_schema", name.lower(), columns, lambda: rows)


def _given(value: Any, column: Column) -> Value:
    return to_moment(value) if column.name.endswith("_TIME") else value


def run(text: str) -> Result:
    """Within this thread's budget, or one with more time than a busy machine takes."""
    with contextlib.nullcontext() if current() else running(Budget(seconds=120)):
        return run_select(parse_select(text, tokens_of(text)), NoSession(), GivenRows())


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
