"""Writes blocks of files into packs: what the store has already is named again, what differs becomes a frame.

Each thread fills a pack of its own and puts it when it is full, so nobody waits for another. A block of which little
differs becomes an overlay: only those units. With more than `MOST_OVERLAYS` of them, or half of it overlaid, it is
written anew as a whole: then a restore reads less, and what is under the overlays is free to go one day.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from innoclone.store.known import Known
from innoclone.store.maps import NONE, Layer, reference
from innoclone.store.pack import PACK, UNIT, UNITS, Pack, PackBuilder
from innoclone.store.runs import Run
from innoclone.store.sealing import fingerprint

__all__ = ["MOST_OVERLAYS", "BlockWriter", "PackTable"]

MOST_OVERLAYS = 4
ALL = (1 << UNITS) - 1


class PackTable:
    """The packs that a snapshot will name: its parent's, then new ones. A new one has its place before it is filled."""

    def __init__(self, parent: list[Pack]) -> None:
        self._packs: list[Pack | None] = list(parent)
        self._before = len(parent)
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int]:
        """Place in the table, and number within the run, of a new pack."""
        with self._lock:
            self._packs.append(None)
            return len(self._packs) - 1, len(self._packs) - 1 - self._before

    @property
    def packs(self) -> list[Pack]:
        """All of them, by place; what isn't in the store yet must not be looked at."""
        return cast("list[Pack]", list(self._packs))

    def put(self, place: int, pack: Pack) -> None:
        """It is in the store now."""
        self._packs[place] = pack

    def written(self, place: int) -> Pack:
        """The pack at this place."""
        pack = self._packs[place]
        assert pack is not None, "a frame of a pack that was never written"
        return pack


class BlockWriter:
    """One thread's way into the store."""

    def __init__(
        self, run: Run, table: PackTable, known: Known | None, send: Callable[[int, Pack, bytearray], None],
        *, full: int = PACK,
    ) -> None:  # fmt: skip
        """``send`` brings a pack, by its place in the table, into the store: now, or later. ``full`` are the bytes from
        which on one is sent."""
        self._run, self._table, self._known, self._send, self._full = run, table, known, send, full
        self.changed = 0  # bytes of units that were not in the store as they are
        self._key = run.repository.vault.page_key
        self._zeros: dict[int, bytes] = {}
        self._place, self._pack = -1, PackBuilder(run.sealer, 0)

    def write(self, file: int, block: int, data: memoryview, old: list[Layer]) -> list[Layer]:
        """The layers of a block with this content; ``old`` are those of the parent's. ``data`` is a whole block, or
        what is left of the file."""
        sizes = [min(UNIT, len(data) - at) for at in range(0, len(data), UNIT)]
        units = [data[number * UNIT : number * UNIT + size] for number, size in enumerate(sizes)]
        hashes = [fingerprint(self._key, unit) for unit in units]
        zero = self._zero(UNIT)
        there = {number for number, size in enumerate(sizes) if hashes[number] != self._zero(size)}
        if not old or self._known is None:
            return self._base(file, block, data, hashes, there)
        before = self._known.hashes(old, zero)
        now = [hashes[number] if number in there else zero for number in range(len(sizes))]
        changed = [number for number, digest in enumerate(now) if digest != before[number]]
        if not changed:
            return old
        overlaid = sum(1 << number for number in changed)
        for _, bits in old[1:]:
            overlaid |= bits
        if len(old) > MOST_OVERLAYS or overlaid.bit_count() > UNITS // 2:
            return self._base(file, block, data, hashes, there)
        return [*old, self._frame(file, block, units, hashes, changed)]

    def overlay(self, file: int, block: int, data: memoryview, units: list[int], old: list[Layer]) -> list[Layer]:
        """The layers of a block of which these units have changed, whatever is in the store of it; ``data`` has them in
        their places."""
        pieces = [data[at : at + UNIT] for at in range(0, len(data), UNIT)]
        hashes = [fingerprint(self._key, piece) for piece in pieces]
        return [*(old or [(NONE, ALL)]), self._frame(file, block, pieces, hashes, units)]

    def _base(self, file: int, block: int, data: memoryview, hashes: list[bytes], there: set[int]) -> list[Layer]:
        if not there:
            return []
        units = [data[number * UNIT : (number + 1) * UNIT] for number in range(len(hashes))]
        ref, _ = self._frame(file, block, units, hashes, sorted(there))
        return [(ref, ALL)]

    def _frame(self, file: int, block: int, units: list[memoryview], hashes: list[bytes], wanted: list[int]) -> Layer:
        if self._place < 0:
            self._place, number = self._table.take()
            self._pack = PackBuilder(self._run.sealer, number)
        bitmap = sum(1 << number for number in wanted)
        self.changed += sum(len(units[number]) for number in wanted)
        data = b"".join(units[number] for number in wanted)
        frame = self._pack.add(
            file, block, bitmap, len(units[wanted[-1]]), data, b"".join(hashes[number] for number in wanted)
        )
        layer = reference(self._place, frame), bitmap
        if self._pack.is_full or self._pack.size >= self._full:
            self.flush()
        return layer

    def _zero(self, size: int) -> bytes:
        if size not in self._zeros:
            self._zeros[size] = fingerprint(self._key, bytes(size))
        return self._zeros[size]

    def flush(self) -> None:
        """Put the pack that was begun."""
        if self._place < 0:
            return
        pack, body = self._pack.finish(self._run.id, self._key)
        place, self._place = self._place, -1
        self._pack = PackBuilder(self._run.sealer, 0)
        self._send(place, pack, body)
