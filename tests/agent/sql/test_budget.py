"""One login without any privilege: whatever it sends, the agent answers others, keeps its memory, and ends what it
is told to end."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection

from agents import PATIENCE, RunningAgent
from innoclone.agent import memory as budgets
from innoclone.agent.faults import StatementError
from innoclone.agent.memory import PREPARED, Kept, Pool
from innoclone.agent.sql.budget import Budget, running
from innoclone.agent.sql.lexer import masked, tokens_of
from innoclone.server.programs import Programs
from selects import run

PASSWORD = "geheim"
LONG = "REPEAT('x', 1000000)"
TABLES = "performance_schema.clone_progress"
MANY = ", ".join(f"{TABLES} t{n}" for n in range(5))
HOSTILE = [  # each of which took from seconds to hours, or as much memory as there is
    f"SELECT TRIM('x' FROM {LONG})", "SELECT LTRIM(REPEAT(' ', 1000000))", "SELECT RTRIM(REPEAT(' ', 1000000))",
    f"SELECT {LONG} LIKE REPEAT('%x', 500000)", f"SELECT {LONG} LIKE CONCAT(REPEAT('%x', 500), 'y')",
    f"SELECT {LONG} REGEXP '(x|y)*$'", f"SELECT {LONG} REGEXP 'x$'", f"SELECT COUNT(*) FROM {MANY}",
    f"SELECT SUM(CONCAT(t0.STAGE, REPEAT('a', 90)) REGEXP '(a+)+$b') FROM {MANY}", "SELECT 'y' = REPEAT('é', 1000000)",
    "SELECT DATE_FORMAT(NOW(), REPEAT('%W', 250000))",
    f"SELECT GROUP_CONCAT('' SEPARATOR '{'s' * 60000}') FROM {MANY}",
    f"SELECT DISTINCT t0.STAGE FROM {MANY} ORDER BY 1",
    f"SELECT (SELECT COUNT(*) FROM {TABLES} a, {TABLES} b, {TABLES} c WHERE a.ID + b.ID + c.ID = t0.ID) FROM {MANY}",
    f"SELECT t0.ID FROM {MANY} GROUP BY t0.ID, t1.ID HAVING COUNT(*) > 5", "SELECT 1" + " + 1" * 900,
    f"SELECT SUBSTRING_INDEX(REPEAT(',', 1000000), ',', 999999) = {LONG}", "SELECT ((((((((1" + "))))))))",
    "SELECT 1 IN (" + ", ".join(map(str, range(900))) + ")", f"SELECT CONCAT({', '.join([LONG] * 250)})",
]  # fmt: skip
LEXED = [
    "SELECT " + ", ".join(map(str, range(30000))), "SELECT 1" + " AND 1" * 30000, "SELECT '" + "\\'" * 30000 + "'",
    "SET @x = 1" + ", @x = 1" * 30000, "SELECT " + "_a " * 30000, "/*!" * 30000, "-- x\n" * 30000,
]  # fmt: skip
REFUSED = {
    "SELECT 1 IN (" + ",".join(map(str, range(100000))) + ")": 1235, "SELECT 1" + " AND 1" * 100000: 1235,
    "SHOW VARIABLES WHERE 1" + " AND 1" * 100000: 1235, "SET @x = 1" + " AND 1" * 100000: 1235,
    "SELECT " + "(" * 100000: 1235, "SELECT " + "1" * 900000 + "x": 1235, "SELECT 0b" + "1" * 30000: 1235,
    "SELECT 0x" + "f" * 30000 + " + 1": 1235, "PREPARE s FROM '" + "SELECT 1" + " AND 1" * 100000 + "'": 1235,
    f"SELECT 'x' REGEXP {LONG}": 3699,
    f"SELECT CONCAT({', '.join([LONG] * 250)})": 3170,
}  # fmt: skip


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    with begun(programs, tmp_path_factory.mktemp("agent")) as running:
        yield running


def begun(programs: Programs, folder: Path) -> RunningAgent:
    running = RunningAgent(programs, folder / "state")
    done = running.mysql(f"CREATE USER u IDENTIFIED BY '{PASSWORD}'")
    assert done.returncode == 0, done.stderr
    return running


def number_of(agent: RunningAgent, statement: str) -> int:
    """The error's."""
    with agent.connect("u", PASSWORD) as connection, connection.cursor() as cursor:
        with pytest.raises(pymysql.Error) as failed:
            cursor.execute(statement)
        return int(failed.value.args[0])


# ---- every loop looks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", HOSTILE, ids=[query[:40] for query in HOSTILE])
def test_whoever_is_killed_ends_wherever_he_is(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at its first, tenth, hundredth look at the clock: it goes no step further."""
    looks = 0
    for after in (0, 10, 100):
        killed = Budget(seconds=5)
        plain = killed.look
        looks = 0

        def look(killed: Budget = killed, plain: Any = plain, after: int = after) -> None:
            nonlocal looks
            looks += 1
            if looks > after:
                killed.interrupted.set()
            plain()

        monkeypatch.setattr(killed, "look", look)
        code = 0
        with running(killed):
            try:
                run(query)
            except StatementError as error:
                code = error.code
        assert code in (0, 1317, 3170, 1235, 3024, 3699)
        assert code != 1317 or looks == after + 1
    assert killed.held == 0  # all was given back


@pytest.mark.parametrize("text", LEXED, ids=[text[:20] for text in LEXED])
def test_reading_a_statement_looks_too(text: str) -> None:
    killed = Budget()
    killed.interrupted.set()
    with running(killed), pytest.raises(StatementError) as failed:
        tokens_of(text)
    assert failed.value.code == 1317


def test_time_is_over() -> None:
    with running(Budget(seconds=0)), pytest.raises(StatementError) as failed:
        run(f"SELECT COUNT(*) FROM {MANY}")
    assert failed.value.code == 3024


def test_what_is_shown_of_a_long_statement_ends_before_it_is_read() -> None:
    text = "SELECT 'x', " + "'y', " * 500_000
    killed = Budget()
    with running(killed):
        assert masked(text).startswith("SELECT 'x', 'y'")
    secret = "CREATE USER a IDENTIFIED BY '" + "s" * 990 + "', b IDENTIFIED BY 'geheim'"
    assert "geheim" not in masked(secret)
    assert "ss" not in masked(secret)
    assert masked("SELECT '" + "s" * 5000) == "SELECT"


# ---- memory ------------------------------------------------------------------------------------------------


def test_what_a_session_keeps_is_bounded_and_given_back() -> None:
    pool = Pool(10_000)
    one, other = Kept(pool, 6_000), Kept(pool, 7_000)
    one.put(("@", "a"), 3_000)
    one.put(("@", "a"), 4_000)  # instead of the first
    with pytest.raises(StatementError) as failed:
        one.put(("@", "b"), 3_000)  # more than a session's
    assert failed.value.code == 3170
    other.put(("@", "a"), 5_000)
    with pytest.raises(StatementError) as failed:
        other.put((PREPARED, "s"), 600)  # more than all sessions'
    assert failed.value.code == 3170
    assert pool.prepared == 0
    one.clear()
    other.put((PREPARED, "s"), 600)
    assert pool.prepared == 1
    other.clear()
    assert (pool.taken, pool.prepared) == (0, 0)


def test_prepared_statements_are_counted_over_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_PREPARED", 3)
    pool = Pool()
    sessions = [Kept(pool) for _ in range(4)]
    for session in sessions[:3]:
        session.put((PREPARED, 1), 10)
    with pytest.raises(StatementError) as failed:
        sessions[3].put((PREPARED, 1), 10)
    assert failed.value.code == 1461
    sessions[0].drop((PREPARED, 1))
    sessions[3].put((PREPARED, 1), 10)


def resident(agent: RunningAgent) -> int:
    """MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{agent.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


def test_the_agents_memory_stays_where_it_was(agent: RunningAgent) -> None:
    """User variables, prepared statements and long data of many sessions: all come to an end, and go with them."""
    before = resident(agent)
    connections: list[Connection[Any]] = []
    refused = set()
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(agent.connect("u", PASSWORD))
            connections.append(connection)
            with connection.cursor() as cursor:
                for number in range(12):
                    try:
                        cursor.execute(f"SET @v{number} = {LONG}")
                    except pymysql.Error as error:
                        refused.add(error.args[0])
                        break
        most = resident(agent)
        assert refused == {3170}
        assert number_of(agent, f"SET @a = {LONG}, @b = {LONG}") == 3170  # nobody has more than there is
        with agent.root() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")  # needs next to nothing
    assert most - before < 500
    end = time.monotonic() + PATIENCE
    while resident(agent) - before > (most - before) / 2:  # the rest is what malloc can't give back
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("statement", REFUSED, ids=[one[:25] for one in REFUSED])
def test_what_is_too_much_is_refused(agent: RunningAgent, statement: str) -> None:
    assert number_of(agent, statement) == REFUSED[statement]
    assert agent.rows("SELECT 1") == [(1,)]


# ---- KILL and SIGTERM --------------------------------------------------------------------------------------

ENDLESS = [
    f"SELECT {LONG} LIKE CONCAT(REPEAT('%x', 500000), 'y')", f"SELECT {LONG} LIKE CONCAT(REPEAT('%x', 400000), 'y%')",
    "SELECT REPEAT('é', 1000000) LIKE CONCAT(REPEAT('%é', 50000), 'y')",
]  # fmt: skip


class Attacker:
    """A session with a statement that takes longer than anybody waits."""

    def __init__(self, agent: RunningAgent, statement: str) -> None:
        self.connection = agent.connect("u", PASSWORD)
        self.number = self.connection.thread_id()
        self.error = 0
        self._statement = statement
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self._statement)
        except pymysql.Error as error:
            self.error = error.args[0]


def executing(agent: RunningAgent) -> int:
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE USER = 'u' AND STATE = 'executing'"
    return int(agent.rows(query)[0][0])


@pytest.mark.parametrize("how", ["KILL QUERY", "KILL"])
def test_kill_ends_any_statement(agent: RunningAgent, how: str) -> None:
    attackers = [Attacker(agent, statement) for statement in ENDLESS]
    end = time.monotonic() + PATIENCE
    while executing(agent) < len(attackers):
        assert time.monotonic() < end
    for attacker in attackers:
        agent.rows(f"{how} {attacker.number}")
    for attacker in attackers:
        attacker.thread.join(PATIENCE)
        assert not attacker.thread.is_alive()
        assert attacker.error == 1317
    assert "Traceback" not in agent.log.read_text()


def test_sigterm_ends_any_statement(programs: Programs, tmp_path: Path) -> None:
    with begun(programs, tmp_path) as agent:
        attackers = [Attacker(agent, statement) for statement in ENDLESS * 2]
        end = time.monotonic() + PATIENCE
        while executing(agent) < len(attackers):
            assert time.monotonic() < end
        assert agent.terminate() == 0
        for attacker in attackers:
            attacker.thread.join(PATIENCE)
            assert attacker.error in (1317, 2013)
        assert "Traceback" not in agent.log.read_text()
        assert "stopped" in agent.log.read_text()


def test_a_statement_ends_by_itself(agent: RunningAgent) -> None:
    """max_execution_time shortens what the agent allows, and never lengthens it."""
    with agent.connect("u", PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute("SET max_execution_time = 300")
        with pytest.raises(pymysql.Error) as failed:
            cursor.execute(ENDLESS[0])
        assert failed.value.args[0] == 3024
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)
