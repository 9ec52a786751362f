"""Listening: which addresses, whose socket files, what happens without descriptors, and TLS's files."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arena import open_descriptors
from innoclone.errors import ConnectFailed, TlsFailed, UsageError
from innoclone.transport import listening
from innoclone.transport.listening import Listener, listen_tcp, server_context

PATIENCE = 20.0  # seconds


@contextmanager
def accepting(listener: Listener) -> Iterator[list[socket.socket]]:
    """What it accepts, in another thread; it is closed at the end."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        for sock in listener.accept():
            accepted.append(sock)
            sock.sendall(b"!")

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield accepted
    finally:
        listener.wake()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        listener.close()
        for sock in accepted:
            sock.close()


def test_tcp_and_unix_clients(tmp_path):
    path = tmp_path / "s"
    listener = Listener(host="127.0.0.1", port=0, path=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    with (
        accepting(listener) as accepted,
        socket.create_connection(("127.0.0.1", listener.port), PATIENCE) as by_tcp,
        socket.socket(socket.AF_UNIX) as by_unix,
    ):
        by_unix.connect(str(path))
        assert by_tcp.recv(1) == by_unix.recv(1) == b"!"
    assert sorted(sock.family for sock in accepted) == sorted((socket.AF_INET, socket.AF_UNIX))
    assert not path.exists()
    listener.wake()  # says nothing once all is closed


def test_either_may_be_missing(tmp_path):
    with accepting(Listener(host=None, port=0, path=tmp_path / "s")):
        assert (tmp_path / "s").exists()
    with accepting(Listener(host="127.0.0.1", port=0, path=None)) as accepted:
        pass
    assert accepted == []


@pytest.mark.parametrize(("host", "reached_at"), [("*", "127.0.0.1"), ("*", "::1"), ("::1", "::1"), ("", "127.0.0.1")])
def test_addresses(host, reached_at):
    with listen_tcp(host, 0) as sock, socket.create_connection((reached_at, sock.getsockname()[1]), PATIENCE):
        sock.accept()[0].close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 1 << 20), ("192.0.2.1", 0), ("a..b", 0), ("::zz", 0)])
def test_addresses_that_cannot_be_had(host, port):
    with pytest.raises(ConnectFailed, match="can't listen on") as caught:
        listen_tcp(host, port)
    assert caught.value.code == 2003
    assert "--bind-address" in caught.value.advice


def test_a_port_that_is_taken_leaves_nothing_behind(tmp_path):
    path = tmp_path / "s"
    with listen_tcp("127.0.0.1", 0) as taken:
        before = open_descriptors()
        with pytest.raises(ConnectFailed):
            Listener(host="127.0.0.1", port=taken.getsockname()[1], path=path)
        assert open_descriptors() == before
    assert not path.exists()


# ---- socket files ----------------------------------------------------------------------------------------------


def test_a_file_that_a_process_left_behind_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with accepting(Listener(host=None, port=0, path=path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert client.recv(1) == b"!"


def test_the_socket_of_a_living_process_stays(tmp_path):
    path = tmp_path / "s"
    with socket.create_server(str(path), family=socket.AF_UNIX) as other:
        with pytest.raises(UsageError, match="another process listens"):
            Listener(host="127.0.0.1", port=0, path=path)
        other.accept()[0].close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_any_other_file_stays(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(UsageError, match="is not a socket"):
        Listener(host=None, port=0, path=path)
    assert path.read_text() == "precious"


def test_a_socket_that_nobody_can_try_stays(tmp_path):
    """Of another kind, as a log daemon has."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(UsageError, match="can't be tried out"):
            Listener(host=None, port=0, path=path)
    assert path.exists()


@pytest.mark.parametrize("name", ["x" * 200, "no/such/folder"])
def test_a_path_that_cannot_be_bound(tmp_path, name):
    with pytest.raises((ConnectFailed, UsageError)) as caught:
        Listener(host=None, port=0, path=tmp_path / name)
    assert "--socket" in caught.value.advice


def test_the_socket_file_of_a_successor_stays(tmp_path):
    """Whoever took the path over in the meantime keeps it."""
    path = tmp_path / "s"
    listener = Listener(host=None, port=0, path=path)
    first = path.rename(tmp_path / "first")
    successor = Listener(host=None, port=0, path=path)
    listener.close()
    assert path.exists()
    successor.close()
    assert not path.exists()
    assert first.exists()


# ---- accepting in need -----------------------------------------------------------------------------------------


class Scripted:
    """A selector that gives one socket, whose accept does as it is told, and then the end."""

    def __init__(self, listener: Listener, *steps: OSError | socket.socket) -> None:
        self._steps, self._end = list(steps), listener._woken

    def select(self) -> list[tuple[Any, int]]:
        return [(SimpleNamespace(fileobj=self if self._steps else self._end), 0)]

    def accept(self) -> tuple[socket.socket, str]:
        step = self._steps.pop(0)
        if isinstance(step, OSError):
            raise step
        return step, ""

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_no_descriptors_left(number, monkeypatch):
    """It is told once until there are some again; who waits is accepted later."""
    monkeypatch.setattr(listening, "PAUSE", 0.001)
    told: list[str] = []
    listener = Listener(host=None, port=0, path=None, short=told.append)
    none_left = OSError(number, os.strerror(number))
    pairs = [socket.socketpair() for _ in range(2)]
    selector, listener._selector = (
        listener._selector,
        Scripted(  # type: ignore[assignment]
            listener, none_left, none_left, pairs[0][0], none_left, ConnectionAbortedError(), pairs[1][0]
        ),
    )
    assert list(listener.accept()) == [pair[0] for pair in pairs]
    assert told == [f"no more connections for now: {os.strerror(number)}"] * 2
    listener.close()
    selector.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


# ---- TLS -------------------------------------------------------------------------------------------------------


def test_a_certificate(certificates):
    context = server_context(certificates / "server.pem", certificates / "server.key")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(("certificate", "key"), [("server", "ca"), ("missing", "server")])
def test_certificate_files_that_do_not_fit(certificates: Path, certificate: str, key: str) -> None:
    with pytest.raises(TlsFailed, match="can't load") as caught:
        server_context(certificates / f"{certificate}.pem", certificates / f"{key}.key")
    assert "certificate files" in caught.value.advice
