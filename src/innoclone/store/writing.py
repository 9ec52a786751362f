"""Writes blocks of files into packs: what the store has already is named again, what differs becomes a frame.

Each thread fills a pack of its own and puts it when it is full, so nobody waits for another. A block of which little
differs becomes an overlay: only those units. With more than `MOST_OVERLAYS` of them, or half of it overlaid, it is
written anew as a whole: then a restore reads less, and what is under the overlays is free to go one day. So is what the
parent has in packs of which hardly anything is needed (`Known.thin_packs`), though it hasn't changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from innoclone.store.known import Known
from innoclone.store.maps import NONE, Layer, pack_of, reference
from innoclone.store.pack import PACK, UNIT, UNITS, Pack, PackBuilder, units_in
from innoclone.store.runs import Run
from innoclone.store.sealing import fingerprint

__all__ = ["MOST_OVERLAYS", "BlockWriter", "PackTable"]

MOST_OVERLAYS = 4
ALL = (1 << UNITS) - 1


class PackTable:
    """The packs that a snapshot will name: its parent's, then new ones. A new one has its place before it is filled.
    ``thin`` are the places of the parent's that it shall not name."""

    def __init__(self, parent: list[Pack], thin: frozenset[int] = frozenset()) -> None:
        self.thin = thin
        self.moved = 0  # bytes of units that were written anew, to leave those
        self._packs: list[Pack | None] = list(parent)
        self._before = len(parent)
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int]:
        """Place in the table, and number within the run, of a new pack."""
        with self._lock:
            self._packs.append(None)
            return len(self._packs) - 1, len(self._packs) - 1 - self._before

    def count_moved(self, size: int) -> None:
        """So many bytes more."""
        with self._lock:
            self.moved += size

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
        overlaid = sum(1 << number for number in changed)
        for _, bits in old[1:]:
            overlaid |= bits
        is_full = changed and (len(old) > MOST_OVERLAYS or overlaid.bit_count() > UNITS // 2)
        if is_full or self._is_thin(old[0]):
            return self._base(file, block, data, hashes, there, moved=not changed)
        old = self._out_of_thin(file, block, units, hashes, old, changed)
        return [*old, self._frame(file, block, units, hashes, changed)] if changed else old

    def overlay(self, file: int, block: int, data: memoryview, units: list[int], old: list[Layer]) -> list[Layer]:
        """The layers of a block of which these units have changed, whatever is in the store of it; ``data`` has them in
        their places."""
        pieces = [data[at : at + UNIT] for at in range(0, len(data), UNIT)]
        hashes = [fingerprint(self._key, piece) for piece in pieces]
        return [*(old or [(NONE, ALL)]), self._frame(file, block, pieces, hashes, units)]

    def _is_thin(self, layer: Layer) -> bool:
        return layer[0] != NONE and pack_of(layer[0])[0] in self._table.thin

    def _out_of_thin(
        self, file: int, block: int, units: list[memoryview], hashes: list[bytes], old: list[Layer],
        changed: list[int],
    ) -> list[Layer]:  # fmt: skip
        """The same layers, with new frames in place of the overlays that are in thin packs: of what is still seen of
        them once ``changed`` units lie above."""
        if not any(self._is_thin(layer) for layer in old[1:]):
            return old
        covered = sum(1 << number for number in changed)
        found = []
        for layer in reversed(old[1:]):
            seen = [number for number in units_in(layer[1] & ~covered) if number < len(units)]
            covered |= layer[1]
            if not self._is_thin(layer):
                found.append(layer)
            elif seen:
                found.append(self._frame(file, block, units, hashes, seen, moved=True))
        return [old[0], *reversed(found)]

    def _base(
        self, file: int, block: int, data: memoryview, hashes: list[bytes], there: set[int], *, moved: bool = False
    ) -> list[Layer]:
        if not there:
            return []
        units = [data[number * UNIT : (number + 1) * UNIT] for number in range(len(hashes))]
        ref, _ = self._frame(file, block, units, hashes, sorted(there), moved=moved)
        return [(ref, ALL)]

    def _frame(
        self, file: int, block: int, units: list[memoryview], hashes: list[bytes], wanted: list[int],
        *, moved: bool = False,
    ) -> Layer:  # fmt: skip
        if self._place < 0:
            self._place, number = self._table.take()
            self._pack = PackBuilder(self._run.sealer, number)
        bitmap = sum(1 << number for number in wanted)
        size = sum(len(units[number]) for number in wanted)
        if moved:
            self._table.count_moved(size)
        else:
            self.changed += size
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
