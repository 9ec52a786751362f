"""A TCP proxy before a donor that knows master, worker and auxiliary apart and hurts one of them at a chosen byte.

It reads the commands that a recipient sends without TLS: a connection is ``sql`` until COM_CLONE, then ``auxiliary``
until its first command says that it is the ``master`` (COM_INIT, COM_REINIT) or a ``worker`` (COM_ATTACH).
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import zstandard

__all__ = ["Fault", "Proxy"]

COM_CLONE = b"\x01\x00\x00\x00\x20"  # a whole packet
COMPRESSED_COM_CLONE = 12  # bytes of it with the header of a compressed packet before it
ROLES = {1: "master", 3: "master", 2: "worker"}  # COM_INIT, COM_REINIT, COM_ATTACH
COM_ACK = 5
CHUNK = 1 << 17
POLL = 0.02  # seconds


@dataclass
class Fault:
    """What happens to a connection of ``role`` when it has carried ``at`` bytes to (``up``) or from the donor.

    ``at`` counts over all connections of that role. ``seconds`` is how long a delay takes, ``size`` how many bytes
    get lost.
    """

    what: str
    role: str
    up: bool
    at: int
    seconds: float = 0.0
    size: int = 0
    happened: threading.Event = field(default_factory=threading.Event)

    def is_due(self, role: str, up: bool, carried: int) -> bool:
        return (self.role, self.up) == (role, up) and self.at < carried and not self.happened.is_set()


class _Cut(Exception):
    """A fault ended this connection, in the way that it wanted."""


class _Wire:
    """One connection with its two ends."""

    def __init__(self, client: socket.socket, donor: socket.socket) -> None:
        self.client, self.donor = client, donor
        self.role = "sql"
        self.compressed = False
        self.acks = 0
        self.dead = threading.Event()  # both pumps are to end
        self._pumps = 2
        self._lock = threading.Lock()
        for end in self.ends():
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ends(self) -> tuple[socket.socket, socket.socket]:
        return self.client, self.donor

    def receive(self, source: socket.socket) -> bytes:
        """What comes next; nothing at the end of that direction. Raises OSError where the connection is over."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        while not self.dead.is_set():
            if poll.poll(POLL * 1000):
                return source.recv(CHUNK)
        raise OSError("cut")

    def send(self, sink: socket.socket, data: bytes) -> None:
        """All of it. Raises OSError where the connection is over."""
        poll = select.poll()
        poll.register(sink, select.POLLOUT)
        while data:
            if self.dead.is_set():
                raise OSError("cut")
            if poll.poll(POLL * 1000):
                data = data[sink.send(data) :]

    def sees(self, data: bytes) -> bool:
        """Look at what the recipient sends; whether it is an acknowledgement."""
        if self.role == "sql":
            if data.endswith(COM_CLONE) and len(data) in (len(COM_CLONE), COMPRESSED_COM_CLONE):
                self.role, self.compressed = "auxiliary", len(data) == COMPRESSED_COM_CLONE
            return False
        if self.role != "auxiliary":
            return False
        command = self._command(data)
        self.role = ROLES.get(command, self.role)
        return command == COM_ACK

    def _command(self, data: bytes) -> int:
        """The command byte of a packet that begins here; 0 if it can't be read."""
        if self.compressed:
            content = data[7:]
            if any(data[4:7]):  # the length before compression; 0 = not compressed
                try:
                    content = zlib.decompress(content)
                except zlib.error:
                    content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            data = content
        return data[4] if len(data) > 4 else 0

    def cut(self, *, reset: bool) -> None:
        """End both directions, with RST or in order. The pumps notice, and the later one closes the sockets."""
        for end in self.ends():
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    end.shutdown(socket.SHUT_WR)
        self.dead.set()

    def leave(self) -> None:
        """A pump has ended."""
        with self._lock:
            self._pumps -= 1
            if not self._pumps:
                self.dead.set()
                for end in self.ends():
                    end.close()


class Proxy:
    """Use it with ``with``. ``faults`` may be added at any time; each happens once."""

    def __init__(
        self, port: int, faults: list[Fault] | None = None, *, host: str = "127.0.0.1",
        on_ack: Callable[[int, str], None] = lambda number, moment: None,
    ) -> None:  # fmt: skip
        """``host`` and ``port`` are the donor's. ``on_ack`` hears of every acknowledgement, counted from 1, four times:
        ``arrives`` before the donor gets it, ``sent`` after that, ``answered`` before the answer is passed on,
        ``known`` after that.
        """
        self.faults = faults or []
        self.carried: Counter[tuple[str, bool]] = Counter()  # (role, up) -> bytes
        self._donor = (host, port)
        self._on_ack = on_ack
        self._acks = 0
        self._lock = threading.Lock()
        self._wires: list[_Wire] = []
        self._refusing_until = 0.0
        self._silent_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self._wires:
            wire.cut(reset=True)
        for thread in self._threads:
            thread.join(10)

    # ---- forwarding ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if time.monotonic() < self._refusing_until:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            try:
                donor = socket.create_connection(self._donor, timeout=10)
            except OSError:
                client.close()
                continue
            wire = _Wire(client, donor)
            self._wires.append(wire)
            pair = [threading.Thread(target=self._pump, args=(wire, up), daemon=True) for up in (True, False)]
            self._threads += pair
            for thread in pair:
                thread.start()

    def _pump(self, wire: _Wire, up: bool) -> None:
        source, sink = wire.ends() if up else wire.ends()[::-1]
        answered = 0
        try:
            while data := wire.receive(source):
                acked = up and wire.sees(data)
                if acked:
                    with self._lock:
                        self._acks += 1
                        wire.acks = self._acks
                    self._on_ack(wire.acks, "arrives")
                answers = not up and wire.acks > answered
                if answers:
                    self._on_ack(wire.acks, "answered")
                self._forward(wire, up, data)
                if acked:
                    self._on_ack(wire.acks, "sent")
                if answers:
                    answered = wire.acks
                    self._on_ack(answered, "known")
            sink.shutdown(socket.SHUT_WR)
        except _Cut:
            wire.dead.set()
        except OSError:
            wire.cut(reset=True)
        finally:
            wire.leave()

    def _forward(self, wire: _Wire, up: bool, data: bytes) -> None:
        sink = wire.donor if up else wire.client
        while time.monotonic() < self._silent_until and not wire.dead.wait(POLL):
            pass
        with self._lock:
            before = self.carried[wire.role, up]
            self.carried[wire.role, up] += len(data)
            due = [fault for fault in self.faults if fault.is_due(wire.role, up, before + len(data))]
            for fault in due:
                fault.happened.set()
        for fault in due:
            head = max(0, fault.at - before)
            wire.send(sink, data[:head])
            data = self._hurt(fault, wire, up, data[head:])
            before += head
        wire.send(sink, data)

    # ---- faults --------------------------------------------------------------------------------------------

    def _hurt(self, fault: Fault, wire: _Wire, up: bool, rest: bytes) -> bytes:
        """Do it; what is left of the data afterwards. Raises OSError where nothing more is to be forwarded."""
        source, sink = wire.ends() if up else wire.ends()[::-1]
        if fault.what in ("reset", "closed"):
            wire.cut(reset=fault.what == "reset")
            raise _Cut
        if fault.what == "refused":
            self._refusing_until = time.monotonic() + fault.seconds
            for other in list(self._wires):
                other.cut(reset=True)
            raise _Cut
        if fault.what == "half closed":
            sink.shutdown(socket.SHUT_WR)
            while wire.receive(source):  # what comes now goes nowhere
                pass
            raise _Cut
        if fault.what == "stalled":  # this direction, until the recipient closes the connection
            poll = select.poll()
            poll.register(wire.client, select.POLLRDHUP)
            while not wire.dead.is_set() and not poll.poll(POLL * 1000):
                pass
            raise OSError("the recipient gave up")
        if fault.what == "silent":  # nothing passes, on any connection
            self._silent_until = time.monotonic() + fault.seconds
            wire.dead.wait(fault.seconds)
        elif fault.what == "delayed":
            wire.dead.wait(fault.seconds)
        elif fault.what == "trickling":
            deadline = time.monotonic() + fault.seconds
            while rest and time.monotonic() < deadline and not wire.dead.wait(0.01):
                wire.send(sink, rest[:200])
                rest = rest[200:]
        elif fault.what == "lost":
            return rest[fault.size :]
        return rest
