"""Tablespaces that recovery was to decrypt, and of which it left pages encrypted (innoclone.server.keyproof)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from innoclone.errors import EncryptionDamaged
from innoclone.innodb.page import PageType
from innoclone.innodb.space import SpaceFlags
from innoclone.server.keyproof import encrypted_shared, refuse_half_decrypted
from innodb_pages import PLAIN, make_page

ENCRYPTED, SHARED = SpaceFlags.ENCRYPTION.put(1), SpaceFlags.SHARED.put(1)
PAGES = 130  # more than are read at a time


def write(path: Path, flags: int, hidden: int = 0) -> Path:
    """A tablespace, of whose pages the last ``hidden`` are encrypted."""
    pages = [bytearray(make_page(PLAIN, number)) for number in range(PAGES)]
    struct.pack_into(">I", pages[0], 54, PLAIN.raw | flags)
    for page in pages[PAGES - hidden :]:
        struct.pack_into(">H", page, 24, PageType.ENCRYPTED)
    path.write_bytes(b"".join(pages))
    return path


def test_pages_that_were_left_encrypted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    common = write(tmp_path / "common.ibd", ENCRYPTED | SHARED, PAGES - 1)
    other = write(elsewhere / "other.ibd", ENCRYPTED | SHARED, PAGES - 1)
    write(tmp_path / "plain.ibd", SHARED)
    write(tmp_path / "single.ibd", ENCRYPTED)
    (tmp_path / "odd.ibd").write_bytes(b"\xff" * 100)
    (tmp_path / "short.ibd").write_bytes(b"x")
    hidden = encrypted_shared(tmp_path, [other, tmp_path / "nothing"])
    assert hidden == [common, other]
    refuse_half_decrypted(hidden)  # as before
    write(common, SHARED)
    refuse_half_decrypted(hidden)  # all of it was decrypted
    write(other, SHARED, 3)
    with pytest.raises(EncryptionDamaged, match=r"other\.ibd was being decrypted .* has left 3 pages encrypted"):
        refuse_half_decrypted(hidden)
    other.unlink()  # recovery has dropped it
    refuse_half_decrypted(hidden)
