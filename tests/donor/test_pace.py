"""Limits of serve, against the limiter's own clock; and what a recipient hears while it waits."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from faults.proxy import Proxy
from innoclone.donor.sending import Sender, _Patience
from innoclone.records.limits import BURST, LONGEST_SLEEP, Limits
from innoclone.server.mysqld import Server
from innoclone.transport.endpoint import Compression
from innoclone.wire.descriptors import StageNumber
from receiving import receive_into
from serving import ALONE, assert_taken, endpoint, served, take

MIB = 1 << 20
SLACK = 256 << 10  # bytes that are no blocks: descriptors, logins


class Clock:
    """Time passes only while somebody waits for a limit."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("innoclone.records.limits.time", SimpleNamespace(monotonic=lambda: found.now))
    monkeypatch.setattr(_Patience, "wait", lambda _, seconds: found.wait(seconds))
    return found


def test_a_limit_of_file_bytes_holds(clock: Clock, small_clone: Path, tmp_path: Path) -> None:
    with served(small_clone, tmp_path, limits=Limits(data=2)) as donor:
        receive_into(tmp_path / "taken", endpoint(donor.port), threads=1)
        size = donor.source.size
        assert_taken(donor.source, tmp_path / "taken")
    assert size / (2 * MIB) - BURST <= clock.now < size / (2 * MIB) + LONGEST_SLEEP


def test_a_limit_of_reading_holds(clock: Clock, small_clone: Path, tmp_path: Path) -> None:
    """Of files: what is sent out of memory is not read."""
    with served(small_clone, tmp_path, reading=Limits(data=2)) as donor:
        receive_into(tmp_path / "taken", endpoint(donor.port), threads=1)
        assert_taken(donor.source, tmp_path / "taken")
        size = donor.source.size - donor.source.plans[StageNumber.PAGE_COPY].estimate
    assert size / (2 * MIB) - BURST <= clock.now < size / (2 * MIB) + LONGEST_SLEEP


@pytest.mark.parametrize("compression", [Compression(), Compression("zstd", 1)], ids=["plain", "zstd"])
def test_a_limit_of_the_network_holds(
    compression: Compression, clock: Clock, small_clone: Path, tmp_path: Path
) -> None:
    """By what goes over the wire; it bounds two recipients together."""
    with served(small_clone, tmp_path, limits=Limits(network=1)) as donor, Proxy(donor.port) as proxy:
        for number in range(2):
            receive_into(tmp_path / f"taken-{number}", endpoint(proxy.port), threads=1, compression=compression)
        wire = sum(count for (role, up), count in proxy.carried.items() if role == "master" and not up)
    assert wire > MIB
    assert (wire - 2 * SLACK) / MIB - 2 * BURST < clock.now < wire / MIB + 2 * LONGEST_SLEEP


def test_a_recipient_that_waits_hears_of_us(
    small_clone: Path, recipient: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between blocks that a limit holds back, and at the end of a stage until it is acknowledged: much more often than
    in a long quiet stretch of a real clone."""
    heard: list[object] = []
    speak = Sender._keep_alive

    def count(sender: Sender) -> None:
        heard.append(sender)
        speak(sender)

    monkeypatch.setattr(Sender, "_keep_alive", count)
    for room in ("course", "sending"):
        monkeypatch.setattr(f"innoclone.donor.{room}.KEEP_ALIVE", 0.005)
    with served(small_clone, tmp_path, limits=Limits(data=20)) as donor:
        take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
        assert_taken(donor.source, tmp_path / "taken")
    assert len(heard) > 5
