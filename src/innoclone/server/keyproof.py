"""Before a server starts on what is encrypted: its keyring has the keys. Without one mysqld crashes, or gives up in the
middle of its start, and what it has written until then is no help to anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from innoclone.errors import EncryptionDamaged, EncryptionUnsupported, KeyringFailed
from innoclone.files.keyring import read_keyring
from innoclone.files.names import REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.encryption import (
    BUILT_IN,
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    is_old_page_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.page import ENCRYPTED_TYPES, PAGE_TYPE
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags, SpaceHeader
from innoclone.server.keyring import Keyring

__all__ = ["encrypted_logs", "encrypted_shared", "prove_keyring", "refuse_half_decrypted", "refuse_old_form"]

_LARGEST_PAGE = 64 << 10
_PIECE = 1 << 20


def prove_keyring(directory: Path, keyring: Keyring | None, *, tables: bool) -> None:
    """Raise `KeyringFailed` where the redo log or a tablespace of ``directory`` needs a key that ``keyring`` has not.

    Tablespaces of schemas are looked at with ``tables`` only: they are many, and a clone's manifest tells of them.
    Raises `EncryptionDamaged`, `EncryptionUnsupported`, a file error.
    """
    masters = {} if keyring is None else read_keyring(keyring.path)
    for name, info in _infos(directory, tables=tables):
        if keyring is None:
            raise KeyringFailed(
                f"{name} in {directory} is encrypted, and no keyring was named",
                hint="name its keyring file with --keyring; without one mysqld refuses the directory, or crashes on it",
            )
        _prove(name, info, masters, keyring.path)


def encrypted_logs(directory: Path) -> dict[str, str]:
    """Which logs of a directory have a key, as its manifest would tell it: ``redo`` and ``undo``, each ON or OFF.

    Raises a file error."""
    undo = [_page_info(_read(path, 0, _LARGEST_PAGE), path.name) for path in _undo(directory)]
    redo = any(name == "the redo log" for name, _ in _infos(directory, tables=False))
    return {"redo": "ON" if redo else "OFF", "undo": "ON" if any(undo) else "OFF"}


def encrypted_shared(directory: Path, outside: Iterable[Path]) -> list[Path]:
    """The dictionary's and general tablespaces that are encrypted: those which ALTER TABLESPACE changes as they lie.
    They are in ``directory`` itself, or among the files ``outside``. Raises a file error."""
    found = []
    for path in (*directory.glob("*.ibd"), *outside):
        flags = _flags(path)
        if flags is not None and flags.is_shared and flags.is_encrypted:
            found.append(path)
    return found


def refuse_half_decrypted(paths: Iterable[Path]) -> None:
    """After a recovery, of tablespaces that were encrypted before: raise `EncryptionDamaged` where one is so no more,
    and has pages that are.

    If the redo log has the end of ALTER TABLESPACE ... ENCRYPTION='N', 9.7.4 writes the pages that it recovers
    encrypted all the same, and never reads them again; in clones of the stock server's, too. Raises a file error.
    """
    for path in paths:
        flags = _flags(path)
        if flags is not None and not flags.is_encrypted and (left := _encrypted_pages(path, flags.physical_page_size)):
            raise EncryptionDamaged(
                f"{path.name} was being decrypted on the donor (ALTER TABLESPACE ... ENCRYPTION='N') when it was"
                f" cloned, and mysqld's recovery has left {left} pages encrypted, which no server can read",
                hint="clone again when no such statement runs, or with --block-ddl, for which it waits",
            )


def _encrypted_pages(path: Path, size: int) -> int:
    found = offset = 0
    while piece := _read(path, offset, _PIECE):
        types = (int.from_bytes(piece[at + PAGE_TYPE : at + PAGE_TYPE + 2]) for at in range(0, len(piece), size))
        found += sum(one in ENCRYPTED_TYPES for one in types)
        offset += len(piece)
    return found


def _flags(path: Path) -> SpaceFlags | None:
    if not path.is_file():  # recovery may drop one
        return None
    head = _read(path, 0, SpaceHeader.LAYOUT.size)
    try:
        return SpaceFlags(SpaceHeader.parse(head).flags) if len(head) == SpaceHeader.LAYOUT.size else None
    except ValueError:  # no tablespace's page
        return None


def _undo(directory: Path) -> list[Path]:
    return [path for pattern in ("undo_*", "*.ibu") for path in directory.glob(pattern) if path.is_file()]


def _prove(name: str, info: EncryptionInfo, masters: Mapping[str, MasterKey], path: Path) -> None:
    master = masters.get(info.key_name) if info.key_number else BUILT_IN
    if master is None and (other := info.opened_by(masters)) is not None:
        raise EncryptionDamaged(
            f"{name} names {info.key_name} as its key, and is wrapped with {other.name}: the block that holds it is"
            " damaged",
            hint="clone or restore this file anew",
        )
    if master is None:
        raise KeyringFailed(f"{name} is encrypted, and the keyring {path} has not its key {info.key_name}")
    if info.open(master) is None:
        raise KeyringFailed(
            f"{info.key_name} in the keyring {path} does not open the key of {name}",
            hint="it is another key of that name, or the block that holds the key is damaged; innoclone verify tells",
        )


def refuse_old_form(page: bytes, flags: SpaceFlags, name: str) -> None:
    """Raise `EncryptionUnsupported` for page 0 with a key in a form that no server since 8.0 writes."""
    if is_old_page_info(page, flags):
        raise EncryptionUnsupported(
            f"{name} has its key in the form of MySQL 5.7, which can't be read here",
            hint="on the server that it is of: ALTER INSTANCE ROTATE INNODB MASTER KEY writes it in today's form",
        )


def _infos(directory: Path, *, tables: bool) -> Iterator[tuple[str, EncryptionInfo]]:
    logs = [*directory.glob("ib_logfile*"), *(directory / REDO_DIR).glob("#ib_redo*")]
    for path in sorted(path for path in logs if not path.name.endswith("_tmp")):  # spare files hold no log
        block = _read(path, REDO_BLOCK_AT, BLOCK_SIZE)
        if len(block) == BLOCK_SIZE and (info := read_redo_info(block)) is not None:
            yield "the redo log", info
    for pattern in ("*.ibd", "undo_*", "*.ibu", *(("*/*.ibd",) if tables else ())):
        for path in directory.glob(pattern):
            name = str(path.relative_to(directory))
            if path.is_file() and (info := _page_info(_read(path, 0, _LARGEST_PAGE), name)) is not None:
                yield name, info


def _page_info(page: bytes, name: str) -> EncryptionInfo | None:
    if len(page) < SpaceHeader.LAYOUT.size:
        return None
    header = SpaceHeader.parse(page)
    try:
        flags = SpaceFlags(header.flags)
        if header.space_id == SYSTEM_SPACE or len(page) < flags.physical_page_size:
            return None
        refuse_old_form(page, flags, name)
        return read_page_info(page, flags)
    except ValueError:  # no tablespace's page: the server says what it thinks of it
        return None


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
