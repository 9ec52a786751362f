"""A scripted server of SQL: it lets in whom and how it likes, and answers what a test tells it to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from hostile import CAPABILITIES, GREETING, NONCE, Gone, exactly
from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.wire.handshake import AuthMoreData, AuthSwitch, Capability, Err, Greeting, Ok
from innoclone.wire.packets import split

PASSWORD = "very-secret-indeed"
COM_QUERY, COM_QUIT, COM_CLONE = 0x03, 0x01, 0x20
EOF = b"\xfe\0\0\2\0"

Login: TypeAlias = "Callable[[Stranger], None]"
Answer: TypeAlias = "Callable[[Stranger, str], None]"


class Stranger:
    """The server's end of one connection; ``heard`` are the packets that came from the other side."""

    def __init__(self, sock: socket.socket, server: HostileSql) -> None:
        self.sock, self.server = sock, server
        self.heard: list[bytes] = []
        self.sequence = 0

    def send(self, *payloads: bytes) -> None:
        """Packets, numbered as they should be."""
        for payload in payloads:
            self.raw(b"".join(split(payload, self.sequence)))
            self.sequence = (self.sequence + 1 + len(payload) // 0xFFFFFF) % 256

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def receive(self) -> bytes:
        """The next packet."""
        head = exactly(self.sock, 4)
        self.sequence = (head[3] + 1) % 256
        self.heard.append(exactly(self.sock, int.from_bytes(head[:3], "little")))
        return self.heard[-1]


def good_login(peer: Stranger) -> None:
    """As a server that has the password cached."""
    peer.send(AuthMoreData(b"\x03").serialize(), Ok().serialize())


def switching(plugin: str, *then: bytes) -> Login:
    """Ask for another plugin, listen, say ``then`` and listen again, each time; in the end let in."""

    def login(peer: Stranger) -> None:
        peer.send(AuthSwitch(plugin, NONCE).serialize())
        peer.receive()
        for payload in then:
            peer.send(payload)
            peer.receive()
        peer.send(Ok().serialize())

    return login


def full_login(*then: bytes) -> Login:
    """Claim to need the password itself."""

    def login(peer: Stranger) -> None:
        peer.send(AuthMoreData(b"\x04").serialize())
        peer.receive()
        for payload in then:
            peer.send(payload)
            peer.receive()
        peer.send(Ok().serialize())

    return login


def nothing(peer: Stranger, _statement: str) -> None:
    """OK to every statement."""
    peer.send(Ok().serialize())


class HostileSql:
    """Use it with ``with``. ``login`` takes over after the client's response, ``answer`` every statement."""

    def __init__(
        self,
        login: Login = good_login,
        answer: Answer = nothing,
        *,
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``path``: listen on a Unix socket there; ``tls``: TLS is offered, with this."""
        self.login, self.answer, self.path, self.tls = login, answer, path, tls
        self.greeting = Greeting(
            "9.7.4", 7, NONCE, CAPABILITIES | Capability.MULTI_RESULTS | Capability.MULTI_STATEMENTS, GREETING.plugin
        )
        if tls is not None:
            self.greeting = replace(self.greeting, capabilities=self.greeting.capabilities | Capability.SSL)
        self.peers: list[Stranger] = []
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def endpoint(self, **changes: object) -> Endpoint:
        """How to reach it: without TLS, where that is not said otherwise."""
        values: dict[str, object] = {
            "host": "127.0.0.1", "port": 0 if self.path else self._listener.getsockname()[1], "user": "clone",
            "password": PASSWORD, "ssl_mode": SslMode.DISABLED, "connect_timeout": 5.0, "socket": self.path,
        }  # fmt: skip
        return Endpoint(**values | changes)  # type: ignore[arg-type]

    @property
    def heard(self) -> list[bytes]:
        """All packets of clients, on all connections."""
        return [packet for peer in self.peers for packet in peer.heard]

    def __enter__(self) -> Self:
        if self.path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self._listener.listen()
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *(peer.sock for peer in self.peers)):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *(peer.sock for peer in self.peers)):
            sock.close()
        if self.failures and kind is None:
            raise self.failures[0]

    def _start(self, body: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=body, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.peers.append(Stranger(sock, self))
            self._start(self._serve, self.peers[-1])

    def _serve(self, peer: Stranger) -> None:
        try:
            peer.send(self.greeting.serialize())
            first = Capability(int.from_bytes(peer.receive()[:4], "little"))
            if self.tls is not None and Capability.SSL in first:
                peer.sock = self.tls.wrap_socket(peer.sock, server_side=True)
                peer.receive()
            self.login(peer)
            while (command := peer.receive())[:1] != bytes([COM_QUIT]):
                if command[:1] == bytes([COM_QUERY]):
                    self.answer(peer, command[1:].decode())
                elif command[:1] == bytes([COM_CLONE]):
                    peer.send(Ok().serialize())
                else:
                    peer.send(Err(1047, "08S01", "Unknown command").serialize())
        except (Gone, ssl.SSLError, ConnectionError):  # the client doesn't trust the certificate
            pass
        except BaseException as error:  # noqa: BLE001 - shown by __exit__
            self.failures.append(error)
        with suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)


def column(name: str = "c", kind: int = 0xFD) -> bytes:
    """A column's definition; 0xFD is VAR_STRING."""
    words = [b"def", b"", b"", b"", name.encode(), name.encode()]
    text = b"".join(bytes([len(word)]) + word for word in words)
    return text + b"\x0c" + (255).to_bytes(2, "little") + (100).to_bytes(4, "little") + bytes([kind, 0, 0, 0, 0, 0])


def pretend_clone(directory: Path) -> None:
    """What passes for a clone whose position is known."""
    position = {"binlog_file": "binlog.000001", "binlog_position": 157, "gtid_executed": ""}
    manifest = {"format": 1, "position": position, "donor": {"version": "9.7.4", "uuid": "u"}, "files": []}
    (directory / "#innoclone").mkdir(parents=True, exist_ok=True)
    (directory / "#innoclone" / "manifest.json").write_text(json.dumps(manifest))
