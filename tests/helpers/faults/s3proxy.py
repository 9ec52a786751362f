"""An HTTP proxy before a server of S3 that hurts one request: an error instead of an answer, half of a request or of an
answer, no answer at all, a client that dies meanwhile.

A request is passed on when all of it has come, as S3 takes no object in part.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

__all__ = ["FOR_GOOD", "KILLS", "ONCE", "HttpFault", "S3Proxy"]

STATUSES = {"500": "InternalError", "503": "SlowDown", "429": "TooManyRequests", "403": "AccessDenied"}
ONCE = ("500", "503", "429", "request cut", "answer cut", "answer lost", "silent", "slow")
FOR_GOOD = ("500 for good", "503 for good", "429 for good", "403 for good", "cut for good")
KILLS = ("killed in the request", "killed before the answer", "killed in the answer")
SILENCE = 3.0  # seconds: more than the client waits
SLOW = 0.5  # seconds
HOPPING = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass(frozen=True)
class HttpFault:
    """``kind`` happens to request number ``at``, and with "for good" to all after it."""

    kind: str
    at: int


class _Cut(Exception):
    """The connection ends here."""


class S3Proxy:
    """Listens on a port of this host. Use it with ``with``."""

    def __init__(self, port: int) -> None:
        """``port`` is the server's."""
        self._server_port, self._lock = port, threading.Lock()
        self.arm(None, lambda: None)
        proxy = self

        class Handler(_Handler):
            def do_any(self) -> None:
                with contextlib.suppress(OSError, _Cut):
                    proxy._pass_on(self)
                    return
                proxy._reset(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def arm(self, fault: HttpFault | None, kill: Callable[[], None]) -> None:
        """The next fault, and what kills the client. Requests are counted from here on."""
        with self._lock:
            self._fault, self._kill = fault, kill
            self.requests, self.reached = 0, False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ---- one request -----------------------------------------------------------------------------------------

    def _turn(self) -> str:
        """What happens to this one, or nothing."""
        with self._lock:
            self.requests += 1
            fault = self._fault
            if fault is None or self.requests < fault.at:
                return ""
            lasting = fault.kind.endswith(" for good")
            if self.requests > fault.at and not lasting:
                return ""
            self.reached = True
            return fault.kind.removesuffix(" for good")

    def _pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        kind, kill = self._turn(), self._kill
        length = int(asked.headers.get("Content-Length") or 0)
        if kind in ("request cut", "cut", "killed in the request"):
            asked.rfile.read(length // 2)
            if kind.startswith("killed"):
                kill()
            raise _Cut
        body = asked.rfile.read(length)
        if kind == "silent":
            time.sleep(SILENCE)
            raise _Cut
        if kind in STATUSES:
            text = f"<Error><Code>{STATUSES[kind]}</Code><Message>as asked for</Message></Error>".encode()
            _answer(asked, int(kind), {"Content-Type": "application/xml"}, text)
            return
        self._answer_of_server(asked, body, kind, kill)

    def _answer_of_server(
        self, asked: BaseHTTPRequestHandler, body: bytes, kind: str, kill: Callable[[], None]
    ) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
        try:
            connection.request(asked.command, asked.path, body, dict(asked.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if kind == "killed before the answer":
            kill()
        if kind in ("answer lost", "killed before the answer"):
            raise _Cut
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOPPING}
        if asked.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        if kind == "slow":
            time.sleep(SLOW)
        part = len(content) // 2 if kind in ("answer cut", "killed in the answer") else len(content)
        _answer(asked, answer.status, headers, content, part)
        if kind == "killed in the answer":
            kill()
        if part < len(content):
            raise _Cut

    @staticmethod
    def _reset(asked: BaseHTTPRequestHandler) -> None:
        """At once, with RST; what was sent before is on its way."""
        asked.close_connection = True
        with contextlib.suppress(OSError):
            asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""


def _answer(
    asked: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, part: int | None = None
) -> None:  # fmt: skip
    """An answer, or its beginning only."""
    asked.send_response_only(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        asked.send_header(name, value)
    asked.end_headers()
    if asked.command != "HEAD":
        asked.wfile.write(content[:part])
    asked.wfile.flush()
