"""--json: an event for every failure, whatever is wrong; and stdout and stderr that can't be written, or are closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import SECRET, cloned, environment, in_this_process, names_of
from innoclone import errors
from innoclone.cli import app as program
from innoclone.cli.reference import commands
from innoclone.commands.options import CloneOptions

__all__ = ["cloned", "environment", "in_this_process"]


@pytest.mark.parametrize("name", [name for name, command in commands().items() if "json" in names_of(command)])
def test_a_usage_error_of_every_command_in_json(in_this_process, capsys, name):
    """An option that there is not, one without its value, an argument too many."""
    for words in (["--nonsense"], ["--log-file"], ["a", "b", "c", "d"]):
        assert program.run([*name.split(), "--json", *words]) == 2
        assert_error(capsys, 1210, 2)


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], [], ["--nonsense"], ["help", "nonsense"], ["sandbox"], ["sandbox", "nonsense"], ["version"],
        ["clone", "--threads=0", "/x"], ["clone", "--max-concurrency=x", "/x"], ["clone", "--port=x", "/x"],
        ["clone", "--defaults-file=/nonexistent", "/x"], ["clone", "--log-file=/nonexistent/log", "/x"],
        ["clone", "--login-path=nonexistent", "/x"], ["clone", "--no-defaults", "--defaults-file=/dev/null", "/x"],
        ["history", "--limit=-1"], ["sandbox", "shell", "--json"], ["sandbox", "fill", "--size=x"],
        ["agent", "--config=/nonexistent"], ["replace", "--config=/nonexistent"], ["local", "--generations=1", "/x"],
    ],
)  # fmt: skip
def test_every_usage_error_in_json(in_this_process, capsys, words):
    assert program.run([*words, "--json"]) == 2
    assert_error(capsys, 1210, 2)


def test_json_in_the_option_file_counts_as_well(cloned, capsys, tmp_path):
    path = tmp_path / "my.cnf"
    path.write_text("[innoclone]\njson\n")
    assert cloned(f"--defaults-file={path}", "--threads=0", "/x")[0] == 2
    assert_error(capsys, 1210, 2)
    assert cloned(f"--defaults-file={path}", "--max-concurrency=x", "/x")[0] == 2
    assert_error(capsys, 1210, 2)


@pytest.mark.parametrize(
    ("words", "number", "exit_status"),
    [
        (["boot", "/usr"], 1006, 10), (["verify", "/usr"], 1006, 10),
        (["boot", "s3://bucket/prefix"], 1210, 2), (["restore", "/usr", "/nonexistent"], 1006, 10),
        (["boot", "/nonexistent"], 1006, 10), (["status", "/nonexistent"], 1006, 10),
        (["stop", "/nonexistent"], 1006, 10), (["discard", "/nonexistent"], 1006, 10),
        (["verify", "/nonexistent"], 1006, 10),
        (["diff", "/nonexistent", "/x"], 1006, 10), (["check", "mysql://u@127.0.0.1:1"], 2003, 3),
        (["replicate", "--run", "mysql://u@127.0.0.1:1"], 2003, 3), (["sandbox", "stop", "nonexistent"], 1210, 2),
        (["local", "mysql://u@127.0.0.1:1", "/nonexistent"], 2003, 3),
        (["clone", "mysql://u@127.0.0.1:1", "/nonexistent"], 2003, 3),
        (["agent", "--folder=/proc/nonexistent"], 1026, 9),
    ],
)  # fmt: skip
def test_another_failure_in_json(in_this_process, capsys, words, number, exit_status):
    assert program.run([*words, "--json"]) == exit_status
    assert_error(capsys, number, exit_status)


def test_what_nobody_expected_in_json(cloned, monkeypatch, capsys):
    def fail(options: CloneOptions, *, status: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["innoclone.commands.clone"], "clone", fail)
    assert cloned("--json", "/x")[0] == 1
    assert_error(capsys, 1105, 1)


def test_several_problems_in_json(cloned, monkeypatch, capsys):
    def fail(options: CloneOptions, *, status: object) -> None:
        raise errors.PreflightFailed([errors.RedoDisabled("redo is off"), errors.DiskSpace("too small")])

    monkeypatch.setattr(sys.modules["innoclone.commands.clone"], "clone", fail)
    assert cloned("--json", "/x")[0] == errors.RedoDisabled.exit_status
    event = assert_error(capsys, 3983, errors.RedoDisabled.exit_status)
    assert [(each["number"], each["message"]) for each in event["problems"]] == [
        (3983, "redo is off"),
        (3873, "too small"),
    ]


def test_a_warning_in_json(cloned, capsys):
    assert cloned("--json", "-hdb1", f"-p{SECRET}", "/x")[0] == 0
    first, *_, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["event"], "password" in first["text"], last["event"]) == ("warning", True, "result")


def assert_error(capsys, number: int, exit_status: int) -> dict[str, object]:
    """One event with a hint and nothing else on stdout; the same on stderr, without a traceback."""
    out, err = capsys.readouterr()
    (event,) = map(json.loads, out.splitlines())
    assert (event["event"], event["number"], event["exit_status"]) == ("error", number, exit_status)
    assert f"ERROR {number} " in err
    assert event["hint"] or event["problems"]  # of which each has its own
    assert "Traceback" not in err
    return event


# ---- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["history --json", "history", "--help", "version", "sandbox list --json"])
def test_a_stdout_that_can_not_be_written_is_an_error(environment, words):
    with Path("/dev/full").open("w") as full:
        done = run_with(environment, words, stdout=full)
    assert done.returncode == errors.DiskFull.exit_status
    assert done.stderr.splitlines() == [
        "innoclone: ERROR 1021 (HY000): can't write to stdout: No space left on device",
        "innoclone: hint: what was to be done is done, only its output is missing",
    ]


@pytest.mark.parametrize("words", ["history --json", "history", "--help", "version", "nonsense --json"])
def test_a_stdout_that_nobody_reads_is_no_error(environment, words):
    reader, writer = os.pipe()
    os.close(reader)
    done = run_with(environment, words, stdout=writer)
    os.close(writer)
    assert done.returncode == (2 if words.startswith("nonsense") else 0)
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("words", ["history --json", "nonsense --json", "--help"])
def test_streams_that_were_closed(environment, words):
    """No file that is opened later may get the number of stdout or stderr."""
    command = f"{Path(sys.executable).with_name('innoclone')} {words}"
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["bash", "-c", f"{command} {closed}"], env=environment, capture_output=True, check=False)
        assert done.returncode == (2 if "nonsense" in words else 0)
        assert b"Traceback" not in done.stderr
        assert bool(done.stdout) == (closed == "2>&-")


def run_with(environment, words: str, **more) -> subprocess.CompletedProcess[str]:
    """The program with one of its streams elsewhere."""
    command = [str(Path(sys.executable).with_name("innoclone")), *words.split()]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False, **more)


def test_a_signal_during_the_imports_in_json(environment):
    """Before anything of ours is there, the same words as later."""
    code = """
import os, signal, sys
import innoclone.cli

class Finder:
    def find_spec(self, name, *rest):
        if name == "innoclone.cli.app":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
sys.argv = ["innoclone", "history", "--json"]
innoclone.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    event = json.loads(done.stdout)
    late = errors.Interrupted("interrupted")
    assert event | {"time": 0} == {
        "event": "error", "time": 0, "number": late.code, "symbol": late.symbol, "sqlstate": late.sqlstate,
        "message": late.message, "hint": late.advice, "retryable": late.retryable, "exit_status": 143,
    }  # fmt: skip
    assert done.stderr.splitlines() == [f"innoclone: {line}" for line in late.lines]


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_key_that_everybody_can_read(in_this_process, capsys, tmp_path, mode, warnings):
    key = tmp_path / "key"
    key.write_bytes(bytes(32))
    key.chmod(mode)
    assert program.run(["store", "list", f"file://{tmp_path}", f"--key-file={key}"]) != 0
    assert capsys.readouterr().err.count(f"everybody on this host can read {key}") == warnings
