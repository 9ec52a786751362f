"""Before a clone counts: every encrypted file must have its key, wrapped with the clone's master key and no other."""

from __future__ import annotations

from innoclone.errors import EncryptionDamaged, EncryptionUnsupported
from innoclone.innodb.encryption import (
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    is_being_decrypted,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags, SpaceHeader
from innoclone.receive.state import CloneState
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import FileFlag

__all__ = ["check_sealed"]


def check_sealed(state: CloneState) -> None:
    """Raise `EncryptionDamaged` for a file whose key is missing or another one's: no server could read it; and
    `EncryptionUnsupported` for one that was being decrypted: a server's recovery would spoil it.

    What a donor says of a file may be older than its page 0: that one tells.
    """
    for index, file in enumerate(state.table.data):
        flags = file.flags
        if flags is None or file.dropped or file.first_page or file.metadata.space_id == SYSTEM_SPACE:
            continue
        if _may_be_encrypted(file, flags) or index in state.sealing.sealed:
            _check_page0(state, file, flags)
    for index, file in state.table.redo.items():
        if (block := _redo_block(state, index, file)) and (info := read_redo_info(block)) is not None:
            _check(info, state.sealing.master(), "the redo log")


def _may_be_encrypted(file: ClonedFile, flags: SpaceFlags) -> bool:
    return flags.is_encrypted or bool(file.metadata.flags & (FileFlag.ENCRYPTED | FileFlag.HAS_KEY))


def _check_page0(state: CloneState, file: ClonedFile, flags: SpaceFlags) -> None:
    if not state.sink.can_read_back:
        if file.metadata.index not in state.sealing.sealed:
            raise _missing(file.metadata.name)
        if file.metadata.index in state.sealing.decrypting:
            raise _decrypting(file.metadata.name)
        return
    page = state.sink.read(file.path, 0, flags.physical_page_size)
    if len(page) < flags.physical_page_size:
        raise _missing(file.metadata.name)
    if (info := read_page_info(page, flags)) is not None:
        _check(info, state.sealing.master(), file.metadata.name)
        if is_being_decrypted(page, flags):
            raise _decrypting(file.metadata.name)
    elif SpaceFlags(SpaceHeader.parse(page).flags).is_encrypted:
        raise _missing(file.metadata.name)


def _redo_block(state: CloneState, index: int, file: ClonedFile) -> bytes:
    if state.sink.can_read_back:
        return state.sink.read(file.path, REDO_BLOCK_AT, BLOCK_SIZE)
    return bytes(state.redo_heads.get(index, b"")[REDO_BLOCK_AT : REDO_BLOCK_AT + BLOCK_SIZE])


def _check(info: EncryptionInfo, master: MasterKey, name: str) -> None:
    if not info.is_of(master):
        raise EncryptionDamaged(f"the key of {name} is not wrapped with the clone's master key")


def _decrypting(name: str) -> EncryptionUnsupported:
    return EncryptionUnsupported(
        f"{name} was being decrypted on the donor (ALTER TABLESPACE ... ENCRYPTION='N'): in a clone of that a"
        " server's recovery leaves pages that no server can read",
        hint="clone again when that statement is over, or with --block-ddl, for which it waits",
    )


def _missing(name: str) -> EncryptionDamaged:
    return EncryptionDamaged(f"the donor sent no key for {name}, which is encrypted")
