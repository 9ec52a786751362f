"""Packets of the MySQL protocol by hand, as a client sends them."""

from __future__ import annotations

import contextlib
import socket

from innoclone.wire.handshake import Capability, Err, Greeting, HandshakeResponse, sha2_scramble
from innoclone.wire.packets import PacketHeader, split

__all__ = ["PASSWORD", "Packets", "Raw", "number_of", "response_to"]


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


PASSWORD = "geheim"


class Raw(Packets):
    """A connection that was greeted."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.greeting = Greeting.parse(self.read()[1])

    def ends(self) -> bool:
        """The agent closes without another word."""
        with contextlib.suppress(ConnectionError):
            return self.sock.recv(1) == b""
        return True

    def response(self, user: str, password: str) -> bytes:
        return response_to(self.greeting, user, password)

    def log_in(self, password: str = PASSWORD) -> bytes:
        """By the fast path; the last packet."""
        self.send(self.response("u", password), 1)
        _, answer = self.read()
        if answer == b"\x01\x03":
            _, answer = self.read()
        return answer


def number_of(payload: bytes) -> int:
    return Err.parse(payload).number
