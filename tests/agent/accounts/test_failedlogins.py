"""Who guesses passwords: each guess counts and is logged, by whatever way it comes, and soon no more are taken."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

from agents import PATIENCE, RunningAgent
from innoclone.server.programs import Programs
from innoclone.wire import commands as com
from innoclone.wire.handshake import sha2_scramble
from rawclient import Raw, number_of

PASSWORD = "geheim"
MOST = 5


@pytest.fixture
def agent(programs: Programs, tmp_path: Path) -> Iterator[RunningAgent]:
    config = tmp_path / "agent.toml"
    config.write_text(f"max_failed_logins = {MOST}\nblock_time = 600\n")
    with RunningAgent(programs, tmp_path / "state", f"--config={config}") as running:
        running.rows(f"CREATE USER u IDENTIFIED BY '{PASSWORD}', own IDENTIFIED BY 'own'")
        running.connect("u", PASSWORD).close()  # its fast path is open
        yield running


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def refused(agent: RunningAgent) -> bool:
    """Whether this host is let in no more, not even with the right password."""
    with contextlib.suppress(pymysql.OperationalError):
        agent.connect("u", PASSWORD).close()
        return False
    return True


def logged(agent: RunningAgent) -> int:
    return agent.log.read_text().count("login as 'u' ")


def test_wrong_passwords(agent: RunningAgent) -> None:
    numbers = []
    for _ in range(MOST + 1):
        with pytest.raises(pymysql.OperationalError) as failed:
            agent.connect("u", "guess")
        numbers.append(failed.value.args[0])
    assert numbers == [1045] * MOST + [1129]
    assert logged(agent) == MOST
    assert agent.rows("SELECT 1") == [(1,)]  # root on the Unix socket is not concerned


def test_guesses_that_hang_up_on_the_answer(agent: RunningAgent) -> None:
    """The answer to a scramble tells whether it was right: who has it needs no more."""
    answers = []
    for number in range(MOST + 5):
        with agent.raw() as sock:
            if sock.recv(5, socket.MSG_PEEK)[4:] == b"\xff":  # an error instead of the greeting
                continue
            raw = Raw(sock)
            raw.send(raw.response("u", f"guess{number}"), 1)
            answers.append(raw.read()[1])
        until(lambda: logged(agent) == len(answers))
    assert answers == [b"\x01\x04"] * MOST
    assert refused(agent)


def test_guesses_sent_all_at_once(agent: RunningAgent) -> None:
    """Before one of them is decided: no more than a host has failures left are answered."""
    with contextlib.ExitStack() as stack:
        raws = [Raw(stack.enter_context(agent.raw())) for _ in range(40)]
        for number, raw in enumerate(raws):
            raw.send(raw.response("u", f"guess{number}"), 1)
        waiting = {raw.sock: raw for raw in raws}
        answers = []
        while waiting:
            for sock in select.select(list(waiting), [], [])[0]:
                with contextlib.suppress(EOFError, ConnectionError):
                    answers.append(waiting[sock].read()[1])
                del waiting[sock]
                if len(answers) == MOST:
                    for raw in raws:  # they all hang up, and the others learn that they may not
                        raw.sock.shutdown(socket.SHUT_WR)
    told = [answer for answer in answers if answer == b"\x01\x04"]
    assert len(told) == MOST
    assert {number_of(answer) for answer in answers if answer != b"\x01\x04"} <= {1129}
    assert refused(agent)


def test_an_account_of_ones_own_forgives_nothing(agent: RunningAgent) -> None:
    for _ in range(MOST):
        with pytest.raises(pymysql.OperationalError):
            agent.connect("u", "guess")
        with contextlib.suppress(pymysql.OperationalError):
            agent.connect("own", "own").close()
    assert refused(agent)


def test_guesses_by_change_user(agent: RunningAgent) -> None:
    """Each needs a login of its own, since a failed one ends the connection."""
    for number in range(MOST):
        with agent.raw() as sock:
            raw = Raw(sock)
            assert raw.log_in()[0] == 0
            raw.send(com.ChangeUser("own", b"").serialize(), 0)
            sequence, switch = raw.read()
            raw.send(sha2_scramble(f"guess{number}", switch[-21:-1]), sequence + 1)
            raw.read()
    assert refused(agent)
    assert agent.log.read_text().count("login as 'own' not completed") == MOST


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed who is none of the agent's")
def test_guesses_by_the_unix_socket(agent: RunningAgent) -> None:
    for folder in (agent.socket.parent, *agent.socket.parent.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    script = (
        "import os, pymysql, sys\n"
        "os.setuid(65534)\n"
        "for n in range(int(sys.argv[2])):\n"
        "    try: pymysql.connect(unix_socket=sys.argv[1], user='u', password='guess')\n"
        "    except pymysql.Error as error: print(error.args[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(agent.socket), str(MOST + 2)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1045"] * MOST + ["1129"] * 2
    assert not refused(agent)  # that was user 65534, not this host
    assert agent.rows("SELECT 1") == [(1,)]


def test_many_honest_logins_at_once_are_none(agent: RunningAgent) -> None:
    agent.rows(f"ALTER USER u IDENTIFIED BY '{PASSWORD}'")  # in full, each of them, until one is through
    failed: list[Exception] = []

    def log_in() -> None:
        try:
            agent.connect("u", PASSWORD).close()
        except pymysql.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=log_in) for _ in range(4 * MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not refused(agent)
