"""Where a server is and how to get in: what every connection needs to know, as one value."""

from __future__ import annotations

import enum
import socket as sockets
from dataclasses import field, replace
from pathlib import Path
from typing import Protocol

from innoclone.dataclass import dataclass

__all__ = ["DEFAULT_PORT", "LOOPBACK", "Compression", "Endpoint", "SslMode", "Way"]

DEFAULT_PORT = 3306
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # names of this host that mean another one elsewhere


class SslMode(enum.Enum):
    """MySQL's ``--ssl-mode`` values (mysql manual, "Configuring MySQL to Use Encrypted Connections")."""

    DISABLED = "DISABLED"
    PREFERRED = "PREFERRED"
    REQUIRED = "REQUIRED"
    VERIFY_CA = "VERIFY_CA"
    VERIFY_IDENTITY = "VERIFY_IDENTITY"


@dataclass(frozen=True)
class Compression:
    """How the connection is compressed: ``algorithm`` is off, zlib or zstd; ``level`` is for zstd (1-22)."""

    algorithm: str = "off"
    level: int = 3


class Way(Protocol):
    """Another way to a server than by an address. Its text (str) is what stands for the address."""

    def connect(self) -> sockets.socket:
        """One more connection, which nobody else can read. Raises a `CloneError`."""


@dataclass(frozen=True)
class Endpoint:
    """One server account. ``via`` wins over ``socket`` (a Unix socket path), that over host and port."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    user: str = "root"
    password: str = field(default="", repr=False)
    socket: Path | None = None
    ssl_mode: SslMode = SslMode.REQUIRED
    ssl_ca: Path | None = None
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    connect_timeout: float = 10.0  # seconds
    server_public_key_path: Path | None = None  # the server's RSA key (PEM), for a login without TLS
    get_server_public_key: bool = False  # without it: take the key that the peer sends
    tls_on_socket: bool = False  # over a Unix socket, too: a donor gives encrypted data over nothing else
    via: Way | None = None

    @property
    def with_tls(self) -> Endpoint:
        """The same, with TLS also where it is private: a donor gives encrypted data over nothing else."""
        return replace(self, tls_on_socket=True, ssl_mode=SslMode.REQUIRED)

    @property
    def is_private(self) -> bool:
        """Whether nobody can listen, without TLS."""
        return self.socket is not None or self.via is not None

    @property
    def address(self) -> str:
        """``host:port`` (IPv6 in brackets), the socket's path, or the way."""
        if self.via is not None:
            return str(self.via)
        if self.socket is not None:
            return str(self.socket)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        """``user@host:port``, never the password; where there is a way, that alone."""
        return str(self.via) if self.via is not None else f"{self.user}@{self.address}"
