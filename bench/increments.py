"""Increments of `bench/donor`: an earlier clone is brought up to date over a network, from ``innoclone serve``.

The donor is the data of a server that is started, has pages changed at random, and is shut down; what it has then is
served. Over loopback, and (with root) over a link of our own with a rate. Beside it, over the same link: a scan of all
pages for newer LSNs (`bench.pagescan`), and rsync from its own daemon, if it is installed; each has a copy of its own.
All files are dropped from the page cache before.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.delay import HERE, NAMES, slow_line, unavailable
from bench.measure import prepare_files, run_measured
from bench.others import DISK_LIMIT, Others
from bench.servers import change_pages, fill_pages
from bench.serving import serving
from innoclone.files.system import differing
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, provide_programs
from innoclone.stream.pagecheck import find_tablespaces

__all__ = ["PARTS", "Link", "Row", "measure_increments"]

PAGE, BLOCK = 16384, 1 << 20
PAGE_SCAN = (sys.executable, "-m", "bench.pagescan")
PARTS = (0.0, 0.001, 0.01, 0.1)
# To reach with 1 % changed, of the full clone's time; and always, of the changed pages' and of the database's bytes.
TIME = {"loopback": 0.5, "shaped": 0.1}
WIRE, WIRE_BASE = 1.3, 0.001
COMPANY = 0.05  # part of all processors' time that others may have during one run that is published


@dataclass(frozen=True)
class Row:
    """One run: seconds, and bytes on the wire; how many pages of the donor differed from the earlier clone's."""

    program: str
    part: float
    pages: int
    seconds: float
    wire: int


@dataclass
class Link:
    """All runs over one network."""

    name: str
    size: int
    rows: list[Row] = field(default_factory=list)
    others: float = 0.0  # the most of the processors' time that others had during a run, as a part of it

    @property
    def table(self) -> list[list[str]]:
        """For people."""
        (full,) = (row.seconds for row in self.rows if row.program == "full clone")
        table = [[self.name, "changed", "s", "of full", "to reach", "MB on the wire", "to reach"]]
        for row in self.rows:
            ours = row.program == "innoclone"
            time_limit = TIME[self.name] if ours and row.part == 0.01 else None
            wire_limit = WIRE * row.pages * PAGE + WIRE_BASE * self.size if ours else None
            table.append([
                row.program, "" if row.program == "full clone" else f"{row.part:.1%}", f"{row.seconds:.2f}",
                f"{row.seconds / full:.2f}", _said(row.seconds / full, time_limit, 1),
                f"{row.wire / 1e6:.1f}", _said(row.wire, wire_limit, 1e6),
            ])  # fmt: skip
        return table


def _said(value: float, limit: float | None, unit: float) -> str:
    if limit is None:
        return ""
    return f"{'met' if value <= limit else 'NOT met'} (<= {limit / unit:.{1 if unit > 1 else 2}f})"


def measure_increments(
    work: Path, gib: float, rate: float, only: str | None, parts: Sequence[float], *, insist: bool
) -> list[Link]:
    """Over both links, or one; ``rate`` of the shaped one in Mbit/s; ``parts`` of the pages are changed, one by one."""
    programs = provide_programs(print)
    print(f"filling a donor, MySQL {programs.version}, with {gib:g} GiB", flush=True)
    fill_pages(programs, work / "source", gib)
    found: list[Link] = []
    for name in ("loopback", "shaped"):
        if only not in (None, name):
            continue
        if name == "shaped" and (reason := unavailable()):
            print(f"shaped: not available: {reason}")
            continue
        print(f"{name}" + (f", {rate:g} Mbit/s" if name == "shaped" else ""), flush=True)
        with _link(name, rate) as (prefix, host, device):
            found.append(_Increments(programs, work, name, prefix, host, device, insist).run(parts, len(found)))
    return found


def _differing_pages(source: Path, base: Path) -> int:
    """How many pages of all tablespaces are others, or not in the base."""
    found = 0
    buffers = [memoryview(bytearray(BLOCK)) for _ in range(2)]
    for name in find_tablespaces(source):
        there = base / name if (base / name).exists() else Path(os.devnull)
        with (source / name).open("rb", buffering=0) as one, there.open("rb", buffering=0) as other:
            while size := one.readinto(buffers[0]):
                views = buffers[0][:size], buffers[1][: other.readinto(buffers[1])]
                found += sum(-(-(end - start) // PAGE) for start, end in differing(*views, PAGE))
    return found


@contextmanager
def _link(name: str, rate: float) -> Iterator[tuple[Sequence[str], str, str]]:
    """Words before a command at the other end, this side's address there, and the device that counts bytes."""
    if name == "loopback":
        yield (), "127.0.0.1", "lo"
    else:
        with slow_line(0.0, rate * 1e6 / 8) as prefix:
            yield prefix, HERE, NAMES[0]


@dataclass
class _Increments:
    programs: Programs
    work: Path
    name: str
    prefix: Sequence[str]
    host: str
    device: str
    insist: bool
    most: float = 0.0  # part of the processors' time that others had
    password: str = field(default_factory=partial(secrets.token_urlsafe, 12))

    def run(self, parts: Sequence[float], seed: int) -> Link:
        """A base, a full clone, and one increment for each part; ``seed``: other pages for each link."""
        source, base, copy, scanned = (self.work / name for name in ("source", "base", "copy", "scanned"))
        size = sum((source / name).stat().st_size for name in find_tablespaces(source))
        link = Link(self.name, size)
        with serving(self._served, self.password) as there:
            run_measured(self._command(there.port, base), {"MYSQL_PWD": self.password})  # on this side of the link
            seconds, wire = self._timed(partial(self._clone, there.port, self.work / "full"), source)
            shutil.rmtree(self.work / "full")
        link.rows.append(Row("full clone", 1.0, size // PAGE, seconds, wire))
        has_rsync = shutil.which("rsync") is not None
        for directory in (scanned, copy) if has_rsync else (scanned,):
            shutil.copytree(source, directory)
        for part in parts:
            self._change(part, seed)
            pages = _differing_pages(source, base)
            with serving(self._served, self.password) as there:
                ours = partial(self._clone, there.port, base, "--incremental=require")
                seconds, wire = self._timed(ours, source, base)
            link.rows.append(Row("innoclone", part, pages, seconds, wire))
            with self._scanner(source) as port:
                seconds, wire = self._timed(partial(self._take_scan, port, scanned), source, scanned)
            if left := _differing_pages(source, scanned):
                raise SystemExit(f"the scan of pages left {left} others than the donor's")
            link.rows.append(Row("page scan", part, pages, seconds, wire))
            if has_rsync:
                with self._rsync_daemon(source) as port:
                    seconds, wire = self._timed(partial(self._rsync, port, copy), source, copy)
                link.rows.append(Row("rsync", part, pages, seconds, wire))
            print("  " + "; ".join(f"{row.program}, {part:.1%}: {row.seconds:.2f} s, {row.wire / 1e6:.1f} MB"
                                   for row in link.rows if row.part == part), flush=True)  # fmt: skip
        for directory in (base, copy, scanned):
            shutil.rmtree(directory, ignore_errors=True)
        link.others = self.most
        return link

    @property
    def _served(self) -> list[str]:
        return [f"--bind-address={self.host}", str(self.work / "source")]

    def _command(self, port: int, target: Path, *options: str) -> list[str]:
        dsn = f"mysql://{ACCOUNT}@{self.host}:{port}"
        return [sys.executable, "-m", "innoclone", "clone", "--no-defaults", dsn, str(target), *options]

    def _clone(self, port: int, target: Path, *options: str) -> None:
        run_measured([*self.prefix, *self._command(port, target, *options)], {"MYSQL_PWD": self.password})

    def _rsync(self, port: int, target: Path) -> None:
        command = ["rsync", "--archive", "--inplace", "--delete", f"rsync://{self.host}:{port}/source/", f"{target}/"]
        run_measured([*self.prefix, *command])

    def _take_scan(self, port: int, target: Path) -> None:
        run_measured([*self.prefix, *PAGE_SCAN, "take", self.host, str(port), str(target)])

    def _timed(self, run: partial[None], *directories: Path) -> tuple[float, int]:
        """Seconds and bytes. An increment can't be taken anew: little that others do is told, more ends it all."""
        prepare_files(*directories, warm=False)
        others, wire, begin = Others(), self._wire(), time.monotonic()
        run()
        took, sent = time.monotonic() - begin, self._wire() - wire
        work = others.work()
        self.most = max(self.most, work.cpu + work.steal)
        if self.insist and (self.most > COMPANY or work.disk > DISK_LIMIT):
            raise SystemExit(f"nothing is published: something else runs on the machine: {work}")
        return took, sent

    def _wire(self) -> int:
        """Bytes that went through the device; loopback's are received as they are sent."""
        counters = Path(f"/sys/class/net/{self.device}/statistics")
        kinds = ("tx",) if self.device == "lo" else ("tx", "rx")
        return sum(int((counters / f"{kind}_bytes").read_text()) for kind in kinds)

    def _change(self, part: float, seed: int) -> None:
        """Have a server change pages of the source; its own start and end change some, too."""
        server = Server.start(self.programs, self.work / "source", options=["--skip-log-bin"], timeout=120)
        try:
            with server.connect() as connection, connection.cursor() as cursor:
                change_pages(cursor, part, seed)
            server.stop(timeout=600)
        finally:
            server.kill()

    @contextmanager
    def _scanner(self, source: Path) -> Iterator[int]:
        command = [*PAGE_SCAN, "serve", self.host, str(source)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            try:
                assert child.stdout is not None
                yield int(child.stdout.readline())
            finally:
                child.terminate()

    @contextmanager
    def _rsync_daemon(self, source: Path) -> Iterator[int]:
        with socket.create_server((self.host, 0)) as found:
            port: int = found.getsockname()[1]
        settings = self.work / "rsyncd.conf"
        settings.write_text(f"use chroot = no\nuid = root\ngid = root\n[source]\npath = {source}\nread only = yes\n")
        daemon = subprocess.Popen([
            "rsync", "--daemon", "--no-detach", f"--config={settings}", f"--address={self.host}", f"--port={port}",
        ])  # fmt: skip
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                try:
                    socket.create_connection((self.host, port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            daemon.terminate()
            daemon.wait()
