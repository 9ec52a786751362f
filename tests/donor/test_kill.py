"""KILL at the recipient ends its statement soon, whatever the clone waits for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pymysql
import pytest

from clones import rows
from innoclone.donor.live import find_live
from innoclone.donor.offer import Wish
from innoclone.donor.service import Donor
from innoclone.donor.upstream import Upstream
from innoclone.errors import Interrupted
from innoclone.records.limits import Limits
from innoclone.server.mysqld import Server
from servers import endpoint_of
from serving import ALONE, endpoint, served, serving, take

FOUR = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 4}
RUNNING = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'CLONE INSTANCE%'"
SOON = 20.0  # seconds; without word of ours the recipient gives up after 30 and more


class Killed:
    """A CLONE statement in a thread, which is killed."""

    def __init__(self, recipient: Server, port: int, target: Path, settings: dict[str, int]) -> None:
        self.error: Exception | None = None
        self._recipient = recipient
        self._thread = threading.Thread(target=self._run, args=(port, target, settings))
        self._thread.start()

    def _run(self, port: int, target: Path, settings: dict[str, int]) -> None:
        try:
            take(self._recipient, port, target, settings=settings)
        except pymysql.Error as error:
            self.error = error

    def kill(self, how: str) -> float:
        """Seconds until the statement has ended."""
        began = time.monotonic()
        rows(self._recipient, f"KILL {how} {rows(self._recipient, RUNNING)[0][0]}")
        self._thread.join(120)
        return time.monotonic() - began


@pytest.mark.parametrize("settings", [ALONE, FOUR], ids=["1", "4"])
@pytest.mark.parametrize("how", ["QUERY", "CONNECTION"])
def test_while_files_are_copied(
    how: str, settings: dict[str, int], small_clone: Path, recipient: Server, tmp_path: Path
) -> None:
    with served(small_clone, tmp_path, limits=Limits(data=1)) as donor:
        statement = Killed(recipient, donor.port, tmp_path / "taken", settings)
        until_data(donor)
        took = statement.kill(how)
        print("TOOK", how, took, statement.error)
        assert statement.error is not None
        assert took < SOON


@pytest.mark.parametrize("settings", [ALONE, FOUR], ids=["1", "4"])
@pytest.mark.parametrize("how", ["QUERY", "CONNECTION"])
def test_while_it_waits_for_others(
    how: str, settings: dict[str, int], small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        other = Upstream(endpoint(donor.port), Wish(False, 0), threading.Event())
        other.begin()
        statement = Killed(recipient, donor.port, tmp_path / "taken", settings)
        while not any(course.is_past_files for course in donor.courses):
            time.sleep(0.02)
        took = statement.kill(how)
        print("TOOK", how, took, statement.error)
        other.abandon(Interrupted("by its user"))
        assert statement.error is not None
        assert took < SOON


def until_data(donor: Donor) -> None:
    while not any(course.sent for course in donor.courses):
        time.sleep(0.01)
