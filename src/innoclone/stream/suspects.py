"""Pages whose checksums were wrong when they arrived, until they come again."""

from __future__ import annotations

import threading

from innoclone.errors import BadPage
from innoclone.records.journal import Journal

__all__ = ["Suspects"]

MAX_SUSPECTS = 1_000_000


class Suspects:
    """Pages that looked bad when they were written. A torn page of FILE_COPY is expected to come again, whole."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self._pages: dict[int, set[int]] = {}  # file index -> page numbers
        self._count = 0
        self._lock = threading.Lock()

    def update(self, index: int, first: int, count: int, bad: list[int]) -> None:
        """``count`` pages from ``first`` on were written, those in ``bad`` are damaged.

        Raises `BadPage` when there are more than could be torn by chance; their list is kept in memory.
        """
        if not bad and index not in self._pages:
            return
        with self._lock:
            pages = self._pages.setdefault(index, set())
            self._count -= len(pages)
            left = pages.difference(range(first, first + count)).union(bad)
            if left != pages and self.journal is not None:
                self.journal.append("bad", index=index, first=first, count=count, bad=bad)
            self._pages[index] = left
            self._count += len(left)
        if self._count > MAX_SUSPECTS:
            raise BadPage(f"more than {MAX_SUSPECTS} pages of the donor are damaged")

    def left(self) -> dict[int, list[int]]:
        """File index -> pages that are still damaged."""
        return {index: sorted(pages) for index, pages in self._pages.items() if pages}
