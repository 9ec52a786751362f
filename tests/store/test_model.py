"""Any interleaving of writers, forgets and prunes, with kills and lost answers at every call: a snapshot that is there
has all that it needs. The real code runs in threads, and the state machine gives each the turn for one call."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from innoclone.errors import CloneError, DiskFull, StoreLeaseLost, StoreUnavailable, TargetExists
from innoclone.store import persistent
from innoclone.store.care import GRACE, LEASE, forget, prune
from innoclone.store.contents import Contents, contents_name, write_contents
from innoclone.store.pack import PackBuilder
from innoclone.store.persistent import Persistent
from innoclone.store.repository import Repository, init_store
from innoclone.store.runs import begin_run
from innoclone.store.snapshots import FOLDER, HEAD, snapshots_of
from stores import FaultyObjects, MemoryObjects, memory_store

DONOR = "a-server"
GO, LOSE, KILL = "go", "lose the answer", "kill"


class Killed(BaseException):
    """The process is gone: no error handling of its own runs against the store any more."""


class Actor:
    """A process: a thread that waits for its turn before each call to the store."""

    def __init__(self, repository: Repository, work: Callable[[Repository], None]) -> None:
        self._turns: queue.Queue[str] = queue.Queue()
        self._done: queue.Queue[None] = queue.Queue()
        self._lost = self._killed = self.ended = False
        objects = Persistent(FaultyObjects(repository.objects, self._fault))
        self._thread = threading.Thread(
            target=self._run, args=(replace(repository, objects=objects), work), daemon=True
        )
        self._main = self._thread
        self._thread.start()
        self._done.get(timeout=10)

    def _run(self, repository: Repository, work: Callable[[Repository], None]) -> None:
        with contextlib.suppress(Killed, CloneError):
            work(repository)
        self.ended = True
        self._done.put(None)

    def _fault(self, what: str, name: str) -> None:
        if threading.current_thread() is not self._main or self._killed:
            raise Killed
        if what.startswith("after"):
            if self._lost:
                self._lost = False
                raise StoreUnavailable("the answer was lost")
            return
        self._done.put(None)
        turn = self._turns.get()
        if turn == KILL:
            self._killed = True
            raise Killed
        self._lost = turn == LOSE and what in ("create", "delete")

    def step(self, turn: str) -> None:
        """One call to the store, and what comes before the next one."""
        self._turns.put(turn)
        self._done.get(timeout=10)


class Model(RuleBasedStateMachine):
    """A store with some processes."""

    actors = Bundle("actors")

    def __init__(self) -> None:
        super().__init__()
        self.repository = memory_store(encrypted=False)
        assert isinstance(self.repository.objects, MemoryObjects)
        self.there = self.repository.objects
        self.needed: dict[str, set[str]] = {}
        self.all: list[Actor] = []

    @initialize()
    def first_backups(self) -> None:
        for _ in range(2):
            self._backup(self.repository)

    @rule(target=actors, half=st.booleans())
    def writer(self, half: bool) -> Actor:
        return self._actor(lambda repository: self._backup(repository, half=half))

    @rule(target=actors, keep=st.integers(0, 2))
    def forgetter(self, keep: int) -> Actor:
        def work(repository: Repository) -> None:
            found = snapshots_of(repository)
            forget(repository, found[: len(found) - keep])

        return self._actor(work)

    @rule(target=actors, grace=st.sampled_from((0.0, 3600.0)))
    def pruner(self, grace: float) -> Actor:
        def work(repository: Repository) -> None:
            prune(repository, grace=grace)

        return self._actor(work)

    @rule(actor=actors, turns=st.lists(st.sampled_from((GO,) * 8 + (LOSE, KILL)), min_size=1, max_size=12))
    def goes_on(self, actor: Actor, turns: list[str]) -> None:
        for turn in turns:
            if not actor.ended:
                actor.step(turn)

    @rule(actor=actors)
    def ends(self, actor: Actor) -> None:
        while not actor.ended:
            actor.step(GO)

    @rule(seconds=st.sampled_from((60.0, 3600.0, LEASE + 1)))
    def time_passes(self, seconds: float) -> None:
        self.there.clock += seconds

    @invariant()
    def snapshots_are_whole(self) -> None:
        for name, needed in self.needed.items():
            body = self.there.objects.get(f"{FOLDER}/{name}")
            if body is not None and body[0].startswith(HEAD):
                assert needed <= self.there.objects.keys(), f"{name} lacks {needed - self.there.objects.keys()}"

    def teardown(self) -> None:
        """All processes die; in the end nothing is left but what snapshots need."""
        for actor in self.all:
            while not actor.ended:
                actor.step(KILL)
        self.there.clock += LEASE + 1
        prune(self.repository, grace=0)
        self.snapshots_are_whole()
        left = {one.name for one in snapshots_of(self.repository)}
        needed = set().union(*(self.needed[name] for name in left))
        assert {name for name in self.there.objects if name.startswith(("data/", "meta/"))} == needed
        assert not any(name.startswith("runs/") for name in self.there.objects)

    def _actor(self, work: Callable[[Repository], None]) -> Actor:
        self.all.append(Actor(self.repository, work))
        return self.all[-1]

    def _backup(self, repository: Repository, *, half: bool = False) -> None:
        """What a backup does with a store: lease, parent, a pack, contents, commit."""
        run, parent = begin_run(repository, DONOR)
        with run:
            packs = parent.packs(repository) if parent is not None else []
            if half:
                packs = packs[::2]
            builder = PackBuilder(run.sealer, 0)
            builder.add(0, 0, 1, 4, b"abcd", bytes(16))
            pack, body = builder.finish(run.id, repository.vault.page_key)
            repository.objects.create(pack.name, body)
            packs.append(pack)
            sizes = write_contents(repository.objects, run.sealer, run.id, Contents({"format": 1}, [], [], packs))
            self.needed[run.name] = {one.name for one in packs}
            self.needed[run.name] |= {contents_name(run.id, number) for number in range(len(sizes))}
            run.commit({"contents": sizes, "donor": {"uuid": DONOR}, "time": self.there.clock})


def test_what_is_there_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    run_state_machine_as_test(Model, settings=settings(stateful_step_count=40))


# ---- races that are too narrow to be met by chance -----------------------------------------------------------------


def _backed_up(repository: Repository) -> str:
    run, parent = begin_run(repository, DONOR)
    with run:
        packs = parent.packs(repository) if parent is not None else []
        builder = PackBuilder(run.sealer, 0)
        builder.add(0, 0, 1, 4, b"abcd", bytes(16))
        pack, body = builder.finish(run.id, repository.vault.page_key)
        repository.objects.create(pack.name, body)
        contents = Contents({"format": 1}, [], [], [*packs, pack])
        sizes = write_contents(repository.objects, run.sealer, run.id, contents)
        run.commit({"contents": sizes, "donor": {"uuid": DONOR}})
    return run.name


def test_a_parent_that_goes_before_the_lease_is_there() -> None:
    """It is not built on: another one is, or none."""
    repository = memory_store(encrypted=False)
    first, second = _backed_up(repository), _backed_up(repository)
    going = [second]

    def fault(what: str, name: str) -> None:
        if what == "create" and name.startswith("runs/") and going:
            repository.objects.delete([f"{FOLDER}/{going.pop()}"])

    run, parent = begin_run(replace(repository, objects=FaultyObjects(repository.objects, fault)), DONOR)
    run.end()
    assert parent is not None
    assert parent.name == first


def test_a_parent_that_goes_while_a_backup_runs_stops_every_removal() -> None:
    repository = memory_store(encrypted=False)
    _backed_up(repository)
    run, parent = begin_run(repository, DONOR)
    assert parent is not None
    assert forget(repository, [parent]) == [parent]
    repository.objects.delete([f"{FOLDER}/{parent.name}"])  # by one who did not see the lease
    before = len(list(repository.objects.list("data")))
    assert "running backup" in prune(repository, grace=0).blocked
    assert len(list(repository.objects.list("data"))) == before
    run.end()
    assert prune(repository, grace=0).removed


def test_a_commit_in_doubt_keeps_its_leases() -> None:
    """It may yet come through: what it needs is not collected before it can't."""
    repository = memory_store(encrypted=False)
    run, _ = begin_run(repository, DONOR)
    builder = PackBuilder(run.sealer, 0)
    builder.add(0, 0, 1, 4, b"abcd", bytes(16))
    pack, body = builder.finish(run.id, repository.vault.page_key)
    repository.objects.create(pack.name, body)

    def fault(what: str, name: str) -> None:
        if name.startswith(FOLDER):
            raise StoreUnavailable("nobody knows")

    whole = run.repository
    run.repository = replace(repository, objects=FaultyObjects(repository.objects, fault))
    with pytest.raises(StoreUnavailable), run:
        run.commit({"contents": [1]})
    assert not prune(whole, grace=0).removed
    assert isinstance(repository.objects, MemoryObjects)
    repository.objects.clock += LEASE + 1
    assert prune(whole, grace=0).removed == [pack.name]
    run.repository = whole
    with pytest.raises(StoreLeaseLost):
        run.commit({"contents": [1]})


def test_what_is_marked_goes_after_the_grace_time() -> None:
    repository = memory_store(encrypted=False)
    first = _backed_up(repository)
    repository.objects.delete([f"{FOLDER}/{first}"])
    assert isinstance(repository.objects, MemoryObjects)
    marked = prune(repository)
    assert (len(marked.marked), marked.removed) == (3, [])
    assert not prune(repository).removed
    repository.objects.clock += GRACE
    assert len(prune(repository).removed) == 3
    assert not list(repository.objects.list("prune"))


def test_what_another_put_beside_stays() -> None:
    """A prune removes packs of runs, by their names, and nothing else."""
    repository = memory_store(encrypted=False)
    assert isinstance(repository.objects, MemoryObjects)
    foreign = ("data/accounts.db", "data/app/000001", f"data/{'a' * 32}/notes", "meta/x/y/z", "probes/mine", "other")
    for name in foreign:
        repository.objects.create(name, b"precious")
    repository.objects.create(f"data/{'a' * 32}/000001", b"a dead run's")
    assert prune(repository, grace=0).removed == [f"data/{'a' * 32}/000001"]
    repository.objects.clock += 10 * GRACE
    prune(repository)
    assert all(name in repository.objects.objects for name in foreign)


@pytest.mark.parametrize("name", ["data/accounts.db", "meta/x", "snapshots/x"])
def test_no_store_is_made_around_what_is_there(name: str) -> None:
    objects = MemoryObjects()
    objects.create(name, b"precious")
    with pytest.raises(TargetExists, match=name.partition("/")[0]):
        init_store(objects, None, encrypted=False, single_writer=False)


def test_a_full_folder_can_be_freed() -> None:
    """No object can be created before some are gone."""
    repository = memory_store(encrypted=False)
    first = _backed_up(repository)
    objects = repository.objects
    assert isinstance(objects, MemoryObjects)
    objects.delete([f"{FOLDER}/{first}"])
    dead, _ = begin_run(repository, DONOR)  # its packs aren't known: nobody may take them
    objects.create(f"data/{dead.id.hex()}/000000", b"x")

    def fault(what: str, name: str) -> None:
        if what == "create" and any(each.startswith("data/") and dead.id.hex() not in each for each in objects.objects):
            raise DiskFull(name)

    full = replace(repository, objects=FaultyObjects(objects, fault))
    assert not prune(full, grace=GRACE, dry_run=True).removed
    with pytest.raises(DiskFull):
        prune(full)
    assert len(prune(full, grace=0).removed) == 3
    assert f"data/{dead.id.hex()}/000000" in objects.objects
    dead.end()
