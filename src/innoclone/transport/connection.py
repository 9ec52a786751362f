"""One connection to a server: login, packets, and bulk bytes that go past the protocol core.

The caller reads a packet's header and decides; a DATA packet's bytes then go into a buffer, and, where the native
library can do it in the same call, they are looked at and written (`receive`).
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from innoclone.errors import (
    CloneError,
    Interrupted,
    NetworkError,
    ProtocolError,
    TlsFailed,
)
from innoclone.native.block import Block
from innoclone.native.library import library
from innoclone.native.pages import Pages, Place
from innoclone.native.transfer import Channel
from innoclone.transport.donorerrors import from_donor
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.transport.login import cipher_of, log_in
from innoclone.transport.sockets import open_socket, set_timeout, start_tls
from innoclone.wire.handshake import Err, Greeting
from innoclone.wire.packets import HEADER, PacketHeader, split
from innoclone.wire.refusals import AFTER_LOGIN, refusal

if TYPE_CHECKING:
    from innoclone.transport.compression import CompressedStream, Throttle

__all__ = ["BEFORE_BULK", "COM_QUERY", "READ_AHEAD", "Connection"]

READ_AHEAD = 1 << 16
BEFORE_BULK = 64  # bytes before a block: its descriptor's packet, the header and first byte of its own
POLL = 0.25  # seconds after which a silent connection looks whether it is to be stopped
MOST = 4 << 20  # bytes that the library receives in one call
MAX_CONTROL = 1 << 20  # bytes of a packet that is not bulk data; a donor's largest are well below
COM_QUERY, COM_QUIT, COM_RESET_CONNECTION = 0x03, 0x01, 0x1F


class Connection:
    """A logged-in connection. Not for use by two threads at once, but `shut` may be called from any thread.

    ``network`` counts payload bytes of all packets read, as they were on the wire (compressed where compressed).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        compression: Compression,
        *,
        timeout: float,
        receive_buffer: int = 0,
        stopped: threading.Event | None = None,
    ) -> None:
        """Connect and log in. ``timeout``: seconds without a byte that mean a network failure.

        Once ``stopped`` is set, reading ends with `Interrupted` within a moment.
        """
        self.endpoint = endpoint
        self.timeout = endpoint.connect_timeout
        self._stopped = stopped
        self._sock: socket.socket | ssl.SSLSocket = open_socket(endpoint, receive_buffer=receive_buffer)
        self._buffer = bytearray(READ_AHEAD)
        self._start = self._end = 0
        self._stream: CompressedStream | None = None
        self._plain_network = 0
        self._bulk: tuple[Channel, Block] | None = None  # receives a block in one call
        # Bytes that may be read before they are asked for; few where blocks follow, whose bytes are not to be copied.
        self.read_ahead = READ_AHEAD
        self.greeting: Greeting
        self.cipher = ""  # TLS version and cipher in use
        try:
            self.set_timeout(endpoint.connect_timeout)
            self._login(compression)
            if library is not None:
                with contextlib.suppress(ValueError):  # then Python receives it
                    # What comes compressed is read in small pieces, by Python.
                    channel = Channel(library, self._sock, POLL, read_ahead=self._stream is None)
                    self._bulk = channel, Block(library, MOST)
            self.set_timeout(timeout)
        except BaseException:
            self.close()
            raise

    # ---- login ---------------------------------------------------------------------------------------------

    def _login(self, compression: Compression) -> None:
        self.read_ahead = 0  # what follows an SSL request must not be read in the clear
        login = log_in(self, self.endpoint, compression)
        assert login.greeting is not None, "log_in sees to that"
        self.greeting = login.greeting
        self.cipher = cipher_of(self._sock)
        self.read_ahead = READ_AHEAD
        if login.compression != "off":
            from innoclone.transport.compression import CompressedStream  # here, since it brings zstandard

            self._stream = CompressedStream(login.compression, compression.level, self._read_outer, self.write_bytes)

    def begin_tls(self) -> None:
        """Put TLS on the connection, during the login. Raises `TlsFailed`."""
        self._sock.settimeout(self.endpoint.connect_timeout)
        self._sock = start_tls(self._sock, self.endpoint)
        self.set_timeout(self.endpoint.connect_timeout)

    @property
    def compression(self) -> str:
        """The algorithm agreed on: off, zlib or zstd."""
        return self._stream.algorithm if self._stream is not None else "off"

    @property
    def network(self) -> int:
        """Payload bytes read from the wire so far."""
        return self._plain_network + (self._stream.network if self._stream is not None else 0)

    def slow_down(self, throttle: Throttle) -> None:
        """Let ``throttle`` pace what comes compressed; the caller paces the rest, which comes only when it reads."""
        if self._stream is not None:
            self._stream.throttle = throttle

    # ---- packets -------------------------------------------------------------------------------------------

    def write_packet(self, payload: bytes) -> None:
        """Send one message; its sequence number starts at 0, as in every clone command."""
        data = b"".join(split(payload))
        if self._stream is not None:
            self._stream.write(data)
        else:
            self.write_bytes(data)

    def read_header(self) -> PacketHeader:
        """The next packet's header; exactly ``length`` bytes are to be read behind it."""
        header = PacketHeader.parse(self.read_exact(HEADER))
        if self._stream is None:
            self._plain_network += header.length
        return header

    def read_packet(self) -> bytes:
        """A whole control message. Raises `ProtocolError` if it is larger than any honest one."""
        return self.read_packet_numbered()[1]

    def read_packet_numbered(self) -> tuple[int, bytes]:
        """The same, with its sequence number in front."""
        header = self.read_header()
        if header.length > MAX_CONTROL:
            raise ProtocolError(f"a control packet of {header.length} bytes")
        return header.sequence, self.read_exact(header.length)

    def set_timeout(self, seconds: float) -> None:
        """From now on ``seconds`` without a byte mean a network failure."""
        self.timeout = seconds
        set_timeout(self._sock, min(seconds, POLL), seconds)
        if self._bulk is not None:
            self._bulk[0].wait = min(seconds, POLL)

    def command(self, payload: bytes) -> None:
        """A classic command that answers OK or ERR. Raises what ERR says."""
        self.write_packet(payload)
        answer = self.read_packet()
        if answer[:1] == b"\xff":
            error = Err.parse(answer)
            known = refusal(error.number, error.message) if error.number in AFTER_LOGIN else None
            raise known or from_donor(error.number, error.message)
        if answer[:1] != b"\x00":
            raise ProtocolError(f"command {payload[:1].hex()}: answer {answer[:1].hex() or 'of no bytes'}")

    # ---- bytes ---------------------------------------------------------------------------------------------

    def read_exact(self, count: int) -> bytes:
        """The next ``count`` bytes of the inner stream."""
        if self._stream is None:
            return bytes(self._read_outer(count))
        piece = self._stream.read_some(count)
        if len(piece) == count:
            return bytes(piece)
        data = bytearray(count)
        data[: len(piece)] = piece
        self.read_into(memoryview(data)[len(piece) :])
        return bytes(data)

    def read_into(self, view: memoryview) -> None:
        """Fill ``view`` with the next bytes of the inner stream."""
        at, size = 0, len(view)
        if self._stream is not None:
            while at < size:
                piece = self._stream.read_some(size - at)
                view[at : at + len(piece)] = piece
                at += len(piece)
            return
        at = self._take_ahead(view)
        while at < size:
            at += self._receive(view[at:])

    def receive(
        self, view: memoryview, pages: Pages | None = None, first_page: int = 0, place: Place | None = None
    ) -> Block | None:
        """Fill ``view`` with the next bytes of the inner stream; ``pages`` are in it, from number ``first_page`` on.

        Where the native library can, it looks at the pages and writes them to ``place`` in the same call: what is
        returned tells of that, until the next call. None: ``view`` is filled, and no more was done.
        """
        if self._bulk is None or self._stream is not None or len(view) > MOST:
            self.read_into(view)
            return None
        channel, block = self._bulk
        block.begin(view, received=self._take_ahead(view), pages=pages, first_page=first_page, place=place)
        while self._patiently(lambda: block.advance(channel)) < len(view):
            pass
        return block

    def _take_ahead(self, view: memoryview) -> int:
        """What was read ahead, as far as it fits; how many bytes that are."""
        count = min(self._end - self._start, len(view))
        view[:count] = self._buffer[self._start : self._start + count]
        self._start += count
        return count

    def readable(self) -> bool:
        """Whether something has come, the end of the connection included, that was not read yet."""
        if self._end > self._start or (self._stream is not None and self._stream.holds_bytes):
            return True
        if self._bulk is not None and self._bulk[0].holds_bytes():
            return True
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return self.has_more_on_the_wire()

    def has_more_on_the_wire(self) -> bool:
        """The same of what the socket has alone, and not what was taken from it already."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def _read_outer(self, count: int) -> bytes | bytearray:
        """``count`` bytes off the socket, through the read-ahead buffer."""
        if self._end - self._start < count:
            if count > READ_AHEAD:
                return self._read_long(count)
            self._read_on(count)
        end = self._start + count
        piece = bytes(self._buffer[self._start : end])
        self._start = end
        return piece

    def _read_on(self, count: int) -> None:
        """Have ``count`` bytes in the buffer, and what may be read ahead."""
        have = self._end - self._start
        self._buffer[:have] = self._buffer[self._start : self._end]
        self._start, self._end = 0, have
        view = memoryview(self._buffer)
        limit = max(count, self.read_ahead)
        while self._end < count:
            self._end += self._receive(view[self._end : limit])

    def _read_long(self, count: int) -> bytearray:
        """More bytes than fit into the buffer."""
        data = bytearray(count)
        view = memoryview(data)
        at = self._take_ahead(view)
        while at < count:
            at += self._receive(view[at:])
        return data

    def _receive(self, view: memoryview) -> int:
        if len(view) > READ_AHEAD:
            # One call for all that is wanted: fewer wake-ups, and the GIL is taken once.
            if self._bulk is not None:
                channel = self._bulk[0]
                return self._patiently(lambda: channel.recv_into(view))
            if not isinstance(self._sock, ssl.SSLSocket):
                return self._patiently(lambda: self._sock.recv_into(view, 0, socket.MSG_WAITALL))
        return self._patiently(lambda: self._sock.recv_into(view))

    def _patiently(self, read: Callable[[], int]) -> int:
        """Repeat ``read``, which gives up after `POLL`, until bytes come, the peer is too slow, or we are stopped."""
        silent = 0.0
        while True:
            try:
                count = read()
            except OSError as error:
                silent += min(self.timeout, POLL)
                if not _timed_out(error) or silent >= self.timeout:
                    raise self._broken(error) from error
                if self._stopped is not None and self._stopped.is_set():
                    raise Interrupted("stopped") from None
                continue
            if not count:
                raise NetworkError(f"{self.endpoint.address} closed the connection")
            return count

    def write_bytes(self, data: bytes) -> None:
        """Send them as they are."""
        try:
            if isinstance(self._sock, ssl.SSLSocket):  # which has one timeout for both directions
                self._sock.settimeout(self.timeout)
            self._sock.sendall(data)
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.settimeout(min(self.timeout, POLL))
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> CloneError:
        if _timed_out(error):
            return NetworkError(f"{self.endpoint.address} sent nothing for {self.timeout:g} s")
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return NetworkError(f"{self.endpoint.address} closed the connection")
        if isinstance(error, ssl.SSLError):
            return TlsFailed(f"TLS with {self.endpoint.address} broke: {error.reason}")
        return NetworkError(f"connection to {self.endpoint.address} broke: {error.strerror or error}")

    # ---- end -----------------------------------------------------------------------------------------------

    def shut(self) -> None:
        """Wake a thread that waits on this connection: its read ends with a `NetworkError`.

        The close that follows resets the connection. After an orderly one a donor that has filled our receive buffer
        would go on probing a window that never opens, hold its snapshot for its write timeout of 60 s, and let the
        next clone wait as long.
        """
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # the raw socket: an orderly TLS shutdown would wait for the peer
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close without ceremony."""
        if self._stream is not None:
            self._stream.close()
        with contextlib.suppress(OSError):
            self._sock.close()

    def quit(self) -> None:
        """COM_QUIT and close."""
        with contextlib.suppress(CloneError):
            self.write_packet(bytes([COM_QUIT]))
        self.close()

    def __enter__(self) -> Connection:
        """For ``with``."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _timed_out(error: OSError) -> bool:
    return isinstance(error, TimeoutError) or error.errno in (errno.EAGAIN, errno.ETIMEDOUT)
