"""Bytes of files on their way to a recipient: whole, in order, and few of them here at a time."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.donor.channel import Channel
from innoclone.errors import FileError, NetworkError
from innoclone.native.library import library
from innoclone.records.keys import own_certificate
from innoclone.transport.listening import server_context

HEAD, KIND = b"what comes", b"\x03"
MIB = 1 << 20
AT_ONCE = 1 << 16


class Recipient:
    """The other end: keeps what comes, or reads nothing."""

    def __init__(self, sock: socket.socket, *, tls: bool, reads: bool) -> None:
        self.got = bytearray()
        self._sock, self._tls, self._reads = sock, tls, reads
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._sock = context.wrap_socket(self._sock)
        while self._reads and (data := self._sock.recv(AT_ONCE)):
            self.got += data

    def join(self) -> bytes:
        self._thread.join(30)
        self._sock.close()
        return bytes(self.got)


@pytest.fixture(params=["plain", "tls"])
def way(request: pytest.FixtureRequest) -> bool:
    """Whether there is TLS."""
    return bool(request.param == "tls")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A descriptor, and what is in the file."""
    data = os.urandom(3 * MIB + 4711)
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    yield fd, data
    os.close(fd)


def connected(folder: Path, *, tls: bool, reads: bool = True, writing: float = 30.0) -> tuple[Channel, Recipient]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    recipient = Recipient(theirs, tls=tls, reads=reads)
    channel = Channel(ours, most=1000, timeout=writing)
    if tls:
        channel.start_tls(server_context(*own_certificate(folder, "test")))
    return channel, recipient


def framed(data: bytes) -> bytes:
    return b"".join(len(part).to_bytes(3, "little") + b"\0" + part for part in (HEAD, KIND + data))


def test_a_part_of_a_file_arrives(way: bool, file: tuple[int, bytes], tmp_path: Path) -> None:
    channel, recipient = connected(tmp_path, tls=way)
    assert channel.sends_files == (not way or library is not None)
    if not channel.sends_files:
        pytest.skip("without the native library TLS is Python's")
    for offset, length in ((0, MIB), (12345, 2 * MIB), (3 * MIB, 4711)):
        channel.say_file(HEAD, KIND, file[0], offset, length)
    sent = channel.sent
    channel.close()
    want = [file[1][:MIB], file[1][12345 : 12345 + 2 * MIB], file[1][3 * MIB :]]
    assert recipient.join() == b"".join(framed(data) for data in want)
    assert sent == sum(len(framed(data)) for data in want)


def test_a_file_is_not_taken_into_memory(way: bool, file: tuple[int, bytes], tmp_path: Path) -> None:
    """A block of 3 MiB moves with less than a tenth of that in Python's hands."""
    channel, recipient = connected(tmp_path, tls=way)
    if not channel.sends_files:
        pytest.skip("without the native library TLS is Python's")
    recipient.got = Nothing()
    channel.say_file(HEAD, KIND, file[0], 0, MIB)  # what is kept for later blocks
    tracemalloc.start()
    try:
        channel.say_file(HEAD, KIND, file[0], 0, 3 * MIB)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    channel.close()
    recipient.join()
    assert most < 3 * MIB // 10


class Nothing(bytearray):
    """Keeps nothing."""

    def __iadd__(self, _other: object) -> Nothing:  # type: ignore[override]
        return self


def test_a_file_that_became_shorter(way: bool, file: tuple[int, bytes], tmp_path: Path) -> None:
    """Half a message was sent: nothing else may follow."""
    channel, recipient = connected(tmp_path, tls=way)
    if not channel.sends_files:
        pytest.skip("without the native library TLS is Python's")
    with pytest.raises(FileError, match="became shorter"):
        channel.say_file(HEAD, KIND, file[0], 3 * MIB, MIB)
    assert channel.is_torn
    channel.close()
    recipient.join()


def test_a_recipient_that_takes_nothing(way: bool, file: tuple[int, bytes], tmp_path: Path) -> None:
    channel, recipient = connected(tmp_path, tls=way, reads=False, writing=0.2)
    if not channel.sends_files:
        pytest.skip("without the native library TLS is Python's")

    def send() -> None:
        for _ in range(100):
            channel.say_file(HEAD, KIND, file[0], 0, 3 * MIB)

    with pytest.raises(NetworkError, match="can't write to the client"):
        send()
    assert channel.is_torn
    channel.close()
    recipient.join()
