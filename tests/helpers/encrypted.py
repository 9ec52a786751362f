"""Encrypted donors, and a search for their keys in whatever was written."""

from __future__ import annotations

import base64
import json
import mmap
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from clones import rows
from innoclone.files.keyring import ENCRYPTION, read_keyring
from innoclone.files.manifest import read_manifest
from innoclone.innodb.encryption import REDO_BLOCK_AT, Secret, read_page_info, read_redo_info
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SpaceFlags, SpaceHeader
from innoclone.sandbox.load import Background
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from managed import ManagedServer
from servers import PASSWORD, ServerFactory

LOGS = ("--innodb-redo-log-encrypt=ON", "--innodb-undo-log-encrypt=ON")
ROWS = 2000
# A table of each kind: what CREATE TABLE says behind the columns.
KINDS = {
    "plain": "ENCRYPTION='N'",
    "single": "ENCRYPTION='Y'",
    "zipped": "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 ENCRYPTION='Y'",
    "zlib": "COMPRESSION='zlib' ENCRYPTION='Y'",
    "lz4": "COMPRESSION='lz4' ENCRYPTION='Y'",
    "common": "TABLESPACE shared ENCRYPTION='Y'",
}


def encrypted_donor(make_server: ServerFactory, folder: Path, *options: str) -> Server:
    """A donor with everything encrypted that can be, but for one table; its keyring is ``folder/ring``."""
    server = make_server(*LOGS, *options, keyring=Keyring(folder / "ring", read_only=False))
    rows(server, "ALTER TABLESPACE mysql ENCRYPTION='Y'")
    rows(server, "CREATE TABLESPACE shared ADD DATAFILE 'shared.ibd' ENCRYPTION='Y'")
    rows(server, "CREATE DATABASE e")
    for name, kind in KINDS.items():
        rows(server, f"CREATE TABLE e.`{name}` (id INT PRIMARY KEY, v INT, b VARCHAR(255)) {kind}")
        add_rows(server, name, 0)
    rows(
        server, "CREATE TABLE e.places (id INT PRIMARY KEY, p POINT NOT NULL SRID 0, SPATIAL INDEX (p)) ENCRYPTION='Y'"
    )
    rows(server, "INSERT INTO e.places SELECT id, POINT(id, v) FROM e.single")
    return server


def add_rows(server: Server, table: str, begin: int) -> None:
    """`ROWS` more, from the key ``begin`` on."""
    values = ",".join(
        f"({number},{number * 7919 % 1000},REPEAT('row {number} ',15))" for number in range(begin, begin + ROWS)
    )
    rows(server, f"INSERT INTO e.`{table}` VALUES {values}")


def rotate(server: Server | ManagedServer) -> None:
    """A new master key, which no binary log tells of."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0")
        cursor.execute("ALTER INSTANCE ROTATE INNODB MASTER KEY")


def keyring_of(directory: Path, *, read_only: bool = False) -> Keyring:
    """The clone's, as its manifest names it."""
    entry = json.loads((directory / "#innoclone" / "manifest.json").read_text())["encryption"]
    return Keyring(Path(entry["keyring"]), read_only)


def keyring_file(directory: Path) -> Path | None:
    """The same's path; None if nothing of the clone is encrypted."""
    entry = read_manifest(directory).get(ENCRYPTION)
    return None if entry is None else Path(entry["keyring"])


def masters_in(ring: Path) -> Iterator[Secret]:
    """All master keys of a keyring, as what `holding_keys` looks for."""
    yield from (Secret(key.raw * 2) for key in read_keyring(ring).values())


def secrets_of(datadir: Path, ring: Path) -> list[Secret]:
    """Keys of all tablespaces and of the redo log in a data directory, by its keyring."""
    masters = read_keyring(ring)
    found = []
    for path in [*datadir.rglob("*.ibd"), *datadir.glob("undo_*")]:
        page = path.read_bytes()[: 64 << 10]
        flags = SpaceFlags(SpaceHeader.parse(page).flags)
        if (info := read_page_info(page, flags)) is not None:
            found.append(info.open(masters[info.key_name]))
    for path in (datadir / "#innodb_redo").glob("#ib_redo*"):
        block = path.read_bytes()[REDO_BLOCK_AT : REDO_BLOCK_AT + BLOCK_SIZE]
        if (info := read_redo_info(block)) is not None:
            found.append(info.open(masters[info.key_name]))
    assert None not in found
    return [secret for secret in found if secret is not None]


def _spellings(secrets: Iterable[Secret]) -> Iterator[bytes]:
    for secret in secrets:
        for half in (secret.raw[:32], secret.raw[32:]):
            yield from (half, half.hex().encode(), half.hex().upper().encode(), base64.b64encode(half)[:40])


def holding_keys(folders: Iterable[Path], secrets: Iterable[Secret]) -> list[Path]:
    """Files in which a key stands: as it is, in hex or in base64."""
    spellings = [*_spellings(secrets)]
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if any(content.find(spelling) >= 0 for spelling in spellings):
                found.append(path)
    return found


def program_with_keyring(programs: Programs, folder: Path, ring: Path) -> Path:
    """A mysqld as an administrator would have it installed: with a keyring, whoever starts it."""
    folder.mkdir()
    dressed = Keyring(ring, read_only=False).programs(programs, folder)
    script = folder / "mysqld"
    words = [shlex.quote(word) for word in dressed.mysqld]
    options = [shlex.quote(option) for option in dressed.server_options]
    script.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@" {" ".join(options)}\n')
    script.chmod(0o755)
    return script


class Changes(Background):
    """Changes a server again and again, as ``change`` does."""

    def __init__(self, change: Callable[[], None]) -> None:
        super().__init__(threads=1)
        self._change = change
        self.rounds = 0

    def _prepare(self) -> None:
        """All is there."""

    def _run(self, number: int) -> None:
        while not self._stopping.wait(0.2):
            self._change()
            self.rounds += 1

    def wait_for_one(self) -> None:
        """Until one more has been made."""
        before = self.rounds
        while self.rounds == before and not self.errors:
            time.sleep(0.02)


class Killed:
    """``innoclone clone`` of an encrypted donor as a process that is killed at the end of a ``with`` block."""

    def __init__(self, server: Server, directory: Path, *options: str) -> None:
        """What it says, and its log, come to lie beside ``directory``."""
        self._journal = directory / "#innoclone" / "journal"
        words = [sys.executable, "-m", "innoclone", "clone", "--no-defaults", "-h127.0.0.1", f"-P{server.port}"]
        words.append(f"--log-file={directory.with_name('killed.log')}")
        with directory.with_name("killed.said").open("wb") as said:
            self._process = subprocess.Popen(
                [*words, "-uclone", *options, str(directory)], env=os.environ | {"MYSQL_PWD": PASSWORD},
                stdout=said, stderr=said,
            )  # fmt: skip

    def wait_for(self, stage: int) -> None:
        """Until the journal says that a stage has begun."""
        mark = f'"event":"start","stage":{stage},'.encode()
        while not self._journal.exists() or mark not in self._journal.read_bytes():
            assert self._process.poll() is None, "it has ended"
            time.sleep(0.002)

    def __enter__(self) -> Killed:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
