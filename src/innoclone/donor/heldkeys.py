"""Keys that a running server sends in clear, while what it sent is held: wrapped with a key that only we have.

A snapshot's changed pages and its redo log are kept until all recipients have them, perhaps in a temporary file. So
they are sealed in memory as a clone's are (`innoclone.receive.sealing`), with a master key that is made for the
snapshot and written nowhere, and opened again when they are sent, over TLS alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import uuid4

from innoclone.donor.keys import Keys
from innoclone.innodb.encryption import REDO_BLOCK_AT, MasterKey, read_page_info
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.receive.sealing import Sealing
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import FileMetadata, StageNumber

__all__ = ["HeldKeys"]


class HeldKeys:
    """Of one snapshot. One thread adds; any may open what it has got."""

    def __init__(self) -> None:
        self._master = MasterKey(str(uuid4()), 1, secrets.token_bytes(32))
        self._keys = Keys({self._master.name: self._master})
        self.sealing = Sealing(self)

    @property
    def any(self) -> bool:
        """Whether anything encrypted came."""
        return self.sealing.in_use

    def master(self) -> MasterKey:
        """The key that all others are wrapped with here."""
        return self._master

    def seal(
        self, file: ClonedFile, stage: StageNumber, content: bytearray, offset: int
    ) -> Callable[[bytes], bytes] | None:
        """Wrap the key in a block, if there is one; what makes of it what a recipient gets. Raises as
        `Sealing.seal`."""
        self.sealing.seal(file, stage, memoryview(content), offset)
        if stage is StageNumber.REDO_COPY:
            at = REDO_BLOCK_AT - offset
            return self._keys.redo_block(content, at) if 0 <= at <= len(content) - BLOCK_SIZE else None
        if offset or file.flags is None or file.first_page or read_page_info(content, file.flags) is None:
            return None
        return partial(self._keys.page, flags=file.flags)

    def opened(self, meta: FileMetadata) -> FileMetadata:
        """A description as the server sent it."""
        return replace(meta, key=self._master.unwrap(meta.key).raw) if meta.key else meta
