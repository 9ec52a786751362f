"""What is taken down when somebody comes, and when it is put back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.offer import Given, Source, T, Wish
from innoclone.donor.shelf import Shelf
from innoclone.donor.stored import look
from innoclone.errors import CloneError, TargetBusy
from innoclone.files.inuse import Purpose
from innoclone.server import cloned
from restores import linked_clone, rewrite
from serving import ServeProcess, assert_taken, endpoint

PATIENCE = 60.0  # seconds


class Slow:
    """A source that waits before a clone begins, as a server with a long DDL statement does."""

    def __init__(self, source: Source) -> None:
        self.source, self.version = source, source.version
        self.waits, self.goes_on = threading.Event(), threading.Event()
        self.is_closed = False

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        self.waits.set()
        assert self.goes_on.wait(PATIENCE)
        assert not self.is_closed
        return self.source.begin(wish, make, is_gone)

    def close(self) -> None:
        self.is_closed = True
        self.source.close()


def test_it_stays_until_a_clone_has_begun(small_clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes; afterwards who takes it says whether it is wanted."""
    monkeypatch.setattr("innoclone.donor.shelf.LINGER", -1.0)
    slow = Slow(look(small_clone))
    shelf = Shelf("slow", lambda: cast(Source, slow))
    begun: list[Given] = []
    thread = threading.Thread(
        target=lambda: begun.append(
            shelf.begin(Wish(block_ddl=True, ddl_timeout=300, tls=False), lambda it: it, lambda: False)
        )
    )
    thread.start()
    assert slow.waits.wait(PATIENCE)
    shelf.put_back(lambda: [])
    was_closed = slow.is_closed
    slow.goes_on.set()
    thread.join(PATIENCE)
    assert not was_closed
    assert begun == [slow.source]
    shelf.put_back(lambda: begun)
    assert not slow.is_closed
    shelf.put_back(lambda: [])
    assert slow.is_closed


def in_use(directory: Path) -> bool:
    try:
        cloned.check_bootable(directory, Purpose.UPDATE)
    except TargetBusy:
        return True
    return False


def test_serve_of_a_link(small_clone: Path, tmp_path: Path) -> None:
    """Who comes gets what it leads to then; what it led to before is let go, and the rest is told at once."""
    first, second = (linked_clone(small_clone, tmp_path / name) for name in "12")
    rewrite(second / "theirs" / "t.ibd", lambda data: data.extend(bytes(1 << 20)))
    latest = tmp_path / "latest"
    latest.symlink_to("1")
    with ServeProcess(latest) as process:
        assert any(f"{latest} leads to {first} now" in line for line in process.said)
        clone(CloneOptions(endpoint(process.port), tmp_path / "taken-1"))
        latest.unlink()
        latest.symlink_to("2")
        clone(CloneOptions(endpoint(process.port), tmp_path / "taken-2"))
        end = time.monotonic() + PATIENCE
        while in_use(first):
            assert time.monotonic() < end
            time.sleep(0.1)
        latest.unlink()
        latest.symlink_to("nowhere")
        with pytest.raises(CloneError, match="nowhere"):
            clone(CloneOptions(endpoint(process.port), tmp_path / "taken-3"))
        assert process.stop() == 0
    for number, directory in enumerate((first, second), 1):
        found = look(directory)
        assert_taken(found, tmp_path / f"taken-{number}")
        found.close()
