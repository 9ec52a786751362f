"""What monitoring and graphical tools ask: the real mysqld_exporter runs against the agent without an error."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymysql.connections import Connection

from agent_answers import answer
from agent_pages import until
from agents import PATIENCE, RunningAgent
from innoclone.server.debian import provide_packages
from innoclone.server.programs import Programs, cache_directory
from servers import ServerFactory

PACKAGE = "prometheus-mysqld-exporter"
NOT_HERE = {
    "heartbeat": "wants a table that pt-heartbeat makes",
    "engine_tokudb_status": "of another server: error 1286, as with MySQL",
    "info_schema.rocksdb_perf_context": "of another server: error 1109, as with MySQL",
    "mysql.user": "accounts are in no table of the agent",
    "perf_schema.eventsstatementssum": "can't read the sums of a table without rows",
    "sys.user_summary": "there is no schema sys",
}
QUERIES = [
    "SHOW REPLICA STATUS", "SHOW REPLICA STATUS FOR CHANNEL ''", "SHOW BINARY LOGS", "SHOW REPLICAS",
    "SELECT * FROM performance_schema.replication_connection_status", "SELECT * FROM information_schema.INNODB_TRX",
    "SELECT * FROM performance_schema.replication_applier_status_by_worker",
    "SELECT * FROM performance_schema.replication_group_members",
    "SELECT @@gtid_mode, @@gtid_executed, @@gtid_purged, @@enforce_gtid_consistency, @@binlog_format",
    "SELECT @@innodb_page_size, @@global.event_scheduler, @@slow_query_log, @@general_log",
    "SHOW TABLES FROM information_schema LIKE 'INNODB_CMPMEM'",
]  # fmt: skip


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path_factory.mktemp("agent") / "state") as running:
        done = running.mysql(
            "CREATE USER exporter IDENTIFIED BY 'p'; GRANT PROCESS, REPLICATION CLIENT ON *.* TO exporter;"
            "GRANT SELECT ON performance_schema.* TO exporter"
        )
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture(scope="module")
def exporter() -> Path:
    folder = cache_directory() / "mysqld-exporter"
    provide_packages(folder, [PACKAGE], unwanted=("debconf", "perl", "adduser", "lib", "passwd"), report=print)
    return folder / "usr" / "bin" / PACKAGE


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def scraped(exporter: Path, agent: RunningAgent, folder: Path, flags: list[str]) -> tuple[str, str]:
    """The metrics, and what the exporter logged."""
    port, log = free_port(), folder / "exporter.log"
    config = folder / "client.cnf"
    config.write_text(f"[client]\nuser = exporter\npassword = p\nhost = 127.0.0.1\nport = {agent.port}\n")
    command = [str(exporter), f"--web.listen-address=127.0.0.1:{port}", f"--config.my-cnf={config}", *flags]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={"PATH": os.defpath})
    try:
        end = time.monotonic() + PATIENCE
        while "Listening on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as page:
            return page.read().decode(), log.read_text()
    finally:
        process.kill()
        process.wait()


def test_the_real_exporter_runs_without_an_error(agent: RunningAgent, exporter: Path, tmp_path: Path) -> None:
    usage = subprocess.run([str(exporter), "--help"], capture_output=True, text=True, check=False)
    collectors = set(re.findall(r"--(?:\[no-\])?collect\.([\w.]+)\s", usage.stdout + usage.stderr))
    assert len(collectors) > 30
    wanted = [f"--collect.{name}" for name in sorted(collectors - NOT_HERE.keys())]
    page, log = scraped(exporter, agent, tmp_path, wanted)
    errors = [line for line in log.splitlines() if "level=error" in line.lower()]
    assert errors == []
    metrics = {family.name: family for family in text_string_to_metric_families(page)}
    assert metrics["mysql_up"].samples[0].value == 1
    successes = {one.labels["collector"]: one.value for one in metrics["mysql_exporter_collector_success"].samples}
    assert successes
    assert set(successes.values()) == {1.0}
    assert metrics["mysql_global_status_threads_connected"].samples[0].value >= 1
    assert metrics["mysql_global_status_uptime"].samples[0].value >= 0
    assert metrics["mysql_global_variables_max_connections"].samples[0].value == 151
    assert "mysql_slave_status_master_server_id" not in metrics


def test_an_exporter_with_its_defaults(agent: RunningAgent, exporter: Path, tmp_path: Path) -> None:
    page, log = scraped(exporter, agent, tmp_path, [])
    assert "level=error" not in log.lower()
    assert "mysql_up 1.0" in page or "mysql_up 1\n" in page


def test_empty_tables_are_a_servers(agent: RunningAgent, make_module_server: ServerFactory) -> None:
    """Column by column, with their types."""
    with agent.root() as ours, make_module_server().connect() as real:
        names = answer(
            ours,
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.tables"
            " WHERE TABLE_NAME NOT IN ('clone_operations', 'clone_served', 'clone_recipients')",  # which no server has
        )[1]
        assert len(names) > 50
        wrong = []
        for schema, name in names:
            query = f"SELECT * FROM {schema}.{name} LIMIT 0"
            mine, theirs = columns(ours, query), columns(real, query)
            if mine[: len(theirs)] != theirs and name not in OWN:
                wrong.append((name, [pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]]))
        assert wrong == []


OWN = ("PROCESSLIST", "EVENTS", "ROUTINES", "TRIGGERS")  # of which only a part is there, as clients ask for it


def columns(connection: Connection[Any], query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [column[0] for column in cursor.description or ()]


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_not_there_is_empty(agent: RunningAgent, make_module_server: ServerFactory, query: str) -> None:
    """As with a server that is no replica and writes no binary log."""
    rows = agent.rows(query)
    if "@@" not in query and "SHOW TABLES" not in query:
        assert rows == []
    else:
        assert len(rows) == 1


def test_counters_count(agent: RunningAgent) -> None:
    with agent.root() as connection, connection.cursor() as cursor:

        def counters() -> dict[str, int]:
            cursor.execute("SHOW GLOBAL STATUS")
            return {name: int(value) for name, value in cursor.fetchall() if not name.startswith("Ssl")}

        before = counters()
        cursor.execute("SELECT 1")
        cursor.execute("SET @x = 1")
        agent.rows("SELECT 1")
        after = counters()
        until(lambda: counters()["Threads_running"] == 1)  # the other connection's command is over a moment later
    grown = {name: after[name] - before[name] for name in after}
    assert (grown["Com_select"], grown["Com_set_option"], grown["Connections"]) == (2, 3, 1)  # PyMySQL sets two
    assert grown["Questions"] == 6
    assert grown["Bytes_sent"] > 0
    assert grown["Bytes_received"] > 0
    assert after["Max_used_connections"] >= 2


def test_a_client_sees_whether_it_is_encrypted(agent: RunningAgent) -> None:
    query = "SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_cipher', 'Ssl_version')"
    assert agent.rows(query) == [("Ssl_cipher", ""), ("Ssl_version", "")]
    with agent.connect("exporter", "p", ssl={"check_hostname": False, "verify_mode": "none"}) as connection:
        (_, cipher), (_, version) = answer(connection, query)[1]
    assert cipher
    assert version.startswith("TLSv1.")


def test_replication_is_not_for_everybody(agent: RunningAgent) -> None:
    agent.rows("CREATE USER IF NOT EXISTS nobody IDENTIFIED BY 'n'")
    with agent.connect("nobody", "n") as connection:
        for statement in ("SHOW REPLICA STATUS", "SHOW BINARY LOGS"):
            assert answer(connection, statement)[0] == 1227
        assert answer(connection, "SELECT * FROM performance_schema.replication_connection_status")[0] == 1142
