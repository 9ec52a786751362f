"""The server's side of a login (innoclone.wire.serverlogin) against the client's."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import AccessDenied, ProtocolError, TlsFailed
from innoclone.wire.handshake import Capability, Err, HandshakeResponse, Ok, SslRequest, sha2_scramble
from innoclone.wire.login import ClientLogin, KeyTrust, Step
from innoclone.wire.serverlogin import ServerLogin, digest_matches

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NONCE = bytes(range(65, 85))
PASSWORD = "geheim, naïvement"


class Accounts:
    """One account ``u`` with `PASSWORD`, one ``free`` without."""

    public_key = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def __init__(self, *, remembers: bool, trusted: str = ""):
        self.remembers, self.trusted = remembers, trusted

    def is_trusted(self, user):
        return user == self.trusted

    def has_empty_password(self, user):
        return user == "free"

    def remembered(self, user):
        twice = hashlib.sha256(hashlib.sha256(PASSWORD.encode()).digest()).digest()
        return twice if self.remembers and user == "u" else None

    def is_password(self, user, password):
        return user == "u" and password == PASSWORD.encode()

    def decrypt(self, data):
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - the plugin's
        try:
            return KEY.decrypt(data, oaep)
        except ValueError as error:
            raise ProtocolError("not ours") from error


def server(accounts, *, private=False, tls=True, **more):
    return ServerLogin(
        accounts, version="9.7.0", connection_id=1, nonce=NONCE, client_host="h", tls=tls, private=private, **more
    )


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
