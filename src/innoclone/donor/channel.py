"""A recipient's connection: clone messages, compressed if it wants, and bytes straight from files."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import socket
from collections.abc import Iterable

from innoclone.errors import FileError, NetworkError
from innoclone.files.memory import aligned_memory
from innoclone.native.library import library
from innoclone.native.transfer import Channel as NativeChannel
from innoclone.transport.compression import CompressedStream
from innoclone.transport.served import ServedConnection
from innoclone.transport.sockets import set_timeout
from innoclone.wire.packets import PacketHeader, split

__all__ = ["Channel"]

AT_ONCE = 1 << 20  # bytes of a file that are read by one call, where that is not through the page cache
SMALL = 64 << 10  # bytes that are copied so that they go with their head
ZSTD_LEVEL = 3  # where a client asks for none


class _Ended(Exception):
    pass


class Channel(ServedConnection):
    """Not for use by two threads at once, but for `shut`."""

    is_torn = False
    """A message was begun and not ended: whatever is sent now would be taken for the rest of it."""
    _stream: CompressedStream | None = None
    _may_end = False
    _first = 0  # compressed packets are numbered from here on

    def compress(self, algorithm: str, level: int) -> None:
        """From here on both sides compress."""
        self._stream = CompressedStream(algorithm, level or ZSTD_LEVEL, self._read_outer, self._send_outer)

    @property
    def is_compressed(self) -> bool:
        """Whether both sides compress."""
        return self._stream is not None

    @property
    def sends_files(self) -> bool:
        """Whether bytes can go from a file to the wire without coming here: not if they are compressed, and with TLS
        only by the native library."""
        return self._stream is None and (not self.is_tls or self._native is not None)

    @functools.cached_property
    def _native(self) -> NativeChannel | None:
        """Asked for only when the login is over."""
        if library is None:
            return None
        with contextlib.suppress(ValueError):
            return NativeChannel(library, self._sock, self._writing)
        return None

    @property
    def sends_directly(self) -> bool:
        """Whether it `sends_files` around the page cache."""
        return self.sends_files and self._native is not None

    @functools.cached_property
    def _buffer(self) -> memoryview:
        return aligned_memory(AT_ONCE)

    @property
    def is_gone(self) -> bool:
        """Whether the other end has closed the connection, as far as the system knows."""
        poll = select.poll()
        poll.register(self._sock, select.POLLRDHUP)
        return bool(poll.poll(0))  # POLLHUP and POLLERR are always told

    def write(self, payloads: Iterable[bytes]) -> None:
        """Packets, and then everything is on its way. Raises `NetworkError`."""
        self._first = self.sequence
        super().write(payloads)

    def say(self, *messages: bytes) -> None:
        """Clone messages: each is numbered from 0. Raises `NetworkError`."""
        for message in messages:
            self.sequence = 0
            self.write([message])

    def say_data(self, head: bytes, kind: bytes, data: bytes | memoryview) -> None:
        """A message ``head``, and one of ``kind`` and ``data``. Raises `NetworkError`."""
        first = PacketHeader(len(kind) + len(data), 0).serialize() + kind
        if self._stream is not None:
            self.say(head)
            self._stream.write(first + data)
            return
        self._send_all(b"".join((*split(head), first)))
        self._send_all(data)

    def write_data(self, head: bytes, data: bytes) -> None:
        """One message, of ``head`` and ``data``. Raises `NetworkError`."""
        first = PacketHeader(len(head) + len(data), 0).serialize() + head
        if self._stream is not None:
            self._stream.write(first + data)
        else:
            self._send_all(first + data if len(data) < SMALL else first)
            if len(data) >= SMALL:
                self._send_all(data)

    def say_file(
        self, head: bytes, kind: bytes, fd: int, offset: int, length: int, *, direct: int = -1
    ) -> None:  # fmt: skip
        """The same with bytes of a file, where the channel `sends_files`; ``direct``: a descriptor of it with O_DIRECT.

        Raises `NetworkError`, `FileError` if the file can't be read or is shorter.
        """
        first = b"".join((*split(head), PacketHeader(len(kind) + length, 0).serialize(), kind))
        self.is_torn = True
        try:
            if self.is_tls:
                self._sock.settimeout(self._writing)
                self._sock.sendall(first)
            else:
                set_timeout(self._sock, self._writing)
                self._sock.sendall(first, socket.MSG_MORE)
            self._move(fd, offset, length, direct)
        except EOFError as error:
            raise FileError("a file became shorter while it was sent") from error
        except OSError as error:
            if error.errno == errno.EIO:
                raise FileError(f"can't read a file that is to be sent: {error.strerror}") from error
            raise NetworkError(f"can't write to the client: {error}") from error
        self.is_torn = False
        self.sent += len(first) + length

    def _move(self, fd: int, offset: int, length: int, direct: int) -> None:
        """Bytes of a file onto the wire. Raises OSError, EOFError."""
        moved = 0
        while moved < length:
            if self._native is not None:
                moved = self._native.send_file(fd, offset, length, self._buffer, moved, direct=direct)
                continue
            count = os.sendfile(self._sock.fileno(), fd, offset + moved, length - moved)
            if not count:
                raise EOFError
            moved += count

    def _send_all(self, data: bytes | memoryview) -> None:
        self._limit(self._writing)
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise NetworkError(f"can't write to the client: {error}") from error
        self.sent += len(data)

    # ---- compression: what `ServedConnection` reads and writes is inside of it ------------------------------

    def _take(self, count: int, *, may_end: bool = False) -> bytes | None:
        if self._stream is None:
            return super()._take(count, may_end=may_end)
        data = bytearray()
        try:
            while len(data) < count:
                self._may_end = may_end and not data
                data += self._stream.read_some(count - len(data))
        except _Ended:
            return None
        return bytes(data)

    def _read_outer(self, count: int) -> bytes:
        data = super()._take(count, may_end=self._may_end)
        self._may_end = False
        if data is None:
            raise _Ended
        return data

    def _flush(self) -> None:
        if self._stream is None:
            super()._flush()
        elif self._out:
            data = bytes(self._out)
            self._out.clear()
            self._stream.write(data, self._first)

    def _send_outer(self, data: bytes) -> None:
        self._send_all(data)
