"""A stock recipient of a live server loses its connections, at each turn of the snapshot, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from faults.proxy import Proxy
from innoclone.donor.course import Course
from innoclone.donor.live import find_live
from innoclone.donor.offer import Wish
from innoclone.donor.service import Donor
from innoclone.donor.upstream import Upstream
from innoclone.errors import Interrupted
from innoclone.records.limits import Limits
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import booted_copy, checksums
from servers import endpoint_of
from serving import endpoint, serving, take

BACK = 20.0  # seconds; a stock recipient tries every 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient that lost its auxiliary connection sees that when it next hears of us."""
    monkeypatch.setattr("innoclone.donor.course.KEEP_ALIVE", 0.5)


@pytest.mark.parametrize(("when", "count"), [("files", 4), ("waits", 1), ("waits", 4)])
def test_cut(when: str, count: int, programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path) -> None:
    """While files are copied, and while it waits for another recipient: then new workers are let in, too."""
    expected, target = checksums(small_donor), tmp_path / "taken"
    limits = Limits(data=20) if when == "files" else Limits()
    with serving(find_live(endpoint_of(small_donor)), tmp_path, limits=limits) as donor, Proxy(donor.port) as proxy:
        other = Upstream(endpoint(donor.port), Wish(False, 0, tls=False), threading.Event())
        other.begin()
        taking = Taking(recipient, proxy.port, target, count)
        taker = taking.course(donor)
        until(lambda: taker.is_past_files if when == "waits" else taker.sent > 1 << 20)
        for wire in list(proxy._wires):
            wire.cut(reset=True)
        until(lambda: taker.taking().restarts == 1 and taker.tasks == count)
        if when == "waits":
            until(lambda: len(taker._ended) == count)  # they are at the end of FILE COPY, all of them
            assert taker.tasks == count
        other.abandon(Interrupted("by its user"))
        taking.join()
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected


class Taking:
    """CLONE INSTANCE in a thread."""

    def __init__(self, recipient: Server, port: int, target: Path, count: int) -> None:
        self._error: pymysql.Error | None = None
        self._thread = threading.Thread(target=self._run, args=(recipient, port, target, count))
        self._thread.start()

    def _run(self, recipient: Server, port: int, target: Path, count: int) -> None:
        settings = {"clone_autotune_concurrency": 0, "clone_max_concurrency": count}
        try:
            take(recipient, port, target, "REQUIRE NO SSL", settings=settings)
        except pymysql.Error as error:
            self._error = error

    def course(self, donor: Donor) -> Course:
        """The second that there is."""
        until(lambda: len(donor.courses) > 1)
        return donor.courses[1]

    def join(self) -> None:
        self._thread.join(90)
        assert self._error is None
        assert not self._thread.is_alive()


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + BACK
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
