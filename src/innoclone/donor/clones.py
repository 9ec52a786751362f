"""The clones that are under way, and what each connection needs to know of the donor."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from innoclone.donor.account import Account, Entrance
from innoclone.donor.course import Course
from innoclone.donor.offer import Given, Source, Wish
from innoclone.donor.takings import Recipient, Taking
from innoclone.errors import Interrupted, SnapshotGone
from innoclone.records.limits import Limits
from innoclone.wire.descriptors import Locator, StageNumber

__all__ = ["Clones", "DonorOptions", "Services"]

log = logging.getLogger("innoclone.donor")
MOST_WAITING = 64  # clones whose recipients are gone and may come back
CLONES = 1 << 63


@dataclass(frozen=True)
class DonorOptions:
    """``reconnect_timeout``: minutes that a recipient may take to come back after a network error. With a ``socket`` it
    listens there, and not on an address. ``name`` stands before what is logged; ``returns``: after the donor's end
    there will be another one, to which recipients come back."""

    account: Account | None  # None: who is let in is for others to say
    folder: Path  # for certificate and keys, which outlive the process
    bind_address: str = "127.0.0.1"
    port: int = 3307
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    require_secure_transport: bool = False
    max_connections: int = 512
    reconnect_timeout: int = 5
    socket: Path | None = None
    name: str = ""
    returns: bool = False

    @property
    def prefix(self) -> str:
        """Of lines of the log."""
        return f"{self.name}: " if self.name else ""


class Clones:
    """For use by many threads."""

    def __init__(self, source: Source, options: DonorOptions, on_ended: Callable[[Taking], None]) -> None:
        """``on_ended`` is told each clone that was taken or came to another end, once."""
        self._source, self._options, self._on_ended = source, options, on_ended
        self._lock = threading.Lock()
        self._courses: dict[int, Course] = {}
        self._network = 0  # bytes sent for clones that are no longer known

    @property
    def network(self) -> int:
        """Bytes sent for clones so far; it never falls."""
        with self._lock:
            return self._network + sum(course.network for course in self._courses.values())

    @property
    def hosts(self) -> set[str]:
        """That take clones."""
        return {course.recipient.host for course in self.courses}

    @property
    def takings(self) -> list[Taking]:
        """Who takes a clone, or may come back for the rest of it, the oldest first."""
        found = [course.taking() for course in self.courses if course.was_executed]
        return sorted((one for one in found if one.ended is None), key=lambda taking: taking.began)

    @property
    def taken(self) -> list[Given]:
        """What recipients take, or may come back for the rest of."""
        busy = (course for course in self.courses if course.tasks or course.stage is not StageNumber.DONE)
        return [course.given for course in busy]

    def begin(self, recipient: Recipient, wish: Wish, is_gone: Callable[[], bool], *, compared: bool = False) -> Course:
        """A new clone; ``compared`` as in `Course`. Waits until there is something to take, or until ``is_gone``."""

        def make(given: Given) -> Course:
            number = secrets.randbelow(CLONES - 1) + 1
            return Course(number, given, self._patience, recipient, compared=compared)

        course = self._source.begin(wish, make, is_gone)
        with self._lock:
            self._courses[course.clone_id] = course
        return course

    def adopt(self, clone_id: int, make: Callable[[], Given], recipient: Recipient) -> Course:
        """The clone that a server behind us knows by this id."""
        with self._lock:
            if clone_id not in self._courses:
                self._courses[clone_id] = Course(clone_id, make(), self._patience, recipient)
            return self._courses[clone_id]

    @property
    def _patience(self) -> float:
        return 60.0 * self._options.reconnect_timeout

    def find(self, locator: Locator, *, revived_by: Recipient | None = None) -> Course:
        """The clone that a recipient means. One that was begun by an earlier process of ours is taken up for one
        that wants to go on with it, if the directory still is what it was then. Raises `SnapshotGone`."""
        with self._lock:
            course = self._courses.get(locator.clone_id)
        given = course.given if course is not None else self._source.revive(locator.snapshot_id)
        if given is None or locator.snapshot_id != given.fingerprint or not locator.clone_id:
            raise SnapshotGone(
                "there is no such clone here any more: the directory has changed since it was begun, or the snapshot of"
                " a running server has ended"
            )
        with self._lock:
            course = self._courses.get(locator.clone_id)
            if course is None and revived_by is not None:
                course = Course(locator.clone_id, given, self._patience, revived_by)
                self._courses[locator.clone_id] = course
        if course is None:
            raise SnapshotGone("there is no such clone any more")
        return course

    def completed(self, course: Course) -> None:
        """The master has sent all."""
        host = course.recipient.host
        log.info("%s%s has its clone: %d bytes were sent", self._options.prefix, host, course.sent)
        self._tell(course)

    def _tell(self, course: Course) -> None:
        with self._lock:
            is_told, course.is_told = course.is_told or not course.was_executed, True
        if not is_told:
            self._on_ended(course.taking())

    def drop(self, course: Course) -> None:
        """Forget a clone."""
        course.is_dropped = True
        with self._lock:
            known = self._courses.pop(course.clone_id, None)
            self._network += 0 if known is None else known.network
        if not course.is_told:
            course.fail(Interrupted("the recipient did not come back"))  # unless it has failed or is done
        self._tell(course)

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

    def close(self) -> None:
        """Tell of those that will not be taken to their end here."""
        for course in self.courses:
            self._tell(course)

    def kill(self, number: int, host: str) -> None:
        """End the clone that a connection of the same host is the master of, or was: its user wished so."""
        with self._lock:
            found = [
                course for course in self._courses.values()
                if course.master == number and course.recipient.host == host
            ]  # fmt: skip
        for course in found:
            course.fail(Interrupted("the recipient's statement was killed"))
            course.break_off()
            self.drop(course)


@dataclass(frozen=True)
class Services:
    """What the connections share."""

    source: Source
    options: DonorOptions
    entrance: Entrance
    limits: Limits
    reading: Limits
    clones: Clones
    began: float  # seconds since the epoch
