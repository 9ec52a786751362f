"""A store without encryption that somebody has written into: anything may stand in it, and every command ends with an
error that has a name, without having written beside its target or taken more memory than an honest store may."""

from __future__ import annotations

import copy
import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from innoclone.commands.backup import backup
from innoclone.commands.storecare import list_store, make_store, prune_store, snapshot_info, verify_store
from innoclone.commands.storeoptions import BackupOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.errors import CloneError, StoreDamaged, registry
from innoclone.store.address import objects_at
from innoclone.store.contents import contents_name
from innoclone.store.objects import SMALL
from innoclone.store.repository import DESCRIPTION, Repository, open_store
from innoclone.store.sealing import Piece
from innoclone.store.snapshots import FOLDER, HEAD, names_of, run_of
from small_clones import small_clone_version

JUNK: tuple[Any, ...] = (
    None, [], {}, "", "x", "../x", "/etc/passwd", "\ud800", "a\0b", -1, 0, 1 << 70, 1e308, float("inf"), True,
    [[]], {"a": 1}, "0" * 32, [1, 2, 3], "#innoclone/manifest.json",
)  # fmt: skip
DOCUMENTED = set(registry())
ROUNDS = 60


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one snapshot."""
    folder = tmp_path_factory.mktemp("hostile")
    access = StoreAccess(f"file://{folder}/store")
    make_store(access, encrypted=False, single_writer=False)
    backup(BackupOptions(small_clone_version(folder / "clone", 0), access))
    return folder / "store"


def opened(folder: Path) -> Repository:
    return open_store(objects_at(f"file://{folder}", {}), None)


def nodes(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every place in a JSON value, as container and key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        nodes(value[key], found)
    return found


def hurt(value: Any, dice: random.Random) -> Any:
    """The value with one place of it replaced or removed."""
    value = copy.deepcopy(value)
    container, key = dice.choice(nodes(value, []))
    if dice.random() < 0.1:
        del container[key]
    else:
        container[key] = dice.choice(JUNK)
    return value


def written(folder: Path, name: str, data: bytes) -> None:
    (folder / name).unlink()
    (folder / name).write_bytes(data)


def forge_snapshot(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    repository = opened(folder)
    [name] = names_of(repository)
    sealer = repository.vault.sealer(run_of(name))
    path = folder / FOLDER / name
    body = zstandard.ZstdDecompressor().decompress(sealer.open(Piece.SNAPSHOT, 0, 0, path.read_bytes()[len(HEAD) :]))
    new = zstandard.ZstdCompressor().compress(json.dumps(change(json.loads(body))).encode())
    written(folder, f"{FOLDER}/{name}", HEAD + sealer.seal(Piece.SNAPSHOT, 0, 0, new))


def forge_contents(folder: Path, number: int, change: Callable[[Any], Any]) -> None:
    """The table of packs (0) or the header of the others (1); the snapshot names the new size."""
    repository = opened(folder)
    [snapshot] = names_of(repository)
    run = run_of(snapshot)
    sealer, name = repository.vault.sealer(run), contents_name(run, number)
    body = sealer.open(Piece.CONTENTS, number, 0, (folder / name).read_bytes())
    raw = zstandard.ZstdDecompressor().decompress(body)
    if number:
        (length,) = struct.unpack_from("<I", raw)
        text = json.dumps(change(json.loads(raw[4 : 4 + length]))).encode()
        raw = struct.pack("<I", len(text)) + text + raw[4 + length :]
    else:
        raw = json.dumps(change(json.loads(raw))).encode()
    sealed = sealer.seal(Piece.CONTENTS, number, 0, zstandard.ZstdCompressor().compress(raw))
    written(folder, name, sealed)

    def resized(fields: dict[str, Any]) -> dict[str, Any]:
        fields["contents"][number] = len(sealed)
        return fields

    forge_snapshot(folder, resized)


def commands(access: StoreAccess, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "list", lambda: list_store(access)
    yield "info", lambda: snapshot_info(access, "latest")
    yield "verify", lambda: verify_store(access, read_data=True)
    yield "restore", lambda: restore_from_store(StoreRestoreOptions(access, "latest", folder / "new", fsync=False))
    yield "backup", lambda: backup(BackupOptions(small_clone_version(folder / "clone", 1), access))
    yield "prune", lambda: prune_store(access, grace=0)


@pytest.mark.parametrize("where", ["snapshot", "packs", "contents", "manifest"])
def test_whatever_stands_in_it_has_a_named_end(honest: Path, tmp_path: Path, where: str) -> None:
    ends: dict[type[CloneError], str] = {}
    for seed in range(ROUNDS // 4):
        dice = random.Random(f"{where} {seed}")
        around = tmp_path / str(seed)
        folder = around / "store"
        shutil.copytree(honest, folder)
        if where == "snapshot":
            forge_snapshot(folder, lambda fields, dice=dice: hurt(fields, dice))  # type: ignore[misc]
        elif where == "packs":
            forge_contents(folder, 0, lambda table, dice=dice: hurt(table, dice))  # type: ignore[misc]
        else:

            def change(header: dict[str, Any], dice: random.Random = dice) -> dict[str, Any]:
                part = header["manifest"] if where == "manifest" else {**header, "manifest": {}}
                new = hurt(part, dice)
                return {**header, "manifest": new} if where == "manifest" else {"manifest": header["manifest"], **new}

            forge_contents(folder, 1, change)
        for name, command in commands(StoreAccess(f"file://{folder}"), around):
            try:
                command()
            except CloneError as error:
                ends[type(error)] = f"{seed}, {name}: {error}"
        assert {path.name for path in around.iterdir()} <= {"store", "new", "clone"}
        shutil.rmtree(around)
    assert ends
    assert not {kind: text for kind, text in ends.items() if kind not in DOCUMENTED}


def test_no_object_is_read_that_is_larger_than_its_kind(honest: Path, tmp_path: Path) -> None:
    """A description, a lease, a snapshot, of a size that memory doesn't have."""
    folder = tmp_path / "store"
    shutil.copytree(honest, folder)
    access = StoreAccess(f"file://{folder}")
    [snapshot] = (folder / FOLDER).iterdir()
    for path in (snapshot, folder / DESCRIPTION):
        with path.open("r+b") as file:
            file.truncate(1 << 42)  # 4 TiB, a hole
        with pytest.raises(StoreDamaged, match="has 4398046511104 bytes"):
            snapshot_info(access, "latest")
        with path.open("r+b") as file:
            file.truncate(SMALL + 1)
        with pytest.raises(StoreDamaged):
            snapshot_info(access, "latest")
