"""The program for the tests: as a process of its own, or in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from innoclone.cli import app as program
from innoclone.commands.clone import CloneResult
from innoclone.commands.options import CloneOptions
from innoclone.report.output import Output

SECRET = "s3cr3t-pass"


def names_of(command) -> set[str]:
    """Its options, by the names of their values."""
    return {parameter.name for parameter in command.params}


@pytest.fixture
def environment(tmp_path):
    """Nothing of this machine's MySQL configuration but what the machine's administrator wrote."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MYSQL")}
    return {**kept, "HOME": str(home), "COLUMNS": "80"}


@pytest.fixture
def innoclone(environment):
    """Run the program as a user would."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("innoclone")), *args],
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # no terminal to ask for passwords on
        )

    return run


@pytest.fixture
def in_this_process(monkeypatch, environment):
    """`program.run` can be called."""
    monkeypatch.setattr("innoclone.settings.options.USUAL_SOCKETS", ())
    monkeypatch.setattr(Output, "current", None)
    for name in ("HOME", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def innoclone_here(in_this_process, capsys):
    """The same as `innoclone` in this process, for what says no more than text and status: a start takes long."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        status = program.run(list(args))
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(args, status, out, err)

    return run


@pytest.fixture
def cloned(monkeypatch, in_this_process):
    """Run in this process, with an operation that only notes its options; gives (exit status, options)."""
    seen: list[CloneOptions] = []
    stand_in = types.ModuleType("innoclone.commands.clone")

    def clone(options: CloneOptions, *, status: object) -> CloneResult:
        seen.append(options)
        return CloneResult(
            directory=options.directory, donor_uuid="uuid", donor_version="9.7.4", seconds=1.0, data=0, network=0,
            connections=4, compression="off", cipher="",
        )  # fmt: skip

    stand_in.clone = clone  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "innoclone.commands.clone", stand_in)

    def run(*args: str) -> tuple[int, CloneOptions | None]:
        seen.clear()
        status = program.run(["clone", *args])
        return status, seen[0] if seen else None

    return run
