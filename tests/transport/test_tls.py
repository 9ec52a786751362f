"""Many TLS records at once from a real server: the same bytes by the native library and by Python."""

from __future__ import annotations

from ssl import SSLContext, TLSVersion

import pytest

from innoclone.native.library import load
from innoclone.server.mysqld import Server
from innoclone.transport import sockets
from innoclone.transport.connection import COM_QUERY, Connection
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from servers import endpoint_of

COM_PING = b"\x0e"


@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.2"])
@pytest.mark.parametrize("way", ["library", "Python"])
def test_a_large_packet(small_donor: Server, monkeypatch: pytest.MonkeyPatch, version: str, way: str) -> None:
    native = load("")[0] if way == "library" else None
    monkeypatch.setattr("innoclone.transport.connection.library", native)
    context = sockets.tls_context

    def limited(to: Endpoint) -> SSLContext:
        found = context(to)
        found.maximum_version = TLSVersion[version.replace(".", "_")]
        return found

    monkeypatch.setattr(sockets, "tls_context", limited)
    count = 9_000_000
    endpoint = endpoint_of(small_donor, ssl_mode=SslMode.REQUIRED)
    with Connection(endpoint, Compression(), timeout=20) as connection:
        assert connection.cipher.startswith(version)
        assert (connection._bulk is not None) == (native is not None), "the library reads, where it is there"
        connection.write_packet(bytes([COM_QUERY]) + b"SELECT REPEAT('innoclone', 1000000)")
        while (header := connection.read_header()).length < count:
            connection.read_exact(header.length)
        connection.read_exact(header.length - count)
        view = memoryview(bytearray(count))
        connection.read_into(view)
        assert view == b"innoclone" * 1_000_000
        connection.read_packet()  # what follows is where it should be
        connection.command(COM_PING)
