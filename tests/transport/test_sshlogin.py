"""Who is asked how often: logins of several ssh processes to a real sshd, with a key that needs a passphrase."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.transport import sshlogin
from innoclone.transport.sshlogin import SshLogins
from sshd import PATIENCE, Sshd, sshd

PROGRAM = str(Path(sys.executable).with_name("innoclone"))
SECRET = "sesame"
ASKED = "Enter passphrase", "'s password:"


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """Another host, that lets a key in which nobody has unlocked, and four sessions of one login."""
    where = {"XDG_STATE_HOME": str(tmp_path / "far"), "HOME": str(tmp_path)}
    with sshd(tmp_path / "sshd", "MaxSessions 4", password=SECRET, **where) as running:
        command = [*running._program("bin/ssh-keygen"), "-q", "-p", "-P", "", "-N", SECRET, "-f"]
        subprocess.run([*command, running.folder / "user"], check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        monkeypatch.setenv("PATH", os.pathsep.join([str(running.bin), os.environ["PATH"]]))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        yield running


def typed(command: list[str], answer: str) -> tuple[int, str]:
    """Run it on a terminal of its own, with somebody who answers; its exit status, and what was on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # it asks on /dev/tty
    )  # fmt: skip
    os.close(theirs)
    screen, answered = "", 0
    with contextlib.suppress(OSError):  # EIO: all that had it open have ended
        while piece := os.read(ours, 1 << 12):
            screen += piece.decode("utf-8", "replace")
            if asked(screen) > answered:
                answered += 1
                os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    return process.wait(PATIENCE), screen


def asked(screen: str) -> int:
    """How often somebody had to type."""
    return sum(map(screen.count, ASKED))


@pytest.mark.parametrize("what", ASKED)
def test_a_secret_is_typed_once(
    what: str, small_clone: Path, far: Sshd, tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the whole clone, which would take more connections than one login may have sessions. Without a key that is
    accepted there it is the password."""
    if what == ASKED[1]:
        (far.folder / "authorized_keys").write_text("")
        far.config.write_text(far.config.read_text() + " PubkeyAuthentication no\n")
    monkeypatch.setenv("TMPDIR", str(short))
    words = [PROGRAM, "clone", f"--via=ssh://{far.host}", f"--from-dir={small_clone}", f"--remote-innoclone={PROGRAM}"]
    status, screen = typed([*words, "--no-defaults", "--threads=8", str(tmp_path / "taken")], SECRET)
    assert status == 0, screen
    assert (screen.count(what), asked(screen)) == (1, 1), screen
    assert "completed OK!" in screen
    assert "fewer connections: dbhost takes no more sessions in one login" in " ".join(screen.split())
    assert list(short.iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for sockets, whose paths can't be long."""
    folder = Path(tempfile.mkdtemp(prefix="i-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def here(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `ssh -G` says is in a file."""
    said = tmp_path / "said"
    said.write_text("controlmaster false\n")
    (tmp_path / "ssh").write_text(f"#!/bin/sh\ncat {said}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    return said


def test_nobody_to_be_asked(here: Path, short: Path) -> None:
    logins = SshLogins(["--", "h"], asks=False)
    assert logins.first() == logins.other() == ["-oBatchMode=yes"]
    logins.first_took(60.0)
    assert not logins.share()
    logins.close()
    assert not logins.is_shared
    assert not logins.one_at_a_time


def test_the_first_login_is_shared_once_that_is_needed(here: Path, short: Path) -> None:
    """Where one took long, or the next is not let in; the socket of one that has gone is left behind."""
    logins = SshLogins(["--", "h"], asks=True)
    first = logins.first()
    (folder,) = short.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first == ["-oControlMaster=yes", "-oControlPersist=no", f"-oControlPath={folder}/1"]
    logins.first_took(0.1)
    assert logins.other() == ["-oBatchMode=yes"]
    assert logins.share()
    assert f"-oControlPath={folder}/1" in logins.other()
    assert f"-oControlPath={folder}/2" in logins.first()
    assert f"-oControlPath={folder}/2" in logins.other()
    logins.close()
    assert list(short.iterdir()) == []
    logins.first()
    logins.first_took(60.0)
    assert logins.is_shared
    assert not logins.one_at_a_time
    logins.close()


@pytest.mark.parametrize("why", ["configured", "no ssh", "a long path", "no folder"])
def test_where_it_is_not_for_us_to_share(why: str, here: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may ask then, one after another."""
    if why == "configured":
        here.write_text("controlmaster auto\nControlPath /home/me/.ssh/%C\n")
    elif why == "no ssh":
        monkeypatch.setenv("PATH", str(short))
    elif why == "a long path":
        monkeypatch.setattr(sshlogin, "LONGEST", 10)
    else:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    logins = SshLogins(["--", "h"], asks=True)
    assert logins.first() == logins.other() == []
    logins.first_took(60.0)
    assert logins.one_at_a_time
    assert not logins.share()
    logins.close()
    assert list(short.iterdir()) == []
