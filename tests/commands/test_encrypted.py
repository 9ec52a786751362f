"""Clones of an encrypted server: booted with nothing but their own keyring, equal to the donor, no key in the open."""

from __future__ import annotations

import json
import shutil
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clones import booted, check_tables, rows
from encrypted import (
    KINDS,
    Killed,
    add_rows,
    encrypted_donor,
    holding_keys,
    keyring_of,
    program_with_keyring,
    rotate,
    secrets_of,
)
from innoclone.commands.boot import boot
from innoclone.commands.clone import clone
from innoclone.commands.generations import add_generation
from innoclone.commands.listing import Kind, list_clones
from innoclone.commands.local import local
from innoclone.commands.networkclones import clone_over_network
from innoclone.commands.options import BootOptions, CloneOptions, LocalOptions, RestoreOptions
from innoclone.commands.replace import replace_data
from innoclone.commands.restore import restore
from innoclone.errors import (
    BootFailed,
    EncryptionNeedsTls,
    EncryptionUnsupported,
    KeyringFailed,
)
from innoclone.files.keyring import ENCRYPTION
from innoclone.innodb.encryption import MasterKey
from innoclone.innodb.keyring import parse_keyring, serialize_keyring
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.server import cloned
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Compression, SslMode
from innoclone.wire.descriptors import StageNumber
from local_clones import checksums
from managed import MakeManaged
from servers import ServerFactory, endpoint_of


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ring") / "ring"


@pytest.fixture(scope="module")
def hidden(make_module_server: ServerFactory, ring: Path) -> Server:
    """The donor; tests may add rows and rotate its master key."""
    return encrypted_donor(make_module_server, ring.parent)


def assert_equal(programs: Programs, directory: Path, donor: Server) -> None:
    """The clone comes up on a stock server with its own keyring, and is the donor; a new master key can be made."""
    with booted(programs, directory, keyring=keyring_of(directory)) as server:
        assert checksums(server) == checksums(donor)
        assert check_tables(server) == []
        rotate(server)
        assert checksums(server) == checksums(donor)
    with booted(programs, directory, keyring=keyring_of(directory)) as server:
        assert checksums(server) == checksums(donor)


def assert_no_key(directory: Path, *folders: Path) -> None:
    """No tablespace's key of the clone stands in it or in ``folders``; and it would be found."""
    secrets = secrets_of(directory, keyring_of(directory).path)
    assert len(secrets) > len(KINDS)
    assert set(holding_keys([directory, *folders], secrets)) == set()
    scratch = directory / "found"
    scratch.write_bytes(b"x" + secrets[-1].raw[32:] + b"y")
    assert set(holding_keys([directory, *folders], secrets)) == {scratch}
    scratch.unlink()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("way", ["tcp", "zstd", "socket"])
def test_remote(hidden: Server, programs: Programs, tmp_path: Path, state_folder: Path, way: str) -> None:
    directory = tmp_path / "clone"
    donor = endpoint_of(hidden)
    if way == "socket":
        donor = replace(donor, socket=hidden.socket, ssl_mode=SslMode.DISABLED)
    compression = Compression("zstd" if way == "zstd" else "off")
    result = clone(CloneOptions(donor, directory, threads=4 if way == "tcp" else 1, compression=compression))
    assert result.cipher
    keyring = keyring_of(directory)
    assert keyring.path.parent == tmp_path / "clone.keyring"
    assert mode(keyring.path) == 0o600
    assert mode(keyring.path.parent) == 0o700
    assert_no_key(directory, tmp_path, state_folder)
    assert_equal(programs, directory, hidden)
    assert_no_key(directory)


def test_a_private_boot_leaves_the_keyring_alone(hidden: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    clone(CloneOptions(endpoint_of(hidden), directory))
    path = keyring_of(directory).path
    before = path.read_bytes()
    assert boot(BootOptions(directory)).position.gtid_executed
    assert path.read_bytes() == before
    moved = path.rename(tmp_path / "moved")
    for wrong in (None, tmp_path / "nothing"):
        with pytest.raises(KeyringFailed, match="is not there"):
            boot(BootOptions(directory, keyring=wrong))
    other = tmp_path / "other"
    other.write_bytes(serialize_keyring(MasterKey("0" * 36, 1, bytes(32))))
    with pytest.raises(KeyringFailed, match="has not the clone's key"):
        boot(BootOptions(directory, keyring=other))
    other.write_bytes(b"{")
    with pytest.raises(KeyringFailed, match="no keyring file"):
        boot(BootOptions(directory, keyring=other))
    boot(BootOptions(directory, keyring=moved))


def test_local_and_its_updates(hidden: Server, programs: Programs, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    options = LocalOptions(endpoint_of(hidden), directory)
    local(options)
    first = keyring_of(directory)
    boot(BootOptions(directory))
    add_rows(hidden, "single", 10_000)
    rows(hidden, "ALTER INSTANCE ROTATE INNODB MASTER KEY")
    rows(hidden, "ALTER TABLE e.zipped FORCE")  # with another key from now on
    assert local(options).incremental
    assert keyring_of(directory) == first
    assert_no_key(directory, tmp_path)
    add_rows(hidden, "lz4", 10_000)
    kept = replace(options, keep_base=True)
    assert not local(kept).incremental
    assert keyring_of(directory) == first
    assert_equal(programs, directory, hidden)


def test_an_update_over_the_network(hidden: Server, programs: Programs, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    options = CloneOptions(endpoint_of(hidden), directory, write_changed_only=True)
    clone(options)
    add_rows(hidden, "common", 10_000)
    rows(hidden, "ALTER TABLE e.zlib FORCE")
    keyring_of(directory).path.unlink()  # then there is another one
    clone(options)
    keyring = keyring_of(directory)
    clone_over_network(replace(options, keep_base=True, write_changed_only=False))
    assert keyring_of(directory) == keyring
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".keyring")] == ["clone.keyring"]
    assert_equal(programs, directory, hidden)


def test_a_keyring_of_the_users(hidden: Server, programs: Programs, ring: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(ring.read_bytes())
    keys = parse_keyring(mine.read_bytes())
    oldest = min(keys.values(), key=lambda key: key.number)
    options = CloneOptions(endpoint_of(hidden), tmp_path / "a", keyring=mine, keyring_key=oldest.name)
    clone(options)
    assert mine.read_bytes() == ring.read_bytes()
    assert not (tmp_path / "a.keyring").exists()
    entry = json.loads((tmp_path / "a" / "#innoclone" / "manifest.json").read_text())["encryption"]
    assert (entry["keyring"], entry["key"]) == (str(mine), oldest.name)
    assert_equal(programs, tmp_path / "a", hidden)
    clone(replace(options, directory=tmp_path / "b", keyring=tmp_path / "new", keyring_key=None))
    assert mode(tmp_path / "new") == 0o600
    boot(BootOptions(tmp_path / "b"))


def test_without_tls_nothing_moves(hidden: Server, tmp_path: Path) -> None:
    with pytest.raises(EncryptionNeedsTls, match="encrypted tablespaces"):
        clone(CloneOptions(endpoint_of(hidden, ssl_mode=SslMode.DISABLED), tmp_path / "clone"))
    assert [*tmp_path.iterdir()] == []


def test_generations_have_one_key_each_in_a_file_of_its_own(hidden: Server, programs: Programs, tmp_path: Path) -> None:
    options = LocalOptions(endpoint_of(hidden), tmp_path / "all", generations=2, full_copies=True)
    made = [add_generation(options).directory, add_generation(options).directory]
    assert {keyring_of(one).path.parent for one in made} == {tmp_path / "all.keyring"}
    assert made[0] != made[1]
    rings = [keyring_of(one).path for one in made]
    before = [one.read_bytes() for one in rings]
    assert before[0] == before[1]
    assert sorted((tmp_path / "all.keyring").iterdir()) == sorted({*rings})
    assert [one.kind for one in list_clones(tmp_path).entries if one.path.name == "all.keyring"] == [Kind.KEYRINGS]
    with (
        booted(programs, made[0], keyring=Keyring(rings[0], read_only=False)) as one,
        booted(programs, made[1], keyring=Keyring(rings[1], read_only=False)) as other,
    ):
        for server in (one, other, one):  # each writes its file anew, with the keys that it knows
            rotate(server)
    assert before[0] not in (ring.read_bytes() for ring in rings)
    assert_equal(programs, made[-1], hidden)


def test_restored_with_a_keyring_of_its_own(hidden: Server, programs: Programs, tmp_path: Path) -> None:
    clone(CloneOptions(endpoint_of(hidden), tmp_path / "clone"))
    before = keyring_of(tmp_path / "clone")
    result = restore(RestoreOptions(tmp_path / "clone", tmp_path / "restored", mysqld_check=True))
    logs = {"innodb_redo_log_encrypt": "ON", "innodb_undo_log_encrypt": "ON"}
    assert result.settings.items() >= logs.items()
    own = keyring_of(tmp_path / "restored")
    assert own.path.parent == tmp_path / "restored.keyring"
    assert own.path.read_bytes() == before.path.read_bytes()
    assert mode(own.path) == 0o600
    assert str(own.path) in (tmp_path / "restored" / "component_keyring_file.cnf").read_text()
    before.path.unlink()
    assert_equal(programs, tmp_path / "restored", hidden)
    with pytest.raises(KeyringFailed, match="is not there"):
        restore(RestoreOptions(tmp_path / "clone", tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_a_servers_data_is_replaced(
    hidden: Server, programs: Programs, make_managed: MakeManaged, tmp_path: Path
) -> None:
    ring = tmp_path / "ring"
    server = make_managed(mysqld=program_with_keyring(programs, tmp_path / "program", ring))
    with pytest.raises(EncryptionUnsupported, match="no master key of InnoDB's yet"):
        replace_data(server.options(hidden))
    assert server.schemas() == {"mine"}
    rotate(server)
    replace_data(server.options(hidden))
    assert server.schemas() == {"e"}
    for name in KINDS:
        table = f"CHECKSUM TABLE e.`{name}`"
        assert server.run(table) == rows(hidden, table)
    rotate(server)
    assert not (server.data / "mysqld.my").exists()
    bare = make_managed()
    with pytest.raises(EncryptionUnsupported, match="has no component_keyring_file"):
        replace_data(bare.options(hidden))
    assert bare.schemas() == {"mine"}


@pytest.mark.parametrize("stage", [StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY])
def test_killed_and_gone_on_with(
    hidden: Server, programs: Programs, tmp_path: Path, state_folder: Path, stage: StageNumber
) -> None:
    """The key is the same before and after, and stands nowhere meanwhile; also where DDL makes encrypted tables."""
    directory = tmp_path / "clone"
    rows(hidden, "CREATE TABLE e.fleeting (id INT PRIMARY KEY, v INT, b VARCHAR(255)) ENCRYPTION='Y'")
    with Killed(hidden, directory, "--max-data-bandwidth=40", "--threads=2") as process:
        process.wait_for(StageNumber.FILE_COPY)
        add_rows(hidden, "fleeting", 0)
        rows(hidden, "ALTER TABLE e.fleeting FORCE")
        rows(hidden, "DROP TABLE e.fleeting")
        process.wait_for(stage)
    [ring] = (tmp_path / "clone.keyring").iterdir()
    before = ring.read_bytes()
    shutil.copytree(directory, tmp_path / "as it was killed")
    status = CloneStatus()
    with pytest.raises(KeyringFailed, match="was begun with the keyring"):
        clone(CloneOptions(endpoint_of(hidden), directory, keyring=tmp_path / "mine"))
    clone(CloneOptions(endpoint_of(hidden), directory), status=status)
    assert any("going on with the clone" in note for note in status.notes), status.notes
    assert keyring_of(directory).path.read_bytes() == before
    assert_no_key(directory, tmp_path, state_folder)
    assert_equal(programs, directory, hidden)


def test_what_is_encrypted_changes_in_file_copy(hidden: Server, programs: Programs, tmp_path: Path) -> None:
    """And by which key; a tablespace without any gets one."""
    statements = [
        "ALTER TABLE e.plain ENCRYPTION='Y'",
        "ALTER TABLE e.single ENCRYPTION='N'",
        "ALTER INSTANCE ROTATE INNODB MASTER KEY",
        "SET GLOBAL innodb_undo_log_encrypt = OFF",
        "INSERT INTO e.common SELECT id + 1000000, v, b FROM e.plain",
        "SET GLOBAL innodb_undo_log_encrypt = ON",
    ]
    directory, status, limits = tmp_path / "clone", CloneStatus(), Limits(data=4)
    told: list[str] = []

    def change() -> None:
        while status.stages[Stage.FILE_COPY].begin is None:
            time.sleep(0.01)
        try:
            for statement in statements:
                rows(hidden, statement)
                told.append(status.stages[Stage.FILE_COPY].state.name)
        finally:
            limits.data = 0

    changes = threading.Thread(target=change)
    changes.start()
    try:
        clone(CloneOptions(endpoint_of(hidden), directory), status=status, limits=limits)
    finally:
        changes.join()
    assert told == ["IN_PROGRESS"] * len(statements), "else less was tested than is meant"
    assert_equal(programs, directory, hidden)
    rows(hidden, "ALTER TABLE e.plain ENCRYPTION='N'")
    rows(hidden, "ALTER TABLE e.single ENCRYPTION='Y'")


def test_no_server_starts_without_the_keys(hidden: Server, tmp_path: Path) -> None:
    """Also where no manifest tells of them, and where a key of the right name is another one."""
    directory = tmp_path / "clone"
    clone(CloneOptions(endpoint_of(hidden), directory))
    ring = keyring_of(directory).path
    [own] = parse_keyring(ring.read_bytes()).values()
    other = tmp_path / "other"
    other.write_bytes(serialize_keyring(MasterKey(own.uuid, own.number, bytes(32))))
    with pytest.raises(KeyringFailed, match="does not open the key of the redo log"):
        boot(BootOptions(directory, keyring=other))
    shutil.copytree(directory, tmp_path / "bare", ignore=shutil.ignore_patterns("#innoclone"))
    for keep in (False, True):
        with pytest.raises(KeyringFailed, match="bare is encrypted, and no keyring was named"):
            boot(BootOptions(tmp_path / "bare", keep=keep))
    other.write_bytes(serialize_keyring(MasterKey("0" * 36, 1, bytes(32))))
    with pytest.raises(KeyringFailed, match=f"has not its key {own.name}"):
        boot(BootOptions(tmp_path / "bare", keyring=other))
    assert not (tmp_path / "bare" / "#innoclone").exists()
    logs = {"redo": "ON", "undo": "ON"}  # what the server is told where no manifest tells it
    assert cloned.logs_of(tmp_path / "bare", Keyring(ring)) == {ENCRYPTION: logs}
    assert boot(BootOptions(tmp_path / "bare", keyring=ring)).position.gtid_executed
    assert cloned.logs_of(tmp_path / "bare", Keyring(ring)) == {ENCRYPTION: logs}


def test_the_position_outlives_a_boot_that_failed(hidden: Server, tmp_path: Path) -> None:
    """A server that gives up leaves a record of a recovery without an end."""
    directory = tmp_path / "clone"
    clone(CloneOptions(endpoint_of(hidden), directory))
    system = directory / "ibdata1"
    content = system.read_bytes()
    system.write_bytes(content[: 2 << 20])
    with pytest.raises(BootFailed):
        boot(BootOptions(directory))
    system.write_bytes(content)
    assert boot(BootOptions(directory)).position.gtid_executed
