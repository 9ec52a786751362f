"""Fields and length-encoded integers (innoclone.wire.codec)."""

from __future__ import annotations

from hypothesis import example, given

import wire_strategies as some
from innoclone.wire.codec import Reader, lenenc


@given(some.u64)
@example(0xFA)
@example(0xFB)
@example(0xFFFF)
@example(0x10000)
@example(0xFFFFFF)
@example(0x1000000)
def test_length_encoded_integers_come_back(value):
    reader = Reader(lenenc(value), "integer")
    assert reader.lenenc("value") == value
    reader.end()
