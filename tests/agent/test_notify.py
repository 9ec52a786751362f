"""The agent as a systemd service: what it tells the service manager, and the unit that it prints."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_clones import allow, clone_statement, ok, start_slow_clone
from agents import PATIENCE, RunningAgent
from innoclone.agent.notify import progress_line
from innoclone.files.marks import is_unfinished
from innoclone.records.status import CloneStatus
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs


@pytest.fixture(params=["a path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's socket, and its name in the environment."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    if request.param == "abstract":
        sock.bind("")  # the kernel chooses a name
        name = "@" + sock.getsockname()[1:].decode()
    else:
        name = str(tmp_path / "notify")
        sock.bind(name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    yield sock
    sock.close()


def test_no_name_begins_a_line_of_its_own() -> None:
    status = CloneStatus(source="u@h:1", destination="/a\nREADY=0", number=7)
    assert progress_line(SimpleNamespace(latest=status, is_running=True)) == r"clone 7 from u@h:1 into /a\nREADY=0"


def test_ready_progress_and_stopping(manager: socket.socket, programs: Programs, donor: Server, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with RunningAgent(programs, tmp_path / "state") as agent:
        assert manager.recv(4096) == b"READY=1\nSTATUS=waiting for statements"
        ok(agent.mysql("SELECT 1"))  # it was the truth
        allow(agent, donor)
        thread, _ = start_slow_clone(agent, donor, target)
        told = manager.recv(4096).decode()
        end = time.monotonic() + PATIENCE
        while not ("FILE COPY, " in told and not told.endswith(", 0 % copied")):
            assert time.monotonic() < end, told
            told = manager.recv(4096).decode()
        start = f"STATUS=clone 1 from clone@127.0.0.1:{donor.port} into {target}: FILE COPY, "
        assert told.startswith(start)
        assert told.removeprefix(start).removesuffix(" % copied").isdigit()
        assert agent.terminate() == 0
        thread.join(PATIENCE)
        said = [told]
        while said[-1] != "STOPPING=1\nSTATUS=stopping":
            said.append(manager.recv(4096).decode())
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
    assert is_unfinished(target)


def test_a_mysqld_that_the_agent_starts_does_not_speak_for_it(
    manager: socket.socket, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    with RunningAgent(programs, tmp_path / "state") as agent:
        allow(agent, donor)
        ok(agent.mysql("SET GLOBAL clone_boot = ON"))
        ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
        assert agent.terminate() == 0
    manager.setblocking(False)
    said = []
    while not said or not said[-1].startswith("STOPPING"):
        said.append(manager.recv(4096).decode())
    assert [text for text in said if not text.startswith("STATUS=")] == [
        "READY=1\nSTATUS=waiting for statements", "STOPPING=1\nSTATUS=stopping",
    ]  # fmt: skip
    assert all(" clone 1 from " in f" {text.removeprefix('STATUS=')}" or "waiting" in text for text in said[:-1])


def test_nobody_listens(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "@innoclone-nobody", str(tmp_path / "nothing"), "relative", "x" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        with RunningAgent(programs, tmp_path / "state") as agent:
            assert agent.rows("SELECT 1") == [(1,)]
            assert agent.terminate() == 0


def printed_unit(*options: str) -> str:
    command = [sys.executable, "-m", "innoclone", "agent", "--systemd-unit", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_unit_starts_this_program(tmp_path: Path) -> None:
    config = tmp_path / "100 % of it" / "agent.toml"
    line = next(line for line in printed_unit(f"--config={config}").splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%"))
    assert words[-2:] == ["agent", f"--config={config}"]
    done = subprocess.run([*words[:-1], "--help"], capture_output=True, text=True, check=True)
    assert "--systemd-unit" in done.stdout
    assert "Type=notify\n" in printed_unit()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "innoclone-agent.service"
    path.write_text(printed_unit("--config=/etc/innoclone/agent.toml"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    path.write_text(path.read_text().replace("KillMode=process", "KillMode=of our own"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "kill mode" in done.stdout + done.stderr, "it is verified indeed"
