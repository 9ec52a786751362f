"""The program against faults: running it in the background, waiting for a stage, and what every failure must keep."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pymysql
import pytest

from clones import clone_server, rows
from innoclone.errors import BootFailed, CloneError
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD

__all__ = [
    "LONG", "Running", "assert_failed", "assert_free", "assert_unbootable", "dsn", "kill_connections", "tmpfs",
    "wait_until",
]  # fmt: skip

LONG = 60.0  # seconds: far more than anything here takes, far less than a hang

SLOW_DISK = """
import os, time
sync = os.fsync
os.fsync = lambda fd: time.sleep(0.2) or sync(fd)
from innoclone.cli import main
main()
"""


def dsn(server: Server, user: str = "clone", password: str = PASSWORD, host: str = "127.0.0.1") -> str:
    """The server as the command line takes it."""
    return f"mysql://{user}:{password.replace(' ', '%20')}@{host}:{server.port}"


class Running:
    """The program in the background, with ``--json``. Use it with ``with``: it never outlives the test."""

    def __init__(
        self, *args: str, environment: Mapping[str, str], before: Sequence[str] = (), slow_disk: bool = False
    ) -> None:
        """``before`` is a command that runs the program (setpriv, prlimit); ``slow_disk`` makes fsync take 0.2 s."""
        program = [sys.executable, "-c", SLOW_DISK] if slow_disk else [sys.executable, "-m", "innoclone"]
        self.process = subprocess.Popen(
            [*before, *program, args[0], "--json", *args[1:]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.events: list[dict[str, object]] = []

    def wait_for(self, stage: str, data: int = 0) -> None:
        """Read events until ``stage`` has begun and, if asked for, ``data`` bytes were moved in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            if event.get("stage") == stage and int(str(event.get("data", 0))) >= data:
                return
        raise AssertionError(f"it ended before {stage}: {self.process.communicate(timeout=LONG)[1]}")

    def signal(self, number: int) -> None:
        """Send a signal to the program."""
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait until it ends: exit status and stderr."""
        out, err = self.process.communicate(timeout=LONG)
        self.events += [json.loads(line) for line in out.splitlines()]
        assert "Traceback" not in err
        return self.process.returncode, err

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def assert_failed(
    done: subprocess.CompletedProcess[str] | tuple[int, str], kind: type[CloneError], *texts: str, number: int = 0
) -> None:
    """The program ended with the exit status and number of ``kind`` and said ``texts``."""
    status, err = done if isinstance(done, tuple) else (done.returncode, done.stderr)
    assert (status, f"ERROR {number or kind.number} (" in err) == (kind.exit_status, True), err
    assert "Traceback" not in err
    assert "completed OK!" not in err
    for text in texts:
        assert text in err, err


def assert_unbootable(programs: Programs, directory: Path) -> None:
    """A stock server refuses what is there, and says why."""
    with pytest.raises(BootFailed) as caught:
        Server.start(programs, directory, error_log=directory.with_suffix(".refused"), timeout=LONG)
    assert "Incomplete cloned data directory" in caught.value.message


def assert_free(donor: Server, directory: Path, **options: object) -> None:
    """The donor takes the next clone at once: nobody waits for one that is gone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("innoclone.receive.timings.BUSY_DONOR", 0.0)
        clone_server(donor, directory, **options)


def kill_connections(server: Server) -> None:
    """KILL of what clones there."""
    for (number,) in rows(server, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'clone'"):
        with contextlib.suppress(pymysql.err.OperationalError):  # the first KILL ends the others
            rows(server, f"KILL {number}")


@contextlib.contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    """A small file system of its own; only for root."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def wait_until(reached: object, what: str) -> None:
    """Poll until ``reached()`` is true."""
    assert callable(reached)
    end = time.monotonic() + LONG
    while not reached():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)
