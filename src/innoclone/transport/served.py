"""A client's connection, as a server sees it: packets in order, TLS, who is at the other end."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterable

from innoclone.errors import NetworkError, ProtocolError
from innoclone.wire.handshake import NONCE_LENGTH
from innoclone.wire.packets import HEADER, PacketHeader, split

__all__ = ["OutOfOrder", "PacketTooLarge", "ServedConnection", "nonce"]

UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid
WRITE_AT_ONCE = 1 << 16
READ_AT_ONCE = 1 << 16


class PacketTooLarge(ProtocolError):
    """A packet is longer than allowed; the rest of it is not read, so nothing more can be understood."""


class OutOfOrder(ProtocolError):
    """A packet has another sequence number than the next."""


def nonce() -> bytes:
    """20 random bytes, none of them NUL or a dollar sign, as MySQL's own."""
    return bytes(33 + byte % 90 if 33 + byte % 90 != 36 else 126 for byte in os.urandom(NONCE_LENGTH))


class ServedConnection:
    """Packets over an accepted socket. Not for use by two threads at once, but `shut` may be called from any.

    ``peer_uid`` is the user id of the process at the other end of a Unix socket, as the kernel says, None for TCP;
    ``peer_host`` the client's address, ``localhost`` for a Unix socket, as MySQL has it.
    """

    def __init__(self, sock: socket.socket, *, most: int, timeout: float) -> None:
        """``most``: bytes of a packet that are accepted; ``timeout``: seconds until a read or write is given up.

        Raises OSError where the client is gone already.
        """
        self._sock: socket.socket = sock
        self.most = most
        self.sequence = 0
        self.is_tls = False
        self.received = self.sent = 0  # bytes, of packets
        self._deadline: float | None = None
        self._idle = self._reading = self._writing = timeout
        self._out = bytearray()
        self.peer_uid: int | None = None
        self.peer_host = "localhost"
        if sock.family == socket.AF_UNIX:
            self.peer_uid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))[1]
        else:
            self.peer_host = str(sock.getpeername()[0]).removeprefix("::ffff:")
        sock.settimeout(timeout)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def is_of_this_host(self) -> bool:
        """Whether the client is on this host, as far as addresses tell: a tunnel's end here looks the same."""
        if self._sock.family == socket.AF_UNIX:
            return True
        own = str(self._sock.getsockname()[0]).removeprefix("::ffff:")
        return self.peer_host == own or ipaddress.ip_address(self.peer_host.partition("%")[0]).is_loopback

    @property
    def cipher(self) -> tuple[str, str]:
        """Name of the TLS cipher, and TLS's version; empty without TLS."""
        found = self._sock.cipher() if isinstance(self._sock, ssl.SSLSocket) else None
        return ("", "") if found is None else (found[0], found[1])

    def set_timeout(self, seconds: float) -> None:
        """Seconds until a read or write is given up."""
        self.set_timeouts(seconds, seconds, seconds)

    def set_timeouts(self, idle: float, reading: float, writing: float) -> None:
        """Seconds until the wait for a packet is given up, for more of one that has begun, and for a write."""
        self._deadline = None
        self._idle, self._reading, self._writing = idle, reading, writing

    def set_deadline(self, seconds: float) -> None:
        """Everything until the next `set_timeouts` must be done in that time; a client can't stretch it by bytes."""
        self._deadline = time.monotonic() + seconds

    def start_tls(self, context: ssl.SSLContext) -> None:
        """TLS on the connection. Raises `NetworkError` when the client can't."""
        self._limit(self._reading)
        try:
            self._sock = context.wrap_socket(self._sock, server_side=True)
        except (OSError, ValueError) as error:
            raise NetworkError(f"TLS failed: {error}") from error
        self.is_tls = True

    def read(self) -> bytes | None:
        """The payload of the next packet, of all its pieces; None when the client is gone.

        Raises `NetworkError` (a timeout too), `PacketTooLarge`, `OutOfOrder`.
        """
        payload = b""
        while True:
            head = self._take(HEADER, may_end=not payload)
            if head is None:
                return None
            header = PacketHeader.parse(head)
            if header.sequence != self.sequence:
                raise OutOfOrder(f"packet {header.sequence} where {self.sequence} was due")
            self.sequence = (self.sequence + 1) & 0xFF
            if len(payload) + header.length > self.most:
                raise PacketTooLarge(f"a packet of more than {self.most} bytes")
            payload += self._take(header.length) or b""
            if not header.is_continued:
                return payload

    def write(self, payloads: Iterable[bytes]) -> None:
        """Packets, and then everything is on its way. Raises `NetworkError`."""
        for payload in payloads:
            for piece in split(payload, self.sequence):
                self._out += piece
            self.sequence = (self.sequence + 1 + len(payload) // 0xFFFFFF) & 0xFF
            if len(self._out) > WRITE_AT_ONCE:
                self._flush()
        self._flush()

    def drain(self, most: int, seconds: float) -> None:
        """Let the client finish what it sends, and throw it away: else what was written last would be lost with it."""
        with contextlib.suppress(OSError, NetworkError):
            self._sock.shutdown(socket.SHUT_WR)
            self.set_deadline(seconds)
            while most > 0:
                self._limit(seconds)
                piece = self._sock.recv(READ_AT_ONCE)
                if not piece:
                    return
                most -= len(piece)

    def shut(self) -> None:
        """End it from any thread: a read that waits comes back."""
        with contextlib.suppress(OSError):  # it is gone already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _flush(self) -> None:
        if self._out:
            self._limit(self._writing)
            try:
                self._sock.sendall(self._out)
            except OSError as error:
                raise NetworkError(f"can't write to the client: {error}") from error
            self.sent += len(self._out)
            self._out.clear()

    def _take(self, count: int, *, may_end: bool = False) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            self._limit(self._idle if may_end and not data else self._reading)
            try:
                piece = self._sock.recv(min(count - len(data), READ_AT_ONCE))
            except OSError as error:
                raise NetworkError(f"can't read from the client: {error}") from error
            if not piece:
                if may_end and not data:
                    return None
                raise NetworkError("the client is gone in the middle of a packet")
            data += piece
            self.received += len(piece)
        return bytes(data)

    def _limit(self, seconds: float) -> None:
        """Let the next call wait no longer than that, or than the deadline allows."""
        if self._deadline is not None:
            seconds = self._deadline - time.monotonic()
            if seconds <= 0:
                raise NetworkError("the client took too long")
        self._sock.settimeout(seconds)
