"""The server's side of a login (innoclone.wire.serverlogin) against the client's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import AccessDenied, TlsFailed
from innoclone.wire.commands import ChangeUser
from innoclone.wire.handshake import (
    Capability,
    Err,
    HandshakeResponse,
    Ok,
    SslRequest,
    rsa_encrypt_password,
    sha2_scramble,
)
from innoclone.wire.login import SHA2, ClientLogin, KeyTrust, Step
from innoclone.wire.serverlogin import ServerLogin, digest_matches
from logins import NONCE, PASSWORD, Accounts, server


def log_in(login: ServerLogin, user: str, password: str, *, tls: bool, private: bool = False) -> int:
    """Both sides talk until the end; how many packets the client sent. Raises what the client raises."""
    client = ClientLogin(user, password, tls=tls, tls_required=tls, secure=private, key=KeyTrust(from_peer=True))
    step: Step = client.receive(login.greeting.serialize())
    sent = 0
    while True:
        assert step.payload is not None
        sent += 1
        answer = login.receive(step.payload)
        if answer.start_tls:
            login.tls_started()
            step = client.tls_started()
            continue
        if answer.payload is not None:
            step = client.receive(answer.payload)
        if answer.logged_in:
            assert client.receive(Ok().serialize()).done
            return sent


@pytest.mark.parametrize(("tls", "private"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("remembers", [True, False])
def test_a_login(tls, private, remembers):
    login = server(Accounts(remembers=remembers), private=private, tls=tls)
    sent = log_in(login, "u", PASSWORD, tls=tls, private=private)
    assert sent == (2 if tls else 1) + (0 if remembers else 1 if tls or private else 2)
    assert login.user == "u"
    assert not login.trusted


def test_a_login_without_a_password():
    assert log_in(server(Accounts(remembers=False)), "free", "", tls=True) == 2


@pytest.mark.parametrize(
    ("user", "password"), [("u", "wrong"), ("u", ""), ("nobody", PASSWORD), ("nobody", ""), ("free", "x")]
)
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("remembers", [True, False])
def test_a_wrong_password_is_error_1045(user, password, tls, remembers):
    login = server(Accounts(remembers=remembers), tls=tls)
    with pytest.raises(AccessDenied) as denied:
        log_in(login, user, password, tls=tls)
    used = "YES" if password else "NO"
    assert denied.value.message == f"Access denied for user '{user}'@'h' (using password: {used})"
    assert login.receive(b"\x01") == login.receive(sha2_scramble(PASSWORD, NONCE))  # nothing helps afterwards
    assert login.receive(b"").refused


def test_the_transport_may_vouch_for_a_user():
    login = server(Accounts(remembers=False, trusted="root"), private=True, tls=False)
    assert log_in(login, "root", "", tls=False, private=True) == 1
    assert login.trusted


def test_required_tls_is_required_before_any_password():
    with pytest.raises(TlsFailed):
        log_in(server(Accounts(remembers=False), tls_required=True), "u", PASSWORD, tls=False)


def test_another_plugin_is_asked_to_switch():
    login = server(Accounts(remembers=True))
    capabilities = login.greeting.capabilities & ~Capability.CONNECT_WITH_DB & ~Capability.SSL
    response = HandshakeResponse(capabilities, "u", b"x" * 20, "mysql_native_password")
    assert login.receive(response.serialize()).payload == b"\xfecaching_sha2_password\0" + NONCE + b"\0"
    assert login.receive(sha2_scramble(PASSWORD, NONCE)).logged_in


def test_a_replayed_answer_is_of_no_use():
    known = Accounts(remembers=True).remembered("u")
    answer = sha2_scramble(PASSWORD, NONCE)
    assert digest_matches(known, answer, NONCE)
    assert not digest_matches(known, answer, NONCE[::-1])
    assert not digest_matches(known, known, NONCE)


def test_an_ssl_request_twice_or_unoffered_is_refused():
    request = SslRequest(server(Accounts(remembers=False)).greeting.capabilities).serialize()
    login = server(Accounts(remembers=False))
    assert login.receive(request).start_tls
    assert Err.parse(login.receive(request).payload).number == 1043
    assert Err.parse(server(Accounts(remembers=False), tls=False).receive(request).payload).number == 1043


@given(
    st.lists(
        st.one_of(st.binary(max_size=300), st.just(b"\x02"), st.binary(min_size=32, max_size=64)),
        min_size=1,
        max_size=6,
    )
)
def test_no_packets_get_anybody_in(packets):
    login = server(Accounts(remembers=True))
    for packet in packets:
        step = login.receive(packet)
        assert not step.logged_in
        if step.start_tls:
            login.tls_started()


def test_the_user_is_changed_on_a_connection_that_had_one():
    """With a switch to a fresh nonce, and as private as the connection is."""
    before = server(Accounts(remembers=True), private=True, tls=False)
    assert log_in(before, "u", PASSWORD, tls=False, private=True) == 1
    fresh = NONCE[::-1]
    login, step = ServerLogin.changing_user(Accounts(remembers=True), ChangeUser("u", b"", "shop"), before, fresh)
    assert step.payload == b"\xfecaching_sha2_password\0" + fresh + b"\0"
    assert (login.user, login.database, login.capabilities) == ("u", "shop", before.capabilities)
    assert login.receive(sha2_scramble(PASSWORD, fresh)).logged_in
    login, step = ServerLogin.changing_user(
        Accounts(remembers=True, trusted="root"), ChangeUser("root", b""), before, fresh
    )
    assert step.logged_in
    assert login.trusted


def test_what_is_a_guess():
    """All but the request for TLS, which holds nothing of the password."""
    login = server(Accounts(remembers=False))
    request = SslRequest(login.greeting.capabilities).serialize()
    assert not login.is_guess(request)
    assert login.is_guess(request + b"u\0")
    login.receive(request)
    login.tls_started()
    login.receive(
        HandshakeResponse(login.greeting.capabilities & ~Capability.CONNECT_WITH_DB, "u", b"", SHA2).serialize()
    )
    assert login.is_guess(request)


@pytest.mark.parametrize(
    ("missing", "number"),
    [(Capability.PROTOCOL_41, 1043), (Capability.SECURE_CONNECTION, 1043), (Capability.PLUGIN_AUTH, 1251)],
)
def test_clients_that_are_too_old(missing, number):
    login = server(Accounts(remembers=True), tls=False)
    capabilities = login.greeting.capabilities & ~Capability.CONNECT_WITH_DB & ~missing
    step = login.receive(HandshakeResponse(capabilities, "u", sha2_scramble(PASSWORD, NONCE), SHA2).serialize())
    assert step.refused
    assert Err.parse(step.payload).number == number


def encrypting(login: ServerLogin) -> None:
    """To where the password is expected, or the request for the key."""
    capabilities = login.greeting.capabilities & ~Capability.CONNECT_WITH_DB
    step = login.receive(HandshakeResponse(capabilities, "u", b"x" * 32, SHA2).serialize())
    assert step.payload == b"\x01\x04"


def test_a_client_may_have_the_key_already():
    login = server(Accounts(remembers=False), tls=False)
    encrypting(login)
    assert login.receive(rsa_encrypt_password(PASSWORD, NONCE, Accounts.public_key)).logged_in


@pytest.mark.parametrize("told", [PASSWORD.encode(), PASSWORD.encode() + b"\0" * 500, b""])
def test_a_password_without_its_end_or_too_long_is_wrong(told):
    login = server(Accounts(remembers=False), tls=False, private=True)
    encrypting(login)
    step = login.receive(told)
    assert step.refused
    assert Err.parse(step.payload).number == 1045


def test_what_nobody_encrypted_is_a_wrong_password():
    login = server(Accounts(remembers=False), tls=False)
    encrypting(login)
    assert login.receive(b"\x02").payload == b"\x01" + Accounts.public_key
    step = login.receive(b"x" * 256)
    assert step.refused
    assert Err.parse(step.payload).number == 1045


def test_a_scramble_of_another_length_is_of_no_use():
    assert not digest_matches(Accounts(remembers=True).remembered("u"), b"short", NONCE)
