"""Login messages of the classic protocol, both directions, and the password scrambles.

Source: MySQL's protocol documentation ("Connection Phase"); sql/auth/sha2_password_common.cc for the scrambles.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib

from innoclone.dataclass import dataclass
from innoclone.errors import NotMySQL, ProtocolError
from innoclone.wire.codec import Reader, lenenc, u32le

__all__ = [
    "AuthMoreData", "AuthSwitch", "Capability", "Err", "Greeting", "HandshakeResponse", "Ok", "SslRequest",
    "encoded", "native_scramble", "rsa_encrypt_password", "sha2_scramble",
]  # fmt: skip

NONCE_LENGTH = 20
UTF8MB4_0900_AI_CI = 255
MAX_ALLOWED_PACKET = 1 << 30


class Capability(enum.IntFlag):
    """Capability flags (mysql_com.h, CLIENT_...)."""

    LONG_PASSWORD = 0x1
    FOUND_ROWS = 0x2
    LONG_FLAG = 0x4
    CONNECT_WITH_DB = 0x8
    COMPRESS = 0x20
    PROTOCOL_41 = 0x200
    INTERACTIVE = 0x400
    SSL = 0x800
    TRANSACTIONS = 0x2000
    SECURE_CONNECTION = 0x8000
    MULTI_STATEMENTS = 0x10000
    MULTI_RESULTS = 0x20000
    PLUGIN_AUTH = 0x80000
    CONNECT_ATTRS = 0x100000
    PLUGIN_AUTH_LENENC = 0x200000
    ZSTD = 0x4000000


def _printable(data: bytes, what: str) -> str:
    """Latin-1 text of a name in the handshake; control characters would not come from a server."""
    if any(byte < 32 or 127 <= byte < 160 for byte in data):
        raise NotMySQL(f"{what} holds control characters")
    return data.decode("latin-1")


@dataclass(frozen=True)
class Greeting:
    """The server's first packet."""

    version: str
    connection_id: int
    nonce: bytes  # 20 bytes
    capabilities: Capability
    plugin: str
    collation: int = UTF8MB4_0900_AI_CI
    status: int = 2

    @classmethod
    def parse(cls, payload: bytes) -> Greeting:
        """From a packet. Raises `NotMySQL` for any other first packet (an ERR packet is the caller's to see)."""
        if payload[:1] != b"\x0a":
            raise NotMySQL(f"the peer's first packet starts with {payload[:1].hex() or 'nothing'}, not with 0a")
        reader = Reader(payload[1:], "greeting")
        try:
            version = _printable(reader.until_nul("server version"), "server version")
            connection_id, nonce = reader.u32le("connection id"), reader.take(8, "nonce")
            reader.take(1, "filler")
            low, collation, status = reader.u16le("capabilities"), reader.u8("collation"), reader.u16le("status")
            capabilities = Capability(low | reader.u16le("capabilities") << 16)
            length = reader.u8("nonce length")
            reader.take(10, "reserved")
            rest = max(13, length - 8)
            nonce += reader.take(min(rest, reader.left), "nonce")
            plugin = reader.until_nul("plugin") if capabilities & Capability.PLUGIN_AUTH and reader.left else b""
        except ProtocolError as error:
            raise NotMySQL(error.message) from error
        if not capabilities & Capability.PROTOCOL_41 or len(nonce) < NONCE_LENGTH:
            raise NotMySQL(f"server {version!r} does not speak protocol 4.1")
        name = _printable(plugin, "plugin name") or "mysql_native_password"
        return cls(
            version=version, connection_id=connection_id, nonce=nonce[:NONCE_LENGTH], capabilities=capabilities,
            plugin=name, collation=collation, status=status,
        )  # fmt: skip

    def serialize(self) -> bytes:
        """To a packet."""
        return b"".join((
            b"\x0a", self.version.encode("latin-1"), b"\0", u32le(self.connection_id), self.nonce[:8], b"\0",
            (self.capabilities & 0xFFFF).to_bytes(2, "little"), bytes([self.collation]),
            self.status.to_bytes(2, "little"), (self.capabilities >> 16).to_bytes(2, "little"),
            bytes([NONCE_LENGTH + 1]), bytes(10), self.nonce[8:], b"\0", self.plugin.encode("latin-1"), b"\0",
        ))  # fmt: skip


@dataclass(frozen=True)
class SslRequest:
    """First half of a handshake response, sent in the clear before TLS starts."""

    capabilities: Capability

    @classmethod
    def parse(cls, payload: bytes) -> SslRequest:
        """From a packet."""
        reader = Reader(payload, "SSL request")
        capabilities = Capability(reader.u32le("capabilities"))
        reader.take(28, "filler")
        reader.end()
        return cls(capabilities)

    def serialize(self) -> bytes:
        """To a packet of 32 bytes."""
        return u32le(self.capabilities) + u32le(MAX_ALLOWED_PACKET) + bytes([UTF8MB4_0900_AI_CI]) + bytes(23)


@dataclass(frozen=True)
class HandshakeResponse:
    """Who logs in, and the answer to the nonce. ``zstd_level`` goes with capability ZSTD, ``database`` with
    CONNECT_WITH_DB."""

    capabilities: Capability
    user: str
    auth: bytes
    plugin: str
    zstd_level: int = 0
    database: str = ""
    attributes: tuple[tuple[str, str], ...] = ()  # of the connection; read, but never sent

    @classmethod
    def parse(cls, payload: bytes, offered: Capability | None = None) -> HandshakeResponse:
        """From a packet.

        ``offered`` is what the greeting said: PyMySQL claims more, and then sends only what both have.
        """
        reader = Reader(payload, "handshake response")
        capabilities = Capability(reader.u32le("capabilities"))
        if offered is not None:
            capabilities &= offered
        reader.take(28, "filler")
        user = reader.until_nul("user").decode("utf-8", "replace")
        if capabilities & Capability.PLUGIN_AUTH_LENENC:
            auth = reader.take(reader.lenenc("auth length"), "auth data")
        else:
            auth = reader.take(reader.u8("auth length"), "auth data")
        database = b""
        if capabilities & Capability.CONNECT_WITH_DB:
            database = reader.until_nul("database")
        plugin = reader.until_nul("plugin") if capabilities & Capability.PLUGIN_AUTH else b""
        attributes: tuple[tuple[str, str], ...] = ()
        if capabilities & Capability.CONNECT_ATTRS:
            attributes = _attributes(reader.take(reader.lenenc("attributes length"), "attributes"))
        level = reader.u8("zstd level") if capabilities & Capability.ZSTD else 0
        return cls(
            capabilities=capabilities, user=user, auth=auth, plugin=plugin.decode("latin-1"), zstd_level=level,
            database=database.decode("utf-8", "replace"), attributes=attributes,
        )  # fmt: skip

    def serialize(self) -> bytes:
        """To a packet."""
        capabilities = self.capabilities & ~Capability.CONNECT_ATTRS
        if capabilities & Capability.PLUGIN_AUTH_LENENC:
            auth = lenenc(len(self.auth)) + self.auth
        else:
            auth = bytes([len(self.auth)]) + self.auth
        database = self.database.encode() + b"\0" if capabilities & Capability.CONNECT_WITH_DB else b""
        level = bytes([self.zstd_level]) if capabilities & Capability.ZSTD else b""
        return b"".join((
            SslRequest(capabilities).serialize(), encoded(self.user), b"\0", auth, database,
            self.plugin.encode("latin-1"), b"\0", level,
        ))  # fmt: skip


def _attributes(data: bytes) -> tuple[tuple[str, str], ...]:
    """Pairs of key and value, as far as they make sense: a server lets nobody out for the rest, either."""
    reader, found = Reader(data, "connection attributes"), []
    with contextlib.suppress(ProtocolError):
        while reader.left:
            key, value = reader.lenenc_bytes("attribute"), reader.lenenc_bytes("attribute's value")
            found.append((key.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return tuple(found)


@dataclass(frozen=True)
class AuthSwitch:
    """The server asks for another authentication plugin."""

    plugin: str
    nonce: bytes

    @classmethod
    def parse(cls, payload: bytes) -> AuthSwitch:
        """From a packet that starts with fe."""
        reader = Reader(payload[1:], "auth switch request")
        plugin = _printable(reader.until_nul("plugin"), "plugin name")
        return cls(plugin, reader.rest()[:NONCE_LENGTH])

    def serialize(self) -> bytes:
        """To a packet."""
        return b"\xfe" + self.plugin.encode("latin-1") + b"\0" + self.nonce + b"\0"


@dataclass(frozen=True)
class AuthMoreData:
    """More data of the authentication plugin."""

    data: bytes

    @classmethod
    def parse(cls, payload: bytes) -> AuthMoreData:
        """From a packet that starts with 01."""
        return cls(payload[1:])

    def serialize(self) -> bytes:
        """To a packet."""
        return b"\x01" + self.data


@dataclass(frozen=True)
class Ok:
    """OK packet: the server's status flags, how many rows were changed, how many warnings wait, a text for people."""

    status: int = 2
    affected: int = 0
    warnings: int = 0
    info: str = ""

    @classmethod
    def parse(cls, payload: bytes) -> Ok:
        """From a packet that starts with 00."""
        reader = Reader(payload[1:], "OK packet")
        affected = reader.lenenc("affected rows")
        reader.lenenc("last insert id")
        status = reader.u16le("status")
        warnings = reader.u16le("warnings") if reader.left else 0
        return cls(status, affected, warnings, reader.rest().decode("utf-8", "replace"))

    def serialize(self) -> bytes:
        """To a packet."""
        flags = self.status.to_bytes(2, "little") + self.warnings.to_bytes(2, "little")
        return b"\x00" + lenenc(self.affected) + b"\x00" + flags + self.info.encode()


@dataclass(frozen=True)
class Err:
    """ERR packet."""

    number: int
    sqlstate: str
    message: str

    @classmethod
    def parse(cls, payload: bytes) -> Err:
        """From a packet that starts with ff. Before login there may be no SQLSTATE."""
        reader = Reader(payload[1:], "ERR packet")
        number, rest = reader.u16le("error number"), reader.rest()
        state = "HY000"
        if rest[:1] == b"#" and len(rest) >= 6:
            state, rest = rest[1:6].decode("latin-1"), rest[6:]
        return cls(number, state, rest.decode("utf-8", "replace"))

    def serialize(self) -> bytes:
        """To a packet."""
        return b"\xff" + self.number.to_bytes(2, "little") + b"#" + self.sqlstate.encode() + self.message.encode()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def encoded(text: str) -> bytes:
    """A user's name or password as bytes; what was no UTF-8 on the command line or in a DSN comes back as it was."""
    return text.encode("utf-8", "surrogateescape")


def sha2_scramble(password: str, nonce: bytes) -> bytes:
    """caching_sha2_password's answer: SHA256(p) XOR SHA256(SHA256(SHA256(p)) + nonce); empty for no password."""
    if not password:
        return b""
    once = hashlib.sha256(encoded(password)).digest()
    twice = hashlib.sha256(once).digest()
    return _xor(once, hashlib.sha256(twice + nonce).digest())


def native_scramble(password: str, nonce: bytes) -> bytes:
    """mysql_native_password's answer: SHA1(p) XOR SHA1(nonce + SHA1(SHA1(p))); empty for no password."""
    if not password:
        return b""
    once = hashlib.sha1(encoded(password)).digest()  # noqa: S324 - what the server's plugin does
    twice = hashlib.sha1(once).digest()  # noqa: S324
    return _xor(once, hashlib.sha1(nonce + twice).digest())  # noqa: S324


def rsa_encrypt_password(password: str, nonce: bytes, pem: bytes) -> bytes:
    """The password for a connection without TLS: NUL-terminated, XORed with the nonce, RSA-OAEP with SHA-1."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProtocolError("the server's RSA key is not a PEM public key") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ProtocolError("the server's key is not an RSA key")
    plain = encoded(password) + b"\0"
    mask = (nonce * (len(plain) // len(nonce) + 1))[: len(plain)]
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303
    try:
        return key.encrypt(_xor(plain, mask), oaep)
    except ValueError as error:
        raise ProtocolError(f"the server's RSA key of {key.key_size} bits is too small for the password") from error
