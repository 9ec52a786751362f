"""Blocks of a file, or of two files side by side: read, looked at and compared, by the native library in one call.

Without it Python does the same in steps, with the same result; pages are left to be looked at by `PageChecker.check`.
"""

from __future__ import annotations

from typing import NamedTuple

from innoclone.files.copying import BLOCK, Reader
from innoclone.files.memory import aligned_memory
from innoclone.files.system import differing
from innoclone.native.library import Library, library
from innoclone.native.pages import Pages
from innoclone.native.span import Side, Span

__all__ = ["Blocks", "Found"]


class Found(NamedTuple):
    """One block. ``content`` is good until the next one is read."""

    content: memoryview
    unusual: list[int] | None = None
    """Indexes of the pages that `PageChecker.examine` has to look at; None: all are still to be looked at."""
    runs: list[tuple[int, int]] = []  # noqa: RUF012 - never changed
    """(start, end) of the pages that differ from the older file's."""


class Blocks:
    """One thread's memory for blocks, which serves for one file after the other."""

    def __init__(self, *, native: Library | None = library) -> None:
        """``native`` None reads in Python."""
        self._span = None if native is None else Span(native, BLOCK)
        self._native = native
        self.memory = aligned_memory(BLOCK)
        self._older: memoryview | None = None

    @property
    def older(self) -> memoryview:
        """Memory for the older file's block."""
        if self._older is None:
            self._older = aligned_memory(BLOCK)
        return self._older

    def read(
        self, reader: Reader, offset: int, count: int, *, pages: Pages | None = None, first_page: int = 0
    ) -> Found:
        """Up to ``count`` bytes at ``offset``, fewer at the file's end. ``pages``: what it is made of; the first one
        of the block has the number ``first_page``. Raises OSError."""
        if self._span is None:
            return Found(reader.read(offset, count))
        got = self._span.read(
            Side(self.memory, *reader.descriptors), offset, count, pages=pages, first_page=first_page
        )  # fmt: skip
        return Found(self.memory[:got], None if pages is None else self._span.unusual)

    def compare(
        self,
        reader: Reader,
        older: Reader,
        offset: int,
        count: int,
        page: int,
        *,
        pages: Pages | None = None,
        first_page: int = 0,
    ) -> Found:
        """The same, and what of it differs from an older file, by pages of ``page`` bytes. Where that one ends zeros
        follow, as in a hole. Raises OSError."""
        if self._span is None:
            return self._compare(reader, older, offset, count, page)
        got = self._span.read(
            Side(self.memory, *reader.descriptors), offset, count, older=Side(self.older, *older.descriptors),
            compared=page, pages=pages, first_page=first_page,
        )  # fmt: skip
        return Found(self.memory[:got], None if pages is None else self._span.unusual, self._span.runs)

    def _compare(self, reader: Reader, older: Reader, offset: int, count: int, page: int) -> Found:
        new = reader.read(offset, count)
        old = older.read(offset, len(new))
        if len(old) < len(new):
            self.older[: len(old)] = old
            self.older[len(old) : len(new)] = bytes(len(new) - len(old))
            old = self.older[: len(new)]
        return Found(new, None, list(differing(new, old, page, native=self._native)))
