"""Memory for O_DIRECT."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from innoclone.files import memory as module
from innoclone.files.memory import aligned_memory


def test_memory_is_aligned_and_its_own() -> None:
    """Buffers of any size: writable, at multiples of 4096, none in the place of another."""
    views = [aligned_memory(size) for size in (1, 4096, 5000, 3 << 20, 1 << 20, 1 << 20, 2 << 20, 7)]
    for number, view in enumerate(views):
        assert ctypes.addressof(ctypes.c_char.from_buffer(view)) % 4096 == 0
        view[:] = bytes([number]) * len(view)
    assert all(bytes(view) == bytes([number]) * len(view) for number, view in enumerate(views))


def test_small_buffers_share_a_huge_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without huge pages gives others."""
    monkeypatch.setattr(module, "_rest", memoryview(b""))
    asked: list[int] = []
    allocate = module._allocate

    def count(size: int) -> memoryview:
        asked.append(size)
        return allocate(size)

    monkeypatch.setattr(module, "_allocate", count)
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    views = [aligned_memory(4096) for _ in range(module.HUGE_PAGE // 4096)]
    assert asked == [4096]
    assert all(len(view) == 4096 for view in views)
    aligned_memory(1)
    assert asked == [4096, 4096]
