"""CRC-32C of a few bytes; whole pages, and many of them, are `innoclone.native.pages`'s."""

from __future__ import annotations

from innoclone.native.library import Buffer, Library, address, library

__all__ = ["crc32c"]


def crc32c(data: Buffer, *, native: Library | None = library) -> int:
    """The checksum of ``data``; ``native`` None reckons it in Python, with the same result."""
    view = memoryview(data)
    if native is not None and view.nbytes:
        return native.crc32c(address(data), view.nbytes)
    from crc32c import crc32c as reckon  # here: loading it takes longer than most of what it is needed for

    return int(reckon(data))
