"""SELECTs made of all that is understood: a result with a text and a binary form, or one of MySQL's errors."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from innoclone.front.agent.answers import Rows, packets
from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.aggregates import AGGREGATES
from innoclone.front.agent.sql.functions import FUNCTIONS
from test_agent_select import run

COLUMNS = ["ID", "STAGE", "STATE", "BEGIN_TIME", "END_TIME", "ESTIMATE", "DATA", "DATA_SPEED", "p.NETWORK"]
LITERALS = [
    "0", "1", "-1", "7", "1.50", "1e0", "-2.5e3", "1e308", "9223372036854775807", "18446744073709551615", "0.000001",
    "123456789012345678901234567890", "NULL", "TRUE", "''", "'x'", "'5'", "'-1.5abc'", "'2026-02-31'", "'é%_\\\\'",
    "'2026-11-23 05:00:00.25'", "'12:34:56'", "'-838:59:59'", "X'FF41'", "N'x'",
]  # fmt: skip
BINARY = ["+", "-", "*", "/", "DIV", "%", "=", "<>", "<", ">=", "<=>", "AND", "OR", "XOR", "LIKE"]
TYPES = [
    "SIGNED",
    "UNSIGNED",
    "CHAR",
    "CHAR(3)",
    "DECIMAL(10,2)",
    "DATETIME",
    "DATETIME(3)",
    "DATE",
    "TIME(2)",
    "DOUBLE",
]
UNITS = ["MICROSECOND", "SECOND", "MINUTE", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"]


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    calls = [
        st.tuples(st.just(name), st.lists(inner, min_size=least, max_size=most or 3))
        for name, (least, most, _) in FUNCTIONS.items()
    ]
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda part: "({} {} {})".format(*part)),
        st.one_of(calls).map(lambda call: f"{call[0]}({', '.join(call[1])})"),
        st.tuples(inner, st.sampled_from(TYPES)).map(lambda part: "CAST({} AS {})".format(*part)),
        st.tuples(inner, inner, inner).map(lambda part: "CASE WHEN {} THEN {} ELSE {} END".format(*part)),
        st.tuples(inner, inner, inner).map(lambda part: "({} BETWEEN {} AND {})".format(*part)),
        st.tuples(inner, inner, inner).map(lambda part: "({} NOT IN ({}, {}))".format(*part)),
        st.tuples(st.sampled_from(UNITS), inner, inner).map(lambda part: "TIMESTAMPDIFF({}, {}, {})".format(*part)),
        st.tuples(inner, inner, st.sampled_from(UNITS)).map(lambda part: "({} + INTERVAL {} {})".format(*part)),
        st.tuples(st.sampled_from(AGGREGATES), inner).map(lambda part: "{}({})".format(*part)),
        st.tuples(st.sampled_from(["NOT {}", "-{}", "({} IS NULL)"]), inner).map(lambda part: part[0].format(part[1])),
    )


EXPRESSIONS = st.recursive(st.sampled_from(COLUMNS + LITERALS), larger, max_leaves=6)


@settings(deadline=None, max_examples=400)
@given(EXPRESSIONS, EXPRESSIONS, st.sampled_from(["", " GROUP BY STATE", " ORDER BY 1 DESC, 2 LIMIT 3"]))
def test_any_expression_has_an_answer_or_an_error(one, other, clause):
    with contextlib.suppress(StatementError):
        result = run(f"SELECT {one}, {other} x FROM performance_schema.clone_progress p{clause}")
        answer = Rows(result.columns, result.types, result.rows)
        assert len(packets(answer, 0)) == len(packets(answer, 0, in_binary=True)) == len(result.rows) + 5
