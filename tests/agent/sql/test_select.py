"""SELECT over given rows: every answer that a real server recorded, to the type and the last digit."""

from __future__ import annotations

import json

import pytest

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.select import Result
from innoclone.agent.sql.values import text_of
from selects import CASES, run


def texts(result: Result) -> list[list[str | None]]:
    return [[text_of(value, kind) for value, kind in zip(row, result.types, strict=True)] for row in result.rows]


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


# Asked of a 9.7.4 server one by one: the expression, its type, and the answer as text.
EXPRESSIONS = [
    ("ROUND(3)", "LONGLONG", "3"), ("ROUND(3.456,1)", "NEWDECIMAL", "3.5"), ("CONCAT(1.50,2e0)", "VAR_STRING", "1.502"),
    ("5/2*1.0", "NEWDECIMAL", "2.50000"), ("-3 DIV 2", "LONGLONG", "-1"), ("MOD(-7,3)", "LONGLONG", "-1"),
    ("7/0", "NEWDECIMAL", None), ("ABS(-2.5)", "NEWDECIMAL", "2.5"), ("FLOOR(2.5)", "LONGLONG", "2"),
    ("CEIL(2.5)", "LONGLONG", "3"), ("LENGTH('é')", "LONGLONG", "2"), ("CHAR_LENGTH('é')", "LONGLONG", "1"),
    ("UPPER('a')", "VAR_STRING", "A"), ("SUBSTRING('hello',2,3)", "VAR_STRING", "ell"),
    ("COALESCE(NULL,1,'x')", "VAR_STRING", "1"), ("NULLIF(1,1)", "LONGLONG", None),
    ("GREATEST(1,2.5)", "NEWDECIMAL", "2.5"), ("FORMAT(1234567.891,2)", "VAR_STRING", "1,234,567.89"),
    ("REPEAT('=',5)", "VAR_STRING", "====="), ("TIMESTAMP '2026-01-01 10:00:00' + INTERVAL 1 DAY", "DATETIME",
    "2026-01-02 10:00:00"), ("DATE('2026-01-01 10:00:00')", "DATE", "2026-01-01"),
    ("DATE_FORMAT('2026-01-01 10:00:00.123','%Y-%m-%d %H:%i:%s.%f')", "VAR_STRING", "2026-01-01 10:00:00.123000"),
    ("'A'='a'", "LONGLONG", "1"), ("'a' LIKE 'A%'", "LONGLONG", "1"), ("1 IN (1,NULL)", "LONGLONG", "1"),
    ("NULL IS NULL", "LONGLONG", "1"), ("NOT 1", "LONGLONG", "0"), ("1 BETWEEN 0 AND 2", "LONGLONG", "1"),
    ("1e0*2.5", "DOUBLE", "2.5"), ("'abc'", "VAR_STRING", "abc"), ("NULL", "NULL", None), ("TRUE", "LONGLONG", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "kind", "text"), EXPRESSIONS)
def test_an_expression(expression: str, kind: str, text: str | None) -> None:
    result = run(f"SELECT {expression}")
    assert (result.columns[0].type.name, texts(result)) == (kind, [[text]])
    assert result.columns[0].name == expression.strip("'" if expression == "'abc'" else "")


STATUS = "FROM performance_schema.clone_status"
PROGRESS = "FROM performance_schema.clone_progress"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (f"SELECT nosuch {STATUS}", (1054, "Unknown column 'nosuch' in 'field list'")),
        (f"SELECT x.STATE {STATUS}", (1054, "Unknown column 'x.STATE' in 'field list'")),
        (f"SELECT 1 {STATUS} WHERE nosuch", (1054, "Unknown column 'nosuch' in 'where clause'")),
        ("SELECT ROUND()", (1582, "Incorrect parameter count in the call to native function 'ROUND'")),
        ("SELECT LPAD('x')", (1582, "Incorrect parameter count in the call to native function 'LPAD'")),
        (f"SELECT STATE, COUNT(*) {PROGRESS}", (
            1140, "In aggregated query without GROUP BY, expression #1 of SELECT list contains nonaggregated column"
            " 'performance_schema.clone_progress.STATE'; this is incompatible with sql_mode=only_full_group_by")),
        (f"SELECT ID {STATUS} s JOIN performance_schema.clone_progress p",
            (1052, "Column 'ID' in field list is ambiguous")),
        (f"SELECT 1 {STATUS} WHERE SUM(ID) > 1", (1111, "Invalid use of group function")),
        ("SELECT @@nosuch", (1193, "Unknown system variable 'nosuch'")),
        ("SELECT *", (1096, "No tables used")),
        ("SELECT 9223372036854775807 * 4", (1690, "BIGINT value is out of range in '(9223372036854775807 * 4)'")),
    ],
)  # fmt: skip
def test_an_error(query: str, error: tuple[int, str]) -> None:
    with pytest.raises(StatementError) as failed:
        run(query)
    assert (failed.value.code, failed.value.message) == error


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (f"SELECT STATE, COUNT(*) n {PROGRESS} GROUP BY STATE HAVING n > 1 ORDER BY 2 DESC, STATE",
            [["Not Started", "4"], ["Completed", "2"]]),
        (f"SELECT DISTINCT STATE {PROGRESS} ORDER BY STATE DESC LIMIT 1, 1", [["In Progress"]]),
        (f"SELECT s.ID, p.STAGE {STATUS} s LEFT JOIN performance_schema.clone_progress p ON p.ID=s.ID AND DATA > 1e9",
            [["1", "FILE COPY"], ["2", None], ["3", None]]),
        (f"SELECT COUNT(DISTINCT STATE), MIN(STAGE), SUM(NULL) {PROGRESS} WHERE 1 = 2", [["0", None, None]]),
        (f"SELECT STAGE {PROGRESS} WHERE BEGIN_TIME > '2026-11-23 05:02' AND END_TIME IS NULL", [["PAGE COPY"]]),
        (f"SELECT CASE STATE WHEN 'failed' THEN 1 ELSE 0 END c {STATUS} ORDER BY c DESC LIMIT 1", [["1"]]),
    ],
)  # fmt: skip
def test_clauses(query: str, rows: list[list[str | None]]) -> None:
    assert texts(run(query)) == rows


@pytest.mark.parametrize(
    "query",
    [f"SELECT 1 {STATUS} FOR UPDATE", "SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT SLEEP(1)",
     "SELECT 'a' REGEXP '(a)\\\\1'", "SELECT SIN(1)", "SELECT CONV('a', 16, 10)", "SELECT WEEK(NOW(), 3)",
     "SELECT DATE_FORMAT(NOW(), '%V')", "SELECT EXTRACT(DAY FROM NOW())", "SELECT NOW() + INTERVAL '1:1' HOUR_MINUTE",
     "SELECT 6 & 3", "SELECT ~1", "SELECT 1 > ANY (SELECT 1)", "WITH x AS (SELECT 1) SELECT 1 FROM x",
     f"SELECT 1 {STATUS} a JOIN performance_schema.clone_progress b USING (ID)", "SELECT 1 FROM (SELECT 1) x (a)",
     "SELECT REGEXP_REPLACE('a', 'a', 'b')",
     "SELECT LOAD_FILE('/etc/passwd')", "SELECT 1" + "+1" * 900, "SELECT 'a' COLLATE utf8mb4_bin", "SELECT 1 <=> 1",
     "WITH RECURSIVE x AS (SELECT 1) SELECT 1", f"SELECT SUM(ID) OVER (ROWS 1 PRECEDING) {STATUS}",
     f"SELECT ID {STATUS} GROUP BY ID WITH ROLLUP",
     f"SELECT 1 {STATUS} a NATURAL JOIN performance_schema.clone_status b",
     f"SELECT 1 {STATUS} INTERSECT SELECT 1", "SELECT (1, 2) < (1, 2)", "SELECT JSON_EXTRACT('{}', '$')"],
)  # fmt: skip
def test_what_is_not_supported_is_refused_never_guessed(query: str) -> None:
    with pytest.raises(StatementError) as failed:
        run(query)
    assert failed.value.code in (1235, 1305, 1064)


def test_a_join_without_an_end_is_refused() -> None:
    tables = ", ".join(f"performance_schema.clone_progress t{n}" for n in range(9))
    with pytest.raises(StatementError) as failed:
        run(f"SELECT COUNT(*) FROM {tables}")
    assert failed.value.code in (1104, 3170)
