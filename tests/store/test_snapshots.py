"""Which snapshot is the latest, whatever the makers' clocks, the objects' names and a copy of the bucket say."""

from __future__ import annotations

import pytest

from innoclone.errors import StoreDamaged
from innoclone.store import snapshots
from innoclone.store.contents import Contents, write_contents
from innoclone.store.objects import Entry
from innoclone.store.repository import Repository
from innoclone.store.runs import Run, begin_run
from innoclone.store.snapshots import FOLDER, before, find, find_newest, newest_first, snapshots_of
from stores import MemoryObjects, memory_store


def made(repository: Repository, moment: str, monkeypatch: pytest.MonkeyPatch, donor: str = "d") -> str:
    """A snapshot by a maker with this clock; the store's own goes on by a minute. Its name."""
    monkeypatch.setattr("innoclone.store.runs.moment_now", lambda: moment)
    objects_of(repository).clock += 60
    run, _ = begin_run(repository, donor)
    with run:
        sizes = write_contents(repository.objects, run.sealer, run.id, Contents({"format": 1}, [], [], []))
        run.commit({"contents": sizes, "donor": {"uuid": donor}, "time": 1.0})
    return run.name


def objects_of(repository: Repository) -> MemoryObjects:
    found = repository.objects
    assert isinstance(found, MemoryObjects)
    return found


@pytest.mark.parametrize("encrypted", [True, False])
def test_the_store_s_clock_alone_orders(encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = memory_store(encrypted=encrypted)
    first = made(repository, "20990101T000000000000Z", monkeypatch)
    second = made(repository, "19990101T000000000000Z", monkeypatch, donor="another")
    assert find(repository, "latest").name == second
    third = made(repository, "20200101T000000000000Z", monkeypatch)
    assert [one.name for one in snapshots_of(repository)] == [first, second, third]
    assert find(repository, "latest").name == third
    newest = find_newest(repository, "another")
    assert newest is not None
    assert newest.name == second
    moments = [one.moment for one in snapshots_of(repository)]
    assert moments[2] - moments[1] == 60


def test_a_copied_bucket_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its objects are as new as the copy, and come in any order."""
    repository = memory_store()
    names = [made(repository, f"2026010{9 - day}T000000000000Z", monkeypatch) for day in range(5)]
    objects = objects_of(repository).objects
    for number, name in enumerate(reversed(names)):
        objects[f"{FOLDER}/{name}"] = objects[f"{FOLDER}/{name}"][0], 2_000_000_000.0 + number
    assert [one.name for one in newest_first(repository) if not isinstance(one, Exception)] == names[::-1]


def test_the_newest_takes_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = memory_store()
    names = [made(repository, "20260101T000000000000Z", monkeypatch) for _ in range(4)]
    read = []
    real = snapshots.read_snapshot

    def counted(repository: Repository, name: str) -> object:
        read.append(name)
        return real(repository, name)

    monkeypatch.setattr(snapshots, "read_snapshot", counted)
    assert find(repository, "latest").name == names[-1]
    assert read == names[-1:]


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_renamed_object_is_no_snapshot(encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old one under a name of the future is never the latest, nor under its own id."""
    repository = memory_store(encrypted=encrypted)
    old = made(repository, "20260101T000000000000Z", monkeypatch)
    made(repository, "20260102T000000000000Z", monkeypatch)
    objects = objects_of(repository).objects
    renamed = f"20990101T000000000000Z-{old.partition('-')[2]}"
    objects[f"{FOLDER}/{renamed}"] = objects.pop(f"{FOLDER}/{old}")[0], objects_of(repository).clock + 60
    for wanted in ("latest", renamed):
        with pytest.raises(StoreDamaged, match=renamed):
            find(repository, wanted)
    unreadable: list[Exception] = []
    assert len(snapshots_of(repository, unreadable=unreadable)) == 1  # type: ignore[arg-type]
    assert len(unreadable) == 1


def test_a_damaged_latest_names_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing older is taken silently: the hint names it, and whose it is; of two damaged ones none is named."""
    repository = memory_store()
    names = [made(repository, "20260101T000000000000Z", monkeypatch, donor=donor) for donor in "abc"]
    objects = objects_of(repository).objects
    good = find(repository, names[0])
    for name in names[:0:-1]:
        content, moment = objects[f"{FOLDER}/{name}"]
        objects[f"{FOLDER}/{name}"] = content[:-1] + b"?", moment
    with pytest.raises(StoreDamaged) as caught:
        find(repository, "latest")
    assert names[2] in caught.value.message
    assert f"name it as {repository.address}@{good.id}" in caught.value.advice
    assert find(repository, good.id) == good
    assert "no earlier snapshot can be read" in before(repository, good)


def test_a_listing_that_names_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = memory_store()
    name = made(repository, "20260101T000000000000Z", monkeypatch)
    real = MemoryObjects.list
    monkeypatch.setattr(MemoryObjects, "list", lambda self, prefix: iter([*real(self, prefix)] * 2))
    assert find(repository, name.partition("-")[2][:12]).name == name
    assert [one.name for one in snapshots_of(repository)] == [name]


def test_listings_that_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that doesn't list the last lease yet tells the time of an earlier one; one that lists none ends the
    backup, before its commit."""
    repository = memory_store()
    objects, real = objects_of(repository), MemoryObjects.list
    run = Run(repository, None)
    run.begin()
    with run:
        first = next(iter(real(objects, f"runs/{run.id.hex()}")))
        objects.clock += 30
        monkeypatch.setattr(objects, "list", lambda prefix: iter([first]) if prefix.startswith("runs/") else iter([]))
        sizes = write_contents(objects, run.sealer, run.id, Contents({"format": 1}, [], [], []))
        run.commit({"contents": sizes})
    monkeypatch.undo()
    assert snapshots_of(repository)[0].moment == objects.clock - 30
    run = Run(repository, None)
    run.begin()
    nothing: list[Entry] = []
    monkeypatch.setattr(objects, "list", lambda _: iter(nothing))
    with run, pytest.raises(StoreDamaged):
        run.commit({"contents": [1]})
    monkeypatch.undo()
    assert len(snapshots_of(repository)) == 1
