"""A TCP proxy that writes down what a recipient and a stock donor say to each other, packet by packet.

``python tests/helpers/recorder.py`` clones a fresh stock server through it, with two connections, without TLS and with
DDL running meanwhile, and replaces tests/recorded/conversation.txt. The tests also run it in memory against a
live donor.

A line of the file is ``CONNECTION > HEX`` (recipient to donor), ``CONNECTION < HEX``, or for bulk data the first bytes
and how many were left out: ``CONNECTION < HEX +COUNT``. Headers are not kept: a packet's length says what they were,
except for the sequence number, which counts up during a login and is 0 in clone mode.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs
from innoclone.transport.endpoint import SslMode
from paths import RECORDED
from receiving import receive_into
from servers import ServerFactory, endpoint_of

CONVERSATION = RECORDED / "conversation.txt"
HEADER = 4
KEPT = 48  # bytes of a DATA packet that are written down
LONGEST = 2048  # bytes; anything longer is bulk data
BLOCKS = 2  # data blocks that are kept of each connection and stage


@dataclass(frozen=True)
class Packet:
    """One packet's payload; ``missing`` bytes of it were not kept."""

    connection: int
    from_donor: bool
    payload: bytes
    missing: int = 0

    @property
    def is_bulk(self) -> bool:
        return self.missing > 0

    def __str__(self) -> str:
        more = f" +{self.missing}" if self.missing else ""
        return f"{self.connection} {'<' if self.from_donor else '>'} {self.payload.hex()}{more}"

    @classmethod
    def parse(cls, line: str) -> Packet:
        connection, direction, payload, *more = line.split()
        return cls(int(connection), direction == "<", bytes.fromhex(payload), int(more[0]) if more else 0)


class _Splitter:
    """Cuts a byte stream into packets; of bulk data only the head is kept."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._pending += data[skipped:]
        while len(self._pending) >= HEADER:
            length = int.from_bytes(self._pending[:3], "little")
            kept = KEPT if length > LONGEST else length
            if len(self._pending) < HEADER + kept:
                return
            yield bytes(self._pending[HEADER : HEADER + kept]), length - kept
            here = min(HEADER + length, len(self._pending))
            self._skip = HEADER + length - here
            del self._pending[:here]


class Recorder:
    """The proxy. ``packets`` grows while it runs; a packet is in it before the other side can see it."""

    def __init__(self, port: int) -> None:
        """``port`` is the donor's, on 127.0.0.1."""
        self._donor_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.packets: list[Packet] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            donor = socket.create_connection(("127.0.0.1", self._donor_port))
            pair = [
                threading.Thread(target=self._pump, args=(client, donor, number, False), daemon=True),
                threading.Thread(target=self._pump, args=(donor, client, number, True), daemon=True),
            ]
            self._threads += pair
            for thread in pair:
                thread.start()
            number += 1

    def _pump(self, source: socket.socket, sink: socket.socket, connection: int, from_donor: bool) -> None:
        splitter = _Splitter()
        try:
            while data := source.recv(1 << 18):
                for payload, missing in splitter.feed(data):
                    with self._lock:
                        self.packets.append(Packet(connection, from_donor, payload, missing))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    sock.close()


def condense(packets: list[Packet]) -> list[Packet]:
    """Leave out all but the first data blocks of each connection and stage."""
    kept: list[Packet] = []
    seen: dict[tuple[int, bytes], int] = {}
    dropped: set[int] = set()
    for packet in packets:
        if packet.from_donor and packet.payload[:1] == b"\x02":  # a descriptor: 2, engine, locator, header of 12, ...
            kind = packet.payload[11:15]
            if kind == b"\0\0\0\5":  # DATA, then its stage
                key = (packet.connection, packet.payload[15:19])
                seen[key] = seen.get(key, 0) + 1
                if seen[key] > BLOCKS:
                    dropped.add(packet.connection)
                    continue
        elif packet.from_donor and packet.connection in dropped:
            dropped.discard(packet.connection)
            continue
        kept.append(packet)
    return kept


def load(path: Path = CONVERSATION) -> list[Packet]:
    return [Packet.parse(line) for line in path.read_text().splitlines() if not line.startswith("#")]


def converse(server: Server, directory: Path) -> list[Packet]:
    """Clone a fresh ``server`` with two connections; tables are made, renamed and dropped during FILE_COPY."""
    status, limits = CloneStatus(), Limits(data=8.0)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA recorded")
        for table in ("dropped", "renamed", "kept"):
            cursor.execute(f"CREATE TABLE recorded.{table} (id INT PRIMARY KEY)")

        def change() -> None:
            while not status.stages[Stage.FILE_COPY].data and status.state is not State.FAILED:
                time.sleep(0.01)
            cursor.execute("DROP TABLE recorded.dropped")
            cursor.execute("RENAME TABLE recorded.renamed TO recorded.late")
            cursor.execute("CREATE TABLE recorded.created (id INT PRIMARY KEY)")
            cursor.execute("INSERT INTO recorded.kept VALUES (1)")
            cursor.execute("FLUSH TABLES recorded.kept FOR EXPORT")  # writes its pages, so that they are copied again
            cursor.execute("UNLOCK TABLES")
            limits.data = 0

        changing = threading.Thread(target=change)
        with Recorder(server.port) as recorder:
            endpoint = endpoint_of(server, port=recorder.port, ssl_mode=SslMode.DISABLED)
            changing.start()
            receive_into(directory, endpoint, status=status, limits=limits)
            changing.join()
    return condense(recorder.packets)


def record() -> None:
    """Make the recording anew."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "templates").mkdir()
        factory = ServerFactory(provide_programs(print), root, root / "templates")
        try:
            packets = converse(factory(), root / "clone")
        finally:
            factory.close()
    RECORDED.mkdir(exist_ok=True)
    text = "".join(f"{packet}\n" for packet in packets)
    CONVERSATION.write_text(f"# made by tests/helpers/recorder.py; see there\n{text}")
    sys.stderr.write(f"{CONVERSATION}: {len(text)} bytes\n")


if __name__ == "__main__":
    record()
