"""Fields and length-encoded integers (innoclone.wire.codec)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, lenenc, lenenc_bytes, string, u16be, u16le, u32be, u32le, u64be


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


NUMBERS = [  # as read, as written, bytes, what they are
    (Reader.u8, None, b"\xfe", 0xFE),
    (Reader.u16le, u16le, b"\x01\x02", 0x0201),
    (Reader.u32le, u32le, b"\x01\x02\x03\x84", 0x84030201),
    (Reader.i32le, None, b"\xfe\xff\xff\xff", -2),
    (Reader.u16be, u16be, b"\x01\x02", 0x0102),
    (Reader.u32be, u32be, b"\x81\x02\x03\x04", 0x81020304),
    (Reader.u64be, u64be, b"\x81\x02\x03\x04\x05\x06\x07\x08", 0x8102030405060708),
]


@pytest.mark.parametrize(("read", "write", "data", "value"), NUMBERS, ids=lambda item: getattr(item, "__name__", ""))
def test_numbers(read, write, data, value):
    reader = Reader(memoryview(data + b"x"), "thing")
    assert read(reader, "number") == value
    assert reader.rest() == b"x"
    assert write is None or write(value) == data
    with pytest.raises(ProtocolError, match=f"thing: number needs {len(data)} bytes, {len(data) - 1} are left"):
        read(Reader(data[1:], "thing"), "number")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.binary(max_size=300))
def test_strings_and_bytes_come_back(word, data):
    reader = Reader(string(word) + lenenc_bytes(data) + b"nul\0" + b"rest", "thing")
    assert reader.string("word") == word
    assert reader.lenenc_bytes("data") == data
    assert reader.until_nul("name") == b"nul"
    assert (reader.left, reader.peek()) == (4, ord("r"))
    assert reader.rest() == b"rest"
    assert (reader.left, reader.peek()) == (0, -1)
    reader.end()


def test_what_is_not_there_is_refused_by_its_name():
    with pytest.raises(ProtocolError, match="thing: name has no terminating NUL"):
        Reader(b"abc", "thing").until_nul("name")
    with pytest.raises(ProtocolError, match="thing: piece needs -1 bytes"):
        Reader(b"abc", "thing").take(-1, "piece")
    with pytest.raises(ProtocolError, match="thing: 3 bytes too many"):
        Reader(b"abc", "thing").end()
    with pytest.raises(ProtocolError, match="thing: word is not utf-8"):
        Reader(b"\1\0\0\0\xff", "thing").string("word")


@pytest.mark.parametrize("first", [0xFB, 0xFF])
def test_the_marks_of_null_and_of_errors_are_no_integers(first):
    with pytest.raises(ProtocolError, match="count is not a length-encoded integer"):
        Reader(bytes([first]) + bytes(8), "thing").lenenc("count")


def test_an_integer_of_more_than_64_bits_cannot_be_sent():
    with pytest.raises(ValueError, match="does not fit"):
        lenenc(1 << 64)
