"""Reads every page of a clone directory and says what is damaged; reads the redo log the way recovery would.

The directory must be at rest: a running server, or a clone that isn't finished, has torn pages by right. Files are
read in parallel, in spans that threads take from a common queue, so that one big file keeps all of them busy. What
a page must look like is `innoclone.innodb.page`'s knowledge, the log's is `innoclone.innodb.redo`'s.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from innoclone.errors import FileError, Interrupted
from innoclone.files.blocks import Blocks
from innoclone.files.copying import BLOCK, Reader
from innoclone.innodb import redo
from innoclone.innodb.page import BadPage, PageChecker
from innoclone.innodb.redo import LogEnd, RedoFile, RedoHeader
from innoclone.innodb.space import KIB, MIB, SYSTEM_SPACE, SpaceFlags, SpaceHeader
from innoclone.stream.pagekeys import Masters, give_keys, redo_decryption

SPAN_SIZE = 32 * MIB
"""What a thread takes at a time."""
LISTED = 100
"""Bad pages that are kept of one file; beyond that they are only counted."""

_TABLESPACE = re.compile(r".+\.ib[du]|ibdata\d*|undo_\d+")
_REDO_FILE = re.compile(r"#ib_redo(\d+)")
_REDO_DIRECTORY = "#innodb_redo"


class ExpectedFile(NamedTuple):
    """A tablespace file that the directory must have.

    ``name`` is relative to the directory (an absolute one is taken as it is), ``flags`` is the raw word,
    ``size`` the least size in bytes or None. The files of the system tablespace come in the server's order.
    """

    name: str
    space_id: int
    flags: int
    size: int | None = None


@dataclass(slots=True)
class FileReport:
    """What was found in one file. ``bad`` holds the first `LISTED` bad pages, ``bad_count`` counts all of them."""

    name: str
    size: int = 0
    pages: int = 0
    not_verifiable: int = 0
    encrypted: int = 0  # of those
    bad: list[BadPage] = field(default_factory=list)
    bad_count: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with the file; pages that can't be verified are not held against it."""
        return not self.bad_count and not self.problems


@dataclass(frozen=True, slots=True)
class PageReport:
    """What was found in a directory. ``extra`` names tablespace files that nobody expects there."""

    files: tuple[FileReport, ...]
    extra: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every expected file is there and whole, and no other."""
        return not self.extra and all(file.is_sound for file in self.files)

    @property
    def pages(self) -> int:
        """Pages read."""
        return sum(file.pages for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def bad_count(self) -> int:
        """Bad pages."""
        return sum(file.bad_count for file in self.files)

    @property
    def not_verifiable(self) -> int:
        """Pages that only page number and space id could be checked of: encrypted, lz4, no checksum."""
        return sum(file.not_verifiable for file in self.files)

    @property
    def encrypted(self) -> int:
        """Those of them that are encrypted."""
        return sum(file.encrypted for file in self.files)

    def problems(self) -> Iterator[str]:
        """One line for each thing that is wrong, naming file and page."""
        for file in self.files:
            yield from (f"{file.name}: {problem}" for problem in file.problems)
            yield from (f"{file.name}: page {page.number} is {page.verdict.value}" for page in file.bad)
            if file.bad_count > len(file.bad):
                yield f"{file.name}: {file.bad_count - len(file.bad)} more bad pages"
        yield from (f"{name}: not part of the clone" for name in self.extra)


def check_files(
    directory: Path,
    files: Sequence[ExpectedFile] | None = None,
    *,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
    cancel: threading.Event | None = None,
    masters: Masters | None = None,
) -> PageReport:
    """Check every page of the tablespace files ``files``, or, without such a list, of those found in ``directory``.

    Encrypted pages are decrypted first if the keyring's ``masters`` are there.
    ``progress`` is called with the number of bytes read since the last call, from any of the threads. Memory is
    ``threads`` times `BLOCK`. Raises `Interrupted` soon after ``cancel`` was set; whatever is wrong with a file
    is in the report, not an error.
    """
    plans, extra = plan_files(directory, files)
    if masters is not None:
        give_keys(plans, masters)
    stop = cancel or threading.Event()
    spans = _spans(plans)
    lock = threading.Lock()

    def work() -> None:
        blocks = Blocks()
        while True:
            with lock:
                span = next(spans, None)
            if span is None:
                return
            _check_span(*span, blocks, lock, stop, progress)

    with ThreadPoolExecutor(threads, "pagecheck") as pool:
        try:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
        except BaseException:  # Ctrl-C above all: the other threads shall not read on to the end
            stop.set()
            raise
    if stop.is_set():
        raise Interrupted("the check of the pages was interrupted")
    for plan in plans:
        plan.report.bad.sort()
        del plan.report.bad[LISTED:]
    return PageReport(tuple(plan.report for plan in plans), tuple(extra))


def plan_files(directory: Path, files: Sequence[ExpectedFile] | None) -> tuple[list[Plan], list[str]]:
    """How to check each of ``files``, or of those found in ``directory``; and the names of tablespaces that nobody
    expects there. What is wrong with a file at first sight (missing, too short, not to be read) is in its report."""
    found = find_tablespaces(directory)
    if files is None:
        plans, extra = _plan_found(directory, found), []
    else:
        plans = _plan_expected(directory, files)
        names = {file.name for file in files}
        extra = [name for name in found if name not in names]
    _report_twins(plans)
    return plans, extra


def find_tablespaces(directory: Path) -> list[str]:
    """The names, relative to ``directory``, of the tablespace files in it, as MySQL names them by default.

    Directories whose name starts with ``#`` are the server's own (redo log, temporary tablespaces); a schema of
    such a name is written ``@0023``.
    """
    names = []
    for parent, children, files in os.walk(directory, onerror=_unreadable):
        children[:] = sorted(name for name in children if not name.startswith("#"))
        here = Path(parent).relative_to(directory)
        names += [str(here / name) for name in files if _TABLESPACE.fullmatch(name)]
    return sorted(names, key=_by_number)


def _unreadable(error: OSError) -> None:
    raise FileError(f"can't read {error.filename}: {error.strerror}") from error


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sort key: digits count as numbers, so that ibdata10 comes after ibdata9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]


@dataclass(slots=True)
class Plan:
    """How to check one file. Without a checker only its problems are reported."""

    path: Path
    report: FileReport
    space_id: int = SYSTEM_SPACE
    checker: PageChecker | None = None
    first_page: int = 0

    def problem(self, text: str) -> None:
        """Something is wrong with the file."""
        self.report.problems.append(text)


def _plan_expected(directory: Path, files: Iterable[ExpectedFile]) -> list[Plan]:
    plans = []
    system_pages = 0
    for file in files:
        plan = Plan(directory / file.name, FileReport(file.name), file.space_id)
        plans.append(plan)
        try:
            plan.report.size = plan.path.stat().st_size
            plan.checker = PageChecker(SpaceFlags(file.flags), file.space_id)
        except FileNotFoundError:
            plan.report.problems.append("missing")
            continue
        except (OSError, ValueError) as error:
            plan.report.problems.append(str(error))
            continue
        if file.size is not None and plan.report.size < file.size:
            plan.report.problems.append(f"truncated: {plan.report.size} bytes instead of {file.size}")
        if file.space_id == SYSTEM_SPACE:
            plan.first_page = system_pages
            system_pages += plan.report.size // plan.checker.page_size
    return plans


def _plan_found(directory: Path, names: Iterable[str]) -> list[Plan]:
    """Learn from each file's page 0 what it is. Only the first file of the system tablespace has such a page."""
    plans = []
    system: SpaceFlags | None = None
    system_pages = 0
    for name in names:
        plan = Plan(directory / name, FileReport(name))
        plans.append(plan)
        is_system = Path(name).name.startswith("ibdata")
        try:
            with plan.path.open("rb") as file:
                head = file.read(SpaceHeader.LAYOUT.size)
                plan.report.size = os.fstat(file.fileno()).st_size
            if is_system and system is not None:
                plan.checker = PageChecker(system, SYSTEM_SPACE)
            else:
                if len(head) < SpaceHeader.LAYOUT.size or not any(head):
                    raise ValueError("page 0 is empty")
                header = SpaceHeader.parse(head)
                flags = SpaceFlags(header.flags)
                plan.space_id = header.space_id
                plan.checker = PageChecker(flags, header.space_id)
                system = flags if is_system else system
        except (OSError, ValueError) as error:
            plan.report.problems.append(str(error))
            continue
        if is_system:
            plan.first_page = system_pages
            system_pages += plan.report.size // plan.checker.page_size
    return plans


def _report_twins(plans: Iterable[Plan]) -> None:
    """Two files with one space id keep a server from starting."""
    users = [plan for plan in plans if plan.checker is not None and plan.space_id != SYSTEM_SPACE]
    count = Counter(plan.space_id for plan in users)
    for plan in users:
        if count[plan.space_id] > 1:
            plan.report.problems.append(f"another file has the same space id {plan.space_id}")


def _spans(plans: Iterable[Plan]) -> Iterator[tuple[Plan, PageChecker, int]]:
    for plan in plans:
        if plan.checker is not None:
            for offset in range(0, plan.report.size, SPAN_SIZE):
                yield plan, plan.checker, offset


def _check_span(
    plan: Plan,
    checker: PageChecker,
    start: int,
    blocks: Blocks,
    lock: threading.Lock,
    stop: threading.Event,
    progress: Callable[[int], None] | None,
) -> None:
    """Check the pages of one span and add what was found to the file's report."""
    report = plan.report
    end = min(start + SPAN_SIZE, report.size)
    try:
        with plan.path.open("rb", buffering=0) as file, Reader(file.fileno(), blocks.memory) as reader:
            for offset in range(start, end, BLOCK):
                if stop.is_set():
                    return
                wanted = min(BLOCK, end - offset)
                first = plan.first_page + offset // checker.page_size
                data, unusual, _ = blocks.read(reader, offset, wanted, pages=checker.pages, first_page=first)
                if len(data) < wanted:
                    raise OSError(errno.EIO, "the file shrank while it was read")
                found = checker.check(data, first, unusual)
                with lock:
                    report.pages += len(data) // checker.page_size
                    report.not_verifiable += found.not_verifiable
                    report.encrypted += found.encrypted
                    report.bad_count += len(found.bad)
                    _keep(report.bad, found.bad)
                if progress:
                    progress(len(data))
    except OSError as error:
        with lock:
            report.problems.append(f"can't read from byte {start} on: {error.strerror}")


def _keep(bad: list[BadPage], more: list[BadPage]) -> None:
    """Keep the lowest-numbered bad pages, in bounded memory, whatever order the threads find them in."""
    bad += more
    if len(bad) > 2 * LISTED:
        bad.sort()
        del bad[LISTED:]


def _read(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` from ``offset`` on; returns the bytes read, fewer only at the end of the file."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


@dataclass(frozen=True, slots=True)
class RedoReport:
    """What was found in the redo log: recovery would apply ``checkpoint_lsn`` up to ``end_lsn``."""

    files: int
    checkpoint_lsn: int | None
    end_lsn: int | None
    not_verifiable: int
    problems: tuple[str, ...]
    unsummed: int = 0  # blocks without a checksum

    @property
    def is_sound(self) -> bool:
        """Whether a server would find a whole log."""
        return not self.problems


def check_redo(directory: Path, page_size: int = 16 * KIB, masters: Masters | None = None) -> RedoReport:
    """Check headers, chain and blocks of ``#innodb_redo``; ``page_size`` is the server's, in bytes. Encrypted blocks
    are decrypted first if the keyring's ``masters`` are there.

    Only blocks from the newest checkpoint on are read: nothing needs those before.
    """
    files: list[tuple[Path, RedoFile]] = []
    problems: list[str] = []
    decrypt: Callable[[memoryview], bytes] | None = None  # one key for all files
    for path in sorted(directory.glob(f"{_REDO_DIRECTORY}/#ib_redo*"), key=lambda path: _by_number(path.name)):
        name = _REDO_FILE.fullmatch(path.name)
        if not name:  # a spare file, #ib_redo<N>_tmp
            continue
        try:
            with path.open("rb") as file:
                head = file.read(redo.FILE_HEADER_SIZE)
                header = RedoHeader.parse(head)
                decrypt = redo_decryption(head, masters) or decrypt
                files.append((path, RedoFile(int(name[1]), os.fstat(file.fileno()).st_size, header)))
        except (OSError, ValueError) as error:
            problems.append(f"{path.name}: {error}")
    chain = [file for _, file in files]
    if problems:
        return RedoReport(len(files) + len(problems), None, None, 0, tuple(problems))
    problems = redo.chain_problems(chain, page_size)
    newest = redo.newest_checkpoint(chain)
    if problems or newest is None:
        return RedoReport(len(files), newest and newest[1], None, 0, tuple(problems))
    first, checkpoint = newest
    return _follow(files[chain.index(first) :], checkpoint, len(files), decrypt)


def _follow(
    files: list[tuple[Path, RedoFile]], checkpoint: int, count: int, decrypt: Callable[[memoryview], bytes] | None
) -> RedoReport:
    """Read the log from the checkpoint to its end. The chain is sound: sizes are a multiple of the page size."""
    problems = []
    not_verifiable = unsummed = 0
    lsn = checkpoint // redo.BLOCK_SIZE * redo.BLOCK_SIZE
    buffer = memoryview(bytearray(BLOCK))
    end = LogEnd.GOES_ON
    for path, file in files:
        with path.open("rb") as stream:
            while lsn < file.end_lsn and end is LogEnd.GOES_ON:
                length = _read(stream.fileno(), buffer, file.offset(lsn))
                end, lsn, skipped, bare = redo.scan_blocks(buffer[: length - length % redo.BLOCK_SIZE], lsn, decrypt)
                not_verifiable += skipped
                unsummed += bare
        if end is LogEnd.DAMAGED:
            problems.append(f"{path.name}: the block of LSN {lsn} is damaged")
        elif end is LogEnd.ENDS and file is not files[-1][1]:
            problems.append(f"{path.name}: the log ends at LSN {lsn}, before its last file")
        if end is not LogEnd.GOES_ON:
            break
    if lsn < checkpoint:
        problems.append(f"the log ends at LSN {lsn}, before its checkpoint {checkpoint}")
    return RedoReport(count, checkpoint, lsn, not_verifiable, tuple(problems), unsummed)
