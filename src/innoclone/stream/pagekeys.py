"""Keys for the check of encrypted files: from page 0 of each tablespace, or a redo file's header, and a keyring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from innoclone.errors import KeyringFailed
from innoclone.innodb.encryption import (
    BUILT_IN,
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    Secret,
    decrypt_page,
    decrypt_redo_block,
    is_old_page_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.page import PageChecker
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SYSTEM_SPACE

__all__ = ["Masters", "give_keys", "redo_decryption"]

Masters = Mapping[str, MasterKey]
"""A keyring's master keys by name."""


class _Checked(Protocol):
    path: Path
    space_id: int
    checker: PageChecker | None

    def problem(self, text: str) -> None:
        """Something is wrong with the file."""


def give_keys(plans: Iterable[_Checked], masters: Masters) -> None:
    """Let each checker decrypt what its file's key, opened with one of ``masters``, is for. A key that is damaged is a
    problem of the file. Raises `KeyringFailed` where there is no such master key."""
    for plan in plans:
        if plan.checker is None or plan.space_id == SYSTEM_SPACE:
            continue
        try:
            with plan.path.open("rb") as file:
                page = file.read(plan.checker.page_size)
            if len(page) < plan.checker.page_size:
                continue
            if is_old_page_info(page, plan.checker.flags):
                raise ValueError("its key is in the form of MySQL 5.7, which can't be read here")
            if (info := read_page_info(page, plan.checker.flags)) is not None:
                plan.checker.decrypt = partial(_decrypted, _open(info, masters))
        except (OSError, ValueError) as error:
            plan.problem(str(error))


def _decrypted(secret: Secret, page: memoryview) -> bytes:
    return decrypt_page(page, secret)


def _open(info: EncryptionInfo, masters: Masters) -> Secret:
    """The secret. Raises ValueError where it is damaged, `KeyringFailed`."""
    master = BUILT_IN if not info.key_number else masters.get(info.key_name)
    if master is None and (other := info.opened_by(masters)) is not None:
        raise ValueError(f"its key is damaged: it names {info.key_name}, and is wrapped with {other.name}")
    if master is None:
        raise KeyringFailed(f"the keyring has not the key {info.key_name}, which tablespaces' keys are wrapped with")
    if (secret := info.open(master)) is None:
        raise ValueError(f"its key is damaged, or {info.key_name} is not the key that it was wrapped with")
    return secret


def redo_decryption(head: bytes, masters: Masters | None) -> Callable[[memoryview], bytes] | None:
    """What decrypts the blocks of a redo file with this header; None where there is no key or no keyring.

    Raises ValueError where the key is damaged, `KeyringFailed`.
    """
    info = read_redo_info(head[REDO_BLOCK_AT : REDO_BLOCK_AT + BLOCK_SIZE])
    if info is None or masters is None:
        return None
    secret = _open(info, masters)
    return lambda block: decrypt_redo_block(block, secret)
