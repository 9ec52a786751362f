"""Packets of the MySQL protocol by hand, as a client sends them."""

from __future__ import annotations

import socket

from innoclone.wire.handshake import Capability, Greeting, HandshakeResponse, sha2_scramble
from innoclone.wire.packets import PacketHeader, split

__all__ = ["Packets", "response_to"]


class Packets:
    """Over a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read(self) -> tuple[int, bytes]:
        """The next packet: its number and its payload. Raises EOFError."""
        header = PacketHeader.parse(self._take(4))
        return header.sequence, self._take(header.length)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def send(self, payload: bytes, sequence: int) -> None:
        """One message."""
        self.sock.sendall(b"".join(split(payload, sequence)))


def response_to(greeting: Greeting, user: str, password: str) -> bytes:
    """The answer to a greeting, without TLS: with what proves the password, if the server remembers it."""
    capabilities = greeting.capabilities & ~(Capability.SSL | Capability.CONNECT_WITH_DB)
    return HandshakeResponse(
        capabilities, user, sha2_scramble(password, greeting.nonce), "caching_sha2_password"
    ).serialize()
