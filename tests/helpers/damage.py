"""A good donor's conversation with random damage."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arena import Arena
from hostile import Donor, Peer
from innoclone.errors import CloneError
from innoclone.receive import timings
from innoclone.receive.recipient import Received
from innoclone.wire.packets import PacketHeader

PACKETS = 75  # about as many as a good donor sends

# What numbers are like when something is wrong with them.
NUMBERS = [0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0xFFFFFF, 1 << 31, (1 << 32) - 1, (1 << 32) - 2]

TEXTS = [b"../evil.ibd\0", b"/old/db/there.ibd\0", b"/evil.ibd\0", b"\0", b"./db/t.ibd\0", b"#clone/x.ibd\0"]


class Damage:
    """Replaces some of the packets of one conversation; ``seed`` decides which and how."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = {self._random.randrange(PACKETS) for _ in range(self._random.choice([1, 1, 2, 5]))}
        self._count = 0
        self._earlier: list[bytes] = []

    def __call__(self, peer: Peer, payload: bytes) -> None:
        self._earlier.append(payload)
        self._count += 1
        if self._count - 1 not in self._left:
            peer.send(payload)
            return
        kinds: list[Callable[[Peer, bytes], None]] = [
            self._bits, self._number, self._number, self._text, self._cut, self._longer, self._twice, self._another,
            self._header, lambda peer, payload: None, Peer.close,
        ]  # fmt: skip
        self._random.choice(kinds)(peer, payload)

    def _bits(self, peer: Peer, payload: bytes) -> None:
        damaged = bytearray(payload or b"\0")
        for _ in range(self._random.choice([1, 1, 3, 20])):
            damaged[self._place(damaged)] ^= 1 << self._random.randrange(8)
        peer.send(bytes(damaged))

    def _number(self, peer: Peer, payload: bytes) -> None:
        width = self._random.choice([1, 2, 4, 8])
        number = self._random.choice(NUMBERS) & ((1 << 8 * width) - 1)
        self._put(peer, payload, number.to_bytes(width, self._random.choice(["big", "little"])))

    def _text(self, peer: Peer, payload: bytes) -> None:
        """A name where another one may have been: at the end of FILE_METADATA."""
        text = self._random.choice(TEXTS)
        name = payload.find(b".ibd\0")
        at = max(0, name + 5 - len(text)) if name >= 0 else self._place(payload)
        peer.send(payload[:at] + text + payload[at + len(text) :])

    def _put(self, peer: Peer, payload: bytes, value: bytes) -> None:
        at = self._place(payload)
        peer.send(payload[:at] + value + payload[at + len(value) :])

    def _cut(self, peer: Peer, payload: bytes) -> None:
        peer.send(payload[: self._place(payload)])

    def _longer(self, peer: Peer, payload: bytes) -> None:
        peer.send(payload + self._random.randbytes(self._random.choice([1, 4, 1000])))

    def _twice(self, peer: Peer, payload: bytes) -> None:
        peer.send(payload)
        peer.send(payload)

    def _another(self, peer: Peer, _payload: bytes) -> None:
        peer.send(self._random.choice(self._earlier))

    def _header(self, peer: Peer, payload: bytes) -> None:
        length = max(0, len(payload) + self._random.choice([-1, 1, 7, 70_000, -len(payload)]))
        peer.raw(PacketHeader(length & 0xFFFFFF, self._random.randrange(256)).serialize() + payload)

    def _place(self, payload: bytes | bytearray) -> int:
        """More often near the beginning, where the fields are."""
        return self._random.randrange(min(len(payload), self._random.choice([8, 70, 70, 1 << 20])) or 1)


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Let the recipient wait only for a moment where it would wait for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timings, "INIT_GRACE", 0.3 - 60)
        patch.setattr(timings, "EXIT", 0.2)
        yield


def converse(folder: Path, seed: int) -> Received | BaseException:
    """One damaged conversation, and what came of it."""
    arena = Arena(folder)
    donor = Donor(workers=1)
    donor.connect_timeout = 0.3
    donor.otherwise = Damage(seed)
    try:
        outcome = arena.receive(donor, (("/old", str(arena.mapped)),), threads=2, stall_timeout=0.3)
        assert isinstance(outcome, Received | CloneError)
        assert type(outcome) is not CloneError, "an error that nobody foresaw"
    except BaseException as error:
        error.add_note(f"INNOCLONE_FUZZ_SEED={seed} INNOCLONE_FUZZ_ROUNDS=1; {donor.said[-5:]}")
        raise
    return outcome
