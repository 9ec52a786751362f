"""Values of prepared statements (innoclone.wire.binary)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire.binary import BinaryRow, Parameters, parse_parameters
from innoclone.wire.results import ColumnType

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))

data = st.binary(max_size=300)

durations = st.timedeltas(timedelta(hours=-838), timedelta(hours=838))

moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31))

TYPED = st.one_of(
    st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.just((ColumnType.LONGLONG, False))),
    st.tuples(u64, st.just((ColumnType.LONGLONG, True))),
    st.tuples(st.integers(-128, 127), st.just((ColumnType.TINY, False))),
    st.tuples(st.floats(allow_nan=False), st.just((ColumnType.DOUBLE, False))),
    st.tuples(data, st.sampled_from([(ColumnType.VAR_STRING, False), (ColumnType.NEWDECIMAL, False)])),
    st.tuples(moments, st.just((ColumnType.DATETIME, False))),
    st.tuples(st.dates(date(1000, 1, 1)), st.just((ColumnType.DATE, False))),
    st.tuples(durations, st.just((ColumnType.TIME, False))),
    st.tuples(st.none(), st.just((ColumnType.LONG, False))),
)


@given(st.lists(TYPED, max_size=20))
def test_binary_rows_and_parameters_come_back(typed):
    values, types = tuple(value for value, _ in typed), tuple(kind for _, kind in typed)
    assert BinaryRow.parse(BinaryRow(values).serialize(types), types) == BinaryRow(values)
    given = Parameters(values, types)
    assert parse_parameters(given.serialize(), len(values)) == given


PARSERS: list[Callable[[bytes], object]] = [
    lambda raw: parse_parameters(raw, 3),
    lambda raw: BinaryRow.parse(raw, [(ColumnType[name], False) for name in ("DATETIME", "TIME", "BLOB")]),
]


@pytest.mark.parametrize("parser", PARSERS)
@given(raw=data)
def test_any_bytes_are_a_message_or_refused(parser, raw):
    with contextlib.suppress(ProtocolError):
        parser(raw)


def row(kind: ColumnType, value: bytes, *, unsigned: bool = False) -> object:
    """The value of a row with one column."""
    return BinaryRow.parse(b"\0\0" + value, [(kind, unsigned)]).values[0]


FORMS = [  # types, and bytes as they are on the wire, from the protocol's documentation
    (ColumnType.TINY, b"\xff", -1), (ColumnType.SHORT, b"\0\x80", -32768), (ColumnType.YEAR, b"\xea\x07", 2026),
    (ColumnType.INT24, b"\1\0\0\0", 1), (ColumnType.FLOAT, b"\0\0\x20\x41", 10.0),
    (ColumnType.DOUBLE, b"\0\0\0\0\0\0\x24\x40", 10.0), (ColumnType.DATE, b"\x04\xda\x07\x0a\x11", date(2010, 10, 17)),
    (ColumnType.DATETIME, b"\x04\xda\x07\x0a\x11", datetime(2010, 10, 17)),
    (ColumnType.TIMESTAMP, b"\x0b\xda\x07\x0a\x11\x13\x1b\x1e\1\0\0\0", datetime(2010, 10, 17, 19, 27, 30, 1)),
    (ColumnType.TIME, b"\0", timedelta()),
    (ColumnType.TIME, b"\x0c\1\x0a\0\0\0\x0b\x0c\x0d\1\0\0\0", -timedelta(10, 13, 1, 0, 12, 11)),
    (ColumnType.TIME, b"\x08\0\0\0\0\0\x0b\x0c\x0d", timedelta(0, 13, 0, 0, 12, 11)),
    (ColumnType.NEWDECIMAL, b"\x041.50", b"1.50"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "raw", "value"), FORMS)
def test_forms_that_the_protocol_documents(kind, raw, value):
    assert row(kind, raw) == value
    assert BinaryRow((value,)).serialize([(kind, False)]) == b"\0\0" + raw


def test_a_type_without_a_value_has_none():
    assert row(ColumnType.NULL, b"") is None
    assert row(ColumnType.TINY, b"\xff", unsigned=True) == 255


@pytest.mark.parametrize(
    ("kind", "raw", "why"),
    [
        (ColumnType.DATE, b"\x05" + bytes(5), "a date of 5 bytes"),
        (ColumnType.DATE, b"\0", "a date of zeros"),
        (ColumnType.DATETIME, b"\x04\xea\x07\x02\x1e", "does not exist"),
        (ColumnType.TIME, b"\x07" + bytes(7), "a time of 7 bytes"),
        (ColumnType.TIME, b"\x08\0\x23\0\0\0\0\0\0", "a time of 35 days"),
    ],
)
def test_moments_that_are_none(kind, raw, why):
    with pytest.raises(ProtocolError, match=why):
        row(kind, raw)


def test_what_has_no_binary_form():
    with pytest.raises(TypeError, match="str has no binary form"):
        BinaryRow(("text",)).serialize([(ColumnType.STRING, False)])  # type: ignore[arg-type]


def test_parameters_of_a_later_execution():
    """Types are sent once; a value that came as long data isn't sent again."""
    types = ((ColumnType.TINY, False), (ColumnType.BLOB, False))
    assert parse_parameters(b"\0\0\x07\x01x", 2, types) == Parameters((7, b"x"), types)
    assert parse_parameters(b"\0\0\x07", 2, types, frozenset([1])) == Parameters((7, None), types)
    with pytest.raises(ProtocolError, match="0 types for 2"):
        parse_parameters(b"\0\0\x07", 2)
    with pytest.raises(ProtocolError, match="no type 200"):
        parse_parameters(b"\0\1\xc8\0", 1)
