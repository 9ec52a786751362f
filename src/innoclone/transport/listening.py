"""Sockets that wait for clients, and the TLS that is put on what they accept."""

from __future__ import annotations

import contextlib
import errno
import select
import selectors
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from innoclone.errors import ConnectFailed, TlsFailed, UsageError

__all__ = ["Listener", "listen_tcp", "server_context"]

BACKLOG = 128
PAUSE = 0.5  # seconds without accepting once there are no descriptors left
SOCKET_MODE = 0o777  # as MySQL's: who may log in is for the accounts to say


class Listener:
    """A TCP and a Unix socket, either may be missing. `accept` gives connections until `close`."""

    def __init__(
        self, *, host: str | None, port: int, path: Path | None, short: Callable[[str], None] = lambda _: None
    ) -> None:
        """``short`` is told when there are no descriptors left for more connections, once until there are again.

        Raises `ConnectFailed` if an address can't be had, `UsageError` if another process listens on the path."""
        self._short = short
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._path, self._inode = path, 0
        self.port = 0
        self._wake, self._woken = socket.socketpair()
        try:
            if host is not None:
                self._sockets.append(listen_tcp(host, port))
                self.port = self._sockets[0].getsockname()[1]
            if path is not None:
                self._sockets.append(_unix(path))
                self._inode = path.lstat().st_ino
        except BaseException:
            self._path = None
            self.close()
            raise
        for sock in (*self._sockets, self._woken):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)

    def accept(self) -> Iterator[socket.socket]:
        """Connections as they come; ends after `wake`."""
        is_short = False
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                try:
                    accepted, _ = key.fileobj.accept()  # type: ignore[union-attr]
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        if not is_short:
                            self._short(f"no more connections for now: {error.strerror}")
                        is_short = True
                        select.select([self._woken], [], [], PAUSE)  # others must end first; who waits stays readable
                        break
                    continue  # the client is gone again
                is_short = False
                accepted.setblocking(True)
                yield accepted

    def wake(self) -> None:
        """Let `accept` end; from any thread, and from a signal handler."""
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def close(self) -> None:
        """Accept no more, and remove the Unix socket's file."""
        for sock in (*self._sockets, self._wake, self._woken):
            sock.close()
        self._selector.close()
        with contextlib.suppress(OSError):  # it may be gone, and another one in its place
            if self._path is not None and self._path.lstat().st_ino == self._inode:
                self._path.unlink()


def listen_tcp(host: str, port: int) -> socket.socket:
    """A socket that listens, on all addresses for ``*``; 0 is any port that is free. Raises `ConnectFailed`."""
    try:
        family = socket.AF_INET6 if ":" in host or host == "*" else socket.AF_INET
        sock = socket.socket(family)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if host == "*":
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::" if host == "*" else host, port))
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConnectFailed(
            f"can't listen on {host}:{port}: {error}", hint="name another --bind-address or --port"
        ) from error
    return sock


def _unix(path: Path) -> socket.socket:
    """A socket file that a process left behind is replaced, one of a living process or any other file is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:  # nobody listens
                path.unlink()
            except OSError as error:
                raise UsageError(f"{path} can't be tried out: {error.strerror}", hint="name another --socket") from None
            else:
                raise UsageError(f"another process listens on {path}", hint="name another --socket")
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        path.chmod(SOCKET_MODE)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConnectFailed(f"can't listen on {path}: {error}", hint="name another --socket") from error
    return sock


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for clients, with a certificate. Raises `TlsFailed` for files that can't be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(f"can't load {certificate} and {key}: {error}", hint="check the certificate files") from error
    return context
