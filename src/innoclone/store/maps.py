"""Where the bytes of a file are: for each block a base frame and overlays, later ones above.

A map is always complete, so a snapshot needs no other. A *reference* is the pack's place in the snapshot's table of
packs, shifted by 16 bits, and the frame's number. A unit that is in no frame is zeros.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from innoclone.errors import StoreDamaged
from innoclone.store.pack import BLOCK

__all__ = ["NONE", "FileMap", "Layer", "pack_of", "reference"]

NONE = (1 << 64) - 1  # a block without a base
SHIFT, MASK = 16, 0xFFFF
ALL = 0xFFFF

Layer = tuple[int, int]
"""A reference and a bitmap of units. A base's bitmap is all units: those that its frame lacks are zeros."""


def reference(pack: int, frame: int) -> int:
    """Of a frame."""
    return pack << SHIFT | frame


def pack_of(ref: int) -> tuple[int, int]:
    """Pack's place and frame's number."""
    return ref >> SHIFT, ref & MASK


@dataclass
class FileMap:
    """``bases`` has a reference for each block; ``overlays`` block and bitmap of each overlay, by blocks and from
    below, ``overlaid`` the reference of each."""

    bases: array[int] = field(default_factory=lambda: array("Q"))
    overlays: array[int] = field(default_factory=lambda: array("Q"))
    overlaid: array[int] = field(default_factory=lambda: array("Q"))

    def append(self, layers: list[Layer]) -> None:
        """Add the next block; layers from below, the first one the base, or `NONE`."""
        block = len(self.bases)
        self.bases.append(layers[0][0] if layers else NONE)
        for ref, units in layers[1:]:
            self.overlays.append(block << SHIFT | units)
            self.overlaid.append(ref)

    def layers(self, block: int) -> list[Layer]:
        """Those of a block, from below; none where it is zeros or not in the file."""
        if block >= len(self.bases):
            return []
        found = [(self.bases[block], ALL)]
        at = bisect_left(self.overlays, block << SHIFT)
        while at < len(self.overlays) and self.overlays[at] >> SHIFT == block:
            found.append((self.overlaid[at], self.overlays[at] & MASK))
            at += 1
        return [] if found == [(NONE, ALL)] else found

    def visible(self) -> Iterator[tuple[int, int, int]]:
        """(block, reference, units that no later layer covers), for every frame with such units; a base's may include
        units that it doesn't have."""
        for block in range(len(self.bases)):
            covered = 0
            for ref, units in reversed(self.layers(block)):
                if ref != NONE and (seen := units & ~covered):
                    yield block, ref, seen
                covered |= units

    @property
    def stored(self) -> int:
        """Bytes of blocks that have something in them."""
        return BLOCK * (len(self.bases) - self.bases.count(NONE))

    def packs(self) -> set[int]:
        """The places of the packs that it needs."""
        return {ref >> SHIFT for ref in self.references()}

    def references(self) -> Iterator[int]:
        """All that it needs."""
        yield from (ref for ref in self.bases if ref != NONE)
        yield from (ref for ref in self.overlaid if ref != NONE)

    def translated(self, place: Callable[[int], int]) -> FileMap:
        """The same with other places of packs."""

        def moved(refs: array[int]) -> array[int]:
            return array("Q", (ref if ref == NONE else place(ref >> SHIFT) << SHIFT | ref & MASK for ref in refs))

        return FileMap(moved(self.bases), self.overlays, moved(self.overlaid))

    def encode(self) -> bytes:
        """As bytes; the numbers of blocks and overlays are kept elsewhere."""
        return b"".join(_little(part).tobytes() for part in (self.bases, self.overlays, self.overlaid))

    @classmethod
    def decode(cls, raw: memoryview, blocks: int, overlays: int, packs: int) -> FileMap:
        """Raises `StoreDamaged` for what is no map of so many blocks and overlays, with so many packs to be in."""
        if len(raw) != 8 * (blocks + 2 * overlays):
            raise StoreDamaged("a file's map has a wrong length")
        parts = []
        for start, count in ((0, blocks), (blocks, overlays), (blocks + overlays, overlays)):
            part = array("Q", bytes(raw[8 * start : 8 * (start + count)]))
            parts.append(_little(part))
        found = cls(*parts)
        numbers = [overlay >> SHIFT for overlay in found.overlays]
        in_order = numbers == sorted(numbers)
        fits = all(ref >> SHIFT < packs for ref in found.references())
        if not (in_order and fits and (not numbers or numbers[-1] < blocks)):
            raise StoreDamaged("a file's map makes no sense")
        return found


def _little(part: array[int]) -> array[int]:
    if sys.byteorder == "big":
        part = array("Q", part)
        part.byteswap()
    return part
