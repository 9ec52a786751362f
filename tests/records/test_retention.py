"""Which clones a policy keeps (innoclone.records.retention): its rules one by one, and what holds for all of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import UsageError
from innoclone.records.retention import Policy, Span, apply

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0

moments = st.lists(st.floats(NOW - 900 * DAY, NOW), max_size=60, unique=True)
policies = st.builds(
    Policy, *[st.integers(0, 12)] * 6, st.builds(Span, st.integers(0, 2), *[st.integers(0, 40)] * 3)
)  # fmt: skip


def kept(found: list[float], policy: Policy, now: float = NOW) -> set[float]:
    return {one.moment for one in apply(found, policy, now) if one.stays}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@given(moments)
def test_without_a_rule_all_stay(found: list[float]) -> None:
    assert kept(found, Policy()) == set(found)
    assert not Policy()
    assert not Policy(within=Span())


@given(moments, policies, policies)
def test_what_any_rule_keeps_is_kept(found: list[float], one: Policy, other: Policy) -> None:
    """The union of the rules, each by itself; more of a rule never keeps less."""
    rules = [
        Policy(last=one.last), Policy(hourly=one.hourly), Policy(daily=one.daily), Policy(weekly=one.weekly),
        Policy(monthly=one.monthly), Policy(yearly=one.yearly), Policy(within=one.within),
    ]  # fmt: skip
    if one:
        assert kept(found, one) == set().union(*(kept(found, rule) for rule in rules if rule))
    names = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    larger = Policy(*(max(getattr(one, name), getattr(other, name)) for name in names), within=one.within)
    if one:
        assert kept(found, one) <= kept(found, larger)


@given(moments, policies)
def test_the_newest_stays_and_order_does_not_matter(found: list[float], policy: Policy) -> None:
    if found:
        assert max(found) in kept(found, policy)
    assert kept(found, policy) == kept(sorted(found), policy) == kept(sorted(found, reverse=True), policy)
    assert [one.moment for one in apply(found, policy, NOW)] == found


@given(moments, st.integers(1, 12))
def test_last(found: list[float], count: int) -> None:
    """As the tool's --generations always did."""
    assert kept(found, Policy(last=count)) == set(sorted(found)[-count:])


PERIODS = {
    "hourly": "%Y-%m-%d %H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}


@given(moments, st.sampled_from(sorted(PERIODS)), st.integers(1, 12))
def test_the_newest_of_each_period(found: list[float], rule: str, count: int) -> None:
    """Of the last so many that have one; and, while there are fewer, the oldest of all."""
    newest: dict[str, float] = {}
    for moment in sorted(found):
        newest[time.strftime(PERIODS[rule], time.gmtime(moment))] = moment
    expected = set(sorted(newest.values())[-count:])
    if found and len(newest) < count:
        expected.add(min(found))
    assert kept(found, Policy(**{rule: count})) == expected


@given(moments, st.integers(1, 30), st.integers(0, 50))
def test_within(found: list[float], days: int, hours: int) -> None:
    """Reckoned from the newest, not from now: a series that isn't added to any more doesn't fade away."""
    policy = Policy(within=Span(days=days, hours=hours))
    start = max(found, default=0.0) - days * DAY - hours * HOUR
    for moment in found:
        if abs(moment - start) > 1e-3:
            assert (moment in kept(found, policy)) == (moment > start)
    assert kept(found, policy, NOW + 5000 * DAY) == kept(found, policy)


@given(moments, st.lists(st.floats(NOW + 1, NOW + 900 * DAY), max_size=4, unique=True), policies)
def test_a_clone_of_the_future_stays_and_counts_for_nothing(
    found: list[float], future: list[float], policy: Policy
) -> None:
    """A clock that was wrong for a night must not cost the good ones."""
    assert kept([*found, *future], policy) == kept(found, policy) | set(future)


def test_reasons() -> None:
    found = [at("2026-11-28T02:30"), at("2026-11-27T02:30"), at("2026-11-27T14:00"), at("2026-06-01T00:00")]
    verdicts = apply(found, Policy(last=1, daily=2, monthly=12), NOW)
    assert [one.reasons for one in verdicts] == [
        ("last", "daily", "monthly"), (), ("daily",), ("monthly",),
    ]  # fmt: skip
    assert apply(found[:2], Policy(weekly=3), NOW)[1].reasons == ("oldest weekly",)


def test_weeks_are_those_of_the_calendar() -> None:
    """2026-12-31 and 2027-01-01 are in one week, ISO 8601's 2026-W53."""
    found = [at("2026-12-31T00:00"), at("2027-01-01T00:00"), at("2027-01-04T00:00")]
    assert kept(found, Policy(weekly=2), at("2027-02-01T00:00")) == set(found[1:])


@pytest.mark.parametrize(
    ("span", "moment", "before"),
    [
        ("1m", "2027-03-31T02:30", "2027-02-28T02:30"),
        ("1y", "2028-02-29T00:00", "2027-02-28T00:00"),
        ("1y2m3d4h", "2027-03-31T04:30", "2026-01-28T00:30"),
        ("36h", "2026-03-01T06:00", "2026-02-27T18:00"),
        ("14m", "2026-02-10T00:00", "2024-12-10T00:00"),
    ],
)
def test_span(span: str, moment: str, before: str) -> None:
    assert Span.parse(span).before(at(moment)) == at(before)


def test_a_span_longer_than_the_calendar_keeps_all() -> None:
    for span in ("9999y", "99999m", "999999d", "9999999h"):
        assert Span.parse(span).before(NOW) < NOW - timedelta(days=300_000).total_seconds()


@pytest.mark.parametrize("text", ["", "7", "d", "1d2m", "-1d", "1.5d", "1w", "1d ", "1d1d", "99999999h"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        Span.parse(text)


def test_less_than_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="keep-daily must be 0 or more"):
        Policy(daily=-1)
    with pytest.raises(UsageError, match="generations must be 0 or more"):
        Policy(last=-1)
