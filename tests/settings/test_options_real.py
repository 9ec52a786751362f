"""Every way of naming a server leads to a real login on a real one, as the account that was meant."""

from __future__ import annotations

import pytest

from innoclone.errors import AccessDenied
from innoclone.server.mysqld import Server
from innoclone.settings.option_files import Files
from innoclone.settings.options import Sources, find_settings, resolve
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Compression, Endpoint
from mysql_options import private, program, type_password

__all__ = ["program"]

PASSWORD = "p@ss#wo'rd\"€/%"
ENCODED = "p%40ss%23wo%27rd%22%E2%82%AC%2F%25"


@pytest.fixture(scope="module")
def server(make_module_server):
    running = make_module_server(donor=False)
    with running.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER asker@'%%' IDENTIFIED BY %s", (PASSWORD,))
    return running


def log_in(endpoint: Endpoint) -> str:
    """The TLS cipher of a connection that was let in, empty without TLS."""
    connection = Connection(endpoint, Compression(), timeout=10)
    try:
        return connection.cipher
    finally:
        connection.close()


def fail(text: str) -> None:
    pytest.fail(f"unexpected warning: {text}")


def test_an_option_file(server: Server, tmp_path):
    escaped = PASSWORD.replace('"', '\\"')
    path = private(
        tmp_path / "my.cnf",
        f'[client]\nhost=127.0.0.1\nport={server.port}\nuser=asker\npassword="{escaped}"\n'.encode(),
    )
    endpoint = resolve({}, find_settings(Files(defaults_file=path), environ={}, warn=fail), warn=fail)
    assert log_in(endpoint) != ""


def test_a_login_path(server: Server, tmp_path, program):
    login_file = tmp_path / "login.cnf"
    tool = program("mysql_config_editor")
    options = ["--login-path=donor", "--host=127.0.0.1", f"--port={server.port}", "--user=asker", "--password"]
    type_password([*tool, "set", *options], login_file, PASSWORD)
    environ = {"MYSQL_TEST_LOGIN_FILE": str(login_file)}
    sources = find_settings(Files(no_defaults=True), login="donor", environ=environ, warn=fail)
    assert log_in(resolve({}, sources, warn=fail)) != ""


def test_a_dsn(server: Server):
    dsn = f"mysql://asker:{ENCODED}@127.0.0.1:{server.port}"
    assert log_in(resolve({}, Sources(), dsn=dsn, warn=print)) != ""
    assert log_in(resolve({}, Sources(), dsn=f"{dsn}?ssl-ca={server.datadir}/ca.pem", warn=print)) != ""


def test_a_unix_socket(server: Server):
    typed = {"socket": str(server.socket), "user": "asker", "password": None}
    assert log_in(resolve(typed, Sources(), warn=fail, ask=lambda _: PASSWORD)) == ""
    dsn = f"mysql://asker:{ENCODED}@{server.socket}"
    assert log_in(resolve({}, Sources(), dsn=dsn, warn=print)) == ""


def test_the_environment(server: Server):
    environ = {"MYSQL_HOST": "127.0.0.1", "MYSQL_TCP_PORT": str(server.port), "MYSQL_PWD": PASSWORD}
    assert log_in(resolve({"user": "asker"}, Sources(environ=environ), warn=print)) != ""


def test_a_wrong_password_is_the_servers_own_error(server: Server):
    endpoint = resolve({}, Sources(), dsn=f"mysql://asker:wrong@127.0.0.1:{server.port}", warn=print)
    with pytest.raises(AccessDenied) as caught:
        log_in(endpoint)
    assert caught.value.code == 1045
    assert "wrong" not in str(caught.value)
