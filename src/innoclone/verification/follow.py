"""A copy of a clone that follows the donor up to a given GTID set, so that both can be compared at that point.

It is a copy because replication changes data and position for good. The copy lies beside the clone, shares its blocks
where the file system can (reflink), and is thrown away afterwards. Unlike a private server on a clone this one has its
accounts loaded, because account statements may come from the donor; ours comes in by an init file.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innoclone.errors import FileError, Interrupted, VerifyFailed
from innoclone.files.names import OWN_DIR
from innoclone.files.ownership import give
from innoclone.files.system import file_error, write_all
from innoclone.records.units import amount
from innoclone.server import cloned
from innoclone.server.keyring import Keyring, has_component
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.replication import change_source, literal, read_threads, reset_channels, start_replica, words
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql
from innoclone.verification.compare import Table, quote
from innoclone.wire.serverversion import version_number

__all__ = ["ACCOUNT", "copy_beside", "follow", "following_server", "reason_against_copy"]

ACCOUNT = "innoclone.verify"
POLL = 0.2  # seconds between looks at the replica
_SPARE = 1.1  # the following needs some space too
_KEYS = "following.keyring"  # in #innoclone/ of the copy
_NO_MASTER_KEY = "3185:"  # ER_CANNOT_FIND_KEY_IN_KEYRING


def reason_against_copy(directory: Path, manifest: dict[str, Any]) -> str:
    """Why a clone can't be copied for a while; empty where it can."""
    if manifest.get("external_directories"):
        return "it has tablespaces outside its directory, which a copy would share"
    if any(path.is_symlink() for path in directory.rglob("*")):
        return "it has symbolic links, and a copy would share what they lead to"
    if not os.access(directory.parent, os.W_OK | os.X_OK):
        return f"{directory.parent} is not writable"
    if not _shares_blocks(directory):
        needed = int(sum(path.lstat().st_blocks * 512 for path in directory.rglob("*")) * _SPARE)
        usage = os.statvfs(directory.parent)
        if usage.f_bavail * usage.f_frsize < needed:
            return f"a copy of it needs {amount(needed)} in {directory.parent}"
    return ""


def _shares_blocks(directory: Path) -> bool:
    """Whether a copy takes no space (cp --reflink)."""
    with tempfile.TemporaryDirectory(prefix=f"{directory.name}.verify-", dir=directory.parent) as scratch:
        command = ["cp", "--reflink=always", str(directory / "mysql.ibd"), scratch]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def copy_beside(directory: Path) -> Iterator[Path]:
    """A copy of a clone, removed at the end. Raises `FileError`."""
    # No dot in front: InnoDB finds no tablespaces in a hidden directory.
    scratch = Path(tempfile.mkdtemp(prefix=f"{directory.name}.verify-", dir=directory.parent))
    try:
        # -T: the content of the directory; holes of page-compressed tables stay holes.
        command = ["cp", "-aT", "--reflink=auto", "--sparse=auto", str(directory), str(scratch)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FileError(f"can't copy {directory}: {done.stderr.strip()}")
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keyring(copy: Path, keys: Keyring | None) -> Keyring:
    """A keyring for the server on a copy, thrown away with it: a copy of ``keys``, or an empty one.

    It makes master keys as the donor does, and writes the whole file for that: the clone's own may be that of a server
    that is running. Raises a file error.
    """
    home = copy / OWN_DIR / _KEYS
    try:
        content = b"" if keys is None else keys.path.read_bytes()
        home.mkdir(mode=0o700)
        fd = os.open(home / "keys", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, content, 0)
        finally:
            os.close(fd)
        for path in (home, home / "keys"):
            give(path, copy)
    except OSError as error:
        raise file_error(error, f"can't make a keyring in {copy}") from error
    return Keyring(home / "keys", read_only=False)


@contextmanager
def following_server(
    programs: Programs, copy: Path, manifest: dict[str, Any], keyring: Path | None = None, *, encrypts: bool = False
) -> Iterator[Endpoint]:
    """A server on a copy that can replicate: the account to use. ``keyring`` is one other than the manifest's.
    ``encrypts``: the donor may begin to encrypt what the clone has in clear.

    Raises `BootFailed`, `KeyringFailed`, `ServerNotFound`, a file error.
    """
    keys = cloned.keyring_of(manifest, keyring)
    if keys is not None or (encrypts and has_component(programs)):
        keys = _keyring(copy, keys)
    password = f"aA1!{secrets.token_urlsafe(24)}"
    init = copy / OWN_DIR / "verify.sql"
    init.write_text(
        f"CREATE USER {literal(ACCOUNT)}@'localhost' IDENTIFIED BY {literal(password)};\n"
        f"GRANT ALL ON *.* TO {literal(ACCOUNT)}@'localhost';\n"
    )
    init.chmod(0o600)
    user = cloned.run_as(copy, programs)
    if user is not None:
        os.chown(init, *user)
    options = [
        *cloned.settings(manifest),
        *cloned.PRIVATE,
        *cloned.no_replication(programs),
        f"--init-file={init}",
        f"--server-id={secrets.randbelow(2**31) + 2**31}",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--relay-log=relay",
        # Nothing of it has to survive anything.
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--sync-relay-log=0",
        "--sync-source-info=0",
    ]
    log = copy / OWN_DIR / cloned.BOOT_LOG
    with Server.start(programs, copy, options=options, error_log=log, user=user, keyring=keys) as server:
        yield Endpoint(socket=server.socket, user=ACCOUNT, password=password)


def follow(replica: Sql, donor: Endpoint, gtids: str, *, not_cloned: Iterable[Table], stopped: threading.Event) -> str:
    """Replicate from ``donor`` until ``gtids`` is reached; why that isn't possible, or an empty string.

    ``not_cloned`` are tables whose rows a clone doesn't have. Raises `VerifyFailed` if the clone's data don't fit the
    donor's changes, `Interrupted`.
    """
    version = version_number(replica.value("SELECT VERSION()"))
    for statement in reset_channels(version):
        replica.rows(statement)
    ignored = ", ".join(f"{quote(table.schema)}.{quote(table.name)}" for table in not_cloned)
    replica.rows(f"CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = ({ignored})")
    # With a heartbeat the source sees soon that the replica is gone: its connection counts for the account until then.
    retries = {"SOURCE_CONNECT_RETRY": "1", "SOURCE_RETRY_COUNT": "3"}
    replica.rows(change_source(donor, version, None, heartbeat=1, others=retries))
    # The password goes with START REPLICA: so it is stored nowhere.
    account = f" USER={literal(donor.user)} PASSWORD={literal(donor.password)}"
    replica.rows(start_replica(version, f"SQL_AFTER_GTIDS = {literal(gtids)}") + account)
    while not replica.value("SELECT GTID_SUBSET(%s, @@GLOBAL.gtid_executed)", (gtids,)):
        if stopped.wait(POLL):
            raise Interrupted("stopped while the clone followed the donor")
        threads = read_threads(replica)
        if threads.applier_error.startswith(_NO_MASTER_KEY):
            return f"the donor encrypts something, and the clone has no keyring: {threads.applier_error}"
        if threads.applier_error:
            raise VerifyFailed(f"the clone can't follow the donor, their data differ: {threads.applier_error}")
        if threads.receiver_error:
            return f"replication fails, which takes one more connection and REPLICATION SLAVE: {threads.receiver_error}"
    replica.rows(words("STOP REPLICA", version))
    return ""
