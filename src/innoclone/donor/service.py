"""The donor: listens, lets recipients in, knows the clones that are under way."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from innoclone.donor.account import Account, AccountCredentials
from innoclone.donor.channel import Channel
from innoclone.donor.conversation import LOGIN_WITHIN, Conversation, refusal
from innoclone.donor.course import Course
from innoclone.donor.plans import Plan
from innoclone.donor.stored import Stored
from innoclone.errors import Interrupted, NetworkError, SnapshotGone
from innoclone.files.system import file_error
from innoclone.records.keys import PasswordKey, own_certificate
from innoclone.records.limits import Limits
from innoclone.transport.failedlogins import FailedLogins, peer_of
from innoclone.transport.listening import Listener, server_context
from innoclone.wire.descriptors import Locator, StageNumber

__all__ = ["Donor", "DonorOptions"]

log = logging.getLogger("innoclone.donor")
FAILED_LOGINS, BLOCK_TIME = 20, 60.0  # of one host in a row, and seconds that it has to wait then
REFUSE_WITHIN = 2.0  # seconds
END_WITHIN = 10.0  # seconds
LOOK = 0.05  # seconds
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


class Donor:
    """Serves one directory."""

    block_time = BLOCK_TIME

    def __init__(
        self, stored: Stored, options: DonorOptions, limits: Limits | None = None,
        *, on_completed: Callable[[Course, str], None] = lambda _course, _host: None,
    ) -> None:  # fmt: skip
        """Listen, though nobody is let in before `serve`; ``on_completed`` is told each clone and its recipient's
        host. Raises `ConnectFailed`, `TlsFailed`, `FileError`."""
        self.stored, self.options, self.limits = stored, options, limits or Limits()
        key, self.tls = _own_keys(options)
        self.credentials = AccountCredentials(options.account, key)
        self.failed_logins = FailedLogins(FAILED_LOGINS, BLOCK_TIME)
        self.plans: Mapping[StageNumber, Plan] = {
            StageNumber.FILE_COPY: stored.files, StageNumber.PAGE_COPY: stored.pages, StageNumber.REDO_COPY: stored.redo
        }  # fmt: skip
        self.chunks = max(plan.chunks for plan in self.plans.values())
        self._on_completed = on_completed
        self._lock = threading.Lock()
        self._courses: dict[int, Course] = {}
        self._hosts: dict[int, str] = {}  # of the clones' recipients
        self._conversations: dict[int, Conversation] = {}
        self._last = 0
        self._listener = Listener(host=options.bind_address, port=options.port, path=None, short=log.warning)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._listener.port

    # ---- life ----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Accept until `stop`; recipients of clones that are under way are told so then."""
        try:
            for sock in self._listener.accept():
                try:
                    channel = Channel(sock, most=0, timeout=LOGIN_WITHIN)
                    self._begin(channel)
                except OSError:  # gone before it began
                    sock.close()
        finally:
            self._listener.close()
            self._end()

    def stop(self) -> None:
        """Let `serve` end; from any thread, and from a signal handler."""
        self._listener.wake()

    def _end(self) -> None:
        """Whoever takes a clone is told that it is over, or may finish a clone that is; others have to go at once."""
        for course in self.courses:
            if course.stage is not StageNumber.DONE:
                course.fail(Interrupted("the donor was stopped"))
        end = time.monotonic() + END_WITHIN
        while left := self.conversations:
            late = time.monotonic() > end
            for conversation in left:
                if late or not conversation.in_clone:
                    conversation.shut()
            left[0].thread.join(END_WITHIN if late else LOOK)

    @property
    def conversations(self) -> list[Conversation]:
        """The connections, oldest first."""
        with self._lock:
            return list(self._conversations.values())

    # ---- connections ---------------------------------------------------------------------------------------

    def _begin(self, channel: Channel) -> None:
        host = channel.peer_host
        if self.failed_logins.is_blocked(peer_of(host, None)):
            self._refuse(channel, refusal(1129, host))
            return
        if not self._make_room():
            log.warning("connection from %s refused: there are %d", host, self.options.max_connections)
            self._refuse(channel, refusal(1040))
            return
        with self._lock:
            self._last += 1
            conversation = Conversation(self, channel, self._last)
            name = f"innoclone-recipient-{conversation.number}"
            thread = threading.Thread(target=self._run, args=(conversation,), name=name, daemon=True)
            self._conversations[conversation.number], conversation.thread = conversation, thread
        thread.start()

    def _make_room(self) -> bool:
        """Whether there is room for one more; where there is none, the oldest that takes part in no clone has to go:
        first those that have not logged in, then those that do nothing, at last those of hosts that take no clone."""
        there = [conversation for conversation in self.conversations if not conversation.is_shut]
        with self._lock:
            taking = set(self._hosts.values())
        if len(there) < self.options.max_connections:
            return True
        kinds = (
            [one for one in there if not one.logged_in],
            [one for one in there if one.logged_in and not one.in_clone],
            [one for one in there if one.in_clone and one.course is None and one.host not in taking],
        )
        victim = next((kind[0] for kind in kinds if kind), None)
        if victim is None:
            return False
        victim.shut()
        return True

    def _run(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        except Exception:
            log.exception("connection %d: unexpected", conversation.number)
        finally:
            with self._lock:
                self._conversations.pop(conversation.number, None)

    @staticmethod
    def _refuse(channel: Channel, packet: bytes) -> None:
        channel.set_timeout(REFUSE_WITHIN)
        with contextlib.suppress(NetworkError):
            channel.write([packet])
        channel.close()

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

    # ---- clones --------------------------------------------------------------------------------------------

    def begin(self, host: str) -> Course:
        """A new clone."""
        self.stored.refuse_changed()
        with self._lock:
            number = secrets.randbelow(CLONES - 1) + 1
            course = Course(number, self.plans, 60.0 * self.options.reconnect_timeout)
            self._courses[number], self._hosts[number] = course, host
        return course

    def find(self, locator: Locator, *, revived_by: str | None = None) -> Course:
        """The clone that a recipient means. One that was begun by an earlier process of ours is taken up for a host
        that wants to go on with it, if the directory still is what it was then. Raises `SnapshotGone`."""
        if locator.snapshot_id != self.stored.fingerprint or not locator.clone_id:
            raise SnapshotGone("there is no such clone here, or the directory has changed since it was begun")
        with self._lock:
            course = self._courses.get(locator.clone_id)
            if course is None and revived_by is not None:
                course = Course(locator.clone_id, self.plans, 60.0 * self.options.reconnect_timeout)
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


def _own_keys(options: DonorOptions) -> tuple[PasswordKey, ssl.SSLContext]:
    """The keys in the folder, made where there are none; one process at a time does that."""
    folder = options.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error(error, f"can't use {folder}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        certificate, key = options.ssl_cert, options.ssl_key
        if certificate is None or key is None:
            certificate, key = own_certificate(folder, "innoclone donor")
        return PasswordKey(folder), server_context(certificate, key)
    finally:
        os.close(lock)
