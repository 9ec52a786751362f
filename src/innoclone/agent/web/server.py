"""The agent in a browser and for Prometheus: ``/`` is a page, ``/status.json`` what it shows, ``/metrics``.

Everything is read-only, each request has a connection of its own, and all of it has to come within `PATIENCE`. What
came to a loopback address must name such an address: a web site whose name was made to lead here (DNS rebinding) gets
nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import json
import logging
import re
import socket
import threading
import time
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from io import BytesIO
from typing import Any

from innoclone.agent.clones.speeds import SpeedHistory, copied_bytes
from innoclone.agent.services import Services
from innoclone.agent.web.metrics import CONTENT_TYPE, agent_metrics, text_of
from innoclone.errors import ConnectFailed
from innoclone.records.status import CLONE_STAGES, COPY_STAGES, CloneStatus
from innoclone.transport.listening import Listener
from innoclone.version import __version__

__all__ = ["Web"]

log = logging.getLogger("innoclone.agent")
PATIENCE = 10.0  # seconds for a request, and again for its answer
LONGEST = 16384  # bytes of a request; a browser's are about one thousand
MOST = 32  # connections at the same time
SHOWN = 50  # clones of the history
NOTES = 20  # the newest ones of a clone


class Web:
    """Listens from the beginning; answers between `start` and `stop`."""

    def __init__(self, services: Services, host: str, port: int) -> None:
        """Raises `ConnectFailed`."""
        self.services, self.speeds = services, SpeedHistory(services.clones)
        try:
            self._listener = Listener(host=host, port=port, path=None, short=log.warning)
        except ConnectFailed as error:
            raise ConnectFailed(error.message, hint="name another --web-bind-address or --web-port") from error
        self.port = self._listener.port
        self._lock = threading.Lock()
        self._asking: dict[int, socket.socket] = {}  # connections of which no request has come yet, oldest first
        self._answering = 0
        self._number = 0
        self._thread = threading.Thread(target=self._accept, name="innoclone-web", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self.speeds.start()
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; answers that are on their way end by themselves."""
        self._listener.wake()
        self._thread.join()
        self._listener.close()
        self.speeds.stop()

    def _accept(self) -> None:
        for sock in self._listener.accept():
            with self._lock:
                if not self._make_room():
                    sock.close()
                    continue
                self._number += 1
                number = self._number
                self._asking[number] = sock
            name = "innoclone-web-request"
            threading.Thread(target=self._answer, args=(sock, number), name=name, daemon=True).start()

    def _make_room(self) -> bool:
        """Whether there may be one more; who says nothing makes room for who may have something to say."""
        if len(self._asking) + self._answering < MOST:
            return True
        if not self._asking:
            return False
        oldest = self._asking.pop(min(self._asking))
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)
        return True

    def has_asked(self, number: int) -> bool:
        """A request has come in whole. False if its connection had to make room for another one before that."""
        with self._lock:
            if self._asking.pop(number, None) is None:
                return False
            self._answering += 1
            return True

    def _answer(self, sock: socket.socket, number: int) -> None:
        try:
            with sock, contextlib.suppress(OSError):  # the client is gone, or too slow
                _Handler(sock, number, self)  # type: ignore[arg-type]  # it only hands its server on
        except Exception:
            log.exception("web: unexpected")
        finally:
            with self._lock:
                if self._asking.pop(number, None) is None:
                    self._answering -= 1

    @cached_property
    def page(self) -> bytes:
        """The page with its style and script in it."""
        folder = files("innoclone.agent.web") / "page"
        text = (folder / "page.html").read_text()
        for name in ("page.css", "page.js"):
            text = text.replace(f"/* {name} */", (folder / name).read_text())
        return text.encode()

    @cached_property
    def policy(self) -> str:
        """Content-Security-Policy: nothing runs but what the page was delivered with."""
        text = self.page.decode()
        hashes = {
            tag: base64.b64encode(
                hashlib.sha256(text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0].encode()).digest()
            ).decode()
            for tag in ("style", "script")
        }
        return (
            f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}';"
            " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def status(self) -> dict[str, Any]:
        """What the page shows. Times are seconds since the epoch, amounts bytes; no password is in it."""
        services, clones = self.services, self.services.clones
        latest = clones.latest
        self.speeds.sample()
        return {
            "agent": {
                "version": __version__, "host": socket.gethostname(), "started": services.started, "now": time.time(),
                "connections": len(services.connections),
            },
            "clone": None if latest is None else _clone(latest, is_running=clones.is_running),
            "curve": self.speeds.points,
            "history": clones.records()[: -SHOWN - 1 : -1],
        }  # fmt: skip


def _clone(status: CloneStatus, *, is_running: bool) -> dict[str, Any]:
    copied = [status.stages[stage] for stage in COPY_STAGES]
    data, network = copied_bytes(status)
    return {
        "id": status.number, "running": is_running, "state": status.state.value, "source": status.source,
        "destination": status.destination, "donor_version": status.donor_version, "begin": status.begin,
        "end": status.end, "error_number": status.error_number, "error_message": status.error_message,
        "connections": status.connections, "restarts": status.restarts, "data": data, "network": network,
        "rate": status.rate,
        "estimate": sum(max(row.estimate, row.data) for row in copied),
        "binlog_file": status.binlog_file, "binlog_position": status.binlog_position,
        "notes": status.notes[-NOTES:],
        "stages": [
            {
                "stage": row.stage.value, "state": row.state.value, "data": row.data, "network": row.network,
                "estimate": row.estimate, "threads": row.threads, "seconds": round(row.seconds, 3),
                "rate": row.rate,
            }
            for row in (status.stages[stage] for stage in CLONE_STAGES)
        ],
    }  # fmt: skip


def _is_loopback(host: str) -> bool:
    """Whether an address, or a name, is of this machine only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection ends."""

    server: Web  # type: ignore[assignment]
    client_address: int  # type: ignore[assignment]  # the connection's number instead
    server_version, sys_version = f"innoclone/{__version__}", ""

    def setup(self) -> None:
        """Read the whole head of the request at once, so that its size and time are bounded."""
        super().setup()
        self.rfile = BytesIO(self._head())
        if not self.server.has_asked(self.client_address):
            raise ConnectionAbortedError("it had to make room")
        self.request.settimeout(PATIENCE)

    def _head(self) -> bytes:
        end = time.monotonic() + PATIENCE
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < LONGEST:
            self.request.settimeout(max(end - time.monotonic(), 0.001))
            more = self.request.recv(LONGEST - len(head))
            if not more:
                break
            head += more
        return head

    def do_GET(self) -> None:
        """Answer."""
        named = self.headers.get_all("Host") or []
        if len(named) > 1 or "://" in self.path:  # RFC 9112, 3.2: a host in the path would count more
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        here = self.request.getsockname()[0]
        if _is_loopback(here) and not _is_loopback(_host_of(named[0] if named else "")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this is for the machine's own browsers only")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif path == "/status.json":
            self._send(json.dumps(self.server.status()).encode(), "application/json")
        elif path == "/metrics":
            text = text_of(agent_metrics(self.server.services, self.server.speeds))
            self._send(text.encode(), CONTENT_TYPE)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """With what every answer has."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are of no interest."""


_HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9.-]{1,255})|\[(?P<six>[0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")


def _host_of(header: str) -> str:
    """A Host header (RFC 9110, 7.2) without its port and brackets; '' where it is none."""
    found = _HOST.fullmatch(header.strip(" \t"))
    return (found["name"] or found["six"]) if found else ""
