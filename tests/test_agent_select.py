"""SELECT over given rows: every answer that a real server recorded, to the type and the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.compiling import Table
from innoclone.front.agent.sql.expressions import Expr
from innoclone.front.agent.sql.lexer import tokens_of
from innoclone.front.agent.sql.parsing import parse_select
from innoclone.front.agent.sql.select import Result, run_select
from innoclone.front.agent.sql.types import Column, Value, text_of
from innoclone.front.agent.sql.values import to_moment
from innoclone.front.agent.tables import CLONE_PROGRESS, CLONE_STATUS

CASES = json.loads((Path(__file__).parent / "recorded" / "select-answers.json").read_text())


class NoSession:
    """Nobody is logged in."""

    def function(self, name: str, decimals: int) -> Expr | None:
        return None

    def variable(self, name: str) -> Expr:
        raise StatementError(1193, name)


class GivenRows:
    """The recorded tables, which have only the real columns."""

    def table(self, schema: str, name: str, alias: str) -> Table:
        if schema.lower() != "performance_schema" or name.lower() not in ("clone_status", "clone_progress"):
            raise StatementError(1146, schema, name)
        defined = {"clone_status": CLONE_STATUS, "clone_progress": CLONE_PROGRESS}[name.lower()]
        given = CASES[name.lower()]
        columns = [next(c for c in defined if c.name == real) for real in given["columns"]]
        rows = [tuple(_given(v, c) for v, c in zip(row, columns, strict=True)) for row in given["rows"]]
        return Table(alias, schema.lower(), name.lower(), columns, lambda: rows)


def _given(value: Any, column: Column) -> Value:
    return to_moment(value) if column.name.endswith("_TIME") else value


def run(text: str) -> Result:
    return run_select(parse_select(text, tokens_of(text)), NoSession(), GivenRows(), check=lambda: None)


def texts(result: Result) -> list[list[str | None]]:
    return [[text_of(value, expr.type) for value, expr in zip(row, result.types, strict=True)] for row in result.rows]


@pytest.mark.parametrize("query", CASES["answers"])
def test_a_recorded_answer(query: str) -> None:
    recorded = CASES["answers"][query]
    if "err" in recorded:
        with pytest.raises(StatementError) as failed:
            run(query)
        assert f"({failed.value.code}, {json.dumps(failed.value.message)})" == recorded["err"]
        return
    result = run(query)
    assert [column.name for column in result.columns] == recorded["cols"]
    assert [column.type.name for column in result.columns] == recorded["types"]
    assert texts(result) == recorded["rows"]
