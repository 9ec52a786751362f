"""The donor: listens, lets recipients in, knows the clones that are under way."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import threading
import time

from innoclone.donor.account import AccountCredentials, Entrance
from innoclone.donor.answers import refusal
from innoclone.donor.channel import Channel
from innoclone.donor.clones import Clones, DonorOptions, Services
from innoclone.donor.conversation import Conversation
from innoclone.donor.course import Course
from innoclone.donor.offer import Given, Source
from innoclone.donor.reception import LOGIN_WITHIN
from innoclone.donor.takings import Taking
from innoclone.errors import Interrupted, NetworkError
from innoclone.files.system import file_error
from innoclone.records.keys import PasswordKey, own_certificate
from innoclone.records.limits import Limits
from innoclone.transport.failedlogins import FailedLogins, peer_of
from innoclone.transport.listening import Listener, server_context
from innoclone.wire.descriptors import StageNumber

__all__ = ["Donor", "DonorOptions", "Observer"]

log = logging.getLogger("innoclone.donor")
FAILED_LOGINS, BLOCK_TIME = 20, 60.0  # of one host in a row, and seconds that it has to wait then
REFUSE_WITHIN = 2.0  # seconds
END_WITHIN = 10.0  # seconds
LOOK = 0.05  # seconds
# Told as the donor's start, in seconds since the epoch. A recipient begins anew from a server that was restarted, which
# numbers its clones anew; a donor of ours goes on with those of an earlier process, and knows them by itself.
BEGAN = 0.0


class Observer:
    """What happens at a donor, for whoever wants to know; told from its threads. As it stands, nothing is done."""

    def next_number(self) -> int | None:
        """The id of one more connection; None: the donor counts."""
        return None

    def connected(self, conversation: Conversation) -> None:
        """There is one connection more."""

    def disconnected(self, conversation: Conversation) -> None:
        """It is gone."""

    def ended(self, taking: Taking) -> None:
        """A clone was taken, or came to another end."""


class Donor:
    """Serves one source."""

    def __init__(
        self, source: Source, options: DonorOptions, limits: Limits | None = None, reading: Limits | None = None,
        *, entrance: Entrance | None = None, observer: Observer | None = None,
    ) -> None:  # fmt: skip
        """Listen, though nobody is let in before `serve`. ``limits`` are of what is sent, ``reading`` is of what is
        read of files for that, of all recipients together; ``entrance``: by default that of the options' account.
        Raises `ConnectFailed`, `TlsFailed`, `FileError`."""
        self.source, self.options, self._observer = source, options, observer or Observer()
        self._services = Services(
            source=source, options=options, entrance=entrance or _own_entrance(options), limits=limits or Limits(),
            reading=reading or Limits(), clones=Clones(source, options, self._observer.ended), began=BEGAN,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._conversations: dict[int, Conversation] = {}
        self._numbers = itertools.count(1)
        host = options.bind_address if options.socket is None else None
        self._listener = Listener(host=host, port=options.port, path=options.socket, short=log.warning)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._listener.port

    @property
    def taken(self) -> list[Given]:
        """What recipients take, or may come back for the rest of."""
        return self._services.clones.taken

    @property
    def network(self) -> int:
        """Bytes sent for clones so far."""
        return self._services.clones.network

    @property
    def takings(self) -> list[Taking]:
        """Who takes a clone now, the oldest first."""
        return self._services.clones.takings

    def tidy(self) -> None:
        """To be called now and then: forgets clones whose recipients stayed away."""
        self._services.clones.tidy()

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

    def close(self) -> None:
        """Listen no more, where `serve` was never called."""
        self._listener.close()

    def _end(self) -> None:
        """Whoever takes a clone is told that it is over, unless he may come back, or may finish a clone that is; others
        have to go at once."""
        for course in self.courses:
            if course.stage is not StageNumber.DONE:
                if self.options.returns:
                    course.break_off()
                course.fail(Interrupted("the donor was stopped"))
        end = time.monotonic() + END_WITHIN
        self._services.clones.close()
        while left := self.conversations:
            late = time.monotonic() > end
            for conversation in left:
                if late or not conversation.in_clone:
                    conversation.shut()
            left[0].thread.join(END_WITHIN if late else LOOK)

    @property
    def courses(self) -> list[Course]:
        """The clones that are known."""
        return self._services.clones.courses

    @property
    def conversations(self) -> list[Conversation]:
        """The connections, oldest first."""
        with self._lock:
            return list(self._conversations.values())

    # ---- connections ---------------------------------------------------------------------------------------

    def _begin(self, channel: Channel) -> None:
        host = channel.peer_host
        if self._services.entrance.failed_logins.is_blocked(peer_of(host, None)):
            self._refuse(channel, refusal(1129, host))
            return
        if not self._make_room():
            prefix, most = self.options.prefix, self.options.max_connections
            log.warning("%sconnection from %s refused: there are %d", prefix, host, most)
            self._refuse(channel, refusal(1040))
            return
        number = self._observer.next_number() or next(self._numbers)
        with self._lock:
            conversation = Conversation(self._services, channel, number)
            name = f"innoclone-recipient-{conversation.number}"
            thread = threading.Thread(target=self._run, args=(conversation,), name=name, daemon=True)
            self._conversations[conversation.number], conversation.thread = conversation, thread
        self._observer.connected(conversation)
        try:
            thread.start()
        except RuntimeError:  # as many threads as there may be
            self._gone(conversation)
            channel.close()

    def _make_room(self) -> bool:
        """Whether there is room for one more; where there is none, the oldest that takes part in no clone has to go:
        first those that have not logged in, then those that do nothing, at last those of hosts that take no clone."""
        there = [conversation for conversation in self.conversations if not conversation.is_shut]
        taking = self._services.clones.hosts
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
            self._gone(conversation)

    def _gone(self, conversation: Conversation) -> None:
        with self._lock:
            self._conversations.pop(conversation.number, None)
        self._observer.disconnected(conversation)

    @staticmethod
    def _refuse(channel: Channel, packet: bytes) -> None:
        channel.set_timeout(REFUSE_WITHIN)
        with contextlib.suppress(NetworkError):
            channel.write([packet])
        channel.close()


def _own_entrance(options: DonorOptions) -> Entrance:
    """For the one account, with the keys in the folder, made where there are none; one process at a time does that."""
    folder, account = options.folder, options.account
    assert account is not None, "else somebody else says who is let in"
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
        guest = AccountCredentials(account, PasswordKey(folder))
        tls = server_context(certificate, key)
        return Entrance(lambda _: guest, tls, FailedLogins(FAILED_LOGINS, BLOCK_TIME), BLOCK_TIME)
    finally:
        os.close(lock)
