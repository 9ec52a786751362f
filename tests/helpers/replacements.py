"""Replacements without servers, and crashes at every step of them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.commands import replace as operation
from innoclone.commands.options import CloneOptions, ReplaceOptions
from innoclone.errors import BootFailed
from innoclone.files import belongings as staying
from innoclone.files import inuse, replacing
from innoclone.files.belongings import carry
from innoclone.files.replacing import Places
from innoclone.records.limits import Limits
from innoclone.records.managedserver import Managed
from innoclone.records.status import CloneStatus
from innoclone.server.managedfacts import ServerFacts
from innoclone.server.servercontrol import Control
from innoclone.transport.endpoint import Endpoint

CRASHED = 9

FACTS = ServerFacts({})


class Events:
    """Counts what happens, and ends the process, like a kill, at the one that was asked for."""

    def __init__(self) -> None:
        self.count, self.fatal = 0, -1

    def __call__(self) -> None:
        if self.count == self.fatal:
            os._exit(CRASHED)
        self.count += 1

    def around(self, function: Callable[..., object]) -> Callable[..., object]:
        """The function, with an event before and after it."""

        def wrapped(*arguments: object, **named: object) -> object:
            self()
            result = function(*arguments, **named)
            self()
            return result

        return wrapped


class FakeServer(Control):
    """Runs where the file ``running`` says so; comes up on all data but what is called bad."""

    def __init__(self, places: Places, events: Events) -> None:
        self.places, self.events, self.state = places, events, places.folder.with_name("running")

    def running(self) -> bool:
        return self.state.exists()

    def start(self, waiting: Callable[[], None] = lambda: None) -> None:
        self.events()
        served = (self.places.data / "mysql.ibd").read_text()
        if not self.running():
            if served == "bad":
                raise BootFailed("it does not start")
            self.state.write_text(served)
        self.events()

    def stop(self, waiting: Callable[[], None] = lambda: None, *, force: bool = False) -> None:
        self.events()
        self.state.unlink(missing_ok=True)
        self.events()


class World:
    """Old data that is served, and new beside it."""

    def __init__(self, folder: Path, new: str, *, keep: bool) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.keep, self.events = keep, Events()
        self.places = Places(folder / "data")
        for path, content in ((self.places.data, "old"), (self.places.new, new)):
            (path / "schema").mkdir(parents=True)
            (path / "mysql.ibd").write_text(content)
            (path / "schema" / "t.ibd").write_text(content)
        (self.places.data / "auto.cnf").write_text("uuid")
        self.server = FakeServer(self.places, self.events)
        self.server.start()

    def replace(self) -> None:
        managed = Managed(self.places.data, Endpoint())
        options = ReplaceOptions(CloneOptions(Endpoint(), self.places.data), managed, keep_old_data=self.keep)
        run = operation._Replacement(options, self.places, CloneStatus(), threading.Event(), Limits())
        run.control = self.server
        run._drop(run._swap(FACTS))

    def settle(self) -> None:
        operation._recover(self.places, self.server)

    def crashing(self, what: Callable[[], None], at: int) -> bool:
        """Do it in a process that dies at that event; False if it came to its end before."""
        child = os.fork()
        if not child:
            self.events.count, self.events.fatal = 0, at
            try:
                what()
            except BootFailed:
                pass
            except BaseException:  # noqa: BLE001 - this is a copy of the test run, which nothing may go on with
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, CRASHED)
        return status == CRASHED

    def assert_whole(self, allowed: set[str]) -> str:
        """A server runs on one of the two, all of it."""
        served = self.server.state.read_text()
        assert served in allowed
        assert {path.read_text() for path in self.places.data.rglob("*.ibd")} == {served}
        assert (self.places.data / "auto.cnf").read_text() == "uuid"
        assert self.places.read() is None
        others = [path for path in self.places.folder.iterdir() if path.is_dir()]
        if served == "new":
            assert len(others) == self.keep
            assert all((path / "mysql.ibd").read_text() == "old" for path in others)
        else:
            assert others == [self.places.new]
        return served


def events_everywhere(world: World, patch: pytest.MonkeyPatch) -> None:
    """An event before and after everything that a crash could come between."""
    for name in ("write", "exchange", "done", "forget", "put_aside"):
        patch.setattr(world.places, name, world.events.around(getattr(world.places, name)))
    patch.setattr(operation, "carry", world.events.around(carry))
    for module in (replacing, staying):
        patch.setattr(module, "sync_directory", world.events.around(lambda _: None))


def crash_everywhere(folder: Path, new: str, keep: bool, twice: bool) -> tuple[int, int, set[str]]:
    """A crash at every event, and, ``twice``, another at every one that follows: how many, and what is served."""
    first = outcomes = 0
    seen = set()
    allowed = {"old"} if new == "bad" else {"old", "new"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # the death of a process loses nothing that isn't synced
        # Who else of this machine's processes uses the files is asked thousands of times here, and tested elsewhere.
        patch.setattr(inuse, "_pids", lambda: iter([os.getppid()]))
        while True:
            second = 0
            while True:
                world = World(folder, new, keep=keep)
                events_everywhere(world, patch)
                crashed = world.crashing(world.replace, first)
                again = crashed and twice and world.crashing(world.settle, second)
                world.settle()
                seen.add(world.assert_whole(allowed))
                outcomes += 1
                second += 1
                if not again:
                    break
            first += 1
            if not crashed:
                return first, outcomes, seen
