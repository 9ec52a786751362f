"""Before a server starts on what is encrypted: its keyring has the keys. Without one mysqld crashes, or gives up in the
middle of its start, and what it has written until then is no help to anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from innoclone.errors import KeyringFailed
from innoclone.files.keyring import read_keyring
from innoclone.files.names import REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.encryption import (
    BUILT_IN,
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags, SpaceHeader
from innoclone.server.keyring import Keyring

__all__ = ["prove_keyring"]

_LARGEST_PAGE = 64 << 10


def prove_keyring(directory: Path, keyring: Keyring | None, *, tables: bool) -> None:
    """Raise `KeyringFailed` where the redo log or a tablespace of ``directory`` needs a key that ``keyring`` has not.

    Tablespaces of schemas are looked at with ``tables`` only: they are many, and a clone's manifest tells of them.
    Raises a file error.
    """
    masters = {} if keyring is None else read_keyring(keyring.path)
    for name, info in _infos(directory, tables=tables):
        if keyring is None:
            raise KeyringFailed(
                f"{name} in {directory} is encrypted, and no keyring was named",
                hint="name its keyring file with --keyring; without one mysqld refuses the directory, or crashes on it",
            )
        _prove(name, info, masters, keyring.path)


def _prove(name: str, info: EncryptionInfo, masters: Mapping[str, MasterKey], path: Path) -> None:
    master = masters.get(info.key_name) if info.key_number else BUILT_IN
    if master is None:
        raise KeyringFailed(f"{name} is encrypted, and the keyring {path} has not its key {info.key_name}")
    if info.open(master) is None:
        raise KeyringFailed(
            f"{info.key_name} in the keyring {path} does not open the key of {name}",
            hint="it is another key of that name, or the block that holds the key is damaged; innoclone verify tells",
        )


def _infos(directory: Path, *, tables: bool) -> Iterator[tuple[str, EncryptionInfo]]:
    logs = [*directory.glob("ib_logfile*"), *(directory / REDO_DIR).glob("#ib_redo*")]
    for path in sorted(path for path in logs if not path.name.endswith("_tmp")):  # spare files hold no log
        block = _read(path, REDO_BLOCK_AT, BLOCK_SIZE)
        if len(block) == BLOCK_SIZE and (info := read_redo_info(block)) is not None:
            yield "the redo log", info
    for pattern in ("*.ibd", "undo_*", "*.ibu", *(("*/*.ibd",) if tables else ())):
        for path in directory.glob(pattern):
            if path.is_file() and (info := _page_info(_read(path, 0, _LARGEST_PAGE))) is not None:
                yield str(path.relative_to(directory)), info


def _page_info(page: bytes) -> EncryptionInfo | None:
    if len(page) < SpaceHeader.LAYOUT.size:
        return None
    header = SpaceHeader.parse(page)
    try:
        flags = SpaceFlags(header.flags)
        if header.space_id == SYSTEM_SPACE or len(page) < flags.physical_page_size:
            return None
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
