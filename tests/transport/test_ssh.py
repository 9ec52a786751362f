"""The way through ssh, with a program in its place that does what ssh and the other host might: no server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from innoclone.errors import (
    AccessDenied,
    ConnectionLimit,
    InnocloneMissing,
    InnocloneVersion,
    Interrupted,
    NetworkError,
    NotInnoclone,
    ProtocolError,
    SshFailed,
    SshMissing,
    TargetUnusable,
    TooManyOpenFiles,
)
from innoclone.transport import ssh, sshlogin
from innoclone.transport.sockets import open_socket
from innoclone.transport.ssh import STDIO_USER, SshRoute, SshWay
from innoclone.version import __version__
from innoclone.wire.stdio import PROTOCOL, Hello, Ready, Refused, Waiting, serialize

HELLO = Hello(PROTOCOL, __version__).serialize().decode()
READY, WAITING = (serialize(answer).decode() for answer in (Ready(), Waiting()))
GONE = serialize(Refused("SnapshotGone", "ended", "")).decode()
ROUTE = SshRoute("dbhost")

# An innoclone over there: it keeps its requests in a file, and sends back what a connection gets.
PEER = f"""
import os, sys
if "-G" in sys.argv:
    sys.exit(0)
def line():
    found = b""
    while not found.endswith(b"\\n"):
        piece = os.read(0, 1)
        if not piece:
            sys.exit(0)
        found += piece
    return found
def say(text):
    os.write(1, text.encode())
def note(what):
    with open(os.environ["NOTES"], "ab") as file:
        file.write(what)
HELLO, READY, WAITING, GONE = {HELLO!r}, {READY!r}, {WAITING!r}, {GONE!r}
def echo():
    try:  # one who left without reading resets the connection, as any end of it here
        while piece := os.read(0, 4096):
            note(piece)
            os.write(1, piece)
    except OSError:
        return
"""


class Fake:
    """An ``ssh`` on PATH that is a Python program."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "notes").touch()
        patch.setenv("PATH", str(folder))
        patch.setenv("NOTES", str(folder / "notes"))

    def does(self, body: str, *, with_peer: bool = True) -> None:
        path = self.folder / "new"
        path.write_text(f"#!{sys.executable}\n{PEER if with_peer else ''}\n{body}\n")
        path.chmod(0o755)
        path.replace(self.folder / "ssh")  # one that runs is not written to

    @property
    def notes(self) -> bytes:
        return (self.folder / "notes").read_bytes()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return Fake(tmp_path, monkeypatch)


ALL_WELL = "say(HELLO); note(line()); say(READY); echo()"


def way(directory: str = "/backups/c1", **options) -> SshWay:
    return SshWay(ROUTE, directory=directory, **options)


def wait_until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_connections(fake):
    """Each is a process of its own; all of them have ended afterwards."""
    fake.does("sys.stderr.write('hi\\n'); say(HELLO); say(WAITING) if b'Open' in (l := line()) else 0; note(l);"
              "say(READY); echo()")  # fmt: skip
    said: list[str] = []
    there = way(say=said.append)
    with there:
        endpoint = there.endpoint
        assert (endpoint.user, endpoint.is_private, str(endpoint)) == (STDIO_USER, True, "ssh://dbhost/backups/c1")
        assert endpoint.address == str(endpoint)
        assert endpoint.password not in repr(endpoint)
        for text in (b"one", b"two"):
            with open_socket(endpoint) as sock:
                sock.sendall(text)
                assert sock.recv(10) == text
        processes = [one.process for one in there._others]
        with there.connect() as left_open:
            assert left_open.fileno() > 0
            processes += [one.process for one in there._others]
    assert all(process.returncode is not None for process in processes)
    opened, *joined, rest = fake.notes.split(b"\n")
    assert b'"Open"' in opened
    assert b'"directory": "/backups/c1"' in opened
    assert [b"Join" in line for line in joined] == [True, True, True, False]
    assert rest == b""
    assert joined[-1] == b"bye"
    assert said == ["dbhost: hi"]  # once, though each of them says so
    with pytest.raises(Interrupted):
        there.connect()


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("sys.stderr.write('Permission denied (publickey).\\n'); sys.exit(255)", AccessDenied, "255: Permission"),
        ("sys.stderr.write('no route\\n'); sys.exit(255)", SshFailed, "status 255: no route"),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", SshFailed, "ended with status -9"),
        ("sys.stderr.write('bash: not found'); sys.exit(127)", InnocloneMissing, "there is no innoclone on dbhost"),
        ("sys.exit(126)", InnocloneMissing, "can't be run"),
        ("sys.stderr.write('No such option: --stdio'); sys.exit(2)", NotInnoclone, "status 2 before it greeted"),
        ("say('Welcome!\\n' + HELLO)", NotInnoclone, "says something else before innoclone greets: Welcome!"),
        ("say('This account is not available')", NotInnoclone, "not available"),
        ("say('x' * 70000)", NotInnoclone, "xxx"),
        ("say('\\x1b]0;title\\x07\\n')", NotInnoclone, "title"),
        (f"say({Hello(PROTOCOL, '9.7.0').serialize().decode()!r})", InnocloneVersion, "here and 9.7.0 on"),
        (f"say({Hello(PROTOCOL + 1, __version__).serialize().decode()!r})", InnocloneVersion, "don't fit"),
        (f"say(HELLO); line(); say({serialize(Refused('TargetUnusable', 'no clone', '')).decode()!r})", TargetUnusable,
         "dbhost: no clone"),
        ("say(HELLO); line(); say('{}\\n')", ProtocolError, "no sense"),
        ("say(HELLO); line(); sys.exit(255)", SshFailed, "status 255"),
    ],
)  # fmt: skip
def test_what_may_be_wrong_over_there(fake, body, kind, text):
    fake.does(body)
    with pytest.raises(kind, match=text) as caught, way():
        pass
    assert caught.value.advice
    assert "\x1b" not in "".join(caught.value.lines)


def test_silence(fake, monkeypatch):
    monkeypatch.setattr(ssh, "TERMINAL", "/nowhere/tty")
    fake.does("echo()")
    monkeypatch.setattr(ssh, "GREETS_WITHIN", 0.1)
    with pytest.raises(SshFailed, match=r"did not answer through ssh within 0\.1 s"), way():
        pass
    (fake.folder / "ssh").write_text("#!/bin/sh\nprintf 'Welcome\\n'\nread nothing\n")
    with pytest.raises(NotInnoclone, match="Welcome"), way():
        pass
    (fake.folder / "ssh").write_text("#!/bin/sh\nprintf Welcome\nread nothing\n")
    monkeypatch.setattr(ssh, "GREETS_WITHIN", 1.0)
    with pytest.raises(NotInnoclone, match="Welcome"), way():
        pass


def test_a_pipe_that_breaks(fake):
    fake.does("say(HELLO); os.close(0); import time; time.sleep(0.2)")
    with pytest.raises((SshFailed, NotInnoclone)), way(directory="x" * 1_000_000):
        pass


def test_no_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SshMissing) as caught, way():
        pass
    assert caught.value.exit_status == 13


def test_no_process(fake, monkeypatch):
    fake.does(ALL_WELL)

    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(TooManyOpenFiles, match="temporarily"), way():
        pass


def test_another_donor_in_place_of_one_that_has_gone(fake):
    """Its pipe ended; or a connection hears that it has."""
    fake.does("say(HELLO); note(line()); say(READY)")
    with way() as there:
        keeper = there._keeper
        keeper.process.wait(20)
        fake.does(ALL_WELL)
        there.connect().close()
        assert there._keeper is not keeper
        keeper = there._keeper
        fake.does(
            "gone = os.path.exists(os.environ['NOTES'] + '.gone')\n"
            "say(HELLO); l = line(); note(l)\n"
            "if b'Join' in l and not gone:\n"
            "    open(os.environ['NOTES'] + '.gone', 'w'); say(GONE); sys.exit(0)\n"
            "say(READY); echo()"
        )
        there.connect().close()
        assert there._keeper is not keeper
        fake.does("say(HELLO); l = line(); say(GONE if b'Join' in l else READY); echo()")
        with pytest.raises(NetworkError, match="ended"):
            there.connect()
    assert fake.notes.count(b'"Open"') == 3


def test_another_thread_has_replaced_it_or_all_is_over(fake):
    fake.does(ALL_WELL)
    there = way()
    with there:
        keeper = there._keeper
        there._let_go(object())
        assert there._keeper is keeper
        there._let_go(keeper)
        assert there._keeper is None
    assert keeper.process.returncode == -signal.SIGKILL


def test_it_ends_though_ssh_does_not(fake, monkeypatch):
    monkeypatch.setattr(ssh, "ENDS_WITHIN", 0.2)
    fake.does("say(HELLO); line(); say(READY); import time; time.sleep(100)")
    with way() as there:
        process = there._keeper.process
    assert process.returncode == -signal.SIGKILL


def test_stderr_that_outlives_ssh(fake):
    """A connection that is kept for later ones (ControlPersist) has it open."""
    fake.does("say(HELLO); line(); say(READY); sys.stderr.write('last'); sys.stderr.flush(); os.read(0, 1)\n"
              "if os.fork() == 0: import time; time.sleep(3)")  # fmt: skip
    said: list[str] = []
    with way(say=said.append) as there:
        keeper = there._keeper
    keeper._listener.join(2)
    assert not keeper._listener.is_alive()
    assert said == ["dbhost: last"]


def test_stderr_that_is_closed_early_or_without_end(fake):
    fake.does("say(HELLO); line(); os.write(2, b'y' * 5000 + b'\\n\\n' + b''.join(b'%d\\n' % n for n in range(100)))\n"
              "os.close(2); say(READY); echo()")  # fmt: skip
    said: list[str] = []
    with way(say=said.append) as there:
        wait_until(lambda: len(said) >= ssh.MOST_LINES)
        there.connect().close()
    assert len(said) == ssh.MOST_LINES
    assert max(map(len, said)) < 1100


def test_ctrl_c_is_not_for_ssh(fake):
    """The terminal sends it to all processes that it started; ssh would end before we could say why."""
    fake.does("import signal; held = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
              "note(b'%d\\n' % held); " + ALL_WELL)  # fmt: skip
    with way():
        pass
    assert fake.notes.startswith(b"1\n")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_nobody_is_asked_where_there_is_no_terminal(fake, monkeypatch):
    fake.does("note(' '.join(sys.argv).encode() + b'\\n'); " + ALL_WELL)
    for terminal, batch in ((os.devnull, False), ("/nowhere/tty", True)):
        monkeypatch.setattr(ssh, "TERMINAL", terminal)
        with way() as there:
            there.connect().close()
        assert (b"BatchMode" in fake.notes.split(b"\n")[0]) is batch
        (fake.folder / "notes").write_bytes(b"")


@pytest.mark.parametrize(("terminal", "typing", "most"), [("/nowhere/tty", 0.0, 4), (os.devnull, 1e9, 4),
                                                          (os.devnull, 0.0, 1)])  # fmt: skip
def test_few_log_in_at_once(terminal, typing, most, fake, monkeypatch):
    """One where somebody may be asked by each: the first took long, on a terminal, and nothing is shared."""
    monkeypatch.setattr(ssh, "TERMINAL", terminal)
    monkeypatch.setattr(sshlogin, "TYPING", typing)
    monkeypatch.setattr(sshlogin, "LONGEST", 0)
    fake.does(
        "import glob, time\n"
        "say(HELLO); l = line(); mine = os.environ['NOTES'] + '.%d' % os.getpid()\n"
        "open(mine, 'w'); time.sleep(0.1); note(b'%d\\n' % len(glob.glob(os.environ['NOTES'] + '.*')))\n"
        "os.remove(mine)\n"
        "say(READY); echo()"
    )
    with way() as there:
        threads = [threading.Thread(target=lambda: there.connect().close()) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = [int(line) for line in fake.notes.split(b"\n") if line.isdigit()]
    assert len(counts) == 13
    assert max(counts) <= most


def test_a_login_that_is_shared(fake, monkeypatch):
    """Where nobody can be asked again; what sshd has no more sessions for is no connection, and no failure of the way.
    A shared one that fails otherwise says so."""
    monkeypatch.setattr(ssh, "TERMINAL", os.devnull)
    monkeypatch.setattr(sshlogin, "LONGEST", 1000)
    fake.does(
        "words = ' '.join(sys.argv)\n"
        "if 'BatchMode' in words and 'ControlPath' not in words:\n"
        "    sys.exit(sys.stderr.write('Permission denied (publickey).\\n') and 255)\n"
        "if 'BatchMode' in words and os.path.exists(os.environ['NOTES'] + '.full'):\n"
        "    sys.exit(sys.stderr.write(open(os.environ['NOTES'] + '.full').read()) and 255)\n" + ALL_WELL
    )
    full = fake.folder / "notes.full"
    with way() as there:
        with there.connect() as sock:
            sock.sendall(b"one")
            assert sock.recv(10) == b"one"
        full.write_text("Session open refused by peer")
        with pytest.raises(ConnectionLimit):
            there.connect()
        full.write_text("Connection closed")
        with pytest.raises(SshFailed):
            there.connect()
        full.write_text("Permission denied")
        with pytest.raises(AccessDenied):
            there.connect()


def test_the_words_for_what_is_cloned():
    texts = {
        "ssh://dbhost/c": {"directory": "/c"}, "ssh://dbhost/./c": {"directory": "c"},
        "ssh://dbhost": {"server": "mysql://"}, "mysql://me@db2 on ssh://dbhost": {"server": "mysql://me@db2"},
    }  # fmt: skip
    for text, options in texts.items():
        assert str(SshWay(ROUTE, **options)) == text


def test_the_words_for_a_route():
    assert str(SshRoute("fe80::1", "me", 22, "/opt/innoclone")) == "ssh://me@[fe80::1]:22"
    assert SshRoute("h", "me", 22, "~/in here").command()[-3:] == ["--", "h", "~/'in here' serve --stdio"]
    assert SshRoute("h", "me", 22).command()[1:-3] == ["-T", "-oClearAllForwardings=yes", "-p22", "-lme"]
