"""Keys of an encrypted donor, which come in clear: wrapped with the clone's master key before a byte is written.

A donor sends a tablespace's key in page 0 (in PAGE COPY; in FILE COPY that page is as it lies on the donor's disk), in
the description of a file that DDL made meanwhile, and the redo log's in the header of each redo file. What goes to the
sink, the journal and the table of files has only passed through here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from innoclone.errors import EncryptionDamaged, EncryptionNeedsTls, EncryptionUnsupported, ProtocolError
from innoclone.innodb.encryption import (
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    Secret,
    is_being_decrypted,
    put_page_info,
    put_redo_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SpaceFlags
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber

__all__ = ["Sealing"]


class Keyring(Protocol):
    """Where the master key comes from; `innoclone.files.keyring.CloneKeyring` is one."""

    def master(self) -> MasterKey:
        """The key, always the same. Raises `KeyringFailed`, a file error."""


class Sealing:
    """For one clone. Any connection may call it."""

    def __init__(self, keyring: Keyring | None, first: Callable[[MasterKey], None] = lambda _: None) -> None:
        """``first`` is called before the master key is used for the first time, perhaps more than once. Without a
        keyring nothing encrypted is taken."""
        self._keyring, self.first = keyring, first
        self._told = False
        self.secure = False  # whether the donor's connections have TLS: no honest one sends a key without
        self.sealed: set[int] = set()  # indexes of data files whose page 0 came, and was sealed
        self.decrypting: set[int] = set()  # of those the ones that were being decrypted by then

    @property
    def in_use(self) -> bool:
        """Whether anything encrypted came."""
        return self._told

    def master(self) -> MasterKey:
        """The clone's master key. Raises `EncryptionUnsupported` where there can't be one, `KeyringFailed`."""
        if self._keyring is None:
            raise EncryptionUnsupported("the donor is encrypted, and this clone has no keyring")
        found = self._keyring.master()
        if not self._told:
            self.first(found)
            self._told = True
        return found

    def _master(self) -> MasterKey:
        """The same, for what the donor has just sent. Raises `EncryptionNeedsTls`, too."""
        if not self.secure:
            raise EncryptionNeedsTls("the donor sends what is encrypted on a connection without TLS")
        return self.master()

    def metadata(self, meta: FileMetadata) -> FileMetadata:
        """A description with its key wrapped, if it has one."""
        if not meta.flags & (FileFlag.ENCRYPTED | FileFlag.HAS_KEY):
            return meta
        master = self._master()
        return dataclasses.replace(meta, key=master.wrap(Secret(meta.key))) if meta.key else meta

    def info(self, wrapped: bytes) -> bytes:
        """The block of page 0 for a key that `metadata` has wrapped."""
        master = self.master()
        return master.info(master.unwrap(wrapped)).serialize()

    def seal(self, file: ClonedFile, stage: StageNumber, view: memoryview, offset: int) -> None:
        """Seal what of a file's beginning is in ``view``, whole pages or blocks from ``offset`` on. Raises
        `EncryptionDamaged`, `KeyringFailed`, `ProtocolError`."""
        if stage is StageNumber.REDO_COPY:
            self.redo(view, offset)
        elif file.flags is not None and not offset and not file.first_page:
            page = file.flags.physical_page_size
            if len(view) < page:
                raise ProtocolError(f"{len(view)} bytes of the first page of {file.metadata.name!r}")
            self.page0(file, file.flags, stage, view[:page])

    def page0(self, file: ClonedFile, flags: SpaceFlags, stage: StageNumber, page: memoryview) -> None:
        """Seal page 0 of a tablespace in place. Raises `EncryptionDamaged` where it should have a key and has none."""
        info = read_page_info(page, flags)
        if info is None:
            return
        name = file.metadata.name
        if (sealed := self._sealed(info, f"the first page of {name}", strict=stage is StageNumber.PAGE_COPY)) is None:
            return
        put_page_info(page, flags, sealed)
        self.sealed.add(file.metadata.index)
        (self.decrypting.add if is_being_decrypted(page, flags) else self.decrypting.discard)(file.metadata.index)

    def redo(self, view: memoryview, offset: int) -> None:
        """Seal what of a redo file's header is in ``view``, which begins at ``offset`` of the file."""
        begin, end = REDO_BLOCK_AT - offset, REDO_BLOCK_AT + BLOCK_SIZE - offset
        if end <= 0 or begin >= len(view):
            return
        if begin < 0 or end > len(view):
            raise ProtocolError(f"a part of a redo file's header, {len(view)} bytes from {offset} on")
        block = view[begin:end]
        info = read_redo_info(block)
        if info is not None and (sealed := self._sealed(info, "the redo log's header", strict=True)) is not None:
            put_redo_info(block, sealed)

    def _sealed(self, info: EncryptionInfo, where: str, *, strict: bool) -> bytes | None:
        """The block with the clone's master key, None for one that is not for us."""
        secret = info.sent()
        if secret is not None:
            return self._master().info(secret).serialize()
        if strict or not info.key_number:
            raise EncryptionDamaged(f"{where} came with a key that does not agree with its checksum")
        return None
