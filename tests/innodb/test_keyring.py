"""The content of keyring files (innoclone.innodb.keyring)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.encryption import MasterKey
from innoclone.innodb.keyring import parse_keyring, serialize_keyring

UUID = "57ba5101-c165-4b57-9624-7a3c4121a8b9"
KEY = MasterKey(UUID, 1, bytes(range(32)))
# What a server's component wrote, with another kind of key in it.
WRITTEN = (
    b'{"version":"1.0","elements":[{"user":"","data_id":"INNODBKey-57ba5101-c165-4b57-9624-7a3c4121a8b9-1","data_type":'
    b'"AES","data":"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F","extension":[]},{"user":"",'
    b'"data_id":"MySQLReplicationKey_57ba5101-c165-4b57-9624-7a3c4121a8b9_1","data_type":"AES","data":"00FF",'
    b'"extension":[]}]}'
)


def test_as_a_server_writes_it() -> None:
    assert parse_keyring(WRITTEN) == {KEY.name: KEY}
    assert WRITTEN.startswith(serialize_keyring(KEY)[:-2])


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**32 - 1))
def test_round_trip(raw: bytes, number: int) -> None:
    key = MasterKey(UUID, number, raw)
    assert parse_keyring(serialize_keyring(key)) == {key.name: key}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe", b"[]", b"{}", b'"elements"', b'{"version":"2.0","elements":[]}', b"[" * 100_000,
        b'{"version":"1.0","elements":{}}', b'{"version":"1.0","elements":[7]}', b'{"version":"1.0","elements":[{}]}',
        WRITTEN.replace(b"0001", b"zz01"), WRITTEN.replace(b'"INNODBKey', b'7,"x":"INNODBKey'),
    ],
)  # fmt: skip
def test_what_is_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no keyring file|not known") as caught:
        parse_keyring(content)
    assert "0405" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_servers_that_has_none_yet() -> None:
    assert parse_keyring(b"") == {}


def test_keys_of_another_size_are_passed_over() -> None:
    content = json.loads(WRITTEN)
    content["elements"][0]["data"] = "00"
    assert parse_keyring(json.dumps(content).encode()) == {}
