"""The clones that are under way, and what each connection needs to know of the donor."""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from innoclone.donor.account import Account, AccountCredentials
from innoclone.donor.course import Course
from innoclone.donor.plans import Plan
from innoclone.donor.stored import Stored
from innoclone.errors import Interrupted, SnapshotGone
from innoclone.records.limits import Limits
from innoclone.transport.failedlogins import FailedLogins
from innoclone.wire.descriptors import Locator, StageNumber

__all__ = ["Clones", "DonorOptions", "Services"]

log = logging.getLogger("innoclone.donor")
MOST_WAITING = 64  # clones whose recipients are gone and may come back
CLONES = 1 << 63


@dataclass(frozen=True)
class DonorOptions:
    """``reconnect_timeout``: minutes that a recipient may take to come back after a network error."""

    account: Account
    folder: Path  # for certificate and keys, which outlive the process
    bind_address: str = "127.0.0.1"
    port: int = 3307
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    require_secure_transport: bool = False
    max_connections: int = 512
    reconnect_timeout: int = 5


class Clones:
    """For use by many threads."""

    def __init__(self, stored: Stored, patience: float, on_completed: Callable[[Course, str], None]) -> None:
        """``patience``: seconds that a recipient may stay away; ``on_completed`` is told each clone and its
        recipient's host."""
        self._stored, self._patience, self._on_completed = stored, patience, on_completed
        self._plans: Mapping[StageNumber, Plan] = {
            StageNumber.FILE_COPY: stored.files, StageNumber.PAGE_COPY: stored.pages, StageNumber.REDO_COPY: stored.redo
        }  # fmt: skip
        self._lock = threading.Lock()
        self._courses: dict[int, Course] = {}
        self._hosts: dict[int, str] = {}  # of the clones' recipients

    @property
    def chunks(self) -> int:
        """The most that a stage has."""
        return max(plan.chunks for plan in self._plans.values())

    @property
    def hosts(self) -> set[str]:
        """That take clones."""
        with self._lock:
            return set(self._hosts.values())

    def begin(self, host: str, *, compared: bool = False) -> Course:
        """A new clone; ``compared`` as in `Course`."""
        self._stored.refuse_changed()
        with self._lock:
            number = secrets.randbelow(CLONES - 1) + 1
            course = Course(number, self._plans, self._patience, compared=compared)
            self._courses[number], self._hosts[number] = course, host
        return course

    def find(self, locator: Locator, *, revived_by: str | None = None) -> Course:
        """The clone that a recipient means. One that was begun by an earlier process of ours is taken up for a host
        that wants to go on with it, if the directory still is what it was then. Raises `SnapshotGone`."""
        if locator.snapshot_id != self._stored.fingerprint or not locator.clone_id:
            raise SnapshotGone("there is no such clone here, or the directory has changed since it was begun")
        with self._lock:
            course = self._courses.get(locator.clone_id)
            if course is None and revived_by is not None:
                course = Course(locator.clone_id, self._plans, self._patience)
                self._courses[locator.clone_id], self._hosts[locator.clone_id] = course, revived_by
        if course is None:
            raise SnapshotGone("there is no such clone any more")
        return course

    def completed(self, course: Course, host: str) -> None:
        """The master has sent all."""
        log.info("%s has its clone: %d bytes were sent", host, course.sent)
        self._on_completed(course, host)

    def drop(self, course: Course) -> None:
        """Forget a clone."""
        with self._lock:
            self._courses.pop(course.clone_id, None)
            self._hosts.pop(course.clone_id, None)

    @property
    def courses(self) -> list[Course]:
        """The clones that are known."""
        with self._lock:
            return list(self._courses.values())

    def tidy(self) -> None:
        """Forget clones that are over, and the longest left ones of too many whose recipients may come back."""
        courses = self.courses
        waiting = [course for course in courses if not course.tasks]
        for course in [one for one in courses if one.is_over] + waiting[: max(0, len(waiting) - MOST_WAITING)]:
            self.drop(course)

    def kill(self, number: int, host: str) -> None:
        """End the clone that a connection of the same host is the master of, or was: its user wished so."""
        with self._lock:
            found = [
                course for course in self._courses.values()
                if course.master == number and self._hosts.get(course.clone_id) == host
            ]  # fmt: skip
        for course in found:
            course.fail(Interrupted("the recipient's statement was killed"))
            course.break_off()
            self.drop(course)


@dataclass(frozen=True)
class Services:
    """What the connections share. ``block_time``: seconds that a host has to wait after too many failed logins."""

    stored: Stored
    options: DonorOptions
    credentials: AccountCredentials
    tls: ssl.SSLContext
    failed_logins: FailedLogins
    block_time: float
    limits: Limits
    clones: Clones
    began: float  # seconds since the epoch
