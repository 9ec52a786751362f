"""Attacks of somebody who may log in: statements that want all of the agent's time or memory, or what is another's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import pymysql
from pymysql.connections import Connection

from attacks.target import Attack, Breach, Counts, Stop, Target, flood, number_of

__all__ = ["STATEMENTS"]

MANY = 300_000
TRIMMED = "CONCAT(REPEAT(' ', 1000000), 'x', REPEAT(' ', 1000000))"
HARD = {
    "TRIM of a million blanks": [f"SELECT LENGTH({trim}({TRIMMED}))" for trim in ("TRIM", "LTRIM", "RTRIM")]
    + ["SELECT LENGTH(TRIM(BOTH 'ab' FROM CONCAT(REPEAT('ab', 500000), 'x', REPEAT('ab', 500000))))"],
    "IN lists of 300,000": [f"SELECT 0 IN ({','.join(map(str, range(1, MANY)))})"],
    "AND chains of 200,000": ["SELECT " + " AND ".join(["1"] * 200_000)],
    "deep parentheses": ["SELECT " + "(" * 50_000 + "1" + ")" * 50_000],
    "joins and unions without end": [
        "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b, information_schema.COLUMNS c",
        " UNION ALL ".join(["SELECT 1"] * 5000),
    ],
    "regular expressions": [
        "SELECT CONCAT(REPEAT('a', 5000), 'b') REGEXP '^(a*)*$'",
        "SELECT REPEAT('a', 100000) REGEXP '(a|aa|aaa)*c'",
        "SELECT REPEAT('x', 100000) LIKE '%x%x%x%x%x%y'",
    ],
    "memory": [f"SET @a{n} = REPEAT('x', 10000000)" for n in range(60)]
    + ["SELECT LENGTH(REPEAT(REPEAT('x', 1000000), 1000))", "SELECT GROUP_CONCAT(REPEAT('x', 1000000)) FROM"
       " information_schema.COLUMNS"],
    "packets of 15 MB": [f"SELECT '{'x' * 15_000_000}'", "SELECT" + " " * 15_000_000 + "1"],
    "SLEEP and BENCHMARK": ["SELECT SLEEP(100)", "SELECT BENCHMARK(1000000000, SHA2('x', 512))"],
}  # fmt: skip


def hard(statements: list[str]) -> Attack:
    """Again and again by somebody who has no privilege."""

    def attack(target: Target, stop: Stop) -> str:
        return flood(target, stop, statements)

    return attack


def prepared(target: Target, stop: Stop) -> str:
    """Statements that are prepared and never closed."""
    return flood(target, stop, [f"PREPARE s{number} FROM 'SELECT {number}, ?'" for number in range(20_000)])


def host_patterns(target: Target, stop: Stop) -> str:
    """Accounts whose host takes for ever to compare, and a stranger's logins."""
    counts = Counts()
    pattern = "%x" * 127
    while not stop.is_set():
        with contextlib.suppress(pymysql.Error), target.connect("maker") as connection, connection.cursor() as cursor:
            for number in range(50):
                try:
                    cursor.execute(f"CREATE USER IF NOT EXISTS 'p{number}'@'{pattern}'")
                    counts["created"] += 1
                except pymysql.Error as error:
                    counts[number_of(error)] += 1
        with contextlib.suppress(OSError, pymysql.Error):
            pymysql.connect(host="127.0.0.1", port=target.port, user="p1", bind_address=target.source)
    return str(counts)


def take_over(target: Target, stop: Stop) -> str:
    """CREATE USER alone, against accounts that have more; KILL; and grants to oneself."""
    counts = Counts()
    statements = (
        "ALTER USER strong IDENTIFIED BY 'mine'", "ALTER USER root@localhost IDENTIFIED BY 'mine'", "DROP USER strong",
        "GRANT CLONE_ADMIN ON *.* TO maker", "REVOKE CLONE_ADMIN ON *.* FROM strong", "KILL 1", "CLONE INSTANCE STOP",
        "SET GLOBAL clone_max_data_bandwidth = 1", "FLUSH LOGS", "UNINSTALL PLUGIN clone",
        "SELECT * FROM performance_schema.clone_status", "SET PERSIST clone_valid_donor_list = 'x:1'",
    )  # fmt: skip
    while not stop.is_set():
        with target.connect("maker") as connection:
            _refused(connection, statements, counts)
    return str(counts)


def _refused(connection: Connection[Any], statements: Iterable[str], counts: Counts) -> None:
    """Each is answered with an error, which is counted. Raises `Breach`."""
    for statement in statements:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        except pymysql.Error as error:
            counts[number_of(error)] += 1
        else:
            raise Breach(f"{statement[:100]} was executed")


def clones(target: Target, stop: Stop) -> str:
    """Who may clone, to where he may not, from where nobody may."""
    counts = Counts()
    host, port = target.donor.rsplit(":", 1)
    places = (
        "/", "relative", "/etc", str(target.folder), f"{target.folder}/below", "/proc/self", "/dev/null",
        "/" + "x" * 5000, "/tmp/a\nb", "/tmp/\x01", f"{target.folder}/../agent",
    )  # fmt: skip
    donors = (
        f"{host}.", f"{host}:{port}", f"0{host}", f"{host}%00", f"::ffff:{host}", "localhost", "0.0.0.1", "127.1",
        "0x7f000001", "2130706433", f" {host}", f"{host} ", "%", "", "a,b", f"{host},x", "x" * 300,
    )  # fmt: skip
    statements = [f"CLONE LOCAL DATA DIRECTORY = '{place}'" for place in places]
    statements += [f"CLONE INSTANCE FROM 'c'@'{one}':{port} IDENTIFIED BY 'x' DATA DIRECTORY = '/tmp/stolen'"
                   for one in donors]  # fmt: skip
    while not stop.is_set():
        with contextlib.suppress(OSError), target.connect("operator") as connection:
            _refused(connection, statements, counts)
    return str(counts)


def log_lines(target: Target, stop: Stop) -> str:
    """Users, statements and schemas with line breaks and control characters, to forge lines of the log."""
    forged = "x\ninnoclone: clone 99: completed\r\x1b[2J"
    counts = Counts()
    while not stop.is_set():
        try:
            pymysql.connect(host="127.0.0.1", port=target.port, user=forged, password="x", bind_address=target.source)
        except (pymysql.Error, OSError) as error:
            counts[number_of(error) if isinstance(error, pymysql.Error) else type(error).__name__] += 1
        with contextlib.suppress(OSError, pymysql.Error), target.connect("maker") as connection:
            for statement in (f"CREATE USER '{forged}' IDENTIFIED BY 'log-secret' /* log-secret */", f"USE `{forged}`"):
                with contextlib.suppress(pymysql.Error), connection.cursor() as cursor:
                    cursor.execute(statement)
                    counts["answered"] += 1
    return str(counts)


STATEMENTS: dict[str, Attack] = {
    **{name: hard(statements) for name, statements in HARD.items()},
    "prepared statements without end": prepared,
    "host patterns": host_patterns,
    "CREATE USER against more": take_over,
    "clones to and from anywhere": clones,
    "forged lines of the log": log_lines,
}
