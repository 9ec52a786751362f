"""Stored clones that an agent serves: to whom, how long a directory is held, and what happens when the agent ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_clones import ok
from agent_pages import get, port_of
from agents import GRANTED, WAIT, RunningAgent, wait_for
from faults.proxy import Proxy
from innoclone.agent.daemon import Agent
from innoclone.agent.settings import AgentSettings
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.shelf import LINGER
from innoclone.donor.stored import look
from innoclone.errors import TargetBusy
from innoclone.files.inuse import Purpose
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.server import cloned
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.settings.servetable import ServedClone
from local_clones import booted_copy, checksums
from paths import ROOT
from restores import linked_clone
from serving import ALONE, PASSWORD, USER, assert_taken, endpoint, take


class Serving(RunningAgent):
    """An agent with ``[serve.NAME]`` tables."""

    def __init__(self, programs: Programs, state: Path, config: str, *options: str) -> None:
        state.mkdir(exist_ok=True)
        (state / "agent.toml").write_text(config)
        super().__init__(programs, state, f"--config={state / 'agent.toml'}", *options)

    def port_of(self, name: str) -> int:
        """Of a stored clone, once it was looked at."""
        pattern = re.compile(rf"{name}: serving .* on port (\d+)")
        wait_for(lambda: pattern.search(self.log.read_text()))
        return int(pattern.findall(self.log.read_text())[-1])


def table(name: str, directory: Path, port: int = 0, more: str = "") -> str:
    return f'[serve.{name}]\ndirectory = "{directory}"\nport = {port}\n{more}\n'


@pytest.fixture(scope="module")
def stored(small_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linked_clone(small_clone, tmp_path_factory.mktemp("agent-serves") / "stored")


@pytest.fixture(scope="module")
def agent(programs: Programs, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    config = (
        table("nightly", stored) + table("slow", stored, more="max_data_bandwidth = 16") + table("gone", stored / "no")
    )
    with Serving(programs, tmp_path_factory.mktemp("donors") / "state", config, "--web-port=0") as found:
        ok(found.mysql(GRANTED))
        yield found


def test_an_agent_without_tcp_serves_this_host_alone(stored: Path, tmp_path: Path) -> None:
    served = ServedClone("nightly", 0, stored)
    agent = Agent(AgentSettings(folder=tmp_path / "agent", bind_address="", serve=(served,)))
    addresses = [one.donor.options.bind_address for one in agent.services.donors]
    thread = threading.Thread(target=agent.serve)
    thread.start()
    agent.stop()
    thread.join(WAIT)
    assert addresses == ["127.0.0.1"]


def test_with_the_privilege(agent: Serving, stored: Path, recipient: Server, tmp_path: Path) -> None:
    for number, clause in enumerate(("REQUIRE SSL", "REQUIRE NO SSL")):
        take(recipient, agent.port_of("nightly"), tmp_path / str(number), clause, settings=ALONE)
        found = look(stored)
        assert_taken(found, tmp_path / str(number))
        found.close()
    assert "nightly: 127.0.0.1 has its clone" in agent.log.read_text()


def refused(recipient: Server, port: int, target: Path, user: str, password: str) -> pymysql.Error:
    """What a stock recipient's statement ends with."""
    with recipient.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL clone_valid_donor_list = %s", (f"127.0.0.1:{port}",))
        with pytest.raises(pymysql.Error) as caught:
            cursor.execute(
                f"CLONE INSTANCE FROM %s@'127.0.0.1':{port} IDENTIFIED BY %s DATA DIRECTORY = %s",
                (user, password, str(target)),
            )
    return caught.value


def test_others_are_refused_as_by_a_stock_donor(agent: Serving, recipient: Server, tmp_path: Path) -> None:
    ok(agent.mysql("CREATE USER 'other'@'127.%' IDENTIFIED BY 'x'; GRANT CLONE_ADMIN ON *.* TO 'other'@'127.%'"))
    port = agent.port_of("nightly")
    for user, password, said in (
        ("other", "x", "1227 : Access denied; you need (at least one of) the BACKUP_ADMIN privilege(s)"),
        ("other", "y", "1045 : Access denied for user 'other'"),
        ("nobody", "x", "1045 : Access denied for user 'nobody'"),
    ):
        error = refused(recipient, port, tmp_path / "never", user, password)
        assert error.args[0] == 3862
        assert said in error.args[1]
    ok(agent.mysql("GRANT BACKUP_ADMIN ON *.* TO 'other'@'127.%'"))
    with contextlib.closing(pymysql.connect(host="127.0.0.1", port=port, user="other", password="x")) as connection:
        connection.ping()
        ok(agent.mysql("REVOKE BACKUP_ADMIN ON *.* FROM 'other'@'127.%'"))
        connection._execute_command(0x20, "")  # COM_CLONE: what was revoked counts at once
        with pytest.raises(pymysql.Error) as caught:
            connection._read_packet()
    assert caught.value.args[0] == 1227


def test_what_is_not_there(agent: Serving, stored: Path, recipient: Server, tmp_path: Path) -> None:
    """It is told whoever comes, and served when it is there, without another word to the agent."""
    wait_for(lambda: "gone: " in agent.log.read_text())
    port = int(next(str(row[0]) for row in agent.rows(PORTS) if row[1] == "gone"))
    error = refused(recipient, port, tmp_path / "never", USER, PASSWORD)
    assert error.args[0] == 3862
    assert "is not a directory" in error.args[1]
    shutil.copytree(stored, stored / "no")
    try:
        take(recipient, port, tmp_path / "taken", settings=ALONE)
    finally:
        shutil.rmtree(stored / "no")


PORTS = "SELECT PORT, NAME FROM performance_schema.clone_served"


def in_use(directory: Path) -> bool:
    try:
        cloned.check_bootable(directory, Purpose.UPDATE)
    except TargetBusy:
        return True
    return False


def test_a_kill_at_the_donor(agent: Serving, recipient: Server, tmp_path: Path) -> None:
    failed: list[pymysql.Error] = []

    def run() -> None:
        try:
            take(recipient, agent.port_of("slow"), tmp_path / "never", "REQUIRE NO SSL", settings=ALONE)
        except pymysql.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    query = "SELECT ID, USER, COMMAND FROM performance_schema.processlist WHERE STATE = 'clone (file copy)'"
    wait_for(lambda: agent.rows(query))
    ((number, user, command),) = agent.rows(query)
    assert (user, command) == (USER, "clone")
    ok(agent.mysql(f"KILL {number}"))
    thread.join()
    assert "1317 : the clone was killed at the donor" in str(failed[0])


def test_the_agent_is_started_again(programs: Programs, stored: Path, recipient: Server, tmp_path: Path) -> None:
    """Its recipients are not told: they come back to the next one."""
    state, more = tmp_path / "state", "max_data_bandwidth = 6"
    failed: list[pymysql.Error] = []

    def run(port: int) -> None:
        try:
            take(recipient, port, tmp_path / "taken", "REQUIRE NO SSL", settings=ALONE)
        except pymysql.Error as error:
            failed.append(error)

    def has_some(agent: Serving) -> bool:
        found = agent.rows("SELECT DATA FROM performance_schema.clone_recipients")
        return bool(found) and int(found[0][0]) > 2 << 20

    with Serving(programs, state, table("again", stored, more=more)) as agent:
        ok(agent.mysql(GRANTED))
        port = agent.port_of("again")
        thread = threading.Thread(target=run, args=(port,))
        thread.start()
        wait_for(lambda: has_some(agent))
        assert agent.terminate() == 0
    with Serving(programs, state, table("again", stored, port)) as agent:
        thread.join()
        assert "again: 127.0.0.1 goes on with its clone" in agent.log.read_text()
    assert not failed
    found = look(stored)
    assert_taken(found, tmp_path / "taken")
    found.close()


def test_a_directory_is_held_only_while_it_is_taken(
    programs: Programs, small_clone: Path, recipient: Server, tmp_path: Path
) -> None:
    """A link that leads to another clone in the morning is that clone; what nobody takes can be updated or removed."""
    first, second = (shutil.copytree(small_clone, tmp_path / name) for name in "12")
    latest = tmp_path / "latest"
    latest.symlink_to("1")
    with Serving(programs, tmp_path / "state", table("latest", latest)) as agent:
        ok(agent.mysql(GRANTED))
        port = agent.port_of("latest")
        take(recipient, port, tmp_path / "taken-1", settings=ALONE)
        assert in_use(first)
        wait_for(lambda: not in_use(first))
        latest.unlink()
        latest.symlink_to("2")
        take(recipient, port, tmp_path / "taken-2", settings=ALONE)
        assert in_use(second)
        assert not in_use(first)
    assert LINGER < WAIT


def test_a_link_that_is_moved_while_somebody_takes_what_it_led_to(
    programs: Programs, small_clone: Path, recipient: Server, tmp_path: Path
) -> None:
    """Who comes later gets what it leads to then, and the first one all of what it began with, also after a cut; what
    the link can't lead to keeps nobody from that."""
    first, second = (shutil.copytree(small_clone, tmp_path / name) for name in "12")
    with (second / "theirs" / "t.ibd").open("r+b") as file:
        file.seek(20 * 16384 + 100)
        file.write(b"another content")
    (second / "theirs" / "more.ibd").write_bytes(b"")  # makes it unfit
    latest = tmp_path / "latest"
    latest.symlink_to("1")
    status, limits = CloneStatus(), Limits(data=8.0)
    with Serving(programs, tmp_path / "state", table("latest", latest)) as agent, ThreadPoolExecutor(1) as pool:
        ok(agent.mysql(GRANTED))
        port = agent.port_of("latest")
        with Proxy(port) as proxy:
            slow = CloneOptions(endpoint(proxy.port), tmp_path / "slow", threads=1)
            job = pool.submit(clone, slow, status=status, limits=limits)
            wait_for(lambda: status.stages[Stage.FILE_COPY].data > 1 << 20)
            latest.unlink()
            latest.symlink_to("2")
            with pytest.raises(pymysql.Error, match="more"):
                take(recipient, port, tmp_path / "never", settings=ALONE)
            for wire in list(proxy._wires):
                wire.cut(reset=True)
            wait_for(lambda: status.restarts)
            (second / "theirs" / "more.ibd").unlink()
            take(recipient, port, tmp_path / "taken", settings=ALONE)
            assert in_use(second)
            assert in_use(first)
            assert not job.done()
            limits.data = 0.0
            job.result(WAIT)
        wait_for(lambda: not in_use(first))
    for directory, taken in ((first, "slow"), (second, "taken")):
        found = look(directory)
        assert_taken(found, tmp_path / taken)
        found.close()


def test_everything_shows_who_takes_it(agent: Serving, recipient: Server, stored: Path, tmp_path: Path) -> None:
    """While it is taken: tables, page, metrics, `innoclone status`; afterwards the history."""
    arguments = recipient, agent.port_of("slow"), tmp_path / "taken", "REQUIRE SSL"
    run = threading.Thread(target=take, args=arguments, kwargs={"settings": ALONE})
    run.start()
    query = (
        "SELECT USER, HOST, STAGE, THREADS, DATA, ESTIMATE, NETWORK, TLS, DATA_SPEED, NETWORK_SPEED"
        " FROM performance_schema.clone_recipients"
    )
    wait_for(lambda: (found := agent.rows(query)) and found[0][8] > 0)
    ((user, host, stage, threads, data, estimate, network, tls, speed, network_speed),) = agent.rows(query)
    assert 0 < speed < network_speed
    assert (user, host, stage, threads, tls) == (USER, "127.0.0.1", "FILE COPY", 1, "YES")
    assert 0 < data < estimate
    assert network > 0
    page = json.loads(get(port_of(agent), "/status.json")[1])
    (slow,) = (one for one in page["served"] if one["name"] == "slow")
    (taking,) = slow["recipients"]
    assert (taking["user"], taking["stage"], taking["tls"]) == (USER, "FILE COPY", True)
    assert taking["bytes_per_second"] > 0
    found = read(get(port_of(agent), "/metrics")[1])
    assert found["innoclone_donor_recipients{name=slow}"] == 1
    assert 0 < found["innoclone_donor_data_bytes{name=slow}"] < found["innoclone_donor_estimate_bytes{name=slow}"]
    assert found["innoclone_donor_connections{name=slow}"] == 2
    assert found["innoclone_donor_bytes_per_second{name=slow}"] > 0
    assert found["innoclone_connections"] == 0
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    exported = {name.partition("{")[0] for name in found if name.startswith("innoclone_donor_")}
    assert exported == set(re.findall(r"^\| `(innoclone_donor_\w+)`", text, re.MULTILINE))
    wait_for(lambda: f"{USER}@127.0.0.1: FILE COPY, " in innoclone(agent, "status", str(stored)))
    assert "as slow, by process" in innoclone(agent, "status", str(stored))
    run.join()
    wait_for(lambda: not agent.rows(query))
    name, completed, sent = agent.rows("SELECT NAME, COMPLETED, NETWORK FROM performance_schema.clone_served")[1]
    assert (name, completed) == ("slow", 1)
    last = json.loads(innoclone(agent, "history", "--json", "--limit=1").splitlines()[0])
    assert (last["operation"], last["state"], last["source"]) == ("serve", "Completed", str(stored))
    assert last["destination"] == f"{USER}@127.0.0.1"
    assert last["data"] == estimate
    counted = read(get(port_of(agent), "/metrics")[1])["innoclone_donor_network_bytes_total{name=slow}"]
    assert last["network"] <= sent == counted, "another one was killed, but something was sent"
    assert not agent.rows("SELECT * FROM performance_schema.clone_status"), "that is what came to the agent"


def innoclone(agent: Serving, *words: str) -> str:
    """A command with the agent's state folder."""
    environment = os.environ | {"XDG_STATE_HOME": str(agent.folder.parent)}
    command = [sys.executable, "-m", "innoclone", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def read(text: str) -> dict[str, float]:
    """Samples of /metrics as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_running_server(programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path) -> None:
    """That of ``[server]``, with its own account there; recipients come with the agent's. Where its files can't be
    read, its own stream is passed on to them."""
    server = f'[server]\nsocket = "{small_donor.socket}"\nuser = "root"\n'
    live = "[serve.live]\nlive = true\nport = 0\n"
    passed_on = f'[serve.passed]\nlive = true\nport = 0\ndatadir = "{tmp_path / "none"}"\n'
    with Serving(programs, tmp_path / "state", server + live + passed_on) as agent:
        ok(agent.mysql(GRANTED))
        for name in ("live", "passed"):
            take(recipient, agent.port_of(name), tmp_path / name, "REQUIRE SSL", settings=ALONE)
        wait_for(lambda: agent.rows(COMPLETED) == [("live", 1), ("passed", 1)])
        error = refused(recipient, agent.port_of("passed"), tmp_path / "never", USER, "x")
        assert "1045 : Access denied" in error.args[1]
    for name in ("live", "passed"):
        with booted_copy(programs, tmp_path / name) as copy:
            assert checksums(copy) == checksums(small_donor)


COMPLETED = "SELECT NAME, COMPLETED FROM performance_schema.clone_served"
LISTED = "SELECT COUNT(*) FROM performance_schema.processlist WHERE USER <> 'root'"


def test_a_crowd_at_the_door(programs: Programs, stored: Path, recipient: Server, tmp_path: Path) -> None:
    """More connections than there is room for, that say nothing, or log in and say nothing more: the agent answers, a
    recipient gets its clone. Wrong passwords here count at the agent's own port, too."""
    config = "max_failed_logins = 3\n" + table("few", stored, more="max_connections = 20")
    with Serving(programs, tmp_path / "state", config) as agent, contextlib.ExitStack() as stack:
        ok(agent.mysql(GRANTED))
        port = agent.port_of("few")
        for number in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            if number % 50 == 0:
                idle = pymysql.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD)
                stack.callback(idle.close)
        assert agent.rows("SELECT RECIPIENTS FROM performance_schema.clone_served") == [(0,)]
        ((connections,),) = agent.rows(f"{LISTED} AND COMMAND <> 'Killed'")
        assert 0 < connections <= 20
        take(recipient, port, tmp_path / "taken", "REQUIRE NO SSL", settings=tasks(4))
        found = look(stored)
        assert_taken(found, tmp_path / "taken")
        found.close()
        for _ in range(3):
            with pytest.raises(pymysql.Error, match="1045"):
                pymysql.connect(host="127.0.0.1", port=port, user=USER, password="wrong")
        with pytest.raises(pymysql.Error, match="1129"):
            agent.connect(USER, PASSWORD)


def tasks(count: int) -> dict[str, int]:
    return {"clone_autotune_concurrency": 0, "clone_max_concurrency": count}
