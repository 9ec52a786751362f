"""Generations of random files, each an increment of the one before, and each read back as it was."""

from __future__ import annotations

import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import StoreDamaged
from innoclone.store.care import forget, prune
from innoclone.store.contents import Contents, StoredFile, read_contents, write_contents
from innoclone.store.known import Known
from innoclone.store.maps import pack_of
from innoclone.store.pack import BLOCK, UNIT, Pack, expand, expand_frame, units_in
from innoclone.store.reading import PackReader
from innoclone.store.repository import Repository
from innoclone.store.runs import begin_run
from innoclone.store.snapshots import Snapshot, snapshots_of
from innoclone.store.writing import MOST_OVERLAYS, BlockWriter, PackTable
from stores import MemoryObjects, memory_store

changes = st.lists(st.tuples(st.integers(0, 40), st.sampled_from((b"\0", b"a", b"b", b"c"))), max_size=12)
sizes = st.integers(0, 41 * UNIT)


def stored(repository: Repository, data: bytes, thin: int | None = None) -> Snapshot:
    """Put one file into a store, beside its newest snapshot, without those of its packs that ``thin`` has bits of."""
    run, parent = begin_run(repository, "donor")
    with run:
        known = earlier = None
        packs = []
        if parent is not None:
            before = parent.contents(repository)
            packs = before.packs
            known = Known(before, PackReader(repository, packs))
            earlier = known.file("t.ibd", 7)
        left = frozenset(place for place in range(len(packs)) if (thin or 0) >> place & 1)
        table = PackTable(packs, known.thin_packs() if known and thin is None else left)

        def send(place: int, pack: Pack, body: bytearray) -> None:
            repository.objects.create(pack.name, body)
            table.put(place, pack)

        writer = BlockWriter(run, table, known, send)
        file = StoredFile("t.ibd", 0o640, len(data), 7, False)
        view = memoryview(bytearray(data))
        for block in range(file.blocks):
            old = earlier.map.layers(block) if earlier else []
            file.map.append(writer.write(0, block, view[block * BLOCK : (block + 1) * BLOCK], old))
        writer.flush()
        places = {old: new for new, old in enumerate(sorted(file.map.packs()))}
        file.map = file.map.translated(places.__getitem__)
        contents = Contents({"format": 1}, [("mysql", 0o750)], [file], [table.written(place) for place in places])
        fields = {"contents": write_contents(repository.objects, run.sealer, run.id, contents)}
        run.commit(fields | {"donor": {"uuid": "donor"}, "changed": writer.changed})
    assert not {packs[place] for place in left} & set(contents.packs)
    return snapshots_of(repository)[-1]


def read(repository: Repository, snapshot: Snapshot) -> bytes:
    """Its file, by the frames alone."""
    contents = read_contents(repository.objects, repository.vault.sealer(snapshot.run), snapshot.run, snapshot.sizes)
    [file] = contents.files
    found, reader = bytearray(file.blocks * BLOCK), PackReader(repository, contents.packs)
    for block, ref, units in file.map.visible():
        place, number = pack_of(ref)
        pack, frame = contents.packs[place], reader.directory(place)[number]

        def take(number: int, sealed: memoryview, pack=pack, frame=frame, units=units, block=block) -> None:
            data = expand_frame(reader.sealer(pack), pack, number, frame, sealed)
            for index, unit in enumerate(units_in(frame.units)):
                if units >> unit & 1:
                    piece = data[index * UNIT : (index + 1) * UNIT]
                    at = block * BLOCK + unit * UNIT
                    found[at : at + len(piece)] = piece

        reader.frames(place, [number], take)
    return bytes(found[: file.size])


@given(st.lists(st.tuples(sizes, changes, st.integers(0, 255)), min_size=1, max_size=7))
def test_each_generation_is_what_it_was(generations: list[tuple[int, list[tuple[int, bytes]], int]]) -> None:
    repository = memory_store(encrypted=False)
    data, kept = b"", []
    for size, changed, thin in generations:
        data = data[:size] + bytes(size - len(data[:size]))
        for unit, letter in changed:
            start, end = unit * UNIT, min(size, (unit + 1) * UNIT)
            if start < end:
                data = data[:start] + letter * (end - start) + data[end:]
        kept.append((stored(repository, data, thin), data))
    for snapshot, expected in kept:
        assert read(repository, snapshot) == expected


def test_little_is_written_where_little_changed() -> None:
    repository = memory_store()
    data = bytearray(b"".join(bytes([number + 1]) * UNIT for number in range(64)))
    assert stored(repository, bytes(data)).fields["changed"] == 64 * UNIT
    for number in range(MOST_OVERLAYS):
        data[number * UNIT] ^= 0xFF
        assert stored(repository, bytes(data)).fields["changed"] == UNIT
    data[9 * UNIT] ^= 0xFF
    assert stored(repository, bytes(data)).fields["changed"] == BLOCK
    newest = stored(repository, bytes(data))
    assert newest.fields["changed"] == 0
    assert read(repository, newest) == data


def test_a_pack_of_which_little_is_needed_is_left() -> None:
    """What is still needed of it is written anew, so that it can go; a block that hasn't changed isn't said to have."""
    repository = memory_store()
    data = bytearray(b"".join(number.to_bytes(2, "big") * (BLOCK // 2) for number in range(64)))
    first = stored(repository, bytes(data))
    [pack] = first.packs(repository)
    for generation in range(1, 28):
        start = 2 * generation * BLOCK
        data[start : start + 2 * BLOCK] = bytes([generation]) * (2 * BLOCK)
        newest = stored(repository, bytes(data))
        assert newest.fields["changed"] == 2 * BLOCK
        assert (pack in newest.packs(repository)) == (generation < 27)  # 10 of 64 are needed then
    forget(repository, snapshots_of(repository)[:-1])
    assert pack.name in prune(repository, grace=0).removed
    assert read(repository, newest) == data


def test_overlays_are_left_too() -> None:
    """Only what is still seen of them is written anew."""
    repository = memory_store()
    data = bytearray(os.urandom(20 * BLOCK))
    stored(repository, bytes(data))
    for number in range(10):
        data[number * BLOCK : number * BLOCK + 2 * UNIT] = os.urandom(2 * UNIT)
    [_, overlays] = stored(repository, bytes(data)).packs(repository)
    for number in range(9):
        data[number * BLOCK : (number + 1) * BLOCK] = os.urandom(BLOCK)
    assert overlays in stored(repository, bytes(data)).packs(repository)
    data[9 * BLOCK] ^= 0xFF  # one of the two units, so the other one moves
    newest = stored(repository, bytes(data))
    assert newest.fields["changed"] == UNIT
    assert overlays not in newest.packs(repository)
    assert read(repository, newest) == data


def test_an_object_s_bytes_say_nothing() -> None:
    repository = memory_store()
    stored(repository, b"the very secret row" * 5000)
    assert isinstance(repository.objects, MemoryObjects)
    everything = b"".join(data for data, _ in repository.objects.objects.values())
    for word in (b"secret", b"t.ibd", b"donor", b"mysql"):
        assert word not in everything


@pytest.mark.parametrize("tells", [True, False])
def test_little_does_not_expand_to_much(tells: bool) -> None:
    """Whether it says of itself how much it is, or not."""
    compressor = zstandard.ZstdCompressor(write_content_size=tells)
    assert len(expand(compressor.compress(bytes(BLOCK)), BLOCK)) == BLOCK
    with pytest.raises(zstandard.ZstdError):
        expand(compressor.compress(bytes(BLOCK + 1)), BLOCK)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "other.ibd"])
def test_a_manifest_names_what_is_there(path: str) -> None:
    """What a restored directory's manifest names is opened, and may be removed, by other commands one day."""
    repository = memory_store()
    run, _ = begin_run(repository, "donor")
    contents = Contents({"files": [{"path": path}]}, [], [StoredFile("t.ibd", 0o640, 0, 7, False)], [])
    with run:
        sizes = write_contents(repository.objects, run.sealer, run.id, contents)
    with pytest.raises(StoreDamaged, match="manifest"):
        read_contents(repository.objects, repository.vault.sealer(run.id), run.id, sizes)
