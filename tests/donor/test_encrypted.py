"""Encrypted directories: given to whoever comes with TLS, as a stock donor gives them, and to nobody else."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock
from unittest.mock import PropertyMock

import pymysql
import pytest

from clones import booted, rows
from encrypted import KINDS, add_rows, encrypted_donor, holding_keys, keyring_of, secrets_of
from innoclone.commands.boot import boot
from innoclone.commands.clone import clone
from innoclone.commands.options import BootOptions, CloneOptions
from innoclone.donor.live import LiveServer, find_live
from innoclone.donor.replay import Replay
from innoclone.donor.snapshot import Phase, Snapshot
from innoclone.donor.spool import Spool
from innoclone.donor.stored import look
from innoclone.donor.upstream import Upstream
from innoclone.errors import (
    EncryptionDamaged,
    EncryptionNeedsTls,
    KeyringFailed,
    TargetUnusable,
)
from innoclone.innodb.encryption import EncryptionInfo, MasterKey, info_offset
from innoclone.innodb.keyring import serialize_keyring
from innoclone.innodb.space import SpaceFlags, SpaceHeader
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from innoclone.wire.descriptors import StageNumber
from local_clones import checksums
from servers import ServerFactory, endpoint_of
from serving import ALONE, endpoint, served, serving, take


@pytest.fixture(scope="module")
def hidden(make_module_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return encrypted_donor(make_module_server, tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="module")
def stored(hidden: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stored") / "clone"
    clone(CloneOptions(endpoint_of(hidden), directory))
    return directory


@pytest.mark.parametrize("how", ["stored", "shared", "relayed"])
def test_a_stock_recipient_without_tls_keeps_its_data(
    hidden: Server, stored: Path, make_server: ServerFactory, tmp_path: Path, how: str
) -> None:
    """It would have dropped them on the answer to COM_INIT. A running server isn't asked for a snapshot."""
    recipient = make_server(keyring=Keyring(tmp_path / "recipients", read_only=False))
    for statement in (
        "CREATE DATABASE mine",
        "CREATE TABLE mine.t (a INT PRIMARY KEY)",
        "INSERT INTO mine.t VALUES (7)",
    ):
        rows(recipient, statement)
    source = look(stored) if how == "stored" else find_live(endpoint_of(hidden), relay=how == "relayed")
    with serving(source, tmp_path) as donor:
        with pytest.raises(pymysql.MySQLError, match="3872"):
            take(recipient, donor.port, None, "REQUIRE NO SSL", settings=ALONE)
        assert not isinstance(source, LiveServer) or source.snapshots == []
    assert rows(recipient, "SELECT a FROM mine.t") == [(7,)]


@pytest.mark.parametrize("recovered", [False, True])
def test_a_stock_recipient(
    hidden: Server, stored: Path, programs: Programs, make_server: ServerFactory, tmp_path: Path, recovered: bool
) -> None:
    directory = tmp_path / "clone"
    shutil.copytree(stored, directory)
    if recovered:
        boot(BootOptions(directory))
    ring = tmp_path / "recipients"
    recipient = make_server(keyring=Keyring(ring, read_only=False))
    target = tmp_path / "taken"
    with served(directory, tmp_path) as donor:
        with pytest.raises(pymysql.MySQLError, match="TLS"):
            take(recipient, donor.port, tmp_path / "refused", "REQUIRE NO SSL", settings=ALONE)
        take(recipient, donor.port, target, "REQUIRE SSL", settings=ALONE)
    with booted(programs, target, keyring=Keyring(ring, read_only=False)) as server:
        assert checksums(server) == checksums(hidden)
    with pytest.raises(KeyringFailed, match="there is no key"):
        look(target)
    look(target, ring).close()


def test_ours(hidden: Server, stored: Path, programs: Programs, tmp_path: Path) -> None:
    with served(stored, tmp_path) as donor:
        clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.REQUIRED), tmp_path / "taken", threads=4))
        with pytest.raises(EncryptionNeedsTls):
            clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.DISABLED), tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
    own = keyring_of(tmp_path / "taken")
    assert own.path.read_bytes() != keyring_of(stored).path.read_bytes()
    assert holding_keys([tmp_path], secrets_of(tmp_path / "taken", own.path)) == []
    with booted(programs, tmp_path / "taken", keyring=own) as server:
        assert checksums(server) == checksums(hidden)


def test_an_increment(hidden: Server, stored: Path, programs: Programs, tmp_path: Path) -> None:
    """Page 0 of each tablespace has another key block here, and nothing else differs."""
    target = tmp_path / "taken"
    with served(stored, tmp_path) as donor:
        where = endpoint(donor.port, ssl_mode=SslMode.REQUIRED)
        clone(CloneOptions(where, target))
        result = clone(CloneOptions(where, target, incremental="require"))
    assert any("only what differs came from the donor" in note for note in result.notes)
    own = keyring_of(target)
    assert holding_keys([tmp_path], secrets_of(target, own.path)) == []
    with booted(programs, target, keyring=own) as server:
        assert checksums(server) == checksums(hidden)


def test_a_keyring_that_is_missing_wrong_or_does_not_fit(stored: Path, tmp_path: Path) -> None:
    ring = keyring_of(stored).path
    moved = ring.rename(tmp_path / "moved")
    try:
        with pytest.raises(KeyringFailed, match="is not there"):
            look(stored)
        wrong = tmp_path / "wrong"
        wrong.write_bytes(serialize_keyring(MasterKey(ring.name, 1, bytes(32))))
        with pytest.raises((TargetUnusable, EncryptionDamaged), match=r"damaged|not whole"):
            look(stored, wrong)
        look(stored, moved).close()
    finally:
        moved.rename(ring)


@pytest.mark.parametrize("relay", [False, True], ids=["shared", "relayed"])
def test_a_running_server(
    hidden: Server, programs: Programs, make_server: ServerFactory, tmp_path: Path, relay: bool
) -> None:
    """To whoever comes with TLS, and to nobody without."""
    ring = tmp_path / "recipients"
    recipient = make_server(keyring=Keyring(ring, read_only=False))
    with serving(find_live(endpoint_of(hidden), relay=relay), tmp_path) as donor:
        with pytest.raises(pymysql.MySQLError, match="TLS"):
            take(recipient, donor.port, tmp_path / "refused", "REQUIRE NO SSL", settings=ALONE)
        take(recipient, donor.port, tmp_path / "taken", "REQUIRE SSL", settings=ALONE)
        clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.REQUIRED), tmp_path / "ours", threads=4))
        with pytest.raises(EncryptionNeedsTls):
            clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.DISABLED), tmp_path / "refused too"))
    assert not (tmp_path / "refused too").exists()
    for taken, keyring in (("taken", Keyring(ring, read_only=False)), ("ours", keyring_of(tmp_path / "ours"))):
        with booted(programs, tmp_path / taken, keyring=keyring) as server:
            assert checksums(server) == checksums(hidden)
    own = keyring_of(tmp_path / "ours")
    assert holding_keys([tmp_path], secrets_of(tmp_path / "ours", own.path)) == []


def test_what_is_held_of_a_running_server_has_no_key(
    hidden: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While DDL makes keys, and rotates the one that wraps them, two recipients share a snapshot."""
    held: list[bytes] = []
    append = Spool.append

    def noting(spool: Spool, data: bytes) -> None:
        held.append(bytes(data))
        append(spool, data)

    monkeypatch.setattr(Spool, "append", noting)
    follow = Upstream.follow

    def behind_ddl(upstream: Upstream, spool: Spool) -> dict[StageNumber, Replay]:
        """All files are read: what is made now, recipients hear of later."""
        rows(hidden, "CREATE TABLE e.late (id INT PRIMARY KEY, v INT, b VARCHAR(255)) ENCRYPTION='Y'")
        add_rows(hidden, "late", 0)
        rows(hidden, "ALTER TABLE e.single FORCE")
        rows(hidden, "ALTER INSTANCE ROTATE INNODB MASTER KEY")
        return follow(upstream, spool)

    monkeypatch.setattr(Upstream, "follow", behind_ddl)
    targets = [tmp_path / "one", tmp_path / "two"]
    try:
        with serving(find_live(endpoint_of(hidden)), tmp_path) as donor:
            where = endpoint(donor.port, ssl_mode=SslMode.REQUIRED)
            with ThreadPoolExecutor() as pool:
                for done in [pool.submit(clone, CloneOptions(where, target, threads=2)) for target in targets]:
                    done.result()
        found = [secret for target in targets for secret in secrets_of(target, keyring_of(target).path)]
        kept = tmp_path / "held"
        kept.write_bytes(b"".join(held))
        assert kept.read_bytes().count(EncryptionInfo.MAGIC) > len(KINDS)
        assert holding_keys([tmp_path], found) == []
        for target in targets:
            with booted(programs, target, keyring=keyring_of(target)) as server:
                assert checksums(server) == checksums(hidden)
    finally:
        rows(hidden, "DROP TABLE e.late")


def test_keys_that_a_running_server_tells_of_in_the_end(small_donor: Server, tmp_path: Path) -> None:
    """A recipient without TLS has all files by then, and gets no more."""
    source = find_live(endpoint_of(small_donor))
    assert isinstance(source, LiveServer)
    with serving(source, tmp_path) as donor, mock.patch.object(Snapshot, "encrypted", PropertyMock()) as told:
        told.side_effect = lambda: any(one.phase is Phase.KEPT for one in source.snapshots)
        with pytest.raises(EncryptionNeedsTls, match="given over TLS alone"):
            clone(CloneOptions(endpoint(donor.port, ssl_mode=SslMode.DISABLED), tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()


def test_a_flipped_bit_in_the_block_of_a_key(stored: Path, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    shutil.copytree(stored, directory)
    path = directory / "e" / "single.ibd"
    with path.open("r+b") as file:
        flags = SpaceFlags(SpaceHeader.parse(file.read(64)).flags)
        file.seek(info_offset(flags) + 50)
        byte = file.read(1)[0]
        file.seek(info_offset(flags) + 50)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(EncryptionDamaged, match=r"key of \./e/single\.ibd is damaged"):
        look(directory)
