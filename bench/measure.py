"""What a run costs: time, CPU of donor and recipient, the recipient's memory, the donor's transactions meanwhile."""

from __future__ import annotations

import compileall
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import innoclone
from bench.others import Work
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server

__all__ = [
    "CommandFailed",
    "Cost",
    "Meter",
    "Sample",
    "compile_ours",
    "cpu_of",
    "forget_files",
    "peak_memory",
    "run_measured",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.02  # seconds between two looks at a child's peak memory


class CommandFailed(Exception):
    """A program of a run ended with an error."""


@dataclass(frozen=True)
class Sample:
    """One run. Seconds and bytes; None where there is no such side."""

    wall: float
    donor_cpu: float
    recipient_cpu: float | None
    machine_cpu: float
    """Everything that ran on the machine: kernel threads that write to disk and the load are in here alone."""
    memory: int | None
    disk: float | None
    """Part of the time that the disk was busy; None where the kernel doesn't say it of this file system."""
    tps: float
    size: int
    load_average: float
    others: Work | None = None
    """What else ran on the machine, from the preparation on."""


class Meter:
    """Measures one run at a time: make one, call `child`, `pipeline` or `server` inside `run`."""

    def __init__(self, donor: Server, load: Load) -> None:
        self.donor, self._load = donor, load
        self._children_cpu = 0.0
        self._children_memory = 0
        self._server: Server | None = None
        self._recipient = False

    def run(self, body: Callable[[], None], size: Callable[[], int]) -> Sample:
        """Run ``body``; ``size`` is asked afterwards how many bytes the result has."""
        if self._server is not None:
            _forget_peak(self._server.pid)
        load_average = os.getloadavg()[0]
        server_cpu = cpu_of(self._server.pid) if self._server else 0.0
        donor_cpu, machine_cpu, transactions = cpu_of(self.donor.pid), _machine_cpu(), self._load.transactions
        disk = _disk_time(self.donor.datadir)
        begin = time.monotonic()
        body()
        wall = time.monotonic() - begin
        busy = None if disk is None else min(1.0, ((_disk_time(self.donor.datadir) or 0.0) - disk) / wall)
        transactions = self._load.transactions - transactions
        machine_cpu, donor_cpu = _machine_cpu() - machine_cpu, cpu_of(self.donor.pid) - donor_cpu
        cpu, memory = self._children_cpu, self._children_memory
        if self._server is not None:
            cpu += cpu_of(self._server.pid) - server_cpu
            memory += _peak(self._server.pid)
        return Sample(
            wall=wall,
            donor_cpu=donor_cpu,
            recipient_cpu=cpu if self._recipient else None,
            machine_cpu=machine_cpu,
            memory=memory if self._recipient else None,
            disk=busy,
            tps=transactions / wall,
            size=size(),
            load_average=load_average,
        )

    def server(self, server: Server) -> None:
        """Say before `run` that this mysqld receives."""
        self._server, self._recipient = server, True

    def child(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Run a program on the recipient's side. Raises `CommandFailed`."""
        self.pipeline([command], environment)

    def pipeline(self, commands: Sequence[Sequence[str]], environment: dict[str, str] | None = None) -> None:
        """Run programs, each reading what the one before writes. Raises `CommandFailed`."""
        self._recipient = True
        children: list[subprocess.Popen[bytes]] = []
        for command in commands:
            last = len(children) == len(commands) - 1
            child = subprocess.Popen(
                command,
                stdin=children[-1].stdout if children else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | (environment or {}),
            )
            if children and children[-1].stdout:
                children[-1].stdout.close()  # else the writer would not notice that its reader is gone
            children.append(child)
        watchers = [_Watcher(child) for child in children]
        failures = [watcher.finish() for watcher in watchers]
        self._children_cpu += sum(watcher.cpu for watcher in watchers)
        self._children_memory += sum(watcher.memory for watcher in watchers)
        if any(failures):
            raise CommandFailed("; ".join(filter(None, failures)))


class _Watcher:
    """Waits for a child on a thread: its CPU time from wait4(2), its peak memory from /proc while it lives.

    wait4's ru_maxrss would not do: it starts with the memory of the process that forked.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.cpu, self.memory = 0.0, 0
        self._child = child
        self._complaints = b""
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._wait, self._read, self._look)]
        for thread in self._threads:
            thread.start()

    def _wait(self) -> None:
        _, status, usage = os.wait4(self._child.pid, 0)
        self._ended.set()
        self.cpu = usage.ru_utime + usage.ru_stime
        self._child.returncode = os.waitstatus_to_exitcode(status)

    def _read(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr as stream:
            self._complaints = stream.read()

    def _look(self) -> None:
        while not self._ended.wait(_POLL):
            self.memory = max(self.memory, _peak(self._child.pid))

    def finish(self) -> str:
        """What went wrong, or an empty string."""
        for thread in self._threads:
            thread.join()
        if self._child.returncode == 0:
            return ""
        last = self._complaints.decode(errors="replace").strip().splitlines()[-3:]
        return f"{Path(self._program()).name} ended with {self._child.returncode}: {' / '.join(last)}"

    def _program(self) -> str:
        """The program's name; the private MySQL's come behind a loader and its options."""
        arguments = [str(argument) for argument in self._child.args]  # type: ignore[union-attr]
        return arguments[3] if len(arguments) > 3 and arguments[1] == "--library-path" else arguments[0]


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds, CPU seconds, bytes, and what it wrote to stdout."""

    wall: float
    cpu: float
    memory: int
    output: str


def run_measured(command: Sequence[str], environment: dict[str, str] | None = None) -> Cost:
    """Run a command that says little. Raises `CommandFailed`."""
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
        )  # fmt: skip
        watcher = _Watcher(child)
        failure = watcher.finish()
        wall = time.monotonic() - begin
        if failure:
            raise CommandFailed(failure)
        output.seek(0)
        return Cost(wall, watcher.cpu, watcher.memory, output.read().decode())


def compile_ours() -> None:
    """Have innoclone's bytecode at hand, as an installed one has it, also where the environment writes none."""
    compileall.compile_dir(Path(innoclone.__file__).parent, quiet=1)


def forget_files(directories: Iterable[Path]) -> None:
    """Drop the files below ``directories`` from the page cache, as long as they are not being written to.

    Unlike /proc/sys/vm/drop_caches this needs no root and leaves the programs themselves, and everybody else's
    files, in memory.
    """
    for directory in directories:
        for path in directory.rglob("*"):
            if not path.is_file() or path.is_symlink():
                continue
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError:
                continue  # the server removed it meanwhile
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def cpu_of(pid: int) -> float:
    """User and system seconds of a process with its threads (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _machine_cpu() -> float:
    """Seconds that all processors were not idle: user, nice, system, irq, softirq of /proc/stat."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) / _TICKS


def _disk_time(path: Path) -> float | None:
    """Seconds that the disk below ``path`` had work since the machine started (iostats.txt, field 10), if known."""
    device = path.stat().st_dev
    try:
        fields = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    except OSError:
        return None  # tmpfs, overlayfs, btrfs
    return int(fields[9]) / 1000


def prepare_files(*directories: Path, warm: bool) -> None:
    """Sync everything, and drop the files below ``directories`` from the page cache, or read them into it."""
    os.sync()
    forget_files(directories)
    if warm:
        for path in (path for directory in directories for path in directory.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    while file.read(1 << 20):
                        pass
    time.sleep(0.5)


@contextmanager
def peak_memory(pid: int) -> Iterator[Callable[[], int]]:
    """Yields what tells, afterwards, how much memory a process had resident at most from now on, in bytes."""
    _forget_peak(pid)
    found = 0
    yield lambda: found
    found = _peak(pid)


def _peak(pid: int) -> int:
    """Peak resident memory of a process in bytes, 0 where it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _forget_peak(pid: int) -> None:
    """Let VmHWM begin anew at the present memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
