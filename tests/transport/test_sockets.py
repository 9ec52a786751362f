"""Opening sockets and TLS on them: what is refused, and with which words."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostile_sql import HostileSql
from innoclone.errors import ConnectFailed, TlsFailed, TooManyOpenFiles
from innoclone.transport import sockets
from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.transport.sockets import open_socket, set_timeout
from innoclone.transport.sql import Sql


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def to(listener: socket.socket) -> Endpoint:
    return Endpoint("127.0.0.1", listener.getsockname()[1], connect_timeout=5)


def test_a_tcp_socket(listener):
    with open_socket(to(listener)) as sock, listener.accept()[0]:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        usual = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with open_socket(to(listener), receive_buffer=8192) as sock, listener.accept()[0]:
        assert 8192 <= sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < usual


def test_every_address_of_a_name_is_tried(listener, monkeypatch):
    port = listener.getsockname()[1]
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.9.9.9", "127.0.0.1")]
    monkeypatch.setattr(sockets.socket, "getaddrinfo", lambda *_, **__: addresses)
    with open_socket(to(listener)) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"
    monkeypatch.setattr(sockets.socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(ConnectFailed, match="the name has no address"):
        open_socket(to(listener))


def test_a_way_of_its_own():
    class Pair:
        def connect(self):
            ours, self.theirs = socket.socketpair()
            return ours

    way = Pair()
    with open_socket(Endpoint("ignored", via=way, connect_timeout=7)) as sock, way.theirs:
        way.theirs.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert sock.gettimeout() == 7


def test_a_unix_socket(tmp_path):
    endpoint = Endpoint("ignored", socket=tmp_path / "s")
    with pytest.raises(ConnectFailed, match="No such file") as caught:
        open_socket(endpoint)
    assert (caught.value.code, caught.value.exit_status, caught.value.retryable) == (2003, 3, True)
    with socket.create_server(str(tmp_path / "s"), family=socket.AF_UNIX) as listener, open_socket(endpoint):
        listener.accept()[0].close()


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConnectFailed, match="Connection refused") as caught:
            open_socket(Endpoint("127.0.0.1", sock.getsockname()[1]))
        assert caught.value.code == 2003


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "", "no-such-host.invalid"])
def test_a_name_that_is_none(host):
    with pytest.raises(ConnectFailed, match="can't connect to"):
        open_socket(Endpoint(host, 1))


def test_no_descriptor_left(listener, monkeypatch):
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    endpoint = to(listener)
    monkeypatch.setattr(sockets.socket, "socket", none_left)
    with pytest.raises(TooManyOpenFiles) as caught:
        open_socket(endpoint)
    assert caught.value.code == 23


def test_timeouts_are_the_kernels():
    """Each direction has its own; no time at all would mean no limit."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        set_timeout(ours, 0.01)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        with pytest.raises(BlockingIOError):
            ours.sendall(bytes(64 << 20))
        set_timeout(ours, 0)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        set_timeout(ours, 2.5, 0.25)
        times = [ours.getsockopt(socket.SOL_SOCKET, what, 16) for what in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)]
        assert [(int.from_bytes(time[:8], "little"), int.from_bytes(time[8:], "little")) for time in times] == [
            (2, pytest.approx(500_000, abs=20_000)), (0, pytest.approx(250_000, abs=20_000)),
        ]  # fmt: skip


# ---- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(certificates: Path) -> Iterator[HostileSql]:
    """With a certificate for localhost."""
    with serving(certificates / "server") as found:
        yield found


def serving(name: Path, *, client_ca: Path | None = None) -> HostileSql:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(name.with_suffix(".pem"), name.with_suffix(".key"))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return HostileSql(tls=context)


def cipher(endpoint: Endpoint) -> str:
    with Sql(endpoint) as sql:
        return sql.connection.cipher


@pytest.mark.parametrize("mode", list(SslMode))
def test_modes(server, certificates, mode):
    """All but one have TLS where it is offered."""
    used = cipher(server.endpoint(ssl_mode=mode, ssl_ca=certificates / "ca.pem"))
    assert used.startswith("TLSv1.") == (mode is not SslMode.DISABLED)


def test_a_connection_that_has_tls(server):
    """Sets its timeout in Python."""
    endpoint = server.endpoint(ssl_mode=SslMode.REQUIRED)
    with Sql(endpoint) as sql:
        set_timeout(sql.connection._sock, 3.5)
        assert sql.connection._sock.gettimeout() == 3.5


@pytest.mark.parametrize("mode", [SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY])
@pytest.mark.parametrize("ca", ["other-ca.pem", None])
def test_a_certificate_of_another_ca(server, certificates, mode, ca):
    """Without a CA of one's own the system's count, of which this is none."""
    endpoint = server.endpoint(ssl_mode=mode, ssl_ca=ca and certificates / ca)
    with pytest.raises(TlsFailed, match=r"TLS with 127\.0\.0\.1:\d+ failed: .*certificate") as caught:
        cipher(endpoint)
    assert (caught.value.code, caught.value.exit_status) == (2026, 3)


def test_a_certificate_for_another_host(certificates):
    with serving(certificates / "elsewhere") as server:
        endpoint = server.endpoint(ssl_mode=SslMode.VERIFY_CA, ssl_ca=certificates / "ca.pem")
        assert cipher(endpoint)
        with pytest.raises(TlsFailed, match="IP address mismatch"):
            cipher(replace(endpoint, ssl_mode=SslMode.VERIFY_IDENTITY))


def test_a_server_that_wants_a_certificate(certificates):
    with serving(certificates / "server", client_ca=certificates / "ca.pem") as server:
        own = {"ssl_cert": certificates / "elsewhere.pem", "ssl_key": certificates / "elsewhere.key"}
        assert cipher(server.endpoint(ssl_mode=SslMode.REQUIRED, **own))


@pytest.mark.parametrize("name", ["ssl_ca", "ssl_cert"])
@pytest.mark.parametrize("file", ["missing.pem", "ca.key"])
def test_certificate_files_that_are_none(server, certificates, name, file):
    with pytest.raises(TlsFailed, match="can't load the certificate files") as caught:
        cipher(server.endpoint(ssl_mode=SslMode.REQUIRED, **{name: certificates / file}))
    assert caught.value.code == 2026
