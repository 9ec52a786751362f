"""The login path file that ``mysql_config_editor`` writes: ~/.mylogin.cnf.

Layout (mysys/my_default.cc, client/mysql_config_editor.cc): 4 unused bytes, a key of 20 bytes, then for each line a
little-endian length of 4 bytes and that many bytes of AES-128-ECB with PKCS#7 padding. The AES key is the 20 bytes
folded to 16 by XOR (my_aes_create_key). That hides passwords from a glance, not from a reader of the file: its mode
does, so a file that others may read is ignored.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from innoclone.errors import UsageError
from innoclone.settings.option_files import Setting, home_of, parse

__all__ = ["decrypt", "login_file", "read"]

UNUSED, KEY, LENGTH = 4, 20, 4
AES_BLOCK = 16
MAX_CIPHERTEXT = 4096  # the size of the line buffer in my_default.cc


def login_file(environ: Mapping[str, str]) -> Path | None:
    """Where the login file is: $MYSQL_TEST_LOGIN_FILE, or .mylogin.cnf at home."""
    if named := environ.get("MYSQL_TEST_LOGIN_FILE"):
        return Path(named)
    home = home_of(environ)
    return None if home is None else home / ".mylogin.cnf"


def decrypt(data: bytes) -> str:
    """The plain text of a login file. Raises ValueError if it is not one."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    if not data:
        return ""
    if len(data) < UNUSED + KEY:
        raise ValueError("the header is cut off")
    key = bytearray(AES_BLOCK)
    for position, byte in enumerate(data[UNUSED : UNUSED + KEY]):
        key[position % AES_BLOCK] ^= byte
    cipher = Cipher(algorithms.AES(bytes(key)), modes.ECB())  # noqa: S305 - the file's own format
    lines: list[bytes] = []
    position = UNUSED + KEY
    while position < len(data):
        if position + LENGTH > len(data):
            raise ValueError("a line's length is cut off")
        (length,) = struct.unpack_from("<I", data, position)
        position += LENGTH
        if length > MAX_CIPHERTEXT or length == 0 or length % AES_BLOCK or position + length > len(data):
            raise ValueError("a line has an impossible length")
        decryptor, unpadder = cipher.decryptor(), PKCS7(AES_BLOCK * 8).unpadder()
        padded = decryptor.update(data[position : position + length]) + decryptor.finalize()
        lines.append(unpadder.update(padded) + unpadder.finalize())
        position += length
    return b"".join(lines).decode("utf-8", "surrogateescape")


def read(path: Path, *, named: bool = False, warn: Callable[[str], None]) -> list[Setting]:
    """The settings in the login file, none if there is no such file or others may read it.

    ``named``: somebody asked for what is in it, so that both are errors. Raises UsageError, also for a file that is no
    login file.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_IXUSR | stat.S_IRWXG | stat.S_IRWXO):
            text = f"{path} should be readable/writable only by current user"
            if named:
                raise UsageError(text, hint=f"chmod 600 {path}")
            warn(f"{text}: it is ignored (chmod 600 it)")
            return []
        data = path.read_bytes()
    except OSError as error:
        if named:
            raise UsageError(
                f"failed to open login file {path} (OS errno {error.errno} - {error.strerror})",
                hint="mysql_config_editor set --login-path=NAME makes it",
            ) from None
        return []
    try:
        lines = parse(decrypt(data), str(path), login_file=True)
        return [item for item in lines if isinstance(item, Setting)]
    except ValueError as error:
        raise UsageError(
            f"login file {path} can't be decrypted: {error}", hint="write it again with mysql_config_editor"
        ) from None
