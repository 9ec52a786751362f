"""Donors that can't be cloned as they are, and peers that are none: each a clear error, and nothing left behind."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clones import booted, check_tables, clone_server, rows
from commandline import environment, in_this_process, innoclone, innoclone_here
from faults import Running, assert_failed, dsn
from innoclone import errors
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.errors import CloneError
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from keyring import restarted, restarted_with_keyring
from servers import PASSWORD, ServerFactory

__all__ = ["environment", "in_this_process", "innoclone", "innoclone_here"]


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    """A donor whose settings the tests change, and put back."""
    server = make_module_server()
    for name, privileges in (("weak", "PROCESS"), ("plain", "BACKUP_ADMIN"), ("admin", "BACKUP_ADMIN, INSERT")):
        rows(server, f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
        rows(server, f"GRANT {privileges} ON *.* TO {name}@'%'")
    return server


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where the clone would go; nothing may be there afterwards."""
    directory = tmp_path / "parent" / "clone"
    directory.parent.mkdir()
    yield directory
    assert list(directory.parent.iterdir()) == []


@contextmanager
def setting(server: Server, change: str, back: str) -> Iterator[None]:
    """A statement, and the one that undoes it."""
    rows(server, change)
    try:
        yield
    finally:
        rows(server, back)


# ---- the account and the donor's settings ------------------------------------------------------------------


@pytest.mark.parametrize("command", ["clone", "check"])
def test_no_backup_admin(innoclone, server: Server, target: Path, command: str) -> None:
    done = innoclone(command, dsn(server, "weak"), str(target))
    assert_failed(done, errors.PrivilegeMissing, "weak lacks BACKUP_ADMIN", "GRANT BACKUP_ADMIN ON *.*")


@pytest.fixture
def no_plugin(server: Server) -> Iterator[None]:
    """The donor without the clone plugin; it has it again afterwards."""
    rows(server, "UNINSTALL PLUGIN clone")
    yield
    if not rows(server, "SELECT 1 FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'"):
        rows(server, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")


@pytest.mark.usefixtures("no_plugin")
@pytest.mark.parametrize("command", ["clone", "check"])
def test_no_clone_plugin(innoclone, server: Server, target: Path, command: str) -> None:
    assert_failed(innoclone(command, dsn(server), str(target)), errors.PluginMissing, "--install-plugin")


@pytest.mark.usefixtures("no_plugin")
def test_the_plugin_is_installed_by_who_may(innoclone, server: Server, target: Path, tmp_path: Path) -> None:
    query = "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'"
    done = innoclone("clone", "--install-plugin", dsn(server, "plain"), str(target))
    assert_failed(done, errors.PrivilegeMissing, "may not install the clone plugin", "INSERT ON mysql.plugin")
    assert innoclone("check", "--install-plugin", dsn(server, "admin"), str(target)).returncode == 0
    assert rows(server, query) == [(0,)]
    done = innoclone("clone", "--install-plugin", dsn(server, "admin"), str(tmp_path / "clone"))
    assert (done.returncode, "installed the clone plugin" in done.stderr) == (0, True), done.stderr
    assert rows(server, query) == [(1,)]


def test_small_packets(innoclone, server: Server, target: Path) -> None:
    with setting(server, "SET GLOBAL max_allowed_packet = 1048576", "SET GLOBAL max_allowed_packet = 67108864"):
        done = innoclone("clone", dsn(server), str(target))
    assert_failed(done, errors.PacketTooSmall, "1048576", "SET GLOBAL max_allowed_packet")


def test_no_redo(innoclone, server: Server, target: Path) -> None:
    with setting(server, "ALTER INSTANCE DISABLE INNODB REDO_LOG", "ALTER INSTANCE ENABLE INNODB REDO_LOG"):
        done = innoclone("clone", dsn(server), str(target))
    assert_failed(done, errors.RedoDisabled, "ALTER INSTANCE ENABLE INNODB REDO_LOG")


@pytest.mark.parametrize("command", ["clone", "check"])
def test_all_problems_at_once(innoclone, server: Server, tmp_path: Path, command: str) -> None:
    """What stands in the way is told in one run, not one at a time."""
    target = tmp_path / "full"
    target.mkdir()
    (target / "mine").write_text("mine")
    rows(server, "UNINSTALL PLUGIN clone")
    rows(server, "ALTER INSTANCE DISABLE INNODB REDO_LOG")
    try:
        with setting(server, "SET GLOBAL max_allowed_packet = 1048576", "SET GLOBAL max_allowed_packet = 67108864"):
            done = innoclone(command, dsn(server), str(target))
    finally:
        rows(server, "ALTER INSTANCE ENABLE INNODB REDO_LOG")
        rows(server, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
    assert_failed(done, errors.PacketTooSmall)
    for kind in (errors.PacketTooSmall, errors.RedoDisabled, errors.PluginMissing, errors.TargetExists):
        assert f"ERROR {kind.number} (" in done.stderr, done.stderr
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_another_clone_runs(environment, server: Server, target: Path, tmp_path: Path, monkeypatch) -> None:
    """The second is refused after a while, the first goes on unharmed."""
    first = tmp_path / "first"
    with Running("clone", "--max-data-bandwidth=10", dsn(server), str(first), environment=environment) as running:
        running.wait_for("FILE COPY")
        monkeypatch.setattr("innoclone.receive.timings.BUSY_DONOR", 1.0)
        with pytest.raises(errors.CloneRunning) as caught:
            clone_server(server, target)
        assert (caught.value.code, caught.value.exit_status, caught.value.retryable) == (3634, 6, True)
        assert running.end()[0] == 0
    assert (first / "#innoclone" / "manifest.json").exists()


# ---- encryption --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypting(
    make_module_server: ServerFactory, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A donor with a keyring, and an account that may not see tablespaces."""
    server = make_module_server()
    rows(server, f"CREATE USER blind@'%' IDENTIFIED BY '{PASSWORD}'")
    rows(server, "GRANT BACKUP_ADMIN ON *.* TO blind@'%'")
    with restarted_with_keyring(programs, server, tmp_path_factory.mktemp("keyring")) as again:
        yield again


@pytest.mark.parametrize("user", ["clone", "blind"])
@pytest.mark.parametrize("what", ["table", "undo", "redo"])
def test_encryption_without_tls_is_refused(innoclone, encrypting: Server, target: Path, user: str, what: str) -> None:
    """Also where the account can't see it in advance."""
    plain = ("--ssl-mode=DISABLED", "--get-server-public-key")
    if what == "table":
        with setting(encrypting, "CREATE SCHEMA hidden DEFAULT ENCRYPTION = 'Y'", "DROP SCHEMA hidden"):
            rows(encrypting, "CREATE TABLE hidden.t (id INT PRIMARY KEY)")
            done = innoclone("clone", dsn(encrypting, user), *plain, str(target))
    else:
        name = f"innodb_{what}_log_encrypt"
        with setting(encrypting, f"SET GLOBAL {name} = ON", f"SET GLOBAL {name} = OFF"):
            done = innoclone("clone", dsn(encrypting, user), *plain, str(target))
    assert_failed(done, errors.EncryptionNeedsTls)
    assert not target.with_name(f"{target.name}.keyring").exists()


def test_redo_that_was_encrypted_once(
    innoclone, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """The key stays in the log until the donor starts anew, and nothing else tells of it."""
    server = make_server()
    with restarted_with_keyring(programs, server, tmp_path) as donor:
        rows(donor, "SET GLOBAL innodb_redo_log_encrypt = ON")
        rows(donor, "SET GLOBAL innodb_redo_log_encrypt = OFF")
        assert innoclone("clone", dsn(donor), str(tmp_path / "first")).returncode == 0
        boot(BootOptions(tmp_path / "first"))
        donor.stop()
    with restarted(programs, server) as donor:
        clone_server(donor, tmp_path / "clone")
    with booted(programs, tmp_path / "clone") as clone:
        assert check_tables(clone) == []


# ---- TLS ---------------------------------------------------------------------------------------------------


def certificate_authority() -> bytes:
    """A CA that has signed nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_donor_without_tls(innoclone, make_server: ServerFactory, target: Path, tmp_path: Path) -> None:
    server = make_server("--tls-version=")
    done = innoclone("clone", dsn(server), str(target))
    assert_failed(done, errors.TlsFailed, "--ssl-mode=DISABLED sends")
    done = innoclone("clone", "--ssl-mode=PREFERRED", dsn(server), str(target))
    assert_failed(done, errors.UnsafeLogin, "--get-server-public-key")
    done = innoclone("clone", "--ssl-mode=PREFERRED", "--get-server-public-key", dsn(server), str(tmp_path / "clone"))
    assert (done.returncode, "no TLS" in done.stderr) == (0, True), done.stderr


def test_certificates(innoclone, server: Server, target: Path, tmp_path: Path) -> None:
    """VERIFY_CA takes the donor's own CA and nobody else's; VERIFY_IDENTITY also wants the name."""
    own, other = server.datadir / "ca.pem", tmp_path / "other.pem"
    other.write_bytes(certificate_authority())
    assert innoclone("check", f"--ssl-ca={own}", dsn(server), str(target)).returncode == 0
    done = innoclone("clone", f"--ssl-ca={other}", dsn(server), str(target))
    assert_failed(done, errors.TlsFailed, "certificate")
    done = innoclone("clone", "--ssl-mode=VERIFY_IDENTITY", f"--ssl-ca={own}", dsn(server), str(target))
    assert_failed(done, errors.TlsFailed, "certificate")
    done = innoclone("clone", f"--ssl-ca={target.parent.parent / 'none.pem'}", dsn(server), str(target))
    assert_failed(done, errors.TlsFailed)


# ---- peers that aren't MySQL -------------------------------------------------------------------------------


@contextmanager
def http_server() -> Iterator[int]:
    """An HTTP server that answers whatever comes."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield listener.server_address[1]
        finally:
            listener.shutdown()
            thread.join()


@contextmanager
def talker(words: bytes) -> Iterator[int]:
    """A server that greets with ``words`` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer = listener.accept()[0]
                except OSError:
                    return
                with peer:
                    peer.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def closed() -> Iterator[int]:
    """A port that nobody listens on: bound, and so nobody else's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


PEERS: dict[str, tuple[Callable[[], object], type[CloneError]]] = {
    "http": (http_server, errors.ConnectFailed),  # an HTTP server waits for us to speak first
    "ssh": (lambda: talker(b"SSH-2.0-OpenSSH_9.2p1\r\n"), errors.NotMySQL),
    "smtp": (lambda: talker(b"220 mail.example ESMTP\r\n"), errors.NotMySQL),
    "hangs up": (lambda: talker(b""), errors.ConnectFailed),
    "silent": (silent, errors.ConnectFailed),
    "closed": (closed, errors.ConnectFailed),
}


@pytest.mark.parametrize("command", ["clone", "check"])
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_that_is_not_mysql(innoclone_here, target: Path, peer: str, command: str) -> None:
    start, kind = PEERS[peer]
    with start() as port:
        done = innoclone_here(command, "--connect-timeout=1", f"mysql://u:p@127.0.0.1:{port}", str(target))
    assert_failed(done, kind, f"127.0.0.1:{port}")


def test_the_x_protocol_port(innoclone, make_server: ServerFactory, target: Path) -> None:
    with closed() as port:
        pass
    make_server("--mysqlx=ON", f"--mysqlx-port={port}", "--mysqlx-bind-address=127.0.0.1", donor=False)
    done = innoclone("clone", "--connect-timeout=2", f"mysql://u:p@127.0.0.1:{port}", str(target))
    assert_failed(done, errors.NotMySQL, "33060 is the X protocol")


def test_a_socket_that_is_none(innoclone, target: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("missing", "file"):
        done = innoclone("clone", f"--socket={tmp_path / path}", str(target))
        assert_failed(done, errors.ConnectFailed, str(tmp_path / path))


def test_a_name_that_is_none(innoclone, target: Path) -> None:
    done = innoclone("clone", "--connect-timeout=2", "mysql://u:p@no-such-host.invalid", str(target))
    assert_failed(done, errors.ConnectFailed, "no-such-host.invalid")
