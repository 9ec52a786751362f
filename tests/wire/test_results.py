"""Rows and columns as a server answers (innoclone.wire.results)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire.handshake import Ok
from innoclone.wire.results import BINARY, ColumnDefinition, ColumnFlag, ColumnType, Eof, PrepareOk, TextRow

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=200)

data = st.binary(max_size=300)

ROWS = st.builds(TextRow, st.lists(st.none() | data, max_size=20).map(tuple))

COLUMNS = st.builds(
    ColumnDefinition, texts, st.sampled_from(ColumnType), texts, texts, texts, texts, u16, u32,
    st.builds(ColumnFlag, u16), u8,
)  # fmt: skip

MESSAGES = st.one_of(
    ROWS, COLUMNS, st.builds(Eof, u16, u16), st.builds(PrepareOk, u32, u16, u16, u16),
    st.builds(Ok, u16, u64, u16, texts),
)  # fmt: skip


@given(MESSAGES)
def test_answers_come_back(message):
    assert type(message).parse(message.serialize()) == message


@pytest.mark.parametrize("kind", [TextRow, ColumnDefinition, Eof, PrepareOk], ids=lambda kind: kind.__name__)
@given(raw=data)
def test_any_bytes_are_a_message_or_refused(kind, raw):
    with contextlib.suppress(ProtocolError):
        kind.parse(raw)


def _column(length_of_the_rest: bytes, kind: bytes) -> bytes:
    return b"\x03def\0\0\0\x01a\0" + length_of_the_rest + b"\x3f\0" + bytes(4) + kind + bytes(5)


def test_a_column_that_no_server_describes():
    assert ColumnDefinition.parse(_column(b"\x0c", b"\x03")) == ColumnDefinition("a", ColumnType.LONG, collation=BINARY)
    with pytest.raises(ProtocolError, match="the fixed part is not of 12 bytes"):
        ColumnDefinition.parse(_column(b"\x0d", b"\x03"))
    with pytest.raises(ProtocolError, match="no type 200"):
        ColumnDefinition.parse(_column(b"\x0c", b"\xc8"))
