"""Keyrings of clones that can't serve, that are damaged, and that no two servers may have."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

import innoclone
from clones import rows
from encrypted import encrypted_donor, keyring_file, keyring_of
from innoclone.commands.boot import boot
from innoclone.commands.clone import clone
from innoclone.commands.generations import add_generation
from innoclone.commands.livebackup import backup_live
from innoclone.commands.local import local
from innoclone.commands.networkclones import clone_over_network
from innoclone.commands.options import BootOptions, CloneOptions, LocalOptions, VerifyOptions
from innoclone.commands.spentkeyrings import remove_spent_keyring
from innoclone.commands.storecare import list_store, make_store
from innoclone.commands.storeoptions import (
    LiveBackupOptions,
    StoreAccess,
)
from innoclone.commands.verify import verify
from innoclone.errors import (
    EncryptionDamaged,
    EncryptionUnsupported,
    Interrupted,
    KeyringFailed,
    VerifyFailed,
)
from innoclone.files import marks
from innoclone.files.generations import begin_generation
from innoclone.files.manifest import read_manifest
from innoclone.files.marks import begin_directory, remove_clone
from innoclone.innodb.encryption import MasterKey, info_offset
from innoclone.innodb.keyring import parse_keyring, serialize_keyring
from innoclone.innodb.space import SpaceFlags, SpaceHeader
from innoclone.receive import finish, sealedfiles
from innoclone.records.status import CloneStatus
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.sinks.directory import Target
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql
from servers import ServerFactory, endpoint_of


@pytest.fixture(scope="module")
def hidden(make_module_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return encrypted_donor(make_module_server, tmp_path_factory.mktemp("ring"))


def test_a_keyring_that_cannot_serve(hidden: Server, tmp_path: Path) -> None:
    mine, directory = tmp_path / "mine", tmp_path / "clone"
    options = CloneOptions(endpoint_of(hidden), directory, keyring=mine)
    for content, key, said in (
        (b"nonsense", None, "no keyring file"),
        (b'{"version":"1.0","elements":[]}', None, "no master key"),
        (serialize_keyring(MasterKey("0" * 36, 1, bytes(32))), "INNODBKey-x-1", "has no key INNODBKey-x-1"),
    ):
        mine.write_bytes(content)
        with pytest.raises(KeyringFailed, match=said):
            clone(replace(options, keyring_key=key))
        assert mine.read_bytes() == content
    assert not directory.exists()


def test_an_earlier_keyring_that_can_not_be_read_is_not_replaced(hidden: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    options = LocalOptions(endpoint_of(hidden), directory)
    local(options)
    ring = keyring_of(directory).path
    content = ring.read_bytes()
    ring.write_bytes(content[:-9])
    for again in (
        lambda: local(options),
        lambda: clone(CloneOptions(options.donor, directory, write_changed_only=True)),
    ):
        with pytest.raises(KeyringFailed, match="no keyring file"):
            again()
    assert [*ring.parent.iterdir()] == [ring]
    ring.write_bytes(content)
    assert boot(BootOptions(directory)).position.gtid_executed


def test_no_store_gets_it_from_the_running_server(hidden: Server, tmp_path: Path) -> None:
    store = StoreAccess(f"file://{tmp_path}/store")
    make_store(store, encrypted=False, single_writer=False)
    before = {*tmp_path.rglob("*")}
    with pytest.raises(EncryptionUnsupported, match=r"encrypted tablespaces, and a backup .* has no keyring"):
        backup_live(LiveBackupOptions(endpoint_of(hidden), store))
    assert {path for path in {*tmp_path.rglob("*")} - before if path.is_file()} == set()
    assert list_store(store).snapshots == ()


def test_a_block_that_names_another_key_or_has_an_older_form(hidden: Server, tmp_path: Path) -> None:
    """No keyring is to be looked for, and none to be taken for wrong."""
    directory = tmp_path / "clone"
    clone(CloneOptions(endpoint_of(hidden), directory))
    [own] = parse_keyring(keyring_of(directory).path.read_bytes()).values()
    path = directory / "mysql.ibd"
    content = path.read_bytes()
    at = info_offset(SpaceFlags(SpaceHeader.parse(content[:64]).flags))
    changed = bytearray(content)
    changed[at + 6] ^= 8  # the number of the master key
    path.write_bytes(changed)
    with pytest.raises(EncryptionDamaged, match=f"mysql.ibd names .*-9 as its key, and is wrapped with {own.name}"):
        boot(BootOptions(directory))
    with pytest.raises(VerifyFailed, match=f"mysql.ibd: its key is damaged: it names .*-9, .* with {own.name}"):
        verify(VerifyOptions(directory, keyring=keyring_of(directory).path))
    changed = bytearray(content)
    changed[at : at + 3] = b"lCB"
    path.write_bytes(changed)
    with pytest.raises(EncryptionUnsupported, match=r"mysql\.ibd has its key in the form of MySQL 5\.7"):
        boot(BootOptions(directory))
    path.write_bytes(content)
    assert innoclone.boot(directory, keyring=str(keyring_of(directory).path)).position.gtid_executed  # type: ignore[arg-type]


def test_servers_that_are_kept_write_no_keyring_but_their_own(hidden: Server, tmp_path: Path) -> None:
    """Each writes the file anew with the keys that it knows: two with one keyring would lose a key."""
    options = LocalOptions(endpoint_of(hidden), tmp_path / "all", generations=2, full_copies=True)
    made = [add_generation(options).directory, add_generation(options).directory]
    shared = keyring_of(made[0]).path
    before = shared.read_bytes()
    kept = []
    try:
        for one in made:
            kept.append(boot(BootOptions(one, keep=True)))
        for result in kept:
            assert result.socket is not None
            with Sql(Endpoint(socket=result.socket)) as sql:
                sql.rows("SET SESSION sql_log_bin = 0")
                sql.rows("ALTER INSTANCE ROTATE INNODB MASTER KEY")
    finally:
        for result in kept:
            os.kill(result.pid, signal.SIGTERM)
    for one, result in zip(made, kept, strict=True):
        os.waitpid(result.pid, 0)
        own = keyring_of(one).path
        assert own.parent == one.with_name(f"{one.name}.keyring")
        assert str(own) in (one / "component_keyring_file.cnf").read_text()
        assert len(parse_keyring(own.read_bytes())) == 2
        boot(BootOptions(one))
    assert shared.read_bytes() == before
    add_generation(options)
    assert own.exists()


def test_keyrings_of_generations_that_go(hidden: Server, tmp_path: Path) -> None:
    """With them, but for one that was written to, one that another clone names, and one that alone has its key. What
    was begun of another server matters only if nobody knows what it is."""
    options = LocalOptions(endpoint_of(hidden), tmp_path / "series", generations=1, full_copies=True)
    options.directory.mkdir()
    begin_generation(options.directory / "2020-01-01T00-00-00Z", "another", "")
    made: list[Path] = []
    rings: list[Path] = []

    def add() -> None:
        made.append(add_generation(options).directory)
        rings.append(keyring_of(made[-1]).path)

    add()
    add()
    assert [path.exists() for path in (made[0], rings[0], rings[1])] == [False, False, True]
    os.utime(rings[1])
    add()
    assert [path.exists() for path in (made[1], rings[1], rings[2])] == [False, True, True]
    shutil.copytree(made[2], options.directory / "copy")
    add()
    assert [path.exists() for path in (made[2], rings[2], rings[3])] == [False, True, True]
    shutil.rmtree(options.directory / "copy")
    begin_directory(options.directory / "unknown")
    add()
    assert [path.exists() for path in (made[3], rings[3])] == [False, True]
    shutil.rmtree(options.directory / "unknown")
    gone = read_manifest(made[4])
    shutil.rmtree(made[4])
    assert remove_spent_keyring(options.directory, gone) is None, "no generation is there that has the key"
    assert rings[4].exists()
    assert remove_spent_keyring(options.directory, {}) is None


def test_keyrings_of_generations_that_were_never_finished(hidden: Server, tmp_path: Path) -> None:
    """They go with them, but for one that was written to, and one of the user's."""
    folder, home, mine = tmp_path / "series", tmp_path / "series.keyring", tmp_path / "mine"
    options = LocalOptions(endpoint_of(hidden), folder, generations=9, full_copies=True)
    over_the_net = CloneOptions(options.donor, folder, generations=9, full_copies=True)

    def left(add: Callable[[], object]) -> set[Path]:
        """The keyring of one that isn't finished."""
        before = {*home.glob("*")}
        with mock.patch.object(Target, "finish", side_effect=Interrupted("stopped")), pytest.raises(Interrupted):
            add()
        return {*home.iterdir()} - before

    [alone] = left(lambda: clone_over_network(over_the_net))
    first = clone_over_network(over_the_net).directory
    assert [*home.iterdir()] == [keyring_of(first).path]
    assert keyring_of(first).path != alone
    [written] = left(lambda: add_generation(options))
    os.utime(written)
    assert not left(lambda: add_generation(replace(options, keyring=mine)))
    [copied] = left(lambda: add_generation(options))
    [unfinished] = [path for path in folder.iterdir() if (path / "#innoclone" / "keyring.json").exists()]
    shutil.copytree(unfinished, copy := folder / "2026-01-01T00-00-00Z")
    shutil.rmtree(unfinished)
    second = add_generation(options).directory
    rings = {keyring_of(one).path for one in (first, second)}
    assert {*home.iterdir()} == rings | {written, copied}
    assert mine.exists()
    assert not copy.exists()
    assert not [*folder.rglob("keyring.json")]
    boot(BootOptions(second))


def test_a_keyring_of_a_generation_whose_removal_was_cut_short(hidden: Server, tmp_path: Path) -> None:
    options = LocalOptions(endpoint_of(hidden), tmp_path / "series", generations=9, full_copies=True)
    first, second = add_generation(options).directory, add_generation(options).directory
    ring = keyring_of(first).path
    with mock.patch.object(marks, "remove", side_effect=Interrupted("killed")), pytest.raises(Interrupted):
        remove_clone(first)
    third = add_generation(options).directory
    assert not first.exists()
    assert {*ring.parent.iterdir()} == {keyring_of(second).path, keyring_of(third).path}


def test_one_that_was_taken_away_while_the_clone_was_made(hidden: Server, tmp_path: Path) -> None:
    """The clone would be lost, and nobody told so; when it is back, what was copied is there."""
    mine, directory = tmp_path / "mine", tmp_path / "clone"
    options = CloneOptions(endpoint_of(hidden), directory, keyring=mine)
    with (
        mock.patch.object(finish, "check_sealed", side_effect=lambda _: mine.rename(tmp_path / "away")),
        pytest.raises(KeyringFailed, match="mine is not there"),
    ):
        clone(options)
    (tmp_path / "away").rename(mine)
    status = CloneStatus()
    clone(options, status=status)
    assert any("going on with the clone" in note for note in status.notes), status.notes
    assert boot(BootOptions(directory)).position.gtid_executed


def test_a_tablespace_that_was_being_decrypted(hidden: Server, tmp_path: Path) -> None:
    """Recovery would spoil it, as it does in clones of the stock server's: there must be no such clone."""
    for way in (local, clone):
        options = LocalOptions if way is local else CloneOptions
        with (
            mock.patch.object(sealedfiles, "is_being_decrypted", return_value=True),
            pytest.raises(EncryptionUnsupported, match="was being decrypted on the donor"),
        ):
            way(options(endpoint_of(hidden), tmp_path / "clone"))  # type: ignore[operator, arg-type]
        assert [*tmp_path.iterdir()] == []
    store, ring = StoreAccess(f"file://{tmp_path}/store"), tmp_path / "ring"
    make_store(store, encrypted=False, single_writer=False)
    with (
        mock.patch.object(sealedfiles, "is_being_decrypted", return_value=True),
        pytest.raises(EncryptionUnsupported, match="was being decrypted on the donor"),
    ):
        backup_live(LiveBackupOptions(endpoint_of(hidden), store, keyring=ring))
    assert list_store(store).snapshots == ()
    assert not ring.exists()


def test_a_copy_that_follows_the_donor_has_a_keyring_of_its_own(
    hidden: Server, make_server: ServerFactory, tmp_path: Path
) -> None:
    """It makes master keys as the donor does, and would write them, and forget what others wrote, into the clone's;
    also where nothing was encrypted when the clone was made. Without any that is no difference of the data."""
    plain = make_server(keyring=Keyring(tmp_path / "plain.keys", read_only=False))
    for name, donor in (("hidden", hidden), ("plain", plain)):
        directory = tmp_path / name
        local(LocalOptions(endpoint_of(donor), directory))
        boot(BootOptions(directory))
        ring = keyring_file(directory)
        before = None if ring is None else ring.read_bytes()
        rows(donor, "ALTER INSTANCE ROTATE INNODB MASTER KEY")
        rows(donor, "CREATE DATABASE later")
        rows(donor, "CREATE TABLE later.secret (id INT PRIMARY KEY) ENCRYPTION='Y'")
        rows(donor, "INSERT INTO later.secret VALUES (1)")
        report = verify(VerifyOptions(directory, against=endpoint_of(donor)))
        assert report.position
        assert not report.findings()
        assert (None if ring is None else ring.read_bytes()) == before
    assert ring is None, "nothing was encrypted"
    with mock.patch("innoclone.commands.verify.has_keyring", return_value=False):
        status = CloneStatus()
        assert not verify(VerifyOptions(directory, against=endpoint_of(donor)), status=status).position
    assert any("the clone has no keyring: 3185" in note for note in status.notes)
    assert not [*tmp_path.glob("*.verify-*")]
    rows(hidden, "DROP DATABASE later")
