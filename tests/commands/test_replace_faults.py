"""A managed server under faults while its data is replaced: always the old or the new data, whole."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clones import rows
from faults import tmpfs
from innoclone.commands import replace as operation
from innoclone.commands.replace import recover_replacement, replace_data
from innoclone.errors import BootFailed, DiskFull, DiskSpace, Interrupted, TargetUnusable
from innoclone.files import belongings as staying
from innoclone.files.base import server_process
from innoclone.files.marks import is_unfinished
from innoclone.files.replacing import Places
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.servercontrol import Control
from managed import MakeManaged, ManagedServer, assert_new, assert_old
from servers import ServerFactory


def spoil(places: Places) -> None:
    """No server comes up on the new data any more."""
    os.truncate(places.new / "mysql.ibd", 1 << 20)


def test_data_that_does_not_boot_never_stops_the_server(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed()
    process = server_process(server.data)
    copy = operation.copy

    def spoiled(*arguments: Any) -> Any:
        result = copy(*arguments)
        spoil(server.places)
        return result

    monkeypatch.setattr(operation, "copy", spoiled)
    with pytest.raises(BootFailed, match="did not come up"):
        replace_data(server.options(small_donor))
    assert server_process(server.data) == process
    assert_old(server)
    monkeypatch.undo()
    replace_data(server.options(small_donor))
    assert_new(server)


def test_options_that_mysqld_refuses_never_stop_the_server(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = make_managed()
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for this process, and not for a server of maybe another user
    process = server_process(server.data)
    options = server.options(small_donor)
    wrong = replace(options.managed, options=(*options.managed.options, "--secure-file-priv=/nowhere"))
    with pytest.raises(TargetUnusable, match=r"refuses the options .*secure-file-priv") as caught:
        replace_data(replace(options, managed=wrong))
    assert "defaults_file" in caught.value.advice
    assert server_process(server.data) == process
    assert not server.places.new.exists()
    assert_old(server)
    replace_data(options)
    assert_new(server)
    assert server.run("SELECT @@tmpdir") != [(str(tmp_path),)]


def test_a_start_that_fails_brings_the_old_data_back(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)
    exchange = Places.exchange
    spoilt = []

    def spoiled(self: Places) -> None:
        if not spoilt:
            spoil(self)
        spoilt.append(self)
        exchange(self)

    monkeypatch.setattr(Places, "exchange", spoiled)
    status = CloneStatus()
    with pytest.raises(BootFailed, match="did not come up"):
        replace_data(server.options(small_donor), status=status)
    assert len(spoilt) == 2
    assert_old(server)
    assert status.state is State.FAILED
    server.run("INSERT INTO mine.t VALUES (2)", "DELETE FROM mine.t WHERE a = 2")
    monkeypatch.undo()
    result = replace_data(server.options(small_donor))
    assert_new(server)
    assert result.binlog_file == rows(small_donor, "SHOW BINARY LOG STATUS")[0][0]  # without a trial, too


def test_a_server_that_ends_right_after_its_start_brings_the_old_data_back(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer to a login is not enough for the old data to be dropped."""
    server = make_managed(trial=False)
    answers = Control._answers
    process = server_process(server.data)
    killed = []

    def then_killed(self: Control) -> bool:
        answered = answers(self)
        found = server_process(self.data)
        if answered and found != process and found and not killed:
            os.kill(found, signal.SIGKILL)
            killed.append(found)
        return answered

    monkeypatch.setattr(Control, "_answers", then_killed)
    with pytest.raises(BootFailed, match="did not come up"):
        replace_data(server.options(small_donor))
    assert killed
    assert_old(server)


def test_a_stop_while_the_server_comes_up_brings_the_old_data_back(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)
    stopped = threading.Event()
    exchange = Places.exchange

    def then_stop(self: Places) -> None:
        exchange(self)
        stopped.set()

    monkeypatch.setattr(Places, "exchange", then_stop)
    with pytest.raises(Interrupted):
        replace_data(server.options(small_donor), stopped=stopped)
    assert_old(server)


def test_a_disk_that_runs_full_while_the_server_is_down(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staying, "copy_file", full)
    with pytest.raises(DiskFull):
        replace_data(server.options(small_donor))
    assert_old(server)


def test_a_disk_without_room_for_the_servers_own_files(make_managed: MakeManaged, small_donor: Server) -> None:
    server = make_managed(trial=False)
    process = server_process(server.data)
    with (server.data / "huge.log").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(DiskSpace, match="own files"):
        replace_data(server.options(small_donor))
    assert server_process(server.data) == process
    assert_old(server)


KILLED = """
import os, pickle, sys
from innoclone.server.servercontrol import Control
from innoclone.server.servercontrol import Control
from innoclone.server.mysqld import Server
from innoclone.files.replacing import Places
from innoclone.commands import replace
options, where, name, when = pickle.loads(bytes.fromhex(sys.argv[1]))
home = {"Control": Control, "Places": Places, "Server": Server, "replace": replace}[where]
function = getattr(home, name)
def killed(*arguments, **named):
    if when == "before":
        os.kill(os.getpid(), 9)
    function(*arguments, **named)
    os.kill(os.getpid(), 9)
setattr(home, name, killed)
replace.replace_data(options)
"""
OLD, NEW = assert_old, assert_new


@pytest.mark.parametrize(
    ("where", "name", "when", "expected"),
    [
        ("replace", "copy", "after", OLD), ("Server", "_await_answer", "after", OLD),
        ("Control", "stop", "before", OLD), ("Control", "stop", "after", OLD), ("replace", "carry", "after", OLD),
        ("Places", "exchange", "after", NEW),
        ("Control", "start", "after", NEW), ("Places", "put_aside", "before", NEW),
        ("Places", "put_aside", "after", NEW),
    ],
)  # fmt: skip
def test_a_kill_at_each_step(
    make_managed: MakeManaged,
    small_donor: Server,
    where: str,
    name: str,
    when: str,
    expected: Callable[[ManagedServer], None],
) -> None:
    server = make_managed(trial=where == "Server")
    argument = pickle.dumps((server.options(small_donor), where, name, when)).hex()
    done = subprocess.run([sys.executable, "-c", KILLED, argument], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    recover_replacement(server.managed)
    expected(server)
    assert not server.places.new.exists() or server_process(server.places.new) is None
    if name in ("copy", "_await_answer", "carry"):  # of the others nothing else is left
        replace_data(server.options(small_donor))
        assert_new(server)
    left = [path.name for path in server.places.folder.iterdir() if path.is_dir()]
    assert left == (["new"] if name == "stop" else [])


def test_commands_that_run_the_server_in_the_foreground_and_that_fail(
    make_managed: MakeManaged, small_donor: Server
) -> None:
    server = make_managed(trial=False)
    start = (*server.control._mysqld(),)
    server.managed = replace(server.managed, start=start, stop=("/bin/false", "--password=geheim"))
    with pytest.raises(BootFailed, match=r"/bin/false ended with status 1") as failed:
        replace_data(server.options(small_donor))
    assert "geheim" not in str(failed.value)
    assert_old(server)
    server.managed = replace(server.managed, stop=())
    replace_data(server.options(small_donor))
    assert_new(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_disk_that_is_full_when_the_server_comes_up(
    programs: Programs, make_server: ServerFactory, small_donor: Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not even the old data could be started then; so what was copied goes."""
    with tmpfs(tmp_path / "disk", "450m") as disk:
        server = ManagedServer(programs, make_server.template(()), disk / "m", trial=False)
        try:
            server.begin()
            exchange = Places.exchange

            def fill_the_disk(self: Places) -> None:
                exchange(self)
                usage = os.statvfs(disk)
                if free := usage.f_bavail * usage.f_frsize:
                    ballast = disk / f"ballast-{len(list(disk.iterdir()))}"  # a start that fails frees a little
                    with ballast.open("wb") as file:
                        os.posix_fallocate(file.fileno(), 0, free)

            monkeypatch.setattr(Places, "exchange", fill_the_disk)
            monkeypatch.setattr(operation, "LITTLE", 1.0)  # what a failed start gives back comes when it likes
            with pytest.raises(BootFailed, match="did not come up"):
                replace_data(server.options(small_donor))
            assert_old(server)
            assert not server.places.new.exists()
        finally:
            server.end()


def test_an_unfinished_clone_of_another_donor_makes_room(
    make_managed: MakeManaged, make_server: ServerFactory, small_donor: Server
) -> None:
    server = make_managed(trial=False)
    other = make_server()
    stopped = threading.Event()
    status = CloneStatus()
    failures: list[BaseException] = []

    def run() -> None:
        options = server.options(other, threads=1, max_data_bandwidth=4)
        try:
            replace_data(options, status=status, stopped=stopped)
        except Interrupted as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not status.stages[Stage.FILE_COPY].data:
        time.sleep(0.05)
    stopped.set()
    thread.join(60)
    assert failures
    assert is_unfinished(server.places.new)
    result = replace_data(server.options(small_donor))
    assert any(note.startswith("an unfinished clone of") for note in result.notes)
    assert_new(server)
