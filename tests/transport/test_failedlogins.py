"""How often somebody may guess: who is counted as one, what is forgiven, and what a flood of guesses gets."""

from __future__ import annotations

import threading

import pytest

from innoclone.transport import failedlogins
from innoclone.transport.failedlogins import FailedLogins, LoginAttempt, peer_of


class Clock:
    """Stands still until it is told to go on."""

    now = 1000.0  # seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(failedlogins, "time", found)
    return found


def test_networks_of_ipv6_count_as_one() -> None:
    assert peer_of("2001:db8::1", None) == peer_of("2001:db8::ffff:2", None) != peer_of("2001:db8:0:1::1", None)
    assert peer_of("10.0.0.1", None) == "10.0.0.1"
    assert peer_of("localhost", 7) == "user id 7"


def test_only_as_many_undecided_as_failures_are_left() -> None:
    logins = FailedLogins(2, 60)
    first, second, third = (LoginAttempt(logins, "h") for _ in range(3))
    assert first.begin(0)
    assert second.begin(0)
    assert not third.begin(0.01)
    assert first.begin(0)  # the same one, its next packet
    first.succeeded("u")
    assert third.begin(0)
    assert not third.failed("u")
    assert second.failed("u")
    assert logins.is_blocked("h")
    assert logins.count == 2
    assert not third.failed("u")  # it was counted
    assert not LoginAttempt(logins, "h").begin(10)  # at once: nothing will change for the better


def test_a_host_name_is_itself() -> None:
    assert peer_of("db.example", None) == "db.example"


def fail(logins: FailedLogins, peer: str, user: str) -> bool:
    assert logins.begin(peer, 0)
    return logins.failed(peer, user)


def test_success_forgives_ones_own_failures_only() -> None:
    logins = FailedLogins(3, 60)
    fail(logins, "h", "u")
    fail(logins, "h", "other")
    assert logins.begin("h", 0)
    logins.succeeded("h", "u")
    assert not fail(logins, "h", "u")
    assert fail(logins, "h", "u"), "with the other user's it is the third"
    assert logins.is_blocked("h")
    assert not logins.is_blocked("another")
    assert logins.begin("another", 0)


def test_time_forgives(clock: Clock) -> None:
    """Counted from the last failure; who never comes back is forgotten with the next failure of anybody."""
    logins = FailedLogins(2, 60)
    assert not fail(logins, "h", "u")
    clock.now += 50
    assert fail(logins, "h", "u")
    clock.now += 60
    assert logins.is_blocked("h")
    clock.now += 1
    assert not logins.is_blocked("h")
    fail(logins, "gone", "u")
    clock.now += 61
    fail(logins, "h", "u")
    assert set(logins._failed) == set(logins._last) == {"h"}
    assert logins.count == 4


def test_who_waits_to_guess_may_once_another_is_decided() -> None:
    logins = FailedLogins(1, 60)
    first, second = LoginAttempt(logins, "h"), LoginAttempt(logins, "h")
    assert first.begin(0)
    began: list[bool] = []
    waiting = threading.Thread(target=lambda: began.append(second.begin(20)))
    waiting.start()
    first.succeeded("u")
    waiting.join(20)
    assert began == [True]
    second.succeeded("u")
    second.succeeded("u")  # decided already
    assert not LoginAttempt(logins, "h").failed("u"), "what did not begin costs nothing"
    assert logins.count == 0


def test_undecided_ones_count_each() -> None:
    logins = FailedLogins(2, 60)
    assert logins.begin("h", 0)
    assert logins.begin("h", 0)
    logins.succeeded("h", "u")
    assert logins.begin("h", 0)
    assert not logins.begin("h", 0)
