"""Servers of SQL that are after the password, our files, our memory or our patience, met by every command."""

from __future__ import annotations

import contextlib
import logging
import resource
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import innoclone
from arena import open_descriptors
from hostile import CAPABILITIES
from hostile_sql import (
    EOF,
    PASSWORD,
    Answer,
    HostileSql,
    Login,
    Stranger,
    column,
    full_login,
    good_login,
    pretend_clone,
    switching,
)
from innoclone.agent.faults import StatementError
from innoclone.agent.settings import AgentSettings
from innoclone.agent.statements.hostserver import binary_log_status
from innoclone.commands.clone import copy
from innoclone.commands.options import CloneOptions
from innoclone.errors import (
    AccessDenied,
    AnswerTooLarge,
    AuthPluginUnsupported,
    CloneError,
    ProtocolError,
    TlsFailed,
    UnsafeLogin,
)
from innoclone.records.limits import Limits
from innoclone.records.managedserver import Managed
from innoclone.records.status import CloneStatus
from innoclone.sandbox.server import Sandbox
from innoclone.server import preflight
from innoclone.server.mysqld import answers
from innoclone.server.servercontrol import Control
from innoclone.transport import sqlclient
from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.transport.sql import Sql
from innoclone.transport.sqlsession import READING, statement
from innoclone.wire.handshake import AuthMoreData, Capability, Err, Ok

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
SENDS_KEY = AuthMoreData(PEM).serialize()
ATTACKS: dict[str, tuple[Login, type[CloneError]]] = {
    "clear": (switching("mysql_clear_password"), AuthPluginUnsupported),
    "dialog": (switching("dialog", b"\x01\x02Password: "), AuthPluginUnsupported),
    "ldap": (switching("authentication_ldap_simple_client"), AuthPluginUnsupported),
    "ed25519": (switching("client_ed25519"), AuthPluginUnsupported),
    "full": (full_login(SENDS_KEY), UnsafeLogin),
    "sha256": (switching("sha256_password", SENDS_KEY), UnsafeLogin),
    "later": (switching("mysql_native_password", b"\xfemysql_clear_password\0"), AuthPluginUnsupported),
}


def told(heard: list[bytes]) -> bool:
    """Whether the password is in what clients said, as it is or under our key."""
    return any(PASSWORD.encode() in packet or under_our_key(packet) for packet in heard)


def under_our_key(packet: bytes) -> bool:
    if len(packet) != KEY.key_size // 8:
        return False
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303
    try:
        KEY.decrypt(packet, oaep)
    except ValueError:
        return False
    return True


def check(to: Endpoint, _folder: Path) -> None:
    preflight.check(to, None)


def clone(to: Endpoint, folder: Path) -> None:
    innoclone.clone(to, folder / "clone", retry_for=0)


def local(to: Endpoint, folder: Path) -> None:
    innoclone.local(to, folder / "clone", retry_for=0)


def verify(to: Endpoint, folder: Path) -> None:
    innoclone.verify(folder, against=to)


def source(to: Endpoint, folder: Path) -> None:
    pretend_clone(folder / "source")
    innoclone.replicate(folder / "source", to)


def replica(to: Endpoint, folder: Path) -> None:
    innoclone.replicate(to, to, run=True)


def replacement(to: Endpoint, folder: Path) -> None:
    """How ``replace`` gets its data, once it has looked at the managed server."""
    copy(CloneOptions(to, folder / "clone", retry_for=0), CloneStatus(), threading.Event(), Limits())


def managed(to: Endpoint, folder: Path) -> None:
    Control(Managed(folder, to), folder, folder / "log").facts()


COMMANDS = [check, clone, local, verify, source, replica, replacement, managed]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_no_command_tells_the_password(command: Callable[[Endpoint, Path], None], attack: str, tmp_path: Path) -> None:
    login, kind = ATTACKS[attack]
    with HostileSql(login) as server:
        for mode in (SslMode.DISABLED, SslMode.PREFERRED):
            with pytest.raises(CloneError) as caught:
                command(server.endpoint(ssl_mode=mode), tmp_path)
            assert type(caught.value) is kind or str(kind.number) in caught.value.message or command in WRAPPING
            assert "bug" not in caught.value.message
        assert server.peers, "it came to a login"
        assert not told(server.heard)
    assert not (tmp_path / "clone").exists()


WRAPPING = (managed,)  # which says whose server it is


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_agent_and_no_sandbox_tells_the_password(
    attack: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with HostileSql(ATTACKS[attack][0]) as server, caplog.at_level(logging.WARNING):
        with pytest.raises(StatementError, match="can't be asked"):
            binary_log_status(AgentSettings(tmp_path, server=server.endpoint()))
        assert not told(server.heard)
        assert "can't be asked" in caplog.text
        answers(host="127.0.0.1", port=server.endpoint().port)  # whatever comes of it
    with HostileSql(ATTACKS[attack][0], path=tmp_path / "s") as server:
        box = Sandbox("x", tmp_path, "9.7.4", (), PASSWORD, 1, 1, tmp_path / "s")
        with contextlib.suppress(CloneError):  # root has no password there
            box.connect().close()
        assert not told(server.heard)


def test_the_word_is_kept(tmp_path: Path) -> None:
    """Whoever says to take the peer's key tells its password to the peer: that is what the word means; the clear text
    never goes out. With a key by name no other is asked for."""
    key = tmp_path / "named.pem"
    public = rsa.generate_private_key(65537, 2048).public_key()
    key.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with HostileSql(full_login(SENDS_KEY)) as server:
        Sql(server.endpoint(get_server_public_key=True)).close()
        assert told(server.heard)
        assert all(PASSWORD.encode() not in packet for packet in server.heard)
    with HostileSql(full_login()) as server:
        Sql(server.endpoint(get_server_public_key=True, server_public_key_path=key)).close()
        assert not told(server.heard)


def test_tls_that_is_struck_out(tmp_path: Path) -> None:
    """Who sits between can hide that the server offers TLS."""
    with HostileSql(switching("mysql_clear_password")) as server:
        for mode in (SslMode.REQUIRED, SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY):
            for command in COMMANDS:
                with pytest.raises(CloneError) as caught:
                    command(server.endpoint(ssl_mode=mode), tmp_path)
                assert isinstance(caught.value, TlsFailed) or command in WRAPPING
        assert all(not peer.heard for peer in server.peers)
        server.greeting = replace(server.greeting, capabilities=CAPABILITIES | Capability.SSL)
        with pytest.raises(TlsFailed):
            Sql(server.endpoint(ssl_mode=SslMode.PREFERRED, connect_timeout=1.0))
        assert not told(server.heard)


# ---- answers -----------------------------------------------------------------------------------------------


MOST = 1 << 23  # bytes of an answer


def endless(*payloads: bytes, first: bytes = b"") -> Answer:
    """``first``, then ``payloads`` again and again, until the other side has enough."""

    def answer(peer: Stranger, _statement: str) -> None:
        if first:
            peer.send(first)
        while True:
            peer.send(*payloads)

    return answer


def saying(*payloads: bytes) -> Answer:
    return lambda peer, _statement: peer.send(*payloads)


def raw(data: bytes) -> Answer:
    def answer(peer: Stranger, _statement: str) -> None:
        peer.raw(data)
        while True:
            peer.raw(b"\0" * (1 << 16))

    return answer


def rows_without_end(peer: Stranger, _statement: str) -> None:
    peer.send(b"\x01", column(), EOF)
    while True:
        peer.send(b"\x03abc")


ROW = b"\x05x\xff\xfe\xfdy"
ANSWERS: dict[str, Answer] = {
    "a local file": saying(b"\xfb/etc/shadow"),
    "a local file without a name": saying(b"\xfb"),
    "rows without end": rows_without_end,
    "columns without end": endless(column(), first=b"\xfe" + b"\xff" * 8),
    "more columns than any": saying(b"\xfd\xff\xff\xff", *[column()] * 5000),
    "results without end": endless(Ok(status=8 | 2).serialize()),
    "a packet without end": raw(b"\xff\xff\xff\x01" + b"\x01" * 100),
    "nothing that is text": saying(b"\x01", column(), EOF, ROW, EOF),
    "a number that is none": saying(b"\x01", column(kind=3), EOF, b"\x03abc", EOF),
    "a decimal that is none": saying(b"\x01", column(kind=0xF6), EOF, b"\x03abc", EOF),
    "a date that is none": saying(b"\x01", column(kind=12), EOF, b"\x0a2020-99-99", EOF),
    "JSON that is none": saying(b"\x01", column(kind=0xF5), EOF, b"\x03{[(", EOF),
    "a length of 2^64": saying(b"\x01", column(), EOF, b"\xfe" + b"\xff" * 8, EOF),
    "a number of 300 digits": saying(b"\x01", column(kind=8), EOF, b"\xfc\x2c\x01" + b"9" * 300, EOF),
    "a number of 60000 digits": saying(b"\x01", column(kind=8), EOF, b"\xfc\x60\xea" + b"9" * 60000, EOF),
    "an unknown character set": saying(b"\x01", column().replace(b"\x0c\xff\0", b"\x0c\xff\xff"), EOF, EOF),
    "a cut off column": saying(b"\x01", column()[:7]),
    "no end of the columns": saying(b"\x01", column(), column(), EOF),
    "rows without columns": saying(b"\0\0\0\2\0\0\0", b"\x01a"),
    "an empty packet": saying(b""),
    "an error without a number": saying(b"\xff"),
    "an error without a text": saying(b"\xff\x01\x00"),
    "an error of number 65535": saying(b"\xff\xff\xff#HY000what"),
    "an error of control characters": saying(b"\xff\x10\x04#\x1b[2J\x07\x1b]0;evil\x07\r\n"),
    "an error of the client's": saying(b"\xff\xdd\x07#HY000lost"),
    "out of order": raw(b"\x01\0\0\x05\x01"),
    "an end before it begins": saying(EOF),
    "no answer": lambda peer, _: peer.sock.shutdown(2),
}


@pytest.fixture(autouse=True)
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what takes too much does so soon."""
    monkeypatch.setattr(sqlclient, "LONGEST_PACKET", 1 << 21)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_cannot_be(name: str) -> None:
    """One of our errors with a number and without a bug of ours, at the first statement and at a later one."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    descriptors = open_descriptors()
    with HostileSql(good_login, ANSWERS[name]) as server:
        refused(lambda: Sql(server.endpoint(), most=MOST).close())
        server.answer = lambda peer, _: peer.send(Ok().serialize())
        sql = Sql(server.endpoint(), read_timeout=5.0, most=MOST)
        server.answer = ANSWERS[name]
        refused(lambda: sql.rows("SELECT 1"))
        refused(lambda: sql.rows("SELECT 1"))
        sql.close()
    assert open_descriptors() == descriptors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def refused(attempt: Callable[[], object]) -> None:
    """It may succeed, or fail with one of our errors."""
    errors: list[CloneError] = []
    try:
        attempt()
    except CloneError as error:
        errors.append(error)
    for error in errors:
        assert type(error) is not CloneError
        assert error.code > 0
        assert error.message.isprintable()
        assert error.exit_status > 1


def test_what_is_said_of_them() -> None:
    for name, kind, words in (
        ("a local file", ProtocolError, "a file of this host"),
        ("rows without end", AnswerTooLarge, "more than"),
        ("a packet without end", AnswerTooLarge, "more than"),
        ("columns without end", ProtocolError, "4096 columns"),
        ("results without end", ProtocolError, "without end"),
        ("nothing that is text", ProtocolError, "UnicodeDecodeError"),
    ):
        with HostileSql(good_login, ANSWERS[name]) as server, pytest.raises(kind, match=words):
            Sql(server.endpoint(), most=MOST)


# ---- sessions ----------------------------------------------------------------------------------------------


def test_a_server_that_knows_or_allows_less() -> None:
    """What is unknown to it, or not for this account, is left out; all the rest is set."""
    seen: list[str] = []

    def answer(peer: Stranger, statement: str) -> None:
        seen.append(statement)
        for word, number in (("lc_messages", 1193), ("use_secondary_engine", 1227), ("COLLATE", 1273)):
            if word in statement:
                peer.send(Err(number, "HY000", "no").serialize())
                return
        peer.send(Ok().serialize())

    with HostileSql(good_login, answer) as server:
        Sql(server.endpoint()).close()
        assert seen == [statement(READING), *(statement((setting,)) for setting in READING)]
        server.answer = saying(Err(1820, "HY000", "expired").serialize())
        with pytest.raises(AccessDenied, match="1820"):
            Sql(server.endpoint())
