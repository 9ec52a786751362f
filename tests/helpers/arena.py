"""Where hostile donors are let loose: a directory full of things that nobody may touch, the target in its midst."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile import Donor
from innoclone.errors import CloneError
from innoclone.files.names import Mapping
from innoclone.receive.recipient import Received
from innoclone.sinks.directory import Target
from receiving import receive_into

HANGS = 30.0  # seconds; nothing here takes so long unless it never ends


class Arena:
    """``target`` is the clone's directory, ``mapped`` a directory for files outside of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "arena"
        self.target, self.mapped = self.root / "target", self.root / "mapped"
        victims = self.root / "victims"
        for directory in (victims, self.mapped / "db"):
            directory.mkdir(parents=True)
        for path in (self.root / "evil.ibd", victims / "t.ibd", victims / "auto.cnf", self.mapped / "db" / "there.ibd"):
            path.write_text("not to be touched")
        # What a path could lead through: beside the target, and inside of a mapped directory.
        (self.root / "link").symlink_to(victims)
        (self.root / "link.ibd").symlink_to(victims / "t.ibd")
        (self.mapped / "link").symlink_to(victims)
        self.before = self.listing()

    def listing(self) -> dict[str, tuple[object, ...]]:
        """Everything outside of the target, with types, modes, times and content."""
        found: dict[str, tuple[object, ...]] = {}
        for parent, directories, files in os.walk(self.root):
            if Path(parent) == self.root and self.target.name in directories:
                directories.remove(self.target.name)
            for name in (*directories, *files):
                path = Path(parent, name)
                info = path.lstat()
                content = str(path.readlink()) if path.is_symlink() else ""
                if path.is_file() and not path.is_symlink():
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                changed = 0 if path.is_dir() else info.st_mtime_ns  # files may come and go in a mapped directory
                found[str(path.relative_to(self.root))] = (info.st_mode, changed, content)
        return found

    def receive(
        self, donor: Donor, mapping: Mapping = (), then: Callable[[], None] = lambda: None, **changes: Any
    ) -> Received | BaseException:
        """Clone, and hand back the result or the error. Whatever comes of it: no thread, no descriptor is left, and
        nothing outside has changed; after a failure the target can't be booted, and can be removed.

        ``then`` is called as soon as it is over.
        """
        threads, descriptors = set(threading.enumerate()), open_descriptors()
        target = Target(self.target, mapping, fsync=False)
        outcome: list[Received | BaseException] = []

        def run() -> None:
            try:
                outcome.append(receive_into(target, donor.endpoint, **changes))
            except BaseException as error:  # noqa: BLE001 - the caller looks at it
                outcome.append(error)

        with donor:
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(HANGS)
            then()
            if thread.is_alive():
                pytest.fail("the recipient hangs")
        assert (self.target / "#clone" / "#status_in_progress").exists(), "only Target.finish may remove the mark"
        assert self.before.items() <= self.listing().items(), "what was there has changed"
        if not isinstance(outcome[0], Received):
            target.discard()
            assert not self.target.exists()
            assert self.listing() == self.before
        target.release()
        assert set(threading.enumerate()) == threads, "threads are left"
        assert open_descriptors() == descriptors, "file descriptors are left"
        return outcome[0]

    def refused(self, donor: Donor, mapping: Mapping = (), **changes: Any) -> CloneError:
        """Clone, which must fail with one of our errors; it is handed back."""
        outcome = self.receive(donor, mapping, **changes)
        if isinstance(outcome, CloneError) and type(outcome) is not CloneError:
            return outcome
        raise AssertionError(f"not refused as it should be: {outcome!r}") from (
            outcome if isinstance(outcome, BaseException) else None
        )


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
