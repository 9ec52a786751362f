"""Headers of packets (innoclone.wire.packets)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import ProtocolError
from innoclone.wire.packets import CompressedHeader, PacketHeader


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
