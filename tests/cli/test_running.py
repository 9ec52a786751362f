"""The program while it runs: signals, failures, a terminal, and a clone of a real donor."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from commandline import SECRET, environment, innoclone
from innoclone import errors
from innoclone.sandbox.server import ACCOUNT
from servers import PASSWORD

__all__ = ["environment", "innoclone"]

RUN = """
import sys, time, types
from innoclone import errors
from innoclone.cli.app import main
def clone(options, *, status):
    print("running", file=sys.stderr, flush=True)
    {body}
stand_in = types.ModuleType("innoclone.commands.clone")
stand_in.clone = clone
sys.modules["innoclone.commands.clone"] = stand_in
sys.argv = ["innoclone", "clone", "--json", *sys.argv[1:], "/x"]
main()
"""


def start(body: str, environment: dict[str, str], *args: str, before=None) -> subprocess.Popen[str]:
    """The program with an operation that does ``body``."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(body=body), *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(environment, number):
    process = start("time.sleep(600)", environment)
    assert process.stderr.readline() == "running\n"
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert json.loads(out.splitlines()[-1])["exit_status"] == 128 + number
    assert "ERROR 1317 (70100)" in err
    assert "completed OK!" not in err
    assert "Traceback" not in err


def test_a_signal_that_was_ignored_stays_ignored(environment):
    process = start("time.sleep(600)", environment, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stderr.readline() == "running\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_its_end_changes_nothing(environment, number):
    code = f"""
import atexit, os, sys, time
from innoclone.cli.app import main
atexit.register(lambda: [os.kill(os.getpid(), {int(number)}), time.sleep(0.1)])
sys.argv = ["innoclone", "version"]
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout.startswith("innoclone ")
    assert ended.stderr == ""


def test_an_operation_that_reports_the_interruption_itself(environment):
    body = "\n    ".join(
        [
            "try: sys.stderr.write('inside\\n'); time.sleep(600)",
            "except KeyboardInterrupt:",
            "  raise errors.Interrupted('stopped', hint='go on so')",
        ]
    )
    process = start(body, environment)
    assert process.stderr.readline() == "running\n"
    assert process.stderr.readline() == "inside\n"
    process.send_signal(signal.SIGTERM)
    err = process.communicate()[1]
    assert process.returncode == 143
    assert "hint: go on so" in err


def test_an_unexpected_failure_asks_for_a_report(environment):
    process = start("1 / 0", environment)
    err = process.communicate()[1]
    assert process.returncode == 1
    assert "ZeroDivisionError" in err
    assert "please report" in err
    assert "Traceback" not in err
    process = start("1 / 0", environment, "--debug")
    assert "Traceback" in process.communicate()[1]
    assert process.returncode == 1


def test_no_output_and_no_log_repeats_the_password(environment, tmp_path):
    log = tmp_path / "log"
    args = [f"--log-file={log}", "--verbose", "--debug", f"mysql://u:{SECRET}@db1"]
    process = start("raise errors.ConnectFailed(f'no connection to {options.donor}')", environment, *args)
    out, err = process.communicate()
    assert process.returncode == 3
    assert "u@db1:3306" in err
    assert SECRET not in out + err + log.read_text()
    assert "ERROR 2003" in log.read_text()


LIVE = """
    from types import SimpleNamespace
    from innoclone.records.status import Stage
    stage = status.start(Stage.FILE_COPY, estimate=1 << 20, threads=4)
    stage.counter().data = 1 << 20
    time.sleep(0.5)
    status.notes.append('noted')
    status.finish(Stage.FILE_COPY)
    return SimpleNamespace(
        donor_uuid='', donor_version='9.7.4', connections=4, compression='off', cipher='', incremental=False,
        directory='/x', kept=(),
    )
"""


def test_on_a_terminal_progress_is_drawn_in_place(environment):
    """In a pseudo terminal, with nothing in between."""
    pid, terminal = pty.fork()
    if pid == 0:
        script = RUN.format(body=LIVE.strip()).replace('"--json", ', "")
        os.execve(sys.executable, [sys.executable, "-c", script], {**environment, "TERM": "xterm"})  # noqa: S606
    seen = b""
    with contextlib.suppress(OSError):  # that is how a terminal's end looks
        while piece := os.read(terminal, 4096):
            seen += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = seen.decode()
    assert "\r\x1b[2K" in text  # it cleared a line to redraw it
    assert "noted" in text
    assert text.endswith("innoclone: completed OK!\r\n")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def test_colour_only_on_a_terminal(environment):
    process = start("raise errors.ConnectFailed('no')", environment)
    assert "\x1b" not in process.communicate()[1]


# ---- a real donor ------------------------------------------------------------------------------------------


@pytest.fixture
def donor_file(donor, tmp_path):
    """An option file with the donor's account."""
    path = tmp_path / "donor.cnf"
    path.write_text(f"[client]\nhost=127.0.0.1\nport={donor.port}\nuser={ACCOUNT}\npassword='{PASSWORD}'\n")
    return f"--defaults-file={path}"


def test_a_clone_from_an_option_file_alone(innoclone, donor_file, tmp_path):
    done = innoclone("clone", donor_file, "--json", str(tmp_path / "clone"))
    assert (done.returncode, done.stderr) == (0, "innoclone: completed OK!\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    begun = [event["stage"] for event in events if event["event"] == "stage_begin"]
    assert begun == ["FILE COPY", "PAGE COPY", "REDO COPY", "FILE SYNC"]
    assert begun == [event["stage"] for event in events if event["event"] == "stage_end"]
    result = events[-1]
    assert result["event"] == "result"
    assert result["cipher"].startswith("TLSv1")
    assert result["data"] == sum(row["data"] for row in result["stages"] if row["stage"].endswith("COPY"))
    assert PASSWORD not in done.stdout
    assert (tmp_path / "clone" / "ibdata1").exists()


def test_a_second_clone_into_the_same_directory_is_refused(innoclone, donor_file, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    done = innoclone("clone", donor_file, str(tmp_path / "full"))
    assert done.returncode == errors.TargetExists.exit_status
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_wrong_password(innoclone, donor_file, tmp_path):
    done = innoclone("clone", donor_file, f"-p{SECRET}", str(tmp_path / "clone"))
    assert done.returncode == errors.AccessDenied.exit_status
    assert "ERROR 1045 (28000)" in done.stderr
    assert SECRET not in done.stderr
    assert not (tmp_path / "clone").exists()


def test_check_finds_nothing_wrong(innoclone, donor_file, tmp_path):
    done = innoclone("check", donor_file, str(tmp_path / "clone"))
    assert done.returncode == 0
    assert done.stderr.endswith("innoclone: completed OK!\n")
    assert not (tmp_path / "clone").exists()


LEAVING = """
import atexit, sys, threading, time
from innoclone.cli import app, main
def run(args):
    {body}
app.run = run
main()
"""


def leave(body: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """The program, ended behind ``body``; what is taken apart at an interpreter's end would say so."""
    told = "app.witness = type('Witness', (), {'__del__': lambda self: print('taken apart')})()"
    code = LEAVING.format(body="\n    ".join([told, *body.splitlines()]))
    # Coverage sees to it that a program ends its own way.
    buffered = {
        name: value for name, value in os.environ.items()
        if name != "PYTHONUNBUFFERED" and not name.startswith("COVERAGE_")
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", code], env=buffered, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


def test_it_leaves_with_all_written_and_without_the_interpreters_end():
    done = leave(
        "sys.stdout.write('out')\nsys.stderr.write('err')\natexit.register(lambda: print(' at last', end=''))\nreturn 7"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "out at last", "err")


def test_it_waits_for_a_thread_that_is_at_work():
    done = leave("threading.Thread(target=lambda: (time.sleep(0.3), print('ready'))).start()\nreturn 7")
    assert (done.returncode, done.stdout) == (7, "ready\ntaken apart\n")


def test_a_daemon_does_not_keep_it():
    done = leave("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\nreturn 7")
    assert (done.returncode, done.stdout) == (7, "")


def test_a_full_disk_is_told_at_the_end():
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = leave("sys.stdout.write('out')\nreturn 0", full)
    finally:
        os.close(full)
    assert done.returncode == errors.FileError.exit_status
    assert "can't write to stdout" in done.stderr


def test_nobody_reads_at_the_end():
    end, begin = os.pipe()
    os.close(end)
    try:
        done = leave("sys.stdout.write('out')\nreturn 0", begin)
    finally:
        os.close(begin)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_profiler_gets_its_end():
    done = leave("sys.setprofile(lambda *_: None)\nreturn 7")
    assert (done.returncode, done.stdout) == (7, "taken apart\n")
