"""A network with a delay and a rate, for programs on this machine: a namespace that only a slow line leads to.

The line is a pair of tun devices with a process of ours between them, which holds every packet back for the delay,
sends no more than the rate, and drops what would wait longer than `QUEUE`. So TCP meets what it meets far away:
windows, slow starts, losses by a full queue. Unlike ``tc ... netem`` it needs no module of the kernel; both need root.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["HERE", "slow_line", "unavailable"]

HERE, THERE = "10.213.77.1", "10.213.77.2"  # this side's address, and the namespace's
MTU = 65520  # few big packets: the line shall cost the programs that are measured little CPU
QUEUE = 0.1  # seconds
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
NAMES = ("icbench0", "icbench1")
NAMESPACE = "icbench"


def unavailable() -> str:
    """Why there can be no slow line, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return ""


@contextmanager
def slow_line(delay: float, rate: float) -> Iterator[list[str]]:
    """Yields the words before a command that is to run at the line's other end; `HERE` is this side's address there.

    ``delay`` in seconds for each way, ``rate`` in bytes per second for each way.
    """
    _run("ip", "netns", "add", NAMESPACE)
    line = None
    try:
        line = subprocess.Popen([sys.executable, "-m", "bench.delay", str(delay), str(rate)], stdout=subprocess.PIPE)
        assert line.stdout is not None
        line.stdout.read(1)  # its devices are there
        _run("ip", "link", "set", NAMES[1], "netns", NAMESPACE)
        inside = ["ip", "netns", "exec", NAMESPACE]
        for prefix, name, mine, other in (([], NAMES[0], HERE, THERE), (inside, NAMES[1], THERE, HERE)):
            _run(*prefix, "ip", "address", "add", mine, "peer", other, "dev", name)
            _run(*prefix, "ip", "link", "set", name, "mtu", str(MTU), "up")
        yield inside
    finally:
        if line is not None:
            line.terminate()
            line.wait()
        _run("ip", "netns", "delete", NAMESPACE)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


class _Way:
    """One direction: packets wait for the time at which they come out."""

    def __init__(self, source: int, sink: int, delay: float, rate: float) -> None:
        self.source, self._sink, self._delay, self._rate = source, sink, delay, rate
        self._free = 0.0  # when the line has sent all that it was given
        self._waiting: deque[tuple[float, bytes]] = deque()

    def take(self, now: float) -> None:
        """Everything that has come in."""
        while True:
            try:
                packet = os.read(self.source, MTU)
            except BlockingIOError:
                return
            begin = max(now, self._free)
            if begin - now < QUEUE:
                self._free = begin + len(packet) / self._rate
                self._waiting.append((self._free + self._delay, packet))

    def give(self, now: float) -> float:
        """What is due goes out; returns how long the next packet has to wait."""
        while self._waiting and self._waiting[0][0] <= now:
            packet = self._waiting.popleft()[1]
            with suppress(OSError):  # lost: the device is not up yet, or its queue is full
                os.write(self._sink, packet)
        return self._waiting[0][0] - now if self._waiting else 1.0


def _device(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def _serve(delay: float, rate: float) -> None:
    """The process of the line."""
    here, there = map(_device, NAMES)
    ways = [_Way(here, there, delay, rate), _Way(there, here, delay, rate)]
    os.write(1, b"\n")
    wait = 1.0
    while True:
        ready, _, _ = select.select([here, there], [], [], max(0.0, wait))
        now = time.monotonic()
        for way in ways:
            if way.source in ready:
                way.take(now)
        wait = min(way.give(now) for way in ways)


if __name__ == "__main__":
    _serve(float(sys.argv[1]), float(sys.argv[2]))
