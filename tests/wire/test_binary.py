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
