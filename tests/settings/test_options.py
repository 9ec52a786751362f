"""From words and files to an endpoint: DSNs, precedence, sockets, TLS, passwords."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import innoclone
from innoclone.errors import UsageError
from innoclone.settings import options
from innoclone.settings.dsn import is_dsn, parse_dsn
from innoclone.settings.option_files import Files, Setting
from innoclone.settings.options import Sources, find_settings, resolve
from innoclone.transport.endpoint import Endpoint, SslMode
from mysql_options import LOGIN_FILE, private


@pytest.fixture(autouse=True)
def no_usual_sockets(monkeypatch):
    """A server of this machine must not decide the outcome."""
    monkeypatch.setattr(options, "USUAL_SOCKETS", ())


def get(
    typed: dict[str, str | None] | None = None,
    *,
    dsn: str | None = None,
    warnings: list[str] | None = None,
    environ: dict[str, str] | None = None,
    **settings: str | None,
) -> Endpoint:
    """Resolve with ``settings`` as the [client] group of a file."""
    lines = [Setting("client", name, value, "my.cnf:1") for name, value in settings.items()]
    told = [] if warnings is None else warnings
    return resolve(
        typed or {}, Sources(lines, environ or {}), dsn=dsn, warn=told.append, ask=lambda prompt: f"<{prompt}>"
    )


# ---- DSN ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("mysql://db1", {"host": "db1"}),
        ("MySQL://u@db1:3307/", {"user": "u", "host": "db1", "port": "3307"}),
        ("mysql://u:p%40%2F%3a@db1", {"user": "u", "password": "p@/:", "host": "db1"}),
        ("mysql://u:p:q@r@db1", {"user": "u", "password": "p:q@r", "host": "db1"}),
        ("mysql://u:@db1", {"user": "u", "password": "", "host": "db1"}),
        ("mysql://u@[::1]:3307", {"user": "u", "host": "::1", "port": "3307"}),
        ("mysql://[fe80::1%25eth0]", {"host": "fe80::1%eth0"}),
        ("mysql://u@/run/my.sock", {"user": "u", "socket": "/run/my.sock"}),
        ("mysql://u@%2Frun%2Fmy.sock", {"user": "u", "socket": "/run/my.sock"}),
        ("mysql://u@(/run/my.sock)", {"user": "u", "socket": "/run/my.sock"}),
        ("mysql://u@localhost?socket=/a%20b", {"user": "u", "host": "localhost", "socket": "/a b"}),
        ("mysql://u@db1?SSL-MODE=VERIFY_CA&ssl_ca=(/x/ca.pem)", {
            "user": "u", "host": "db1", "ssl-mode": "VERIFY_CA", "ssl-ca": "/x/ca.pem",
        }),
        ("mysql://", {}),
    ],
)  # fmt: skip
def test_dsn(dsn, expected):
    assert parse_dsn(dsn) == expected


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://u:secret@db1",
        "mysql://u:secret@db1/schema",
        "mysql://u:secret@db1:port",
        "mysql://u:secret@::1",
        "mysql://u:sec/ret@db1",
        "mysql://u:secret%zz@db1",
        "mysql://u:secret%00@db1",
        "mysql://u:secret@db1?colour=blue",
        "mysql://u:secret@db1?ssl-mode",
        "mysql://u:secret@db1?ssl-ca=a&ssl-ca=b",
        "mysql://u:secret@db1?socket=/x",
        "mysql://u:secret@/x?socket=/y",
        "mysql://u:secret@[::1",
    ],
)
def test_a_bad_dsn_is_refused_without_being_repeated(dsn):
    with pytest.raises(UsageError) as caught:
        parse_dsn(dsn)
    assert "sec" not in caught.value.message + caught.value.advice


NAME = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)


@given(user=NAME, password=NAME, host=st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), port=st.integers(1, 65535))
def test_a_percent_encoded_dsn_comes_back(user, password, host, port):
    found = parse_dsn(f"mysql://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}")
    assert found == {"user": user, "password": password, "host": host, "port": str(port)}


@given(st.text())
def test_any_dsn_is_read_or_refused(text):
    with contextlib.suppress(UsageError):
        parse_dsn("mysql://" + text)


def test_what_looks_like_a_dsn():
    assert is_dsn("mysql://x")
    assert is_dsn("postgres://x")  # meant as one, and refused as one
    assert not is_dsn("/data/clone")
    assert not is_dsn("clone:1")


# ---- precedence --------------------------------------------------------------------------------------------


def test_each_source_replaces_the_ones_below():
    environ = {"MYSQL_HOST": "env", "MYSQL_TCP_PORT": "1", "MYSQL_PWD": "env"}
    assert get(environ=environ).host == "env"
    found = get(environ=environ, host="file", user="file")
    assert (found.host, found.port, found.user) == ("file", 1, "file")
    found = get(dsn="mysql://dsn@dsn", environ=environ, host="file", user="file", port="2")
    assert (found.host, found.port, found.user) == ("dsn", 2, "dsn")
    assert get({"host": "typed"}, dsn="mysql://dsn@dsn").host == "typed"


def test_files_then_login_path(tmp_path):
    (tmp_path / ".my.cnf").write_text("[client]\nuser=home\nhost=home\nport=3\n[innoclone]\nport=4\n[mysqld]\nport=5\n")
    extra = tmp_path / "extra.cnf"
    extra.write_text("[client]\nuser=extra\nssl-mode=preferred\n")
    sources = find_settings(
        Files(defaults_extra_file=extra), environ={"HOME": str(tmp_path)}, warn=lambda text: pytest.fail(text)
    )
    found = resolve({}, sources, warn=print)
    assert (found.user, found.host, found.port, found.ssl_mode) == ("home", "home", 4, SslMode.PREFERRED)


def test_an_unknown_login_path_is_an_error(tmp_path):
    """MySQL's clients would log in as root on localhost."""
    login_file = private(tmp_path / ".mylogin.cnf", LOGIN_FILE)
    for environ, text in [
        ({"HOME": str(tmp_path)}, f"there is no login path nobody in {login_file}"),
        ({"HOME": str(tmp_path / "none")}, "failed to open login file"),
        ({}, "no home directory"),
    ]:
        with pytest.raises(UsageError, match=text) as caught:
            find_settings(Files(no_defaults=True), login="nobody", environ=environ, warn=pytest.fail)
        assert caught.value.advice


def test_defaults():
    found = get()
    assert (found.host, found.port, found.socket) == ("localhost", 3306, None)
    assert (found.ssl_mode, found.password) == (SslMode.REQUIRED, "")
    assert found.user == ("root" if os.geteuid() == 0 else found.user)


def test_options_of_other_programs_are_ignored():
    assert get(**{"default-character-set": "utf8mb4", "auto-rehash": None}).host == "localhost"


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "x"), ("port", "65536"), ("port", "-1"), ("port", "٣"), ("ssl-mode", "MAYBE"), ("protocol", "PIPE"),
     ("host", None), ("connect-timeout", "1.5")],
)  # fmt: skip
def test_a_bad_value_names_its_place(name, value):
    with pytest.raises(UsageError, match=r"my\.cnf:1"):
        get(**{name: value})


# ---- socket or TCP -----------------------------------------------------------------------------------------


def test_a_named_socket_is_used_for_localhost_only():
    assert get(socket="/x.sock").socket == Path("/x.sock")
    assert get({"socket": "/x.sock", "host": "localhost"}).socket == Path("/x.sock")
    assert get({"host": "db1"}, socket="/x.sock").socket is None
    assert get({"host": "127.0.0.1"}, socket="/x.sock").socket is None
    assert get(environ={"MYSQL_UNIX_PORT": "/x.sock"}).socket == Path("/x.sock")
    assert get(dsn="mysql://u@/x.sock", host="db1").address == "/x.sock"


def test_a_typed_port_means_tcp_and_one_in_a_file_does_not():
    assert get({"port": "3307"}, socket="/x.sock").socket is None
    assert get(dsn="mysql://localhost:3307", socket="/x.sock").address == "localhost:3307"
    assert get(port="3307", socket="/x.sock").socket == Path("/x.sock")


def test_protocol_decides():
    assert get({"protocol": "tcp"}, socket="/x.sock").socket is None
    assert get({"protocol": "Socket", "port": "3307"}, socket="/x.sock").socket == Path("/x.sock")
    with pytest.raises(UsageError, match="no Unix socket"):
        get({"protocol": "SOCKET"})


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="host and a Unix socket"):
        get({"host": "db1", "socket": "/x.sock"})
    with pytest.raises(UsageError, match="host and a Unix socket"):
        get({"host": "db1"}, dsn="mysql://u@/x.sock")


def test_a_socket_at_a_usual_place_is_found(monkeypatch, tmp_path):
    path = tmp_path / "mysql.sock"
    monkeypatch.setattr(options, "USUAL_SOCKETS", (tmp_path / "none", path))
    assert get().socket is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert get().socket == path
        assert get({"port": "3306"}).socket is None


# ---- TLS ---------------------------------------------------------------------------------------------------


def test_ssl_modes():
    assert get({"ssl-mode": "preferred"}).ssl_mode is SslMode.PREFERRED
    assert get({"ssl-ca": "/ca.pem"}).ssl_mode is SslMode.VERIFY_CA
    warnings: list[str] = []
    assert get({"ssl-ca": "/ca.pem", "ssl-mode": "REQUIRED"}, warnings=warnings).ssl_mode is SslMode.REQUIRED
    assert len(warnings) == 1
    assert get(socket="/x.sock").ssl_mode is SslMode.DISABLED
    assert get({"ssl-ca": "~/ca.pem"}).ssl_ca == Path.home() / "ca.pem"


def test_the_servers_public_key():
    """MySQL's names and forms; none of it is there unless it was said."""
    assert (get().get_server_public_key, get().server_public_key_path) == (False, None)
    assert get({"get-server-public-key": "1"}).get_server_public_key
    assert get(get_server_public_key=None).get_server_public_key
    assert not get(get_server_public_key="OFF").get_server_public_key
    assert not get({}, get_server_public_key=None, skip_get_server_public_key=None).get_server_public_key
    assert get(dsn="mysql://db1?get-server-public-key=true").get_server_public_key
    assert get(server_public_key_path="/k.pem").server_public_key_path == Path("/k.pem")
    assert get(dsn="mysql://db1?server-public-key-path=/k.pem").server_public_key_path == Path("/k.pem")
    assert innoclone.endpoint("mysql://db1", get_server_public_key=True).get_server_public_key
    with pytest.raises(UsageError, match="ON or OFF"):
        get(get_server_public_key="perhaps")


def test_tls_files_that_miss_each_other():
    with pytest.raises(UsageError, match="needs a CA"):
        get({"ssl-mode": "VERIFY_IDENTITY"})
    with pytest.raises(UsageError, match="go together"):
        get({"ssl-cert": "/c.pem"})
    found = get({"ssl-cert": "/c.pem", "ssl-key": "/k.pem"})
    assert (found.ssl_cert, found.ssl_key) == (Path("/c.pem"), Path("/k.pem"))


# ---- passwords ---------------------------------------------------------------------------------------------


def test_a_visible_password_is_accepted_with_a_warning():
    for typed, dsn, environ in [
        ({"password": "secret"}, None, {}),
        ({}, "mysql://u:secret@db1", {}),
        ({}, None, {"MYSQL_PWD": "secret"}),
    ]:
        warnings: list[str] = []
        found = get(typed, dsn=dsn, environ=environ, warnings=warnings)
        assert found.password == "secret"
        assert len(warnings) == 1
        assert "secret" not in warnings[0]
        assert "secret" not in repr(found)


def test_a_password_in_a_file_needs_no_warning():
    warnings: list[str] = []
    assert get(password="secret", environ={"MYSQL_PWD": "env"}, warnings=warnings).password == "secret"
    assert warnings == []


def test_the_password_is_asked_for_only_when_told():
    assert get({"password": None}, password="file").password.startswith("<Enter password for ")
    assert get(password=None).password.startswith("<")
    assert get().password == ""
    assert get(password="x", **{"skip-password": None}).password == ""


def test_asking_without_a_terminal_is_refused(monkeypatch):
    def no_terminal(prompt: str) -> str:
        import getpass
        import warnings

        warnings.warn("echo", getpass.GetPassWarning, stacklevel=1)
        return "echoed"

    monkeypatch.setattr("getpass.getpass", no_terminal)
    with pytest.raises(UsageError, match="no terminal"):
        options.ask_on_terminal("Enter password: ")
