"""Logins on real servers: every path of caching_sha2_password, TLS as its modes promise, compression, addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pymysql
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hostile import GREETING, Donor, Peer
from innoclone.errors import (
    AccessDenied,
    TlsFailed,
    UnsafeLogin,
    UsageError,
)
from innoclone.server.mysqld import Server
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.transport.sql import Sql
from innoclone.wire.handshake import (
    AuthSwitch,
    HandshakeResponse,
    Ok,
    native_scramble,
)
from receiving import receive_into
from servers import endpoint_of

PASSWORD = "pässwörd of some length, with 'quotes'"
PLAIN = Compression()
KEY_PATH, FAST_PATH = "full path with the server's key", "fast path"


@pytest.fixture(scope="module")
def server(make_module_server, certificates) -> Server:
    """It listens on IPv4 and IPv6, and its certificate is for localhost."""
    running: Server = make_module_server(
        "--bind-address=127.0.0.1,::1", f"--ssl-ca={certificates / 'ca.pem'}",
        f"--ssl-cert={certificates / 'server.pem'}", f"--ssl-key={certificates / 'server.key'}",
    )  # fmt: skip
    with running.connect() as connection, connection.cursor() as cursor:
        for account, clause in (("full", ""), ("tls", "REQUIRE SSL"), ("plain", ""), ("x509", "REQUIRE X509")):
            cursor.execute(f"CREATE USER {account}@'%%' IDENTIFIED BY %s {clause}", (PASSWORD,))
        cursor.execute("CREATE USER old@'%%' IDENTIFIED WITH sha256_password BY %s", (PASSWORD,))
        cursor.execute("CREATE USER blank@'%' IDENTIFIED BY ''")
    return running


def endpoint(server: Server, user: str, mode: SslMode = SslMode.DISABLED, **changes: object) -> Endpoint:
    values: dict[str, object] = {"user": user, "password": PASSWORD, "ssl_mode": mode}
    return endpoint_of(server, **values | changes)


def log_in(to: Endpoint, compression: Compression = PLAIN) -> Connection:
    """A connection that has proven itself with one more command."""
    connection = Connection(to, compression, timeout=20)
    connection.command(b"\x0e")  # COM_PING
    connection.close()
    return connection


def forget_passwords(server: Server) -> None:
    """Empty the server's cache, so that the next login of each account takes the full path."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH PRIVILEGES")


@contextmanager
def noting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which ways the logins took."""
    from innoclone.wire import login

    ways: list[str] = []
    more, encrypt = login.ClientLogin._more, login.rsa_encrypt_password

    def note_more(self: login.ClientLogin, data: bytes) -> login.Step:
        ways.append(FAST_PATH if data == login.FAST_OK else "full path")
        return more(self, data)

    def note_key(password: str, nonce: bytes, pem: bytes) -> bytes:
        ways.append(KEY_PATH)
        return encrypt(password, nonce, pem)

    with monkeypatch.context() as patch:
        patch.setattr(login.ClientLogin, "_more", note_more)
        patch.setattr(login, "rsa_encrypt_password", note_key)
        yield ways


def test_full_path_over_tls_then_fast_path(server, monkeypatch):
    forget_passwords(server)
    with noting(monkeypatch) as ways:
        for _ in range(2):
            assert log_in(endpoint(server, "full", SslMode.REQUIRED)).cipher.startswith("TLSv1.3 ")
    assert ways == ["full path", FAST_PATH]


def test_without_tls_and_without_a_word_about_the_key(server):
    """Neither kind of connection tells the password then; what the server has cached needs none."""
    forget_passwords(server)
    for attempt in (log_in, Sql):
        with pytest.raises(UnsafeLogin) as caught:
            attempt(endpoint(server, "full", get_server_public_key=False))
        assert (caught.value.code, caught.value.exit_status) == (2061, 4)
        assert "--server-public-key-path" in caught.value.advice
    log_in(endpoint(server, "full", SslMode.REQUIRED))
    for attempt in (log_in, Sql):
        attempt(endpoint(server, "full", get_server_public_key=False)).close()


def test_with_the_servers_key_by_name(server, tmp_path, monkeypatch):
    """It is not asked for then, and another key, or none, lets nobody in."""
    key = server.datadir / "public_key.pem"
    for user in ("full", "old"):
        for attempt in (log_in, Sql):
            forget_passwords(server)
            with noting(monkeypatch) as ways:
                attempt(endpoint(server, user, get_server_public_key=False, server_public_key_path=key)).close()
            assert ways[-1] == KEY_PATH
    forget_passwords(server)
    another = tmp_path / "another.pem"
    public = rsa.generate_private_key(65537, 2048).public_key()
    another.write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(AccessDenied):
        log_in(endpoint(server, "full", server_public_key_path=another))
    with pytest.raises(UsageError):
        log_in(endpoint(server, "full", server_public_key_path=tmp_path / "missing.pem"))


def test_full_path_without_tls_then_fast_path(server, monkeypatch):
    """The password travels under the server's public key."""
    forget_passwords(server)
    with noting(monkeypatch) as ways:
        for _ in range(2):
            assert log_in(endpoint(server, "full")).cipher == ""
    assert ways == ["full path", KEY_PATH, FAST_PATH]


def test_full_path_over_the_unix_socket(server, monkeypatch):
    forget_passwords(server)
    with noting(monkeypatch) as ways:
        assert log_in(endpoint(server, "full", SslMode.REQUIRED, socket=server.socket)).cipher == ""
    assert ways == ["full path"]


@pytest.mark.parametrize("way", [SslMode.DISABLED, SslMode.REQUIRED, "socket"])
def test_an_old_account(server, way, monkeypatch):
    """sha256_password has no fast path: the password travels in TLS or under the key, also over a Unix socket."""
    to = endpoint(server, "old", socket=server.socket) if way == "socket" else endpoint(server, "old", way)
    with noting(monkeypatch) as ways:
        log_in(to)
    assert ways == ([] if way is SslMode.REQUIRED else [KEY_PATH])
    with pytest.raises(AccessDenied):
        log_in(replace(to, password="wrong"))


@pytest.mark.parametrize("mode", [SslMode.DISABLED, SslMode.REQUIRED])
def test_an_empty_password(server, mode, monkeypatch):
    with noting(monkeypatch) as ways:
        log_in(endpoint(server, "blank", mode, password=""))
    assert ways == []


@pytest.mark.parametrize("mode", [SslMode.DISABLED, SslMode.PREFERRED, SslMode.REQUIRED])
@pytest.mark.parametrize(("user", "password"), [("full", "wrong"), ("full", ""), ("blank", "x"), ("nobody", "any")])
def test_a_wrong_password(server, user, password, mode):
    with pytest.raises(AccessDenied) as caught:
        log_in(endpoint(server, user, mode, password=password))  # of nobody the server pretends to know the plugin
    assert (caught.value.code, caught.value.exit_status) == (1045, 4)
    assert user in caught.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses(server, certificates, host):
    """Each is also a name in the certificate."""
    mode = SslMode.VERIFY_IDENTITY
    connection = log_in(endpoint(server, "full", mode, host=host, ssl_ca=certificates / "ca.pem"))
    assert connection.cipher


def test_an_account_that_requires_tls(server):
    assert log_in(endpoint(server, "tls", SslMode.PREFERRED)).cipher
    with pytest.raises(AccessDenied):  # what a server answers: it does not tell why
        log_in(endpoint(server, "tls", SslMode.DISABLED))


def test_a_server_that_requires_tls(server):
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL require_secure_transport = ON")
        try:
            with pytest.raises(TlsFailed) as caught:
                log_in(endpoint(server, "plain", SslMode.DISABLED))
        finally:
            cursor.execute("SET GLOBAL require_secure_transport = OFF")
    assert "--ssl-mode=REQUIRED" in caught.value.advice


def test_an_account_that_requires_a_certificate(server, certificates):
    with pytest.raises(AccessDenied):
        log_in(endpoint(server, "x509", SslMode.REQUIRED))
    files = {"ssl_cert": certificates / "elsewhere.pem", "ssl_key": certificates / "elsewhere.key"}
    assert log_in(endpoint(server, "x509", SslMode.REQUIRED, **files)).cipher


@pytest.mark.parametrize(
    ("clause", "number", "advice"),
    [
        ("ACCOUNT LOCK", 3118, "ACCOUNT UNLOCK"),
        ("PASSWORD EXPIRE", 1862, "ALTER USER USER() IDENTIFIED BY"),
        ("FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1", 3955, "ACCOUNT UNLOCK"),
        ("REQUIRE X509", 1045, "--ssl-cert"),
        ("REQUIRE SSL", 1045, "--ssl-mode=REQUIRED"),
    ],
)
def test_an_account_that_is_kept_out(server, clause, number, advice):
    """What to do is told, by both kinds of connection in the same words; that the password is right, is not doubted."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER kept@'%%' IDENTIFIED BY %s {clause}", (PASSWORD,))
        cursor.execute("GRANT ALL ON *.* TO kept@'%'")
    mode = SslMode.DISABLED if clause == "REQUIRE SSL" else SslMode.REQUIRED
    try:
        if number == 3955:
            with pytest.raises(AccessDenied):
                log_in(endpoint(server, "kept", mode, password="wrong"))
        for attempt in (log_in, Sql):
            with pytest.raises(AccessDenied) as caught:
                attempt(endpoint(server, "kept", mode))
            assert caught.value.code == 1045
            assert number == 1045 or caught.value.message.startswith(f"{number}: ")
            assert advice in caught.value.advice
    finally:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER kept@'%'")


def test_a_password_that_expires_is_told_by_the_first_statement(server):
    """Where a server lets such accounts in (disconnect_on_expired_password), they may only change the password."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER old_one@'%%' IDENTIFIED BY %s PASSWORD EXPIRE", (PASSWORD,))
    to = endpoint(server, "old_one", SslMode.REQUIRED)
    with log_in_expired(server), pytest.raises(AccessDenied) as caught:
        Sql(to)
    assert caught.value.message.startswith("1820: ")
    assert "ALTER USER USER()" in caught.value.advice


@contextmanager
def log_in_expired(server: Server) -> Iterator[None]:
    """Have our logins say that they can handle an expired password, as a server without the variable takes all to."""
    from innoclone.wire import login

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(login, "BASE", login.BASE | 0x400000)  # CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS
        yield


@pytest.mark.parametrize("mode", [SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY])
def test_a_certificate_of_another_ca(server, certificates, mode):
    for ca in (certificates / "other-ca.pem", None):
        with pytest.raises(TlsFailed) as caught:
            log_in(endpoint(server, "full", mode, ssl_ca=ca))
        assert (caught.value.code, caught.value.exit_status) == (2026, 3)


def test_a_certificate_for_another_host(make_server, certificates):
    other = make_server(
        f"--ssl-ca={certificates / 'ca.pem'}", f"--ssl-cert={certificates / 'elsewhere.pem'}",
        f"--ssl-key={certificates / 'elsewhere.key'}",
    )  # fmt: skip
    to = endpoint_of(other, ssl_ca=certificates / "ca.pem", ssl_mode=SslMode.VERIFY_CA)
    assert log_in(to).cipher
    with pytest.raises(TlsFailed):
        log_in(replace(to, ssl_mode=SslMode.VERIFY_IDENTITY))


@pytest.mark.parametrize("name", ["ssl_ca", "ssl_cert"])
def test_certificate_files_that_are_none(server, certificates, tmp_path, name):
    for path in (tmp_path / "missing.pem", certificates / "ca.key"):
        with pytest.raises(TlsFailed):
            log_in(endpoint(server, "full", SslMode.REQUIRED, **{name: path}))


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
@pytest.mark.parametrize("mode", [SslMode.DISABLED, SslMode.REQUIRED])
def test_compression_is_agreed_on(server, algorithm, mode):
    assert log_in(endpoint(server, "full", mode), Compression(algorithm)).compression == algorithm


def test_compression_that_the_server_does_not_allow(server):
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL protocol_compression_algorithms = 'uncompressed'")
        try:
            assert log_in(endpoint(server, "full"), Compression("zstd")).compression == "off"
        finally:
            cursor.execute("SET GLOBAL protocol_compression_algorithms = DEFAULT")


@pytest.mark.parametrize("mode", [SslMode.DISABLED, SslMode.REQUIRED])
@pytest.mark.parametrize("algorithm", ["off", "zlib", "zstd"])
def test_a_clone_over_every_kind_of_connection(server, tmp_path, algorithm, mode):
    """The login is not all: the clone's own messages and its data travel in each of them."""
    received = receive_into(tmp_path / "clone", endpoint_of(server, ssl_mode=mode), compression=Compression(algorithm))
    assert received.compression == algorithm
    assert bool(received.cipher) == (mode is SslMode.REQUIRED)
    assert (tmp_path / "clone" / "mysql.ibd").stat().st_size > 20 << 20


# MySQL 9 has no mysql_native_password any more, so here a script is the server; PyMySQL, which speaks it with the old
# servers of others, must come to the same answer.
NONCE = bytes(range(70, 90))


def serve_native(listener: socket.socket, answers: list[bytes]) -> None:
    accepted, _ = listener.accept()
    with accepted:
        peer = Peer(accepted, "master", Donor())
        peer.send(GREETING.serialize())
        answers.append(HandshakeResponse.parse(peer.receive(), GREETING.capabilities).plugin.encode())
        peer.send(AuthSwitch("mysql_native_password", NONCE).serialize())
        answers.append(peer.receive())
        peer.send(Ok().serialize())
        accepted.recv(100)


def answer_of(client: Callable[[int], object]) -> bytes:
    """What a client answers to the switch."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_native, args=(listener, answers))
        thread.start()
        client(listener.getsockname()[1])
        thread.join()
    assert answers[0] == b"caching_sha2_password", "as the greeting said"
    return answers[1]


def test_mysql_native_password_after_a_switch():
    def ours(port: int) -> None:
        Connection(Endpoint("127.0.0.1", port, "old", "secret", ssl_mode=SslMode.DISABLED), PLAIN, timeout=20).close()

    def theirs(port: int) -> None:
        with contextlib.suppress(pymysql.err.OperationalError):  # it goes on with statements, and the script has ended
            pymysql.connect(host="127.0.0.1", port=port, user="old", password="secret")

    assert answer_of(ours) == answer_of(theirs) == native_scramble("secret", NONCE)
