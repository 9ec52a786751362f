"""The donor fails: it dies, hangs, is restarted, ends the clone's session, gives the snapshot to another clone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql

from clones import rows
from faults.attempt import Attempt, Broken
from faults.kills import SIZE, allocated
from faults.rounds import STALL, Round, Scenario
from faults.world import SmallDonor, World
from innoclone.errors import (
    CloneRunning,
    ConnectFailed,
    DonorError,
    NetworkError,
    NotMySQL,
    PluginMissing,
    SnapshotGone,
)

__all__ = ["Donors"]

MIB = 1 << 20
RATES = (30, 50)  # MiB/s: a clone lasts some seconds
GONE = {NetworkError, ConnectFailed, NotMySQL, DonorError, CloneRunning, SnapshotGone}
WAIT = "clone_donor_timeout_after_network_failure"
LONG = 65.0  # seconds: a donor's connection that can't be written to ends after 60


class Donors(Scenario):
    """``kinds`` say what happens to the donor."""

    name = "donor"
    kinds = (
        "killed", "shut down", "gone", "hangs shortly", "hangs", "session killed", "plugin in use",
        "plugin uninstalled", "displaced", "expired", "link down shortly", "link down",
    )  # fmt: skip

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._link = Link() if not unable() else None

    @property
    def donor(self) -> SmallDonor:
        """One that can be reached over the link too."""
        if self._donor is None:
            self._donor = self.world.donor("--bind-address=*")
        return self._donor

    def missing(self, kind: str) -> str:
        """Only root can make a network."""
        return unable() if kind.startswith("link") else ""

    def close(self) -> None:
        """Take the link down."""
        if self._link is not None:
            self._link.close()

    def play(self, round_: Round, kind: str) -> None:
        """One fault, then until it is done."""
        with contextlib.ExitStack() as stack:
            if kind in ("expired", "plugin uninstalled") or (kind == "link down" and round_.dice.random() < 0.5):
                stack.enter_context(self._impatient())
            if kind in ("hangs shortly", "session killed", "displaced", "expired", "link down shortly", "link down"):
                stack.enter_context(round_.perhaps_loaded(0.3))
            steps = {
                "killed": self._killed, "shut down": self._killed, "gone": self._gone, "hangs": self._hangs,
                "hangs shortly": self._hangs, "session killed": self._session_killed,
                "plugin in use": self._plugin_in_use, "plugin uninstalled": self._plugin_uninstalled,
                "displaced": self._displaced, "expired": self._expired, "link down": self._link_down,
                "link down shortly": self._link_down,
            }  # fmt: skip
            steps[kind](round_, kind)
            round_.complete()
        round_.assert_exact()

    # ---- what happens --------------------------------------------------------------------------------------

    def _killed(self, round_: Round, kind: str) -> None:
        """It ends, in one way or the other, and comes back."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            self._end_donor(kind)
            time.sleep(round_.dice.uniform(0, 1))
            self.donor.restart()
            self._failed_or_done(round_, attempt)

    def _gone(self, round_: Round, kind: str) -> None:
        """It stays away for longer than the run tries."""
        with self._start(round_, f"--retry-for={round_.dice.choice([0, 2])}") as attempt:
            self._await_copying(round_, attempt)
            self._end_donor(kind)
            self._failed_or_done(round_, attempt)
        if not round_.is_complete():
            with round_.start([*round_.options()[:2], "--retry-for=0"]) as attempt:
                round_.end(attempt, {ConnectFailed})
        self.donor.restart()

    def _hangs(self, round_: Round, kind: str) -> None:
        """It is stopped for less or more than the stall time."""
        shortly = kind == "hangs shortly"
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            os.kill(self.donor.server.pid, signal.SIGSTOP)
            try:
                time.sleep(STALL / 4 if shortly else STALL + 1)
            finally:
                os.kill(self.donor.server.pid, signal.SIGCONT)
            if shortly:
                round_.end(attempt, set())
            else:
                self._failed_or_done(round_, attempt)

    def _session_killed(self, round_: Round, kind: str) -> None:
        """KILL of its connections ends the clone for good, so a new one begins."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            round_.counts["sessions killed"] += self.donor.kill_clones()
            self._failed_or_done(round_, attempt)

    def _plugin_in_use(self, round_: Round, kind: str) -> None:
        """MySQL refuses to unload it, and nothing comes of it."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            try:
                rows(self.donor.server, "UNINSTALL PLUGIN clone")
            except pymysql.err.OperationalError as error:
                round_.counts[f"UNINSTALL PLUGIN: {error.args[0]}"] += 1
            else:  # it was between two connections
                round_.counts["UNINSTALL PLUGIN: done"] += 1
                self._install()
            self._failed_or_done(round_, attempt)

    def _plugin_uninstalled(self, round_: Round, kind: str) -> None:
        """It is unloaded while nobody clones: with an impatient donor, at once after a failure."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            attempt.signal(signal.SIGKILL)
            round_.end(attempt)
        deadline = time.monotonic() + 60
        while True:  # the donor notices at its next write that nobody listens
            try:
                rows(self.donor.server, "UNINSTALL PLUGIN clone")
                break
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        try:
            if not round_.is_complete():
                with round_.start(["--retry-for=0"]) as attempt:
                    if round_.end(attempt, {PluginMissing}).status == 0:
                        raise Broken("a clone without the plugin")
                round_.assert_refused()
        finally:
            self._install()

    def _displaced(self, round_: Round, kind: str) -> None:
        """Another clone takes the donor while ours has lost it."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            attempt.signal(signal.SIGKILL)
            round_.end(attempt)
        spare = round_.folder / "spare"
        with round_.start(["--no-fsync"], target=spare) as attempt:
            if attempt.end(60).status:
                raise Broken("another clone could not displace the idle one")
        round_.counts["began anew: as it must"] += self._says_why(round_)

    def _expired(self, round_: Round, kind: str) -> None:
        """The donor does not wait, or not long enough."""
        with self._start(round_, "--retry-for=0") as attempt:
            self._await_copying(round_, attempt)
            attempt.signal(signal.SIGKILL)
            round_.end(attempt)
        round_.counts["began anew: as it must"] += self._says_why(round_)

    def _link_down(self, round_: Round, kind: str) -> None:
        """The clone runs in a network of its own, whose link is cut."""
        assert self._link is not None
        shortly, long = kind.endswith("shortly"), round_.dice.random() < 0.15
        seconds = 1.5 if shortly else LONG if long else STALL + 2
        dsn = self.donor.dsn(host=self._link.address)
        options = [*round_.options(rates=RATES), *round_.compression(), f"--retry-for={round_.dice.choice([0, 20])}"]
        with round_.start(options, dsn=dsn, before=self._link.inside) as attempt:
            self._await_copying(round_, attempt)
            with self._link.down():
                time.sleep(seconds)
            if shortly:
                round_.end(attempt, set())
            else:
                self._failed_or_done(round_, attempt)

    # ---- steps ---------------------------------------------------------------------------------------------

    def _start(self, round_: Round, *options: str) -> Attempt:
        return round_.start([*round_.options(rates=RATES), *round_.compression(), *options])

    def _await_copying(self, round_: Round, attempt: Attempt) -> None:
        """Until a random number of bytes was copied."""
        wanted = round_.dice.randrange(MIB, SIZE)
        attempt.wait(lambda: allocated(round_.target) >= wanted)

    def _failed_or_done(self, round_: Round, attempt: Attempt) -> None:
        if round_.end(attempt, GONE).status:
            round_.assert_refused()

    def _says_why(self, round_: Round) -> bool:
        """Run the command again; it must not begin anew silently. Whether it did begin anew."""
        if round_.is_complete():
            return False
        with round_.start(["--retry-for=0"]) as attempt:
            ended = round_.end(attempt, {CloneRunning, SnapshotGone})
        done = any("can't be continued" in note for note in ended.notes)
        went_on = any("going on with the clone" in note for note in ended.notes)
        if ended.status == 0 and not done and not went_on:
            raise Broken("it began anew and did not say so")
        return done

    def _end_donor(self, kind: str) -> None:
        if kind == "shut down":
            os.kill(self.donor.server.pid, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while self.donor.server.running() and time.monotonic() < deadline:
                time.sleep(0.05)
        self.donor.server.kill(keep_log=True)

    def _install(self) -> None:
        if not rows(self.donor.server, "SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'clone'"):
            rows(self.donor.server, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")

    @contextlib.contextmanager
    def _impatient(self) -> Iterator[None]:
        """The donor gives a clone up as soon as its connection is lost."""
        rows(self.donor.server, f"SET GLOBAL {WAIT} = 0")
        try:
            yield
        finally:
            self._install()  # the variable is the plugin's
            rows(self.donor.server, f"SET GLOBAL {WAIT} = DEFAULT")


def unable() -> str:
    """Why no network can be made here; empty if one can."""
    return "" if os.geteuid() == 0 and Path("/usr/sbin/ip").exists() else "needs root and iproute2"


class Link:
    """A network namespace that reaches this machine over a pair of virtual interfaces."""

    def __init__(self) -> None:
        number = os.getpid() % 250 + 1
        self._name, self._here, self._there = f"innoclone{number}", f"inno{number}a", f"inno{number}b"
        self.address = f"10.213.{number}.1"
        self.inside = ["ip", "netns", "exec", self._name]
        ip("netns", "add", self._name)
        ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self._name)
        ip("address", "add", f"{self.address}/30", "dev", self._here)
        ip("-n", self._name, "address", "add", f"10.213.{number}.2/30", "dev", self._there)
        ip("link", "set", self._here, "up")
        ip("-n", self._name, "link", "set", self._there, "up")
        ip("-n", self._name, "link", "set", "lo", "up")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """No packet passes meanwhile."""
        ip("link", "set", self._here, "down")
        try:
            yield
        finally:
            ip("link", "set", self._here, "up")

    def close(self) -> None:
        """Remove both."""
        ip("netns", "delete", self._name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)
