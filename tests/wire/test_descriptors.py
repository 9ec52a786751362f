"""InnoDB's descriptors (innoclone.wire.descriptors): what is written is read back; any bytes are one, or refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import (
    DataDescriptor,
    FileFlag,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
    StateFlag,
    parse_descriptor,
)


@given(some.descriptors, st.binary(max_size=100))
def test_descriptors_come_back_whatever_padding_follows(descriptor, padding):
    assert parse_descriptor(descriptor.serialize() + padding) == descriptor


@given(some.descriptors)
def test_a_truncated_descriptor_is_refused(descriptor):
    data = descriptor.serialize()
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            parse_descriptor(data[:length])


def test_numbers_that_would_be_negative_are_large():
    """Nothing that a peer sends as a size or place becomes a negative number."""
    huge = FileMetadata(
        StageNumber.FILE_COPY, 1 << 63, (1 << 64) - 1, 0, 0, FileFlag(0), (1 << 32) - 1, (1 << 32) - 1, 0, 0, "x"
    )
    parsed = parse_descriptor(huge.serialize())
    assert isinstance(parsed, FileMetadata)
    assert (parsed.size, parsed.allocated, parsed.index) == (1 << 63, (1 << 64) - 1, (1 << 32) - 1)


@pytest.mark.parametrize(
    ("at", "value"),
    [(62 - 4, b"\x80\0\0\0"), (62 - 4, b"\xff\xff\xff\xff"), (62 - 4, b"\0\0\x13\x88"), (4, b"\xff\xff\xff\xff")],
    ids=["negative name length", "huge name length", "name of 5000 bytes", "huge descriptor"],
)
def test_lengths_inside_a_descriptor_are_bounded(at, value):
    meta = FileMetadata(StageNumber.FILE_COPY, 1, 1, 0, 0, FileFlag(0), 1, 0, 1, 1, "./a/b.ibd")
    data = meta.serialize() + bytes(6000)
    with pytest.raises(ProtocolError):
        parse_descriptor(data[:at] + value + data[at + 4 :])


def test_a_name_is_one_terminated_string():
    meta = FileMetadata(StageNumber.FILE_COPY, 1, 1, 0, 0, FileFlag(0), 1, 0, 1, 1, "./a/b.ibd").serialize()
    assert meta.endswith(b"ibd\0")
    for bad in (meta[:-1] + b"x", meta.replace(b"/a/", b"/\0/"), meta.replace(b"/a/", b"/\xff/")):
        with pytest.raises(ProtocolError):
            parse_descriptor(bad)


def test_more_chunks_or_words_than_there_are_bytes():
    locator = Locator(1, 2).serialize()[12:]
    for tail in (b"\0\0\x01\x01", b"\0\0\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"):
        body = locator + tail + bytes(64)
        data = b"\0\0\0\x64" + (12 + len(body)).to_bytes(4, "big") + b"\0\0\0\1" + body
        with pytest.raises(ProtocolError):
            Locator.parse(data)


@pytest.mark.parametrize("parser", [parse_descriptor, Locator.parse], ids=lambda parser: parser.__qualname__)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(parser, data):
    with contextlib.suppress(ProtocolError):
        parser(data)


def test_a_locator_is_nothing_else():
    """Another kind of descriptor, another version, a length that can't be."""
    good = Locator(1, 2).serialize()
    assert Locator.parse(good) == Locator(1, 2)
    state = StateDescriptor(StageNumber.DONE).serialize()
    with pytest.raises(ProtocolError, match="LOCATOR descriptor expected, type 3 found"):
        Locator.parse(state)
    with pytest.raises(ProtocolError, match="version 101 is not 100"):
        Locator.parse(b"\0\0\0\x65" + good[4:])
    with pytest.raises(ProtocolError, match="length 11 of"):
        Locator.parse(good[:4] + b"\0\0\0\x0b" + good[8:])


@pytest.mark.parametrize("kind", [StateDescriptor(StageNumber.DONE), DataDescriptor(StageNumber.DONE, *7 * (0,))])
def test_a_stage_that_nobody_knows(kind):
    data = kind.serialize()
    with pytest.raises(ProtocolError, match="stage 77 is unknown"):
        parse_descriptor(data[:12] + b"\0\0\0\x4d" + data[16:])


def test_what_a_state_says():
    start = StateDescriptor(StageNumber.FILE_COPY, flags=StateFlag.START)
    end = StateDescriptor(StageNumber.FILE_COPY, task=3, chunks=4)
    assert (start.is_start, start.is_keepalive) == (True, False)
    assert (end.is_start, end.is_keepalive) == (False, False)
    answer = end.acknowledgement()
    assert answer.is_keepalive
    assert answer == StateDescriptor(StageNumber.FILE_COPY, task=3, chunks=4, flags=StateFlag.ACK)


@given(
    version=st.sampled_from([100, 100, 100, 101]),
    length=st.sampled_from([52, 52, 0, 11, 12, 51, 53, 60, 1 << 31]),
    kind=st.sampled_from([5, 5, 5, 4]),
    body=st.binary(min_size=30, max_size=50),
    stage=st.none() | st.integers(0, 6),
)
def test_where_a_block_belongs_is_read_field_by_field(version, length, kind, body, stage):
    """From any bytes: exactly what stands there, or a refusal where a server would see no such descriptor."""
    if stage is not None:
        body = stage.to_bytes(4, "big") + body[4:]
    data = b"".join(number.to_bytes(4, "big") for number in (version, length, kind)) + body
    widths = (4, 4, 4, 4, 4, 4, 8, 8)
    fields = [int.from_bytes(body[sum(widths[:at]) :][:width], "big") for at, width in enumerate(widths)]
    if version == 100 and kind == 5 and 52 <= length <= len(data) and fields[0] <= StageNumber.DONE:
        found = DataDescriptor.parse(data)
        assert found == DataDescriptor(StageNumber(fields[0]), *fields[1:])
        assert isinstance(found.stage, StageNumber)
        assert found.serialize() == data[:4] + b"\0\0\0\x34" + data[8:52]
    else:
        with pytest.raises(ProtocolError, match=r"^DATA descriptor"):
            DataDescriptor.parse(data)
