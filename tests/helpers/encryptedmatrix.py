"""Rows of ``./scripts/matrix`` for encrypted servers: each kind of encryption, cloned in each way.

What comes is searched for keys, verified with its keyring, booted on a stock server with that alone, compared, given
another master key, and booted again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from clones import booted, rows
from encrypted import (
    KINDS,
    LOGS,
    Changes,
    Killed,
    add_rows,
    encrypted_donor,
    holding_keys,
    keyring_file,
    masters_in,
    program_with_keyring,
    rotate,
    secrets_of,
)
from innoclone.commands.backup import backup
from innoclone.commands.clone import clone
from innoclone.commands.generations import add_generation
from innoclone.commands.livebackup import backup_live
from innoclone.commands.local import local
from innoclone.commands.options import CloneOptions, LocalOptions, RestoreOptions, VerifyOptions
from innoclone.commands.replace import replace_data
from innoclone.commands.restore import restore
from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import (
    BackupOptions,
    BootCheckOptions,
    LiveBackupOptions,
    StoreAccess,
    StoreRestoreOptions,
)
from innoclone.commands.storerestore import restore_from_store
from innoclone.commands.storescratch import restored_to_serve
from innoclone.commands.verify import verify
from innoclone.donor.live import find_live
from innoclone.records.folders import state_directory
from innoclone.sandbox.invariants import check_invariants
from innoclone.sandbox.load import Load
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Compression, SslMode
from innoclone.wire.descriptors import StageNumber
from local_clones import checksums
from managed import ManagedServer
from servers import ServerFactory, endpoint_of
from serving import ALONE, endpoint, served, serving, take

GENERATIONS = 10
BINARY_LOGS, EVERYTHING = "binary logs", "everything"
# What is encrypted: tables of `KINDS` and tablespaces, or the server's options.
WHAT: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "tables": (("single",), ()),
    "tables of compressed rows": (("zipped",), ()),
    "page-compressed tables": (("zlib", "lz4"), ()),
    "general tablespace": (("common",), ()),
    "mysql tablespace": (("mysql",), ()),
    "undo log": ((), (LOGS[1],)),
    "redo log": ((), (LOGS[0],)),
    BINARY_LOGS: ((), ("--binlog-encryption=ON",)),
    EVERYTHING: ((), (*LOGS, "--binlog-encryption=ON")),
}
STAGES = (StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY)


@dataclass(frozen=True)
class EncryptedRow:
    """One way to clone a server, and what of it is encrypted."""

    what: str
    way: str

    def __str__(self) -> str:
        """As it is printed, and as ``--only`` finds it."""
        return f"encrypted: {self.what}, {self.way}"


class EncryptedMatrix:
    """One donor at a time, of one kind, and clones of it."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        (folder / "encrypted").mkdir()
        self._programs, self._folder = programs, folder / "encrypted"
        self._factory = ServerFactory(programs, self._folder, folder / "templates")
        self._what = ""
        self._donor: Server
        self._work = self._folder / "work"
        self._next = 10_000  # the first key of rows that are added

    def close(self) -> None:
        """End the servers."""
        self._factory.close()

    def play(self, row: EncryptedRow) -> None:
        """Raises what went wrong."""
        if row.what != self._what:
            self._begin(row.what)
        self._work.mkdir()
        try:
            WAYS[row.way](self)
        finally:
            shutil.rmtree(self._work)

    def _begin(self, what: str) -> None:
        if self._what:
            self._donor.kill()
            shutil.rmtree(self._donor.datadir)
        self._what = what
        self._ring = self._folder / f"{what}.keys" / "ring"
        self._ring.parent.mkdir()
        names, self._options = WHAT[what]
        if what == EVERYTHING:
            self._donor = encrypted_donor(self._factory, self._ring.parent, "--binlog-encryption=ON")
            return
        self._donor = self._factory(*self._options, keyring=Keyring(self._ring, read_only=False))
        rows(self._donor, "CREATE DATABASE e")
        if "mysql" in names:
            rows(self._donor, "ALTER TABLESPACE mysql ENCRYPTION='Y'")
        if "common" in names:
            rows(self._donor, "CREATE TABLESPACE shared ADD DATAFILE 'shared.ibd' ENCRYPTION='Y'")
        for name in ("plain", *(name for name in names if name in KINDS)):
            rows(self._donor, f"CREATE TABLE e.`{name}` (id INT PRIMARY KEY, v INT, b VARCHAR(255)) {KINDS[name]}")
            add_rows(self._donor, name, 0)

    # ---- ways ----------------------------------------------------------------------------------------------

    @property
    def _target(self) -> Path:
        return self._work / "clone"

    def remote(self, threads: int, compression: str = "off") -> None:
        """Over the network."""
        clone(CloneOptions(
            endpoint_of(self._donor), self._target, threads=threads, compression=Compression(compression)
        ))  # fmt: skip
        self._prove(self._target)

    def on_the_host(self) -> None:
        """By the donor's files."""
        local(LocalOptions(endpoint_of(self._donor), self._target))
        self._prove(self._target)

    def on_the_host_again(self) -> None:
        """And what has changed since, among it keys."""
        options = LocalOptions(endpoint_of(self._donor), self._target)
        local(options)
        self._change()
        assert local(options).incremental
        self._prove(self._target)

    def remote_again(self) -> None:
        """The same over the network."""
        options = CloneOptions(endpoint_of(self._donor), self._target, write_changed_only=True)
        clone(options)
        self._change()
        clone(options)
        self._prove(self._target)

    def increment(self) -> None:
        """From a stored clone, of which only what differs comes."""
        local(LocalOptions(endpoint_of(self._donor), self._work / "stored"))
        with served(self._work / "stored", self._work) as donor:
            clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.REQUIRED), self._target))
        self._change()
        local(LocalOptions(endpoint_of(self._donor), self._work / "stored"))
        with served(self._work / "stored", self._work) as donor:
            where = endpoint(donor.port, ssl_mode=SslMode.REQUIRED)
            notes = clone(CloneOptions(where, self._target, incremental="require")).notes
        assert any("only what differs came from the donor" in note for note in notes)
        self._prove(self._target)

    def killed(self, stage: StageNumber) -> None:
        """In a stage, and gone on with."""
        with Killed(self._donor, self._target, "--max-data-bandwidth=40", "--threads=2") as process:
            process.wait_for(stage)
        shutil.copytree(self._target, self._work / "as it was killed")
        clone(CloneOptions(endpoint_of(self._donor), self._target))
        self._prove(self._target)

    def replaced(self) -> None:
        """In the place of a server's data, by that server's own keyring."""
        ring = self._work / "its ring"
        program = program_with_keyring(self._programs, self._work / "program", ring)
        server = ManagedServer(self._programs, self._factory.template(()), self._work / "m", mysqld=program)
        try:
            server.begin()
            rotate(server)
            replace_data(server.options(self._donor))
            assert checksums(server) == checksums(self._donor)  # type: ignore[arg-type]
            rotate(server)
            self._refuse_keys(server.data, ring)
            assert checksums(server) == checksums(self._donor)  # type: ignore[arg-type]
        finally:
            server.end()

    def generations(self) -> None:
        """Ten in a folder, with one keyring."""
        options = LocalOptions(
            endpoint_of(self._donor), self._target, generations=GENERATIONS, full_copies=True
        )  # fmt: skip
        made = []
        for _ in range(GENERATIONS):
            self._change()
            made.append((add_generation(options).directory, checksums(self._donor)))
        for directory, expected in made[:-1]:
            keyring = keyring_file(directory)
            alone = None if keyring is None else Keyring(keyring, read_only=True)
            with booted(self._programs, directory, self._options, keyring=alone) as server:
                assert checksums(server) == expected
        self._prove(made[-1][0])

    def generations_under_load(self) -> None:
        """Ten while rows, tables' keys and the master key change all the time. The first, one in the middle and the
        last follow the server until they are equal, and run on their keyrings alone."""
        options = LocalOptions(endpoint_of(self._donor), self._target, generations=GENERATIONS, full_copies=True)
        rows(self._donor, f"SET GLOBAL default_table_encryption = {'ON' if self._what == EVERYTHING else 'OFF'}")
        changes = Changes(self._change)
        with Load(self._donor.connect, threads=2, pause=0.01) as load, changes:
            made = []
            for _ in range(GENERATIONS):
                before = load.transactions
                made.append(add_generation(options).directory)
                assert load.transactions > before, "nothing was written meanwhile"
                changes.wait_for_one()
        assert (load.errors, changes.errors) == ([], [])
        for directory in (made[0], made[GENERATIONS // 2], made[-1]):
            ring = keyring_file(directory)
            self._refuse_keys(directory, ring)
            verify(VerifyOptions(directory, against=endpoint_of(self._donor), keyring=ring))
            alone = None if ring is None else Keyring(ring, read_only=False)
            with booted(self._programs, directory, self._options if ring else (), keyring=alone) as server:
                with server.connect() as connection:
                    assert check_invariants(connection) == []
                if ring is not None:
                    rotate(server)
        rows(self._donor, "DROP SCHEMA traffic")

    def restored(self) -> None:
        """A clone becomes another directory."""
        clone(CloneOptions(endpoint_of(self._donor), self._work / "first"))
        restore(RestoreOptions(self._work / "first", self._target, mysqld_check=True))
        self._prove(self._target)

    def stored(self, *, again: bool = False) -> None:
        """Out of a store; the keyring was kept elsewhere. And ``again``, onto what is there, what has changed since."""
        access = self._store(encrypted=True)
        clone(CloneOptions(endpoint_of(self._donor), self._work / "first"))
        backup(BackupOptions(self._work / "first", access))
        restore_from_store(StoreRestoreOptions(access, "latest", self._target))
        if again:
            self._change()
            local(LocalOptions(endpoint_of(self._donor), self._work / "first"))
            backup(BackupOptions(self._work / "first", access))
            restore_from_store(StoreRestoreOptions(access, "latest", self._target, delta=True))
        self._prove(self._target)

    def straight_into_a_store(self) -> None:
        """Of the running server, without a clone on this host; then once more on top of that. The store itself is not
        encrypted: nothing in it may be a key."""
        access, ring = self._store(encrypted=False), self._work / "straight.keyring" / "ring"
        ring.parent.mkdir()
        (self._work / "spool").mkdir()
        options = LiveBackupOptions(endpoint_of(self._donor), access, spool=self._work / "spool", keyring=ring)
        backup_live(options)
        self._change()
        assert backup_live(options).parent
        assert ring.exists() == (self._what != BINARY_LOGS)
        restore_from_store(StoreRestoreOptions(access, "latest", self._target))
        self._prove(self._target)

    def taken(self) -> None:
        """By a stock server, from a clone that is served."""
        clone(CloneOptions(endpoint_of(self._donor), self._work / "first"))
        with served(self._work / "first", self._work) as donor:
            self._taken_by_stock(donor.port, self._work / "first")

    def taken_from_a_store(self) -> None:
        """By a stock server, from a snapshot that is served."""
        access = self._store(encrypted=False)
        clone(CloneOptions(endpoint_of(self._donor), self._work / "first"))
        backup(BackupOptions(self._work / "first", access))
        with (
            restored_to_serve(BootCheckOptions(access, "latest", scratch=self._work)) as found,
            served(found.directory, self._work) as donor,
        ):
            self._taken_by_stock(donor.port, found.directory)

    def taken_alive(self) -> None:
        """By a stock server and by innoclone, from the running server that `innoclone serve --live` shows."""
        with serving(find_live(endpoint_of(self._donor)), self._work) as donor:
            where = endpoint(donor.port, ssl_mode=SslMode.REQUIRED)
            clone(CloneOptions(where, self._target, threads=4))
            taken = self._target.rename(self._work / "ours")
            self._taken_by_stock(donor.port, taken)
        self._prove(taken)

    def _store(self, *, encrypted: bool) -> StoreAccess:
        key = self._work / "key" if encrypted else None
        if key is not None:
            key.write_bytes(os.urandom(32))
        access = StoreAccess(f"file://{self._work}/store", key_file=key)
        make_store(access, encrypted=encrypted, single_writer=False)
        return access

    def _taken_by_stock(self, port: int, beside: Path) -> None:
        """It boots with the keyring of a stock recipient, and is the donor. ``beside`` is a clone of ours with the same
        keys: they are in nothing else that was written."""
        ring = self._work / "recipient.ring"
        recipient = self._factory(keyring=Keyring(ring, read_only=False))
        try:
            take(recipient, port, self._target, "REQUIRE SSL", settings=ALONE)
        finally:
            recipient.kill()
            shutil.rmtree(recipient.datadir)
        stock = self._target.rename(self._folder / "stock")  # it leaves keys in clear in its redo log, as ever
        try:
            self._refuse_keys(beside, keyring_file(beside))
            self._boot(stock, ring)
        finally:
            shutil.rmtree(stock)

    # ---- what is looked at ---------------------------------------------------------------------------------

    def _change(self) -> None:
        """Rows, a table's key, the master key."""
        for (name,) in rows(self._donor, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'e'"):
            if name != "places":
                add_rows(self._donor, str(name), self._next)
                if name != "common":
                    rows(self._donor, f"ALTER TABLE e.`{name}` FORCE")
        self._next += 10_000
        rows(self._donor, "ALTER INSTANCE ROTATE INNODB MASTER KEY")

    def _prove(self, directory: Path) -> None:
        ring = keyring_file(directory)
        assert (ring is None) == (self._what == BINARY_LOGS), "logs of events are not cloned; all else has a keyring"
        self._refuse_keys(directory, ring)
        report = verify(VerifyOptions(directory, keyring=ring))
        assert not report.findings()
        self._boot(directory, ring)
        self._refuse_keys(directory, ring)

    def _boot(self, directory: Path, ring: Path | None) -> None:
        """With its keyring alone; it is the donor, also with another master key."""
        keyring = None if ring is None else Keyring(ring, read_only=False)
        expected = checksums(self._donor)
        for _ in range(2):
            with booted(self._programs, directory, self._options if ring else (), keyring=keyring) as server:
                assert checksums(server) == expected
                if ring is not None:
                    rotate(server)

    def _refuse_keys(self, directory: Path, ring: Path | None) -> None:
        """No tablespace's key stands in anything that was written; no master key, but in keyrings."""
        secrets = [] if ring is None else secrets_of(directory, ring)
        assert secrets or ring is None or self._what == BINARY_LOGS  # which have their key in themselves
        found = holding_keys([self._work, state_directory()], [*secrets, *masters_in(self._ring)])
        assert found == [], found
        masters = [key for one in (ring, self._ring) if one is not None for key in masters_in(one)]
        places = holding_keys([self._work, state_directory()], masters)
        rings = {path for path in places if path.parent.name.endswith(".keyring") or path.name in ("its ring",)}
        assert set(places) - rings <= {ring}, places


WAYS: dict[str, Callable[[EncryptedMatrix], None]] = {
    **{f"{count} connections": partial(EncryptedMatrix.remote, threads=count) for count in (1, 4, 16)},
    "zstd": partial(EncryptedMatrix.remote, threads=4, compression="zstd"),
    "local": EncryptedMatrix.on_the_host,
    "local again": EncryptedMatrix.on_the_host_again,
    "over the network again": EncryptedMatrix.remote_again,
    "increment": EncryptedMatrix.increment,
    **{f"killed in {stage.name}": partial(EncryptedMatrix.killed, stage=stage) for stage in STAGES},
    "replace": EncryptedMatrix.replaced,
    "ten generations": EncryptedMatrix.generations,
    "ten generations under load": EncryptedMatrix.generations_under_load,
    "restore": EncryptedMatrix.restored,
    "store": EncryptedMatrix.stored,
    "store again": partial(EncryptedMatrix.stored, again=True),
    "running server into a store": EncryptedMatrix.straight_into_a_store,
    "stock recipient": EncryptedMatrix.taken,
    "stock recipient of a snapshot": EncryptedMatrix.taken_from_a_store,
    "live": EncryptedMatrix.taken_alive,
}


def encrypted_rows() -> list[EncryptedRow]:
    """Each kind in each way."""
    return [EncryptedRow(*each) for each in product(WHAT, WAYS)]
