"""An agent and clients of every kind, the hostile ones too: nobody gets anything without a login."""

from __future__ import annotations

import contextlib
import json
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography.hazmat.primitives import serialization

from agents import PATIENCE, RunningAgent
from innoclone.server.programs import Programs
from innoclone.wire import commands as com
from innoclone.wire.binary import BinaryRow, Parameters
from innoclone.wire.handshake import Capability, SslRequest, sha2_scramble
from innoclone.wire.packets import PacketHeader, split
from innoclone.wire.results import ColumnDefinition, ColumnType, PrepareOk
from rawclient import PASSWORD, Raw, number_of


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("agent")
    config = folder / "agent.toml"
    config.write_text("max_failed_logins = 100000\nmax_connections = 40\n")
    with RunningAgent(programs, folder / "state", f"--config={config}") as running:
        done = running.mysql(
            f"CREATE USER 'u'@'127.0.0.%' IDENTIFIED BY '{PASSWORD}', 'free'@'localhost', far@'10.%' IDENTIFIED BY 'x'"
        )
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture
def raw(agent: RunningAgent) -> Iterator[Raw]:
    agent.connect("u", PASSWORD).close()  # from here on the fast path is open
    with agent.raw() as sock:
        yield Raw(sock)


# ---- ordinary clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED", "REQUIRED"])
def test_the_real_client_logs_in(agent: RunningAgent, mode: str) -> None:
    more = [f"--ssl-mode={mode}"] + (["--get-server-public-key"] if mode == "DISABLED" else [])
    agent.rows(f"ALTER USER 'u'@'127.0.0.%' IDENTIFIED BY '{PASSWORD}'")  # nothing of it is remembered now
    for _ in "in full, then by the fast path":
        done = agent.mysql("SELECT CURRENT_USER(), 1.50", *agent.tcp("u", PASSWORD, *more))
        assert done.stdout == "CURRENT_USER()\t1.50\nu@127.0.0.%\t1.50\n", done.stderr


@pytest.mark.parametrize(
    ("user", "password"), [("u", "falsch"), ("u", ""), ("nobody", "x"), ("free", "x"), ("far", "x"), ("root", "")]
)
@pytest.mark.parametrize("mode", ["DISABLED", "REQUIRED"])
def test_the_real_client_is_refused(agent: RunningAgent, user: str, password: str, mode: str) -> None:
    done = agent.mysql("SELECT 1", *agent.tcp(user, password, f"--ssl-mode={mode}", "--get-server-public-key"))
    used = "YES" if password else "NO"
    assert done.stdout == ""
    denied = f"ERROR 1045 (28000): Access denied for user '{user}'@'127.0.0.1' (using password: {used})\n"
    assert done.stderr.endswith(denied)
    agent.connect("u", PASSWORD).close()


def test_the_real_client_with_a_key_that_it_has_already(agent: RunningAgent, tmp_path: Path) -> None:
    agent.rows(f"ALTER USER 'u'@'127.0.0.%' IDENTIFIED BY '{PASSWORD}'")
    private = serialization.load_pem_private_key((agent.folder / "password-key.pem").read_bytes(), None)
    key = tmp_path / "key.pem"
    key.write_bytes(private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip
    done = agent.mysql("SELECT 1", *agent.tcp("u", PASSWORD, "--ssl-mode=DISABLED", f"--server-public-key-path={key}"))
    assert done.returncode == 0, done.stderr


def test_an_account_without_a_password(agent: RunningAgent) -> None:
    assert agent.mysql("SELECT USER()", *agent.tcp("free", "")).stdout == "USER()\nfree@127.0.0.1\n"


def test_mysqladmin(agent: RunningAgent, programs: Programs) -> None:
    assert programs.mysqladmin is not None
    words = ("ping", "status", "processlist", "variables", "kill", "999999")
    done = subprocess.run(
        [*programs.mysqladmin, "--no-defaults", f"--socket={agent.socket}", "--user=root", *words],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert "mysqld is alive" in done.stdout
    assert "Uptime: " in done.stdout
    assert "| clone_max_concurrency " in done.stdout
    assert "Unknown thread id: 999999" in done.stderr


def test_prepared_statements(raw: Raw) -> None:
    assert raw.log_in()[0] == 0
    raw.send(com.StmtPrepare("SELECT ?, ? IS NULL, ? + 1, STATE FROM performance_schema.clone_status").serialize(), 0)
    assert number_of(raw.read()[1]) == 1142  # it may not be read, so it can't even be prepared
    raw.send(com.StmtPrepare("SELECT ?, ? IS NULL, ? + 1, '?'").serialize(), 0)
    prepared = PrepareOk.parse(raw.read()[1])
    assert (prepared.columns, prepared.parameters) == (4, 3)
    for _ in range(3 + 1 + 4 + 1):
        raw.read()
    raw.send(com.StmtSendLongData(prepared.number, 0, b"it's ").serialize(), 0)
    raw.send(com.StmtSendLongData(prepared.number, 0, b"long\\").serialize(), 0)
    text = (ColumnType.VAR_STRING, False)
    bound = Parameters((None, None, b"6"), (text, text, (ColumnType.NEWDECIMAL, False)))
    sent = bytes([0b010]) + bound.serialize()[1:]
    raw.send(com.StmtExecute(prepared.number, 0, sent).serialize(), 0)
    assert raw.read()[1] == b"\x04"
    columns = [ColumnDefinition.parse(raw.read()[1]) for _ in range(4)]
    raw.read()
    row = BinaryRow.parse(raw.read()[1], [(column.type, False) for column in columns])
    assert row.values == (b"it's long\\", 1, 7, b"?")
    raw.read()
    raw.send(com.StmtClose(prepared.number).serialize(), 0)
    raw.send(com.StmtExecute(prepared.number, 0, sent).serialize(), 0)
    assert number_of(raw.read()[1]) == 1243


@pytest.mark.parametrize("number", [b"1 OR 1", b"1e5", b"", b"-", b"0x41", b"1;"])
def test_a_bound_number_is_nothing_but_a_number(raw: Raw, number: bytes) -> None:
    assert raw.log_in()[0] == 0
    raw.send(com.StmtPrepare("SELECT ?").serialize(), 0)
    prepared = PrepareOk.parse(raw.read()[1])
    for _ in range(4):
        raw.read()
    bound = Parameters((number,), ((ColumnType.NEWDECIMAL, False),))
    raw.send(com.StmtExecute(prepared.number, 0, bound.serialize()).serialize(), 0)
    assert number_of(raw.read()[1]) == 1210


def test_pymysql_with_and_without_tls(agent: RunningAgent) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(agent.folder / "server-cert.pem")
    for more in ({"ssl": context}, {"ssl_disabled": True}):
        with agent.connect("u", PASSWORD, **more) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT %s, NULL, 7 DIV 2, 'ü'", ("it's \\ \n",))
            assert cursor.fetchall() == (("it's \\ \n", None, 3, "ü"),)


def test_a_thousand_logins_do_not_hang(agent: RunningAgent) -> None:
    failures: list[Exception] = []

    def many() -> None:
        for _ in range(125):
            try:
                agent.connect("u", PASSWORD, ssl_disabled=True, read_timeout=PATIENCE).close()
            except pymysql.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_passwords_are_kept_as_salted_hashes_only(agent: RunningAgent) -> None:
    path = agent.folder / "accounts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    hashed = {entry["user"]: entry["password"] for entry in json.loads(path.read_text())["accounts"]}
    assert set(hashed["u"]) == {"salt", "scrypt"}
    assert hashed["free"] is None
    for file in ("server-key.pem", "password-key.pem"):
        assert (agent.folder / file).stat().st_mode & 0o777 == 0o600


def test_a_changed_password_counts_at_once(agent: RunningAgent) -> None:
    agent.rows("CREATE USER changing IDENTIFIED BY 'one'")
    agent.connect("changing", "one").close()
    agent.rows("ALTER USER changing IDENTIFIED BY 'two'")
    with pytest.raises(pymysql.OperationalError, match="1045"):
        agent.connect("changing", "one")
    connection = agent.connect("changing", "two")
    agent.rows("GRANT PROCESS ON *.* TO changing")
    with agent.root(), connection.cursor() as cursor:
        assert cursor.execute("SHOW PROCESSLIST") == 2
        agent.rows("DROP USER changing")
        assert cursor.execute("SHOW PROCESSLIST") == 1
    connection.close()
    with pytest.raises(pymysql.OperationalError, match="1045"):
        agent.connect("changing", "two")


# ---- hostile ones ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [com.Query("SELECT 1"), com.Ping(), com.Statistics(), com.StmtPrepare("SELECT 1"), com.ProcessKill(1),
                com.ChangeUser("u", b""), com.InitDb("performance_schema"), com.ResetConnection()],
)  # fmt: skip
def test_a_command_before_the_login_is_a_bad_handshake(raw: Raw, command: Any) -> None:
    raw.send(command.serialize(), 1)
    assert number_of(raw.read()[1]) in (1043, 1045)
    assert raw.ends()


def test_a_command_after_a_failed_login_is_not_read(raw: Raw) -> None:
    raw.send(raw.response("u", "falsch"), 1)
    sequence, answer = raw.read()
    assert answer == b"\x01\x04"  # the password in full
    raw.send(b"\x02", sequence + 1)
    sequence, key = raw.read()
    assert key.startswith(b"\x01-----BEGIN PUBLIC KEY-----")
    raw.send(b"x" * 256, sequence + 1)
    assert number_of(raw.read()[1]) in (1043, 1045)
    with contextlib.suppress(ConnectionError):
        raw.send(com.Query("SELECT 1").serialize(), 0)
    assert raw.ends()


def test_an_ok_of_the_clients_own_logs_nobody_in(raw: Raw) -> None:
    raw.send(raw.response("u", "falsch"), 1)
    sequence, _ = raw.read()
    raw.send(b"\x00\x00\x00\x02\x00\x00\x00", sequence + 1)
    assert number_of(raw.read()[1]) == 1045
    assert raw.ends()


def test_an_answer_to_another_nonce_does_not_log_in(agent: RunningAgent, raw: Raw) -> None:
    with agent.raw() as sock:
        other = Raw(sock)
        raw.send(other.response("u", PASSWORD), 1)
    assert raw.read()[1] == b"\x01\x04"


@pytest.mark.parametrize("sequence", [0, 2, 200])
def test_a_packet_out_of_order(raw: Raw, sequence: int) -> None:
    raw.send(raw.response("u", PASSWORD), sequence)
    assert number_of(raw.read()[1]) == 1156
    assert raw.ends()


def test_a_command_out_of_order(raw: Raw) -> None:
    assert raw.log_in()[0] == 0
    raw.send(com.Query("SELECT 1").serialize(), 3)
    assert number_of(raw.read()[1]) == 1156
    assert raw.ends()


def test_a_packet_too_large_before_the_login(raw: Raw) -> None:
    raw.sock.sendall(struct.pack("<I", (1 << 17) | 1 << 24))
    assert number_of(raw.read()[1]) == 1153
    assert raw.ends()


def test_a_statement_too_large(raw: Raw) -> None:
    assert raw.log_in()[0] == 0
    raw.sock.sendall(b"\xff\xff\xff\x00" + b"\x03" + b" " * 0xFFFFFE)
    raw.sock.sendall(b"\xff\xff\xff\x01")
    assert number_of(raw.read()[1]) == 1153
    assert raw.ends()


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x05", b"\x17", b"\x16", b"\x0c\x01", b"\x11", b"\x18\x00"])
def test_a_command_that_makes_no_sense_is_answered_and_the_session_goes_on(raw: Raw, payload: bytes) -> None:
    assert raw.log_in()[0] == 0
    raw.send(payload, 0)
    answer = raw.read()[1]
    if payload == b"\x11":  # a user name that has no end
        assert number_of(answer) == 1835
    assert number_of(answer) in (1047, 1065, 1835)
    raw.send(com.Ping().serialize(), 0)
    assert raw.read()[1][0] == 0


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"SELECT '\xff' \xff", b"SELECT `\xff`", b"SET GLOBAL a = '\xff'", b"SELECT 1 \0"]
)
def test_a_statement_that_is_no_text_is_answered_and_the_session_goes_on(raw: Raw, text: bytes) -> None:
    assert raw.log_in()[0] == 0
    raw.send(b"\x03" + text, 0)
    while raw.read()[1][:1] not in (b"\xff", b"\xfe"):
        pass
    raw.sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while raw.read():
            pass
    raw.sock.settimeout(PATIENCE)
    raw.send(com.Ping().serialize(), 0)
    assert raw.read()[1][0] == 0


def test_half_a_tls_handshake_ends(agent: RunningAgent, raw: Raw) -> None:
    raw.send(SslRequest(raw.greeting.capabilities | Capability.SSL).serialize(), 1)
    raw.sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
    with contextlib.suppress(EOFError, ConnectionError):
        raw.sock.recv(1000)  # a TLS alert at most
        assert raw.ends()


def test_what_is_sent_in_the_clear_before_tls_does_not_count(agent: RunningAgent, raw: Raw) -> None:
    """A login sent right behind the SSL request, as somebody in between would, must not be taken for the client's."""
    request = SslRequest(raw.greeting.capabilities | Capability.SSL).serialize()
    raw.sock.sendall(b"".join(split(request, 1)) + b"".join(split(raw.response("u", PASSWORD), 2)))
    with contextlib.suppress(EOFError, ConnectionError):
        assert b"\x01\x03" not in raw.sock.recv(1000)


def test_silence_and_trickling_end_with_the_login_time(programs: Programs, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("connect_timeout = 0.5\n")
    with RunningAgent(programs, tmp_path / "state", f"--config={config}") as agent:
        with agent.raw() as silent:
            Raw(silent)
            assert silent.recv(100) == b""
        with agent.raw() as sock, pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012
            trickle = Raw(sock)
            for byte in trickle.response("u", PASSWORD) * 100:
                sock.sendall(bytes([byte]))
                time.sleep(0.02)


def test_a_change_of_user_must_be_a_login(agent: RunningAgent, raw: Raw) -> None:
    assert raw.log_in()[0] == 0
    raw.send(com.ChangeUser("free", b"").serialize(), 0)
    sequence, switch = raw.read()
    assert switch.startswith(b"\xfecaching_sha2_password\0")
    raw.send(b"\0", sequence + 1)
    assert raw.read()[1][0] == 0
    raw.send(com.Query("SELECT CURRENT_USER()").serialize(), 0)
    assert b"free@localhost" in raw.sock.recv(1000)
    raw.send(com.ChangeUser("u", b"").serialize(), 0)
    sequence, switch = raw.read()
    raw.send(sha2_scramble("falsch", switch[-21:-1]), sequence + 1)
    sequence, _ = raw.read()
    raw.send(b"\x02", sequence + 1)
    sequence, _ = raw.read()
    raw.send(b"x" * 256, sequence + 1)
    assert number_of(raw.read()[1]) in (1043, 1045)
    assert raw.ends()


def test_only_so_many_connections(agent: RunningAgent) -> None:
    with contextlib.ExitStack() as stack:
        first = []
        for _ in range(41):
            sock = stack.enter_context(agent.raw())
            header = PacketHeader.parse(sock.recv(4))
            first.append(sock.recv(header.length))
        assert first[0][0] == 10
        assert number_of(first[-1]) == 1040
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(pymysql.OperationalError):
            agent.connect("u", PASSWORD).close()
            return
        assert time.monotonic() < end
        time.sleep(0.05)
