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


class Channel:
    """A connected socket, plain or with TLS, for one thread at a time."""

    def __init__(self, native: Library, sock: socket.socket | ssl.SSLSocket, wait: float) -> None:
        """Raises ValueError where the library can't have the TLS session: then it is Python's to move the bytes."""
        self._native, self._sock = native, sock
        self._session: Session | None = None
        self._struct = ChannelStruct(fd=sock.fileno())
        self.wait = wait
        self._count = ctypes.c_size_t()
        if isinstance(sock, ssl.SSLSocket):
            self._session = session_of(sock)
            if self._session is None:
                raise ValueError("the TLS session is not as it is known of this Python")
            self._struct.tls = ctypes.pointer(self._session.functions)
            self._struct.session = self._session.address

    @property
    def wait(self) -> float:
        """Seconds after which a call comes back with what it has."""
        return float(self._struct.wait) / 1000

    @wait.setter
    def wait(self, seconds: float) -> None:
        self._struct.wait = max(1, int(seconds * 1000))

    def recv_into(self, view: memoryview) -> int:
        """Fill ``view``, or as much of it as comes in time; returns the bytes that came, 0 at the connection's end.

        Raises TimeoutError where none came, OSError, and for TLS what the ssl module raises.
        """
        size = len(view)
        if not size:
            return 0
        try:
            return self._move(0, lambda count: self._native.receive(*self._args(view), size, size, count))
        except ssl.SSLEOFError:  # an end without TLS's own: 0 as from SSLSocket
            return 0

    def send(self, data: bytes | memoryview, sent: int = 0) -> int:
        """Send ``data`` from ``sent`` on, or as much of it as goes in time; returns what ``sent`` is now.

        Raises TimeoutError where none went, else as `recv_into`. With TLS the next call must go on with the same data.
        """
        size = len(data)
        return self._move(sent, lambda count: self._native.send(*self._args(data), size, count)) if size else 0

    def send_file(self, file: int, offset: int, size: int, buffer: memoryview, sent: int = 0) -> int:
        """The same for ``size`` bytes of a file from ``offset`` on; ``buffer`` is what TLS needs. Raises EOFError, too,
        where the file is shorter."""

        def move(count: object) -> int:
            channel, where = self._args(buffer)
            return self._native.send_file(channel, file, offset, size, where, len(buffer), count)

        return self._move(sent, move, EOFError("the file became shorter")) if size else 0

    def _args(self, buffer: bytes | memoryview) -> tuple[object, object]:
        return ctypes.byref(self._struct), address(buffer)

    def _move(self, done: int, call: Callable[[object], int], at_end: Exception | None = None) -> int:
        self._count.value = done
        while True:
            if self._sock.fileno() != self._struct.fd:  # closed: the number may be another file's by now
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            state = call(ctypes.byref(self._count))
            if state != State.SIGNALLED:  # after which Python runs its handlers here
                break
        moved: int = self._count.value
        if moved > done or state == State.DONE:
            return moved
        if state == State.ENDED:
            if at_end is not None:
                raise at_end
            return moved
        raise self._error(state)

    def _error(self, state: int) -> Exception:
        if state == State.TIME_IS_UP:
            return TimeoutError(errno.ETIMEDOUT, "no bytes in time")
        if state == State.TLS_BROKEN and self._session is not None:
            return self._session.error(self._struct.tls_error)
        if state in (State.BROKEN, State.FILE_FAILED):
            return OSError(self._struct.error, os.strerror(self._struct.error))
        return ValueError("the native library refuses the arguments")
