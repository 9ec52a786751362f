"""Headers of packets, and long payloads cut into several (innoclone.wire.packets)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire.packets import HEADER, MAX_PIECE, CompressedHeader, PacketHeader, split


@given(st.binary(min_size=4, max_size=4))
def test_packet_headers_come_back(data):
    assert PacketHeader.parse(data).serialize() == data


@given(st.binary(min_size=7, max_size=7))
def test_compressed_headers_come_back_or_are_refused(data):
    try:
        header = CompressedHeader.parse(data)
    except ProtocolError:
        return
    assert header.serialize() == data


@pytest.mark.parametrize("length", [0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 5, 2 * MAX_PIECE])
def test_a_long_payload_is_split_and_its_end_is_seen(length):
    """What is put together again is what was split; only the last packet says that nothing more comes."""
    payload = bytes(length)
    raw, found, headers = b"".join(split(payload, 254)), bytearray(), []
    while raw:
        headers.append(PacketHeader.parse(raw[:HEADER]))
        found += raw[HEADER : HEADER + headers[-1].length]
        raw = raw[HEADER + headers[-1].length :]
    assert found == payload
    assert [header.is_continued for header in headers] == [True] * (len(headers) - 1) + [False]
    assert [header.sequence for header in headers] == [(254 + number) % 256 for number in range(len(headers))]


def test_a_compressed_packet_that_claims_to_be_shorter_inside_is_refused():
    with pytest.raises(ProtocolError, match="of 100 bytes claims 49"):
        CompressedHeader.parse(CompressedHeader(100, 0, 49).serialize())
