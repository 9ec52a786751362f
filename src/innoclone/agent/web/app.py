"""What the status page's server answers, as a WSGI application: ``/``, ``/status.json`` and ``/metrics``.

Everything is read-only. What came to a loopback address must name such an address: a web site whose name was made to
lead here (DNS rebinding) gets nothing.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable
from functools import cached_property
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

from innoclone.agent.clones.speeds import SpeedHistory
from innoclone.agent.services import Services
from innoclone.agent.web.metrics import CONTENT_TYPE, agent_metrics, text_of
from innoclone.agent.web.status import page_status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["LOCAL_ADDRESS", "App"]

LOCAL_ADDRESS = "innoclone.local_address"
"""In a request's environment: the address that the connection came to."""

HEADERS = [
    ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]  # fmt: skip
_HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9.-]{1,255})|\[(?P<six>[0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")


class App:
    """Called by the server's threads."""

    def __init__(self, services: Services, speeds: SpeedHistory) -> None:
        self._services, self._speeds = services, speeds

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        status = _refusal(environ)
        kind, body = "text/plain; charset=utf-8", b""
        if status is HTTPStatus.OK:
            found = self._content(environ["PATH_INFO"])
            status = HTTPStatus.NOT_FOUND if found is None else status
            kind, body = found or (kind, body)
        if status is not HTTPStatus.OK:
            body = f"{status.value} {status.phrase}\n".encode()
        own = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Content-Security-Policy", self.policy)]
        start_response(f"{status.value} {status.phrase}", [*own, *HEADERS])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _content(self, path: str) -> tuple[str, bytes] | None:
        """Content-Type and body."""
        if path == "/":
            return "text/html; charset=utf-8", self.page
        if path == "/status.json":
            return "application/json", json.dumps(page_status(self._services, self._speeds)).encode()
        if path == "/metrics":
            return CONTENT_TYPE, text_of(agent_metrics(self._services, self._speeds)).encode()
        return None

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


def _refusal(environ: WSGIEnvironment) -> HTTPStatus:
    """Why a request is not answered; OK if it is."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return HTTPStatus.NOT_IMPLEMENTED
    host = environ.get("HTTP_HOST", "")
    # RFC 9112, 3.2: a host in the path would count more. Several Host headers come as one, with commas between.
    if ", " in host or "://" in environ["REQUEST_URI"]:
        return HTTPStatus.BAD_REQUEST
    if _is_loopback(environ[LOCAL_ADDRESS]) and not _is_loopback(_host_of(host)):
        return HTTPStatus.MISDIRECTED_REQUEST
    return HTTPStatus.OK


def _is_loopback(host: str) -> bool:
    """Whether an address, or a name, is of this machine only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _host_of(header: str) -> str:
    """A Host header (RFC 9110, 7.2) without its port and brackets; '' where it is none."""
    found = _HOST.fullmatch(header.strip(" \t"))
    return (found["name"] or found["six"]) if found else ""
