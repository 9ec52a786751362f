"""Bytes from and to a connection by the native library, many in one call."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import ssl
from collections.abc import Callable
from enum import IntEnum

from innoclone.native.library import Library, address
from innoclone.native.tls import Functions, Session, session_of

__all__ = ["Channel", "State"]


class State(IntEnum):
    """How a call ended (enum state of native.h)."""

    REFUSED = -1
    DONE = 0
    ENDED = 1
    TIME_IS_UP = 2
    SIGNALLED = 3
    BROKEN = 4
    TLS_BROKEN = 5
    FILE_FAILED = 6


class ChannelStruct(ctypes.Structure):
    """``struct channel`` of native.h."""

    _fields_ = (
        ("tls", ctypes.POINTER(Functions)), ("session", ctypes.c_void_p), ("fd", ctypes.c_int32),
        ("wait", ctypes.c_int32), ("error", ctypes.c_int32), ("unused", ctypes.c_int32),
        ("tls_error", ctypes.c_uint64),
    )  # fmt: skip


class SendingStruct(ctypes.Structure):
    """``struct sending`` of native.h."""

    _fields_ = (
        ("offset", ctypes.c_uint64), ("count", ctypes.c_uint64), ("sent", ctypes.c_uint64),
        ("buffer", ctypes.c_void_p), ("room", ctypes.c_uint64), ("file", ctypes.c_int32), ("direct", ctypes.c_int32),
        ("way", ctypes.c_uint32), ("unused", ctypes.c_uint32),
    )  # fmt: skip


class Channel:
    """A connected socket, plain or with TLS, for one thread at a time."""

    def __init__(
        self, native: Library, sock: socket.socket | ssl.SSLSocket, wait: float, *, read_ahead: bool = False
    ) -> None:
        """``read_ahead``: what comes is many bytes; who polls the socket for them asks `holds_bytes` first.

        Raises ValueError where the library can't have the TLS session: then it is Python's to move the bytes."""
        self._native, self._sock = native, sock
        self._session: Session | None = None
        self._struct = ChannelStruct(fd=sock.fileno())
        self.wait = wait
        self._count, self._sending = ctypes.c_size_t(), SendingStruct()
        if isinstance(sock, ssl.SSLSocket):
            self._session = session_of(sock)
            if self._session is None:
                raise ValueError("the TLS session is not as it is known of this Python")
            self._struct.tls = ctypes.pointer(self._session.functions)
            self._struct.session = self._session.address
            if read_ahead:
                self._session.read_ahead()

    @property
    def wait(self) -> float:
        """Seconds after which a call comes back with what it has."""
        return float(self._struct.wait) / 1000

    @wait.setter
    def wait(self, seconds: float) -> None:
        self._struct.wait = max(1, int(seconds * 1000))

    def holds_bytes(self) -> bool:
        """Whether bytes were taken off the socket that nobody has read yet."""
        return self._session is not None and self._session.holds_bytes()

    def recv_into(self, view: memoryview) -> int:
        """Fill ``view``, or as much of it as comes in time; returns the bytes that came, 0 at the connection's end.

        Raises TimeoutError where none came, OSError, and for TLS what the ssl module raises.
        """
        size = len(view)
        if not size:
            return 0
        self._count.value = 0
        state = self.call(self._native.receive, address(view), size, size, ctypes.byref(self._count))
        return self._moved(state, 0, self._count.value)

    def send_file(
        self, file: int, offset: int, size: int, buffer: memoryview, sent: int = 0, *, direct: int = -1
    ) -> int:  # fmt: skip
        """Send ``size`` bytes of a file from ``offset`` on, ``sent`` of them gone already, or as many as go in time;
        returns what ``sent`` is now. ``buffer`` is what TLS needs, and what is read with O_DIRECT. ``direct``: a
        descriptor of the same file with O_DIRECT, for what is not in the page cache.

        Raises TimeoutError where none went, EOFError where the file is shorter, else as `recv_into`. The next call must
        go on with the same bytes, or begin after all of them.
        """
        if not size:
            return 0
        struct, kept = self._sending, ctypes.c_char.from_buffer(buffer)  # which stays in place during the call
        struct.file, struct.direct, struct.offset, struct.count, struct.sent = file, direct, offset, size, sent
        struct.buffer, struct.room = ctypes.addressof(kept), len(buffer)
        if not sent:
            struct.way = 0
        state = self.call(self._native.send_file, ctypes.byref(struct))
        moved: int = struct.sent
        if state == State.ENDED and moved == sent:
            raise EOFError("the file became shorter")
        return self._moved(state, sent, moved)

    def call(self, function: Callable[..., int], *arguments: object) -> int:
        """Call a function of the library with this channel in front; its `State`, but never SIGNALLED.

        Raises OSError for a socket that was closed: its number may be another file's by now.
        """
        while True:
            if self._sock.fileno() != self._struct.fd:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            state = function(ctypes.byref(self._struct), *arguments)
            if state != State.SIGNALLED:  # after which Python runs its handlers here
                return state

    def _moved(self, state: int, before: int, moved: int) -> int:
        return moved if moved > before or state in (State.DONE, State.ENDED) else before + self.ended(state)

    def ended(self, state: int) -> int:
        """0 where ``state`` is the end of the connection; else raises what Python would."""
        error = None if state == State.ENDED else self._error(state)
        if error is None or isinstance(error, ssl.SSLEOFError):  # an end without TLS's own: as from SSLSocket
            return 0
        raise error

    def _error(self, state: int) -> Exception:
        """What Python would raise."""
        if state == State.TIME_IS_UP:
            return TimeoutError(errno.ETIMEDOUT, "no bytes in time")
        if state == State.TLS_BROKEN and self._session is not None:
            return self._session.error(self._struct.tls_error)
        if state in (State.BROKEN, State.FILE_FAILED):
            return OSError(self._struct.error, os.strerror(self._struct.error))
        return ValueError("the native library refuses the arguments")
