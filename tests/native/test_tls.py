"""OpenSSL's session out of Python's object: used where all agrees, left alone where anything does not."""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import socket
import ssl
import threading
from typing import Any

import pytest

from innoclone.native import tls
from innoclone.native.library import Library
from innoclone.native.transfer import Channel

Pair = tuple[Any, Any]
MIB = 1 << 20


@pytest.mark.parametrize("what", ["versions", "no libssl", "other context", "other socket", "too small"])
def test_python_reads_where_anything_is_unexpected(
    native: Library, pair: Pair, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing of the session is touched."""
    ours, _ = pair
    if not isinstance(ours, ssl.SSLSocket):
        Channel(native, ours, 1)
        return
    assert tls.session_of(ours) is not None
    tls._openssl.cache_clear()
    inside = tls._inside
    if what == "versions":
        monkeypatch.setattr(tls.sys, "version_info", (3, 99, 0))
    elif what == "no libssl":
        monkeypatch.setattr(ssl, "OPENSSL_VERSION_NUMBER", 1)
    elif what == "too small":
        monkeypatch.setattr(tls, "_inside", lambda *_: None)
    else:
        place = {"other socket": 0, "other context": 2}[what]

        def shifted(thing: object, words: int) -> list[int] | None:
            found = inside(thing, words)
            if found and len(found) > place:
                found[place] += 16
            return found

        monkeypatch.setattr(tls, "_inside", shifted)
    try:
        with pytest.raises(ValueError, match="not as it is known"):
            Channel(native, ours, 1)
    finally:
        tls._openssl.cache_clear()


def test_a_session_is_the_sockets_own(pair: Pair) -> None:
    ours, _ = pair
    if not isinstance(ours, ssl.SSLSocket):
        return
    session = tls.session_of(ours)
    openssl = tls._openssl()
    assert session is not None
    assert openssl is not None
    assert openssl.get_fd(session.address) == ours.fileno()
    assert openssl.get_version(session.address).decode() == ours.version()


def test_reading_ahead(native: Library, pair: Pair) -> None:
    """Records that OpenSSL holds already are given out, by the library and by Python, in whatever pieces."""
    ours, theirs = pair
    channel = Channel(native, ours, 5, read_ahead=True)
    data = os.urandom(3 * MIB)
    sender = threading.Thread(target=theirs.sendall, args=[data])
    sender.start()
    found = bytearray(len(data))
    view, at = memoryview(found), 0
    ours.settimeout(5)
    for size in itertools.cycle((1, 7, 100_000, 16384, 5)):
        piece = view[at : at + size]
        at += ours.recv_into(piece) if size % 2 else channel.recv_into(piece)
        if at == len(data):
            break
    sender.join()
    assert found == data
    theirs.sendall(b"more")
    assert channel.recv_into(view[:4]) == 4
    assert found[:4] == b"more"


def test_what_was_read_ahead_is_known(native: Library, pair: Pair) -> None:
    """A poll of the socket would not tell of it."""
    ours, theirs = pair
    channel = Channel(native, ours, 5, read_ahead=True)
    assert not channel.holds_bytes()
    for piece in (b"one", b"two"):
        theirs.sendall(piece)
    ours.settimeout(5)
    assert ours.recv(3) == b"one"
    assert channel.holds_bytes() == isinstance(ours, ssl.SSLSocket)
    assert channel.holds_bytes() or select.select([ours], [], [], 5)[0]
    assert ours.recv(3) == b"two"
    assert not channel.holds_bytes()


def test_before_the_handshake_there_is_none(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with contexts[1].wrap_socket(socket.socket(), do_handshake_on_connect=False) as sock:
        assert tls.session_of(sock) is None


@pytest.mark.parametrize(
    ("what", "value"), [("sys.implementation.name", "pypy"), ("ssl.OPENSSL_VERSION", "LibreSSL 3.3.6")]
)
def test_another_python_or_library(monkeypatch: pytest.MonkeyPatch, what: str, value: str) -> None:
    tls._openssl.cache_clear()
    monkeypatch.setattr(f"innoclone.native.tls.{what}", value)
    try:
        assert tls._openssl() is None
    finally:
        tls._openssl.cache_clear()


def test_two_versions_of_openssl_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stands in the way of all modules is not surely theirs."""
    load = ctypes.CDLL

    class Other:
        SSL_read = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)

    def loading(name: str | None, **options: Any) -> Any:
        return Other() if name is None else load(name, **options)

    monkeypatch.setattr(ctypes, "CDLL", loading)
    with pytest.raises(OSError, match="two versions"):
        tls.OpenSsl()


def test_errors_are_named_as_pythons() -> None:
    openssl = tls._openssl()
    assert openssl is not None
    session = tls.Session(openssl, None, 0)
    assert session.error(0xFFFFFFFF).reason == "error ffffffff"
    ended = next(error for code in range(1, 500) if "EOF" in (error := session.error(20 << 23 | code)).reason)
    assert isinstance(ended, ssl.SSLEOFError)
