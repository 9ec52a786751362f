"""Bytes by the native library, over real sockets: plain and with TLS, whole, late, broken off, and from files."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from innoclone.files.direct import open_direct
from innoclone.files.memory import aligned_memory
from innoclone.files.system import is_cached, is_in_memory
from innoclone.native import transfer
from innoclone.native.library import Library
from innoclone.native.transfer import Channel, State
from innoclone.transport.sockets import set_timeout

MIB = 1 << 20

Pair = tuple[Any, Any]  # what we test, and a peer that is Python's alone


def _meanwhile(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _fill(channel: Channel, view: memoryview) -> None:
    """All of ``view``, however often the time is up."""
    at = 0
    deadline = time.monotonic() + 60
    while at < len(view):
        assert time.monotonic() < deadline
        try:
            count = channel.recv_into(view[at:])
        except TimeoutError:
            continue
        assert count
        at += count


def test_all_bytes_come_in_order(native: Library, pair: Pair) -> None:
    ours, theirs = pair
    data = os.urandom(5 * MIB + 7)
    got = memoryview(bytearray(len(data)))
    sender = _meanwhile(lambda: theirs.sendall(data))
    _fill(Channel(native, ours, 0.05), got)
    sender.join()
    assert got == data


def test_a_slow_peer(native: Library, pair: Pair) -> None:
    """A call comes back in time with what there is; what comes later follows on."""
    ours, theirs = pair
    channel = Channel(native, ours, 0.05)
    view = memoryview(bytearray(2 * MIB))
    with pytest.raises(TimeoutError):
        channel.recv_into(view)
    theirs.sendall(b"abc")
    assert channel.recv_into(view) == 3
    assert view[:3] == b"abc"
    theirs.sendall(b"x" * 100_000)
    _fill(channel, view[:100_000])
    assert view[:100_000] == b"x" * 100_000
    assert channel.recv_into(view[:0]) == 0


def test_python_and_the_library_in_turn(native: Library, pair: Pair) -> None:
    """Whoever reads next has what the other one left."""
    ours, theirs = pair
    data = os.urandom(300_000)
    channel = Channel(native, ours, 0.05)
    sender = _meanwhile(lambda: theirs.sendall(data))
    got = b""
    while len(got) < len(data):
        piece = memoryview(bytearray(min(10_000, len(data) - len(got))))
        if len(got) // 10_000 % 2:
            _fill(channel, piece)
        else:
            piece = piece[: ours.recv_into(piece)]
        got += piece
    sender.join()
    assert got == data


def test_the_end(native: Library, pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"last")
    theirs.close()
    channel = Channel(native, ours, 1)
    view = memoryview(bytearray(100))
    assert channel.recv_into(view) == 4
    assert channel.recv_into(view) == 0


def test_a_reset_connection(native: Library, pair: Pair) -> None:
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    socket.socket.close(theirs)
    with pytest.raises(OSError, match="reset by peer"):
        Channel(native, ours, 1).recv_into(memoryview(bytearray(100)))


def test_bytes_that_were_changed_on_the_way(native: Library, pair: Pair) -> None:
    """TLS finds them, and the error has OpenSSL's reason, as Python's has."""
    ours, theirs = pair
    if not isinstance(ours, ssl.SSLSocket):
        pytest.skip("nothing would tell")
    os.write(theirs.fileno(), b"\x17\x03\x03\0\x20" + os.urandom(32))
    with pytest.raises(ssl.SSLError) as caught:
        Channel(native, ours, 1).recv_into(memoryview(bytearray(100)))
    assert caught.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"


def test_a_thread_that_waits_is_woken(native: Library, pair: Pair) -> None:
    """As `Connection.shut` does it."""
    ours, _ = pair
    outcome: list[object] = []

    def wait() -> None:
        try:
            outcome.append(Channel(native, ours, 30).recv_into(memoryview(bytearray(100))))
        except OSError as error:
            outcome.append(error)

    set_timeout(ours, 30)
    waiting = _meanwhile(wait)
    time.sleep(0.05)
    socket.socket.shutdown(ours, socket.SHUT_RDWR)
    waiting.join(20)
    assert len(outcome) == 1
    assert not isinstance(outcome[0], TimeoutError)


def test_a_closed_socket_is_not_read(native: Library, pair: Pair, tmp_path: Path) -> None:
    """Its number is another file's by now."""
    ours, _ = pair
    channel, number = Channel(native, ours, 1), ours.fileno()
    ours.close()
    with (tmp_path / "other").open("wb+") as other:
        os.dup2(other.fileno(), number)
        try:
            with pytest.raises(OSError, match="Bad file descriptor"):
                channel.recv_into(memoryview(bytearray(100)))
        finally:
            os.close(number)


def _take(peer: Any, count: int) -> bytes:
    got = bytearray()
    while len(got) < count and (piece := peer.recv(1 << 16)):
        got += piece
    return bytes(got)


def _until_sent(send: Callable[[int], int], size: int) -> None:
    sent, deadline = 0, time.monotonic() + 60
    while sent < size:
        assert time.monotonic() < deadline
        try:
            sent = send(sent)
        except TimeoutError:
            continue


def test_sending_a_file(native: Library, pair: Pair, tmp_path: Path) -> None:
    """More than fits into any socket's buffer, to a peer that begins late: it goes in several calls."""
    ours, theirs = pair
    ours.setblocking(False)
    channel, data = Channel(native, ours, 0.02), os.urandom(9 * MIB + 5)
    (tmp_path / "file").write_bytes(data)
    got: list[bytes] = []
    calls: list[int] = []
    size = len(data) - 3000
    taker = _meanwhile(lambda: (time.sleep(0.1), got.append(_take(theirs, size))))
    buffer = memoryview(bytearray(100_000))
    with (tmp_path / "file").open("rb") as file:

        def send(sent: int) -> int:
            calls.append(sent)
            return channel.send_file(file.fileno(), 1000, size, buffer, sent)

        _until_sent(send, size)
        taker.join()
        assert got == [data[1000 : 1000 + size]]
        assert len(calls) > 1
        with pytest.raises(EOFError):
            _until_sent(lambda sent: channel.send_file(file.fileno(), len(data) - 10, 11, buffer, sent), 11)
    with pytest.raises(OSError, match="Bad file"):
        channel.send_file(999, 0, 10, buffer)


def test_sending_around_the_page_cache(native: Library, pair: Pair, tmp_path: Path) -> None:
    """What is cached comes from there, what is not doesn't get there; what doesn't fit O_DIRECT goes all the same."""
    ours, theirs = pair
    ours.setblocking(False)
    channel, data = Channel(native, ours, 0.02), os.urandom(9 * MIB + 5)
    path, buffer = tmp_path / "file", aligned_memory(MIB)
    path.write_bytes(data)
    with path.open("rb") as file, path.open("rb") as other:
        fd = file.fileno()
        os.fsync(fd)
        if (direct := open_direct(other.fileno(), os.O_RDONLY)) < 0 or is_in_memory(fd):
            pytest.skip("a file system in memory")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            with pytest.raises(EOFError):
                channel.send_file(fd, 9 * MIB, 8192, buffer, direct=direct)
            with pytest.raises(OSError, match="Bad file"):
                channel.send_file(fd, 0, MIB, buffer, direct=999)
            # What was sent from the cache can't be dropped at once, so it comes last.
            for offset, size, cached in (
                (0, 9 * MIB, False),
                (8192, 4096, False),
                (MIB, 8 * MIB, True),
                (7, MIB, True),
            ):
                if cached:
                    os.pread(fd, len(data), 0)
                got: list[bytes] = []
                taker = _meanwhile(lambda size=size, got=got: (time.sleep(0.1), got.append(_take(theirs, size))))

                def send(sent: int, offset: int = offset, size: int = size) -> int:
                    return channel.send_file(fd, offset, size, buffer, sent, direct=direct)

                _until_sent(send, size)
                taker.join()
                assert got == [data[offset : offset + size]]
                assert is_cached(fd, offset // 4096 * 4096, size) == cached
        finally:
            os.close(direct)


def test_sending_to_who_has_gone(native: Library, pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pair
    theirs.close()
    channel, buffer = Channel(native, ours, 1), memoryview(bytearray(100_000))
    (tmp_path / "file").write_bytes(bytes(100_000))

    def send(file: int) -> None:
        for _ in range(100):
            channel.send_file(file, 0, 100_000, buffer)

    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match=r"reset|pipe"):
        send(file.fileno())


def test_nothing_to_move(native: Library, pair: Pair) -> None:
    """Nothing is asked of the other side then."""
    channel = Channel(native, pair[0], 0.25)
    assert channel.wait == 0.25
    assert channel.send_file(-1, 0, 0, memoryview(bytearray(1))) == 0


def test_a_signal_lets_the_call_go_on(native: Library, pair: Pair) -> None:
    """Python's handlers run in between, and no byte is lost."""
    states = [State.SIGNALLED, State.SIGNALLED, State.DONE]
    channel = Channel(native, pair[0], 1)
    assert channel.call(lambda *_: states.pop(0)) == State.DONE
    assert states == []


def test_arguments_that_are_refused(native: Library, pair: Pair) -> None:
    with pytest.raises(ValueError, match="refuses the arguments"):
        Channel(native, pair[0], 1).ended(State.REFUSED)


def test_an_unknown_session_is_pythons(native: Library, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair
    monkeypatch.setattr(transfer, "session_of", lambda _: None)
    if isinstance(ours, ssl.SSLSocket):
        with pytest.raises(ValueError, match="not as it is known"):
            Channel(native, ours, 1)
    else:
        Channel(native, ours, 1)
