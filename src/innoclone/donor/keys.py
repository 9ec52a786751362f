"""Keys of an encrypted directory, given away as a stock donor gives them: in clear, and so over TLS alone.

Files and blocks are sent as they lie here, wrapped keys among them. A recipient gets page 0 of each encrypted file once
more in PAGE COPY, and the headers of the redo log, with the key in clear and 0 as the number of its master key.
That is made when it is sent, and kept nowhere; what is kept is the keyring's master keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from innoclone.donor.plans import DataFile, Page, StoredFile
from innoclone.errors import EncryptionDamaged, FileError, KeyringFailed
from innoclone.files.keyring import read_keyring
from innoclone.files.system import file_error
from innoclone.innodb.encryption import (
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    Secret,
    decrypt_page,
    put_page_info,
    put_redo_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import FLAGS_UNKNOWN, SYSTEM_SPACE, SpaceFlags
from innoclone.server import cloned
from innoclone.server.keyproof import refuse_old_form

__all__ = ["Keys"]

HINT = "name the keyring file that the directory's server has with --keyring"


@dataclass(frozen=True)
class Keys:
    """The master keys for a directory; without any, what is encrypted in it can't be served."""

    masters: Mapping[str, MasterKey] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, manifest: Mapping[str, Any], named: Path | None) -> Keys:
        """From the keyring that was ``named``, or that a clone's manifest names. Raises `KeyringFailed`."""
        keyring = cloned.keyring_of(manifest, named)
        return cls({} if keyring is None else read_keyring(keyring.path))

    def first_pages(self, files: Sequence[DataFile], opened: Callable[[StoredFile], int]) -> Iterator[Page]:
        """Those of the encrypted tablespaces among ``files``. Raises `KeyringFailed`, `EncryptionDamaged`, a file
        error.

        All keys are tried now, so that no recipient learns of a wrong one.
        """
        for index, file in enumerate(files):
            if file.flags == FLAGS_UNKNOWN or file.space_id == SYSTEM_SPACE:
                continue
            flags = SpaceFlags(file.flags)
            page = _read(file.stored, flags.physical_page_size, opened)
            refuse_old_form(page, flags, file.name)
            info = read_page_info(page, flags)
            if info is not None:
                self._open(info, file.name)
                yield Page(index, 0, file.stored.size, page, partial(self.page, flags=flags))
            elif flags.is_encrypted:
                raise EncryptionDamaged(f"{file.name} is encrypted, and has no key that is known")

    def page(self, content: bytes, flags: SpaceFlags) -> bytes:
        """What is sent of ``content``, which begins with page 0 of an encrypted tablespace. Raises `KeyringFailed`,
        `EncryptionDamaged`."""
        sent = memoryview(bytearray(content))
        page = sent[: flags.physical_page_size]
        info = read_page_info(page, flags)
        assert info is not None, "that is why it is sent"
        put_page_info(page, flags, _in_clear(info, self._open(info, "page 0")))
        return sent.tobytes()

    def redo_head(self, head: bytes) -> Callable[[bytes], bytes] | None:
        """What makes the header of a redo file that is sent of the one here; None where there is no key in it.

        Raises `KeyringFailed`, `EncryptionDamaged`.
        """
        return self.redo_block(head, REDO_BLOCK_AT)

    def redo_block(self, content: bytes | bytearray, at: int) -> Callable[[bytes], bytes] | None:
        """The same of a part of a redo file that has the block with the key at ``at``. Raises as `redo_head`."""
        info = read_redo_info(content[at : at + BLOCK_SIZE])
        if info is None:
            return None
        self._open(info, "the redo log")
        return partial(self._redo, at=at)

    def _redo(self, content: bytes, at: int) -> bytes:
        view = memoryview(bytearray(content))
        block = view[at : at + BLOCK_SIZE]
        info = read_redo_info(block)
        assert info is not None, "that is why it is called"
        put_redo_info(block, _in_clear(info, self._open(info, "the redo log")))
        return view.tobytes()

    def reader(self, path: Path, flags: SpaceFlags) -> Callable[[bytes], bytes]:
        """What gives the pages of a tablespace in clear. Raises as `first_pages`."""
        try:
            with path.open("rb") as file:
                page = file.read(flags.physical_page_size)
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        info = read_page_info(page, flags) if len(page) == flags.physical_page_size else None
        if info is None:
            return bytes
        secret = self._open(info, path.name)
        return lambda content: decrypt_page(memoryview(content), secret)

    def _open(self, info: EncryptionInfo, name: str) -> Secret:
        master = self.masters.get(info.key_name)
        if master is None and (other := info.opened_by(self.masters)) is not None:
            raise EncryptionDamaged(
                f"{name} names {info.key_name} as its key, and is wrapped with {other.name}: the block that holds it is"
                " damaged"
            )
        if master is None:
            raise KeyringFailed(f"{name} is encrypted, and there is no key {info.key_name}", hint=HINT)
        if (secret := info.open(master)) is None:
            raise EncryptionDamaged(f"the key of {name} is damaged, or not wrapped with {info.key_name} of the keyring")
        return secret


def _in_clear(info: EncryptionInfo, secret: Secret) -> bytes:
    return EncryptionInfo(EncryptionInfo.MAGIC, 0, info.uuid, secret.raw, secret.crc).serialize()


def _read(file: StoredFile, size: int, opened: Callable[[StoredFile], int]) -> bytes:
    descriptor = opened(file)
    try:
        page = os.pread(descriptor, size, 0)
    except OSError as error:
        raise file_error(error, f"can't read {file.path}") from error
    finally:
        os.close(descriptor)
    if len(page) < size:
        raise FileError(f"{file.path} has no first page")
    return page
