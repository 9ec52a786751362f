"""A donor of ours in the tests: in this process, or as one that can be killed; and what its recipients got."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from innoclone.donor.account import Account
from innoclone.donor.clones import DonorOptions
from innoclone.donor.offer import Source
from innoclone.donor.plans import DataFile
from innoclone.donor.service import Donor
from innoclone.donor.stored import Stored, look
from innoclone.innodb.redo import FILE_HEADER_SIZE
from innoclone.records.limits import Limits
from innoclone.server.mysqld import Server
from innoclone.transport.endpoint import Endpoint, SslMode

USER, PASSWORD = "taker", "a secret' of \\ its own"
PATIENCE = 60.0  # seconds


@contextlib.contextmanager
def served(
    directory: Path, folder: Path, *, limits: Limits | None = None, reading: Limits | None = None,
    keyring: Path | None = None, places: Sequence[Path] = (), **options: Any,
) -> Iterator[Donor]:  # fmt: skip
    """A donor that serves a directory from a thread; ``options`` are fields of `DonorOptions`."""
    with serving(look(directory, keyring, places), folder, limits=limits, reading=reading, **options) as donor:
        yield donor


@contextlib.contextmanager
def serving(
    source: Source, folder: Path, *, limits: Limits | None = None, reading: Limits | None = None, **options: Any
) -> Iterator[Donor]:
    """The same of any source, which is closed at the end."""
    try:
        choice = replace(DonorOptions(Account(USER, PASSWORD), folder / "keys", port=0), **options)
        donor = Donor(source, choice, limits, reading)
        thread = threading.Thread(target=donor.serve, name="donor")
        thread.start()
        try:
            yield donor
        finally:
            donor.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()
    finally:
        source.close()


class ServeProcess:
    """``innoclone serve`` as a process. Use it with ``with``."""

    def __init__(self, directory: Path, *options: str, port: int = 0, heard: bool = True, named: bool = True) -> None:
        """``heard``: what it says is read; else there is no more room for it in the pipe to us. ``named``: it is told
        a password; else it makes one."""
        command = [sys.executable, "-m", "innoclone", "serve", "--no-defaults", f"--user={USER}", f"--port={port}"]
        environment = os.environ | ({"MYSQL_PWD": PASSWORD} if named else {})
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [*command, *options, str(directory)], stdout=subprocess.PIPE, stderr=writing, text=True, env=environment
        )
        self._words = os.fdopen(reading)
        if heard:
            os.close(writing)  # else it would be waited for for ever where it says no port
        self.said: list[str] = []
        self.port = 0
        for line in self._words:
            self.said.append(line)
            if found := re.search(r", on \S+:(\d+); at the recipient", line):
                self.port = int(found[1])
                break
        assert self.port, self.said
        self._reader = threading.Thread(target=self._read)
        if heard:
            self._reader.start()
        else:
            _fill(writing)
            os.close(writing)

    def _read(self) -> None:
        self.said += self._words

    def listen(self) -> None:
        """From now on it is heard after all."""
        self._reader.start()

    def kill(self) -> None:
        """Without a chance to say anything."""
        self._process.kill()
        self.wait()

    def stop(self) -> int:
        """By SIGTERM; the exit status."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Until it ends; the exit status."""
        status = self._process.wait(PATIENCE)
        if self._reader.ident is not None:
            self._reader.join(PATIENCE)
        return status

    @property
    def most_memory(self) -> int:
        """Bytes of it that were resident at the same time, at the most."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        assert found is not None
        return int(found[1]) << 10

    def printed(self, lines: int) -> str:
        """The first lines of stdout."""
        assert self._process.stdout is not None
        return "".join(self._process.stdout.readline() for _ in range(lines))

    @property
    def statements(self) -> str:
        """What it printed for the recipient; it must have ended."""
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._words.close()


def _fill(pipe: int) -> None:
    """Until nothing more fits in; who writes to it waits then."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n")
    os.set_blocking(pipe, True)


def endpoint(port: int, **changes: Any) -> Endpoint:
    """The donor as innoclone's own recipient sees it, without TLS."""
    values: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD}
    return Endpoint(**values | {"ssl_mode": SslMode.DISABLED, "get_server_public_key": True} | changes)


def take(recipient: Server, port: int, target: Path | None, clause: str = "", *, settings: dict[str, Any]) -> None:
    """CLONE INSTANCE on a stock server, with these global variables. Raises what PyMySQL does."""
    place = "" if target is None else f" DATA DIRECTORY = '{target}'"
    with recipient.connect() as connection, connection.cursor() as cursor:
        for name, value in {"clone_valid_donor_list": f"127.0.0.1:{port}", **DEFAULTS, **settings}.items():
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))
        cursor.execute(f"CLONE INSTANCE FROM %s@'127.0.0.1':{port} IDENTIFIED BY %s{place} {clause}", (USER, PASSWORD))


DEFAULTS = {"clone_autotune_concurrency": 1, "clone_max_concurrency": 8, "clone_enable_compression": 0}
ALONE = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 1}


def assert_taken(stored: Source, target: Path) -> None:
    """Every file of a directory is the donor's, byte by byte; what the recipient makes longer is zeros; pages that were
    sent in another form have that; the redo log is as long as the donor's and has the same part of it."""
    assert isinstance(stored, Stored)
    changed = {(block.index, block.offset): block.content or b"" for block in stored.pages.blocks(1, 0)}
    for index, file in enumerate(stored.files.data):
        want = bytearray(file.stored.path.read_bytes())
        for (where, offset), content in changed.items():
            if where == index:
                want[offset : offset + len(content)] = content
        found = placed(file, target).read_bytes()
        assert found[: len(want)] == want, file.name
        assert not any(found[len(want) :]), file.name
    for index, part in enumerate(stored.redo.parts):
        found = (target / "#innodb_redo" / f"#ib_redo{index}").read_bytes()
        want = part.stored.path.read_bytes()
        assert len(found) == len(want)
        assert found[:FILE_HEADER_SIZE] == part.header
        assert found[part.begin : part.end] == want[part.begin : part.end]
        assert not any(found[FILE_HEADER_SIZE : part.begin])
        assert not any(found[part.end :])


def placed(file: DataFile, target: Path) -> Path:
    """Where a recipient puts a file."""
    return target / file.name.removeprefix("./")
