"""CRC-32C of a few bytes is the same either way."""

from __future__ import annotations

from crc32c import crc32c as reference
from hypothesis import given
from hypothesis import strategies as st

from innoclone.native.crc import crc32c
from innoclone.native.library import Library


@given(st.binary(max_size=600), st.integers(0, 20))
def test_both_ways(native: Library, data: bytes, skip: int) -> None:
    for buffer in (data, bytearray(data), memoryview(data)[skip:], memoryview(bytearray(data))[skip:]):
        assert crc32c(buffer, native=native) == crc32c(buffer, native=None) == reference(buffer)
