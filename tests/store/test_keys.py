"""The keys of a store, and what a store's description can't be turned into."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innoclone.errors import StoreDamaged, StoreKeyWrong, StoreMissing, UsageError, VersionUnsupported
from innoclone.store.keys import PASSPHRASE, Secret, add_key, key_entries, remove_key, secret_of
from innoclone.store.repository import DESCRIPTION, init_store, open_store
from innoclone.store.sealing import Piece, Vault
from stores import SECRET, MemoryObjects

WORDS = Secret("passphrase", b"correct horse")


def made(secret: Secret | None = SECRET) -> MemoryObjects:
    objects = MemoryObjects()
    init_store(objects, secret, encrypted=secret is not None, single_writer=False)
    return objects


def test_several_keys_open_it_and_the_last_one_stays() -> None:
    objects = made()
    store = open_store(objects, SECRET)
    second = add_key(objects, store.bound, store.vault.master, WORDS)
    again = open_store(objects, WORDS)
    assert (again.key, again.vault.master, again.vault.page_key) == (second, store.vault.master, store.vault.page_key)
    assert {one.kind for one in key_entries(objects)} == {"file", "passphrase"}
    remove_key(objects, store.key, dry_run=True)
    assert len(key_entries(objects)) == 2
    remove_key(objects, store.key)
    with pytest.raises(StoreKeyWrong, match="no key file opens"):
        open_store(objects, SECRET)
    with pytest.raises(UsageError, match="only key"):
        remove_key(objects, second)
    with pytest.raises(StoreMissing):
        remove_key(objects, "0" * 16)
    with pytest.raises(StoreKeyWrong, match="doesn't open"):
        open_store(objects, Secret("passphrase", b"incorrect horse"))
    with pytest.raises(StoreKeyWrong, match="no key was given"):
        open_store(objects, None)


def test_nothing_of_the_key_is_in_the_store() -> None:
    objects = made()
    master = open_store(objects, SECRET).vault.master
    everything = b"".join(data for data, _ in objects.objects.values())
    assert SECRET.value.hex().encode() not in everything
    assert master not in everything
    assert master.hex().encode() not in everything
    assert "correct" not in repr(WORDS)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"cipher": "none"}, StoreDamaged),
        ({"cipher": "none", "key": "00" * 32}, StoreKeyWrong),
        ({"cipher": "ROT13"}, VersionUnsupported),
        ({"format": 2}, VersionUnsupported),
        ({"format": "x"}, StoreDamaged),
        ({"id": "00"}, StoreDamaged),
        ({"single_writer": True}, StoreKeyWrong),
    ],
)
def test_a_changed_description_opens_nothing(change: dict[str, object], error: type[Exception]) -> None:
    """Above all, nobody is made to write in the clear."""
    objects = made()
    text, at = objects.objects[DESCRIPTION]
    objects.objects[DESCRIPTION] = json.dumps(json.loads(text) | change).encode(), at
    with pytest.raises(error):
        open_store(objects, SECRET)


def test_a_hostile_key_takes_no_memory() -> None:
    objects = made(WORDS)
    [name] = [name for name in objects.objects if name.startswith("keys/")]
    entry = json.loads(objects.objects[name][0])
    for change in ({"n": 1 << 40}, {"n": -1}, {"r": 1 << 30}, {"salt": "x"}, {"wrapped": ""}, {"n": None}):
        objects.objects[name] = json.dumps(entry | change).encode(), 0.0
        with pytest.raises((StoreDamaged, StoreKeyWrong)):
            open_store(objects, WORDS)
    for text in (b"[]", b"{", b"x" * (1 << 17)):
        objects.objects[name] = text, 0.0
        with pytest.raises(StoreKeyWrong):
            open_store(objects, WORDS)


def test_without_encryption() -> None:
    objects = made(None)
    assert not open_store(objects, None).vault.encrypted
    with pytest.raises(StoreKeyWrong, match="not encrypted"):
        open_store(objects, SECRET)
    for secret, encrypted in ((None, True), (SECRET, False)):
        with pytest.raises(UsageError):
            init_store(MemoryObjects(), secret, encrypted=encrypted, single_writer=False)


def test_where_a_secret_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, words, short = tmp_path / "key", tmp_path / "words", tmp_path / "short"
    key.write_bytes(bytes(32))
    words.write_bytes(b"correct horse\r\nsecond line\n")
    short.write_bytes(b"short")
    assert secret_of(key, None) == Secret("file", bytes(32))
    assert secret_of(None, words) == WORDS
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert secret_of(None, None) == WORDS
    monkeypatch.delenv(PASSPHRASE)
    assert secret_of(None, None) is None
    for named in ((key, words), (short, None), (None, short), (tmp_path / "none", None)):
        with pytest.raises(UsageError):
            secret_of(*named)
    with pytest.raises(UsageError, match="No such file") as caught:
        secret_of(tmp_path / "no key", None, new=True)
    assert f">'{tmp_path / 'no key'}')" in caught.value.advice
    with pytest.raises(UsageError, match="No such file") as caught:  # a new one wouldn't open what is there
        secret_of(tmp_path / "no key", None)
    assert "urandom" not in caught.value.advice
    with pytest.raises(UsageError, match="too short") as caught:  # it may be a passphrase: nobody shall write over it
        secret_of(short, None, new=True)
    assert str(short) not in caught.value.advice


@pytest.mark.parametrize("master", [bytes(32), None])
def test_a_piece_is_good_in_its_own_place_alone(master: bytes | None) -> None:
    vault = Vault(b"s" * 16, master, plain_key=b"k" * 32)
    sealer = vault.sealer(b"r" * 16)
    sealed = sealer.seal(Piece.FRAME, 3, 7, b"some pages")
    assert sealer.open(Piece.FRAME, 3, 7, sealed) == b"some pages"
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    places = [(Piece.DIRECTORY, 3, 7), (Piece.FRAME, 4, 7), (Piece.FRAME, 3, 8)]
    for place in places:
        with pytest.raises(StoreDamaged):
            sealer.open(*place, sealed)
    for wrong in (flipped, sealed[:-1], b"", sealed[:5]):
        with pytest.raises(StoreDamaged):
            sealer.open(Piece.FRAME, 3, 7, wrong)
    with pytest.raises(StoreDamaged):
        vault.sealer(b"q" * 16).open(Piece.FRAME, 3, 7, sealed)


@pytest.mark.parametrize("text", ['{"created": "x"}', '{"created": 1e300}', '{"created": NaN}', "[" * 60_000, "", "[]"])
def test_what_is_no_key_keeps_no_key_from_opening(text: str) -> None:
    objects = made()
    objects.create(f"keys/{'0' * 16}", text.encode())
    assert open_store(objects, SECRET).key
    assert [one.created for one in key_entries(objects) if one.id == "0" * 16] == [0]
