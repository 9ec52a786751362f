"""What else runs on the machine, beside a benchmark and what it started.

Every process but the kernel's own threads and our tree (this process, its descendants) is somebody else's. Linux adds
the CPU time and the I/O of a child that was waited for to its parent's, so that what ends between two looks is in the
sum, too. Time that a hypervisor gave to other machines (steal, proc(5)) is somebody else's as well. Not seen: what runs
in the kernel for others alone (a RAID's rebuild), and processes of others that end without anybody to wait for them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["Company", "Others", "Work", "refuse_company", "undisturbed"]

T = TypeVar("T")

_TICKS = os.sysconf("SC_CLK_TCK")
_KERNEL = 2  # kthreadd, the parent of all of the kernel's threads
CPU_LIMIT = (
    0.02  # part of all processors' time that others may take while something is measured: what an idle system does
)
DISK_LIMIT = 1 << 20  # bytes a second that they may read and write
TRIES, PAUSE = 5, 10.0  # of a run that shall be undisturbed; seconds between two
FIRST_LOOK = 3.0  # seconds


class Company(SystemExit):
    """Others don't stop to disturb."""


@dataclass(frozen=True)
class Work:
    """What others did: CPU as a part of all processors' time, bytes a second from and to disks; who took most CPU."""

    cpu: float
    disk: float
    steal: float
    who: str

    @property
    def disturbs(self) -> bool:
        """Whether it was more than an idle system does."""
        return self.cpu + self.steal > CPU_LIMIT or self.disk > DISK_LIMIT

    def __str__(self) -> str:
        """For a message."""
        most = f", most of it {self.who}" if self.who and self.cpu > CPU_LIMIT / 4 else ""
        steal = f", {self.steal:.1%} stolen by the host" if self.steal > CPU_LIMIT / 4 else ""
        return f"{self.cpu:.1%} CPU, {self.disk / 2**20:.1f} MiB/s of disk{steal}{most}"


@dataclass(frozen=True)
class _Process:
    name: str
    parent: int
    begun: int  # ticks since the machine started: with the pid it is one process
    cpu: float
    children_cpu: float  # of those that ended and were waited for
    io: int  # with the children's


class Others:
    """Looks at what others do from its making on."""

    def __init__(self) -> None:
        self._begin, self._steal, self._before = time.monotonic(), _stolen(), _others()

    def work(self) -> Work:
        """What they did since."""
        now, seconds = _others(), time.monotonic() - self._begin
        alive: dict[str, float] = {}
        for key, process in now.items():
            spent = process.cpu - (self._before[key].cpu if key in self._before else 0.0)
            alive[process.name] = alive.get(process.name, 0.0) + spent
        # What a child had used is its parent's when it has ended: only the sum over all tells what came anew. Nobody
        # takes over from some that nobody waits for, so it is at least what the living ones used.
        all_cpu = sum(each.cpu + each.children_cpu for each in now.values())
        all_cpu -= sum(each.cpu + each.children_cpu for each in self._before.values())
        io = sum(each.io for each in now.values()) - sum(each.io for each in self._before.values())
        processors = os.cpu_count() or 1
        return Work(
            cpu=max(all_cpu, sum(alive.values())) / seconds / processors,
            disk=max(0, io) / seconds,
            steal=(_stolen() - self._steal) / seconds / processors,
            who=max(alive, key=lambda name: alive[name], default=""),
        )


def undisturbed(run: Callable[[], T], *, insist: bool) -> tuple[T, Work]:
    """What ``run`` returns, and what others did meanwhile.

    To ``insist`` is to have it run anew where they disturbed it, and to raise `Company` where they don't stop.
    """
    for _ in range(TRIES if insist else 1):
        others = Others()
        found, work = run(), others.work()
        if not (insist and work.disturbs):
            return found, work
        print(f"  again, since others had {work}", flush=True)
        time.sleep(PAUSE)
    raise Company(f"nothing is published: something else runs on the machine: {work}")


def refuse_company() -> None:
    """Raise SystemExit if others are at work now."""
    others = Others()
    time.sleep(FIRST_LOOK)
    if (work := others.work()).disturbs:
        raise SystemExit(f"nothing is measured to be published: something else runs on the machine: {work}")


def _others() -> dict[tuple[int, int], _Process]:
    """All of others' processes by pid and start."""
    found: dict[int, _Process] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            found[int(folder.name)] = _process(folder)
    ours = {os.getpid(), _KERNEL}
    while more := {pid for pid, process in found.items() if process.parent in ours} - ours:
        ours |= more
    return {(pid, process.begun): process for pid, process in found.items() if pid not in ours}


def _process(folder: Path) -> _Process:
    """proc(5): stat's fields 4, 14 to 17 and 22, and what went through to disks."""
    head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
    fields = tail.split()
    cpu, children = sum(map(int, fields[11:13])) / _TICKS, sum(map(int, fields[13:15])) / _TICKS
    io = 0
    with contextlib.suppress(OSError):  # another user's is told to root only
        io = sum(int(line.split()[1]) for line in (folder / "io").read_text().splitlines() if "_bytes" in line[:11])
    return _Process(head.partition("(")[2], int(fields[1]), int(fields[19]), cpu, children, io)


def _stolen() -> float:
    """Seconds that all processors were taken away from this machine (/proc/stat, field 8)."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICKS
