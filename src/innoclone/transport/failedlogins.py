"""How often somebody may guess a password.

A login counts from the moment on in which the client sends something that a password is compared with, however it
ends: refused, hung up on, or out of time. No more may be undecided than the peer has failures left, so that guesses
sent all at once are no more than guesses sent one after another.
"""

from __future__ import annotations

import ipaddress
import threading
import time

__all__ = ["FailedLogins", "LoginAttempt", "peer_of"]

NETWORK = 64  # bits of an IPv6 address that are one customer's (RFC 6177): the others are free for him to choose


def peer_of(host: str, uid: int | None) -> str:
    """Who is counted as one: an address, a network of IPv6, or a user on this host by the Unix socket."""
    if uid is not None:
        return f"user id {uid}"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, NETWORK), strict=False)) if address.version == 6 else host


class FailedLogins:
    """Peers that failed often are not let in for a while. A login that succeeds forgives what failed with its own user
    name, not what failed with others'."""

    def __init__(self, most: int, seconds: float) -> None:
        """``most`` failures, of which the last is no longer ago than ``seconds``."""
        self._most, self._seconds = most, seconds
        self._changed = threading.Condition()
        self.count = 0  # of all peers, since the agent was started
        self._failed: dict[str, dict[str, int]] = {}  # by peer and user
        self._last: dict[str, float] = {}  # when a peer failed last
        self._undecided: dict[str, int] = {}

    def is_blocked(self, peer: str) -> bool:
        """Whether ``peer`` has to wait for a while."""
        with self._changed:
            return self._failures(peer) >= self._most

    def begin(self, peer: str, timeout: float) -> bool:
        """One more guess, once it may be made. False if the peer is blocked, or it may not be made in ``timeout``
        seconds. What began ends with `failed` or `succeeded`."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_guess(peer) or self._failures(peer) >= self._most, timeout)
            if not self._may_guess(peer):
                return False
            self._undecided[peer] = self._undecided.get(peer, 0) + 1
            return True

    def failed(self, peer: str, user: str) -> bool:
        """It was wrong, or was given up. Whether the peer has to wait from now on."""
        with self._changed:
            now = time.monotonic()
            for other in [one for one, last in self._last.items() if now - last > self._seconds]:
                self._forget(other)
            self.count += 1
            users = self._failed.setdefault(peer, {})
            users[user] = users.get(user, 0) + 1
            self._last[peer] = now
            self._decided(peer)
            return self._failures(peer) == self._most

    def succeeded(self, peer: str, user: str) -> None:
        """It was right."""
        with self._changed:
            self._failed.get(peer, {}).pop(user, None)
            self._decided(peer)

    def _failures(self, peer: str) -> int:
        if peer in self._last and time.monotonic() - self._last[peer] > self._seconds:
            self._forget(peer)
        return sum(self._failed.get(peer, {}).values())

    def _may_guess(self, peer: str) -> bool:
        return self._failures(peer) + self._undecided.get(peer, 0) < self._most

    def _decided(self, peer: str) -> None:
        left = self._undecided.get(peer, 0) - 1
        if left > 0:
            self._undecided[peer] = left
        else:
            self._undecided.pop(peer, None)
        self._changed.notify_all()

    def _forget(self, peer: str) -> None:
        self._failed.pop(peer, None)
        self._last.pop(peer, None)


class LoginAttempt:
    """What one connection's login costs. `begin` may be called for each of its packets, only the first one counts."""

    def __init__(self, failed_logins: FailedLogins, peer: str) -> None:
        self._failed_logins, self._peer = failed_logins, peer
        self.has_begun = False

    def begin(self, timeout: float) -> bool:
        """Whether the client may guess; see `FailedLogins.begin`."""
        if not self.has_begun:
            self.has_begun = self._failed_logins.begin(self._peer, timeout)
        return self.has_begun

    def succeeded(self, user: str) -> None:
        """The login is done."""
        if self.has_begun:
            self.has_begun = False
            self._failed_logins.succeeded(self._peer, user)

    def failed(self, user: str) -> bool:
        """It ended in another way; whether the peer has to wait from now on."""
        began, self.has_begun = self.has_begun, False
        return began and self._failed_logins.failed(self._peer, user)
