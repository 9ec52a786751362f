"""Clones that an agent of the tests makes."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pymysql

from agents import PATIENCE, RunningAgent
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from servers import PASSWORD


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def clone_statement(donor: Server, directory: Path) -> str:
    return (
        f"CLONE INSTANCE FROM '{ACCOUNT}'@'127.0.0.1':{donor.port} IDENTIFIED BY '{PASSWORD}'"
        f" DATA DIRECTORY = '{directory}'"
    )


def allow(agent: RunningAgent, donor: Server) -> None:
    ok(agent.mysql(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}'"))


def start_slow_clone(agent: RunningAgent, donor: Server, target: Path) -> tuple[threading.Thread, list[Exception]]:
    """A clone at 4 MiB/s in a thread, once it copies; what it fails with."""
    allow(agent, donor)
    ok(agent.mysql("SET GLOBAL clone_max_data_bandwidth = 4; SET GLOBAL clone_max_concurrency = 2"))
    errors: list[Exception] = []

    def run() -> None:
        with agent.root() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(clone_statement(donor, target))
            except pymysql.Error as error:
                errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until_it_copies(agent)
    return thread, errors


def wait_until_it_copies(agent: RunningAgent) -> None:
    end = time.monotonic() + PATIENCE
    copied = "SELECT DATA FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY'"
    while not ((found := agent.rows(copied)) and found[0][0] > 0):
        assert time.monotonic() < end
        time.sleep(0.05)


def persist(agent: RunningAgent, donor: Server) -> None:
    ok(agent.mysql("SET PERSIST clone_resume_on_start = ON"))
    ok(agent.mysql(f"SET PERSIST clone_valid_donor_list = '127.0.0.1:{donor.port}'"))
