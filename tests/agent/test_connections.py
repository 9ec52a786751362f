"""Connections and descriptors: no kind of client takes another's room, and none makes the agent spin."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import RunningAgent
from innoclone.agent.connections import ADMINISTRATORS, RESERVED, ClientKind, ConnectionLimits
from innoclone.errors import UsageError
from innoclone.server.programs import Programs
from rawclient import number_of

CONNECTIONS = 12


@contextlib.contextmanager
def limit_of_files(soft: int, hard: int | None = None) -> Iterator[None]:
    """For this process and what it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1] if hard is None else hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_files_is_raised_as_far_as_needed() -> None:
    with limit_of_files(256):
        assert ConnectionLimits.for_connections(300) == ConnectionLimits(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == RESERVED + ADMINISTRATORS + 600
    with limit_of_files(900):
        assert ConnectionLimits.for_connections(10) == ConnectionLimits(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 900


@pytest.mark.parametrize(
    ("hard", "room"), [(RESERVED + ADMINISTRATORS + 25, 12), (RESERVED + ADMINISTRATORS + 1, None)]
)
def test_less_room_where_it_can_not_be_raised(hard: int, room: int | None) -> None:
    """In a process of its own: a hard limit can't be had back."""
    script = (
        "import resource, sys\n"
        "from innoclone.agent.connections import ConnectionLimits\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))\n"
        "print(ConnectionLimits.for_connections(151).connections)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(hard)], capture_output=True, text=True, check=False)
    if room is None:
        assert UsageError.__name__ in done.stderr
    else:
        assert done.stdout == f"{room}\n"


def test_each_kind_of_client_has_its_own_room() -> None:
    room = ConnectionLimits(2)
    there = [ClientKind.TCP, ClientKind.TCP, ClientKind.SOCKET]
    assert room.is_full(ClientKind.TCP, there)
    assert not room.is_full(ClientKind.SOCKET, there)
    assert room.is_full(ClientKind.ADMINISTRATOR, [ClientKind.ADMINISTRATOR] * ADMINISTRATORS)


FLOOD = """
import os, socket, sys, time
os.setuid(65534)
there = []
for _ in range(int(sys.argv[2])):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    sock.recv(4)
    there.append((sock, sock.recv(200)))
print(sum(greeting[0] == 10 for _, greeting in there), flush=True)
sys.stdin.read()
"""


def test_a_flood_over_the_unix_socket_takes_nobody_elses_room(programs: Programs, tmp_path: Path) -> None:
    """More connections than the agent may have descriptors: TCP clients and the administrator still get in."""
    with RunningAgent(programs, tmp_path / "state", f"--max-connections={CONNECTIONS}") as agent:
        for folder in (agent.socket.parent, *agent.socket.parent.parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        agent.rows("CREATE USER u IDENTIFIED BY 'geheim'")
        with subprocess.Popen(
            [sys.executable, "-c", FLOOD, str(agent.socket), "300"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as flood:
            assert flood.stdin is not None
            assert flood.stdout is not None
            assert int(flood.stdout.readline()) == CONNECTIONS
            with contextlib.ExitStack() as stack:
                for _ in range(CONNECTIONS):
                    stack.enter_context(agent.connect("u", "geheim"))
                with agent.raw() as sock:
                    sock.recv(4)
                    assert number_of(sock.recv(200)) == 1040
                for _ in range(ADMINISTRATORS):
                    stack.enter_context(agent.root())
            flood.stdin.close()


LISTENER = """
import resource, threading
from innoclone.transport.listening import Listener
said, looks = [], []
listener = Listener(host="127.0.0.1", port=0, path=None, short=said.append)
select = listener._selector.select
listener._selector.select = lambda: looks.append(1) or select()
print(listener.port, flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
there = []
threading.Timer(2, there.clear).start()
for number, sock in enumerate(listener.accept(), 1):
    there.append(sock)
    if number == 20:
        break
print(len(said), len(looks))
"""


def test_without_descriptors_it_waits_and_says_so_once() -> None:
    with subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(address))
            said, looks = map(int, process.stdout.readline().split())
    assert said == 1
    assert looks < 100
