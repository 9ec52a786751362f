"""A real sshd on loopback, with keys of its own: OpenSSH from this machine's Debian mirror, unpacked into the cache.

It is run through its own dynamic loader, as the private MySQL is. Root's sshd wants a user of its own, which need not
be on this machine: nss_wrapper gives it one. What sshd starts gets nothing of that.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.server.debian import provide_packages
from innoclone.server.programs import cache_directory

PACKAGES = ("openssh-server", "openssh-client", "libnss-wrapper")
PRIVSEP = Path("/run/sshd")  # root's sshd changes its root to that
PATIENCE = 20.0  # seconds
PRIVATE_USER = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"


@dataclass
class Sshd:
    """``config`` is what ssh needs to come in as this user, without asking: a file for ``ssh -F``. Use it with
    ``with``."""

    folder: Path
    settings: str = ""  # more lines of sshd_config; a later one of a name doesn't count
    environment: Mapping[str, str] = field(default_factory=dict)  # of what is started there
    host: str = "dbhost"  # a name that is in `config` alone
    port: int = 0
    password: str = ""  # with which this user may come in, too
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        root = cache_directory() / "openssh"
        provide_packages(root, PACKAGES, unwanted=("perl", "libperl"), report=print)
        self._usr = root / "usr"
        self._loader = next(self._usr.glob("lib/*-linux-gnu*/ld-linux*.so.*"))
        self._wrapper = next(self._usr.glob("lib/*-linux-gnu*/libnss_wrapper.so"))
        self.folder.mkdir(mode=0o700, parents=True)
        self.bin = self.folder / "bin"  # to be put on PATH: has an ssh that goes by `config`
        self.bin.mkdir()
        self._keys()
        self.port = _free_port()
        self._write()

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def log(self) -> str:
        """What sshd has said."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def started(self) -> set[int]:
        """Processes that have come from sessions, and are still there."""
        mark = f"INNOCLONE_TEST_SSHD={self.folder}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
        return found

    @staticmethod
    def command_line(pid: int) -> bytes:
        """Of a process, empty where it has ended."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        return b""

    @contextlib.contextmanager
    def changed(self, name: str, text: str) -> Iterator[None]:
        """One of the files in `folder` has another content meanwhile."""
        path = self.folder / name
        before = path.read_text()
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)

    def cut(self) -> None:
        """Break all connections, as a network does: nobody says goodbye."""
        assert self._process is not None
        for pid in _descendants(self._process.pid):
            if b"sshd-session" in self.command_line(pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _keys(self) -> None:
        for name in ("host", "user"):
            command = [*self._program("bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized_keys")

    def _program(self, name: str) -> list[str]:
        return [str(self._loader), "--library-path", str(self._loader.parent), str(self._usr / name)]

    def _script(self, path: Path, program: str, *, with_user: bool = False) -> Path:
        words = self._program(program)
        if with_user:
            words[3:3] = ["--preload", str(self._wrapper)]
        path.write_text(f'#!/bin/sh\nexec {" ".join(words)} {self._more(path)}"$@"\n')
        path.chmod(0o755)
        return path

    def _more(self, path: Path) -> str:
        return f"-F {self.config} " if path.name == "ssh" else ""

    @property
    def _environment(self) -> str:
        return "".join(f" {name}={value}" for name, value in self.environment.items())

    def _write(self) -> None:
        (self.folder / "passwd").write_text(Path("/etc/passwd").read_text() + PRIVATE_USER)
        if self.password:
            command = ["openssl", "passwd", "-6", "-stdin"]
            done = subprocess.run(command, input=self.password, check=True, capture_output=True, text=True)
            (self.folder / "shadow").write_text(f"{getpass.getuser()}:{done.stdout.strip()}:20000::::::\n")
        session = self._script(self.folder / "sshd-session", "lib/openssh/sshd-session", with_user=True)
        auth = self._script(self.folder / "sshd-auth", "lib/openssh/sshd-auth", with_user=True)
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host'}\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            f"SetEnv INNOCLONE_TEST_SSHD={self.folder}{self._environment}\n"
            f"PasswordAuthentication {'yes' if self.password else 'no'}\n"
            f"MaxStartups 10:30:100\nSshdSessionPath {session}\nSshdAuthPath {auth}\n{self.settings}\n"
        )
        host_key = (self.folder / "host.pub").read_text().split()
        known = self.folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.port} {host_key[0]} {host_key[1]}\n")
        self.config.write_text(
            f"Host {self.host}\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {self.folder / 'user'}\n IdentitiesOnly yes\n UserKnownHostsFile {known}\n"
            " GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n"
        )
        self._script(self.bin / "ssh", "bin/ssh")

    def __enter__(self) -> Sshd:
        if os.geteuid() == 0:
            PRIVSEP.mkdir(mode=0o755, exist_ok=True)
        command = self._program("sbin/sshd")
        command[3:3] = ["--preload", str(self._wrapper)]
        environment = os.environ | {
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": "/etc/group",
        }
        if self.password:
            environment["NSS_WRAPPER_SHADOW"] = str(self.folder / "shadow")
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while not _listens(self.port):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(PATIENCE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                yield from (child, *_descendants(child))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def sshd(folder: Path, settings: str = "", *, password: str = "", **environment: str) -> Iterator[Sshd]:
    """One that runs as long as the ``with`` block."""
    with Sshd(folder, settings, environment, password=password) as running:
        yield running


def main() -> None:
    """For the recorded sessions of the guides: ``FOLDER HOST NAME=VALUE...`` runs one until it is killed."""
    folder, host, *environment = sys.argv[1:]
    with Sshd(Path(folder), "", dict(word.split("=", 1) for word in environment), host):
        signal.pause()


if __name__ == "__main__":
    main()
