"""Increments that are broken off, of histories that have parted, and with peers that lie."""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broken_off import break_off, copied
from faults import wait_until
from innoclone.commands.clone import CloneResult, clone
from innoclone.commands.options import CloneOptions
from innoclone.donor import course
from innoclone.donor.comparing import Comparer
from innoclone.donor.live import find_live
from innoclone.errors import CloneError, ProtocolError, TargetExists, TargetUnusable
from innoclone.files.marks import is_unfinished
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sinks.directory import Target
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.wire.comparison import (
    ANSWER_KEY,
    BLOCK,
    HASH,
    KEY,
    REQUEST,
    Compare,
    Different,
    Fetch,
    Gone,
    Join,
    PagesHead,
)
from innoclone.wire.descriptors import Locator
from innoclone.wire.rpc import COM_CLONE, Complete, Config, Init, Locators, ProtocolVersion, parse_response
from innodb_pages import PLAIN, seal
from local_clones import booted_copy, checksums
from made_clones import contents
from servers import endpoint_of
from serving import assert_taken, endpoint, served, serving

MIB = 1 << 20
PAGE = 16384


def take(donor: Endpoint, directory: Path, **options: object) -> CloneResult:
    return clone(CloneOptions(donor=donor, directory=directory, **options))  # type: ignore[arg-type]


def copy(directory: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", str(directory), str(to)], check=True)
    return to


# ---- broken off --------------------------------------------------------------------------------------------


def test_a_broken_clone_goes_on_when_its_snapshot_is_gone(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """What was received before is the base for what comes of another snapshot."""
    directory = tmp_path / "clone"
    with serving(find_live(endpoint_of(donor)), tmp_path) as first:
        broken = break_off(endpoint(first.port), directory, copied(40 * MIB), threads=1)
    there = sum(row.data for row in broken.stages.values())
    with serving(find_live(endpoint_of(donor)), tmp_path) as second:
        result = take(endpoint(second.port), directory)
        size = second.courses[0].plan(2).estimate  # type: ignore[arg-type]
    assert any("only what differs came from the donor" in note for note in result.notes), result.notes
    assert result.network < size - there / 2
    with booted_copy(programs, directory) as server:
        assert checksums(server) == checksums(donor)


def test_a_broken_increment_goes_on(at_rest: tuple[Path, dict[str, object]], small_clone: Path, tmp_path: Path) -> None:
    """It has used up the older clone, and what is left of that and of the new one is the base."""
    source, directory = at_rest[0], copy(small_clone, tmp_path / "clone")
    with served(source, tmp_path) as donor:
        where = endpoint(donor.port)
        with pytest.raises(TargetExists, match="of another server"):
            take(where, directory, incremental="require")
        break_off(where, directory, copied(20 * MIB), discard_changes=True, max_data_bandwidth=0.0, threads=2,
                  max_network_bandwidth=40.0)  # fmt: skip
        assert is_unfinished(directory)
        take(where, directory, incremental="require")
        assert_taken(donor.source, directory)  # type: ignore[arg-type]
        again = take(where, directory, incremental="require")
        assert again.network < 2 * MIB
        assert_taken(donor.source, directory)  # type: ignore[arg-type]


def test_a_lost_connection_is_made_again(
    at_rest: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without beginning anew: the donor's clone goes on, and nothing is taken for there that isn't."""
    source, directory = at_rest[0], tmp_path / "clone"
    with served(source, tmp_path) as donor:
        where = endpoint(donor.port)
        take(where, directory)
        for path in directory.rglob("*.ibd"):
            path.write_bytes(bytes(path.stat().st_size))
        answers, real = [0], Comparer.answer

        def answer(self: Comparer, command: Compare | Fetch) -> tuple[bytes, bytes]:
            answers[0] += 1
            if answers[0] % 40 == 0:
                for conversation in donor.conversations:
                    if conversation._comparing._comparer is self:
                        conversation.shut()
            return real(self, command)

        monkeypatch.setattr(Comparer, "answer", answer)
        result = take(where, directory, incremental="require", discard_changes=True, threads=2)
        assert answers[0] > 100
        assert not any("begins anew" in note for note in result.notes)
        assert len(donor.courses) <= 2
        assert_taken(donor.source, directory)  # type: ignore[arg-type]


# ---- which clone may go ------------------------------------------------------------------------------------


def test_a_stock_donor_sends_no_increments(small_donor: Server, small_clone: Path, tmp_path: Path) -> None:
    """An earlier clone is left as it is, to the last byte."""
    directory = copy(small_clone, tmp_path / "clone")
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    where = endpoint_of(small_donor, ssl_mode=SslMode.DISABLED)
    with pytest.raises(TargetExists, match="exists and is not empty"):
        take(where, directory)
    with pytest.raises(CloneError, match="can't send only what differs"):
        take(where, directory, incremental="require")
    with pytest.raises(TargetUnusable, match="holds no earlier clone"):
        take(where, tmp_path / "nothing", incremental="require")
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


@pytest.mark.parametrize("incremental", ["auto", "require", "off"])
def test_a_marked_clone_of_which_nothing_was_changed_is_a_whole_one(
    incremental: str, small_donor: Server, small_clone: Path, tmp_path: Path
) -> None:
    """Where a process was killed while the donor still prepared: what the next run does to it when it can't go on."""
    directory = copy(small_clone, tmp_path / "clone")
    before = contents(directory)
    Target(directory, fsync=False, reuse=True, keep=True).release()  # as a killed process leaves it
    assert is_unfinished(directory)
    where = endpoint_of(small_donor, ssl_mode=SslMode.DISABLED)
    with pytest.raises(CloneError, match=r"can't send only what differs|exists and is not empty"):
        take(where, directory, incremental=incremental)
    assert contents(directory) == before


# ---- twins -------------------------------------------------------------------------------------------------


def other_content(data: bytearray) -> int:
    """Let some pages of a tablespace have rows of other content, and the LSN that they had; how many."""
    count = 0
    for at in range(0, len(data), 10 * PAGE):
        page = data[at : at + PAGE]
        if page.count(b"x") > 7000:
            page[200:-8] = page[200:-8].replace(b"x", b"y")
            data[at : at + PAGE] = seal(page, PLAIN)
            count += 1
    return count


def test_twins_with_equal_lsns_end_exact(programs: Programs, small_recovered: Path, tmp_path: Path) -> None:
    """Two lives of one clone in which the same was written at the same LSNs, with other content."""
    twin, changed = copy(small_recovered, tmp_path / "twin"), 0
    path = twin / "theirs" / "t.ibd"
    data = bytearray(path.read_bytes())
    changed = other_content(data)
    assert changed > 10
    path.write_bytes(data)
    base = tmp_path / "base"
    with served(small_recovered, tmp_path) as donor:
        take(endpoint(donor.port), base)
    with served(twin, tmp_path) as donor:
        result = take(endpoint(donor.port), base, incremental="require")
        assert_taken(donor.source, base)  # type: ignore[arg-type]
    written = next(int(found[1]) for note in result.notes if (found := re.search(r" (\d+) were written", note)))
    assert changed <= written <= changed + 3
    with booted_copy(programs, twin) as server, booted_copy(programs, base) as clone_of_it:
        assert checksums(clone_of_it) == checksums(server)


# ---- who lies ----------------------------------------------------------------------------------------------

Lie = Callable[[bytes, bytes], tuple[bytes, bytes]]
LIES: dict[str, Lie] = {
    "too short": lambda head, pages: (head[:-1], pages),
    "too long": lambda head, pages: (head, pages + b"x"),
    "other blocks": lambda head, pages: (Different(((31, bytes(64 * HASH)),)).serialize(), b""),
    "pages that were not asked for": lambda head, pages: (PagesHead(b"\xff" * 8).serialize(), bytes(BLOCK)),
    "another answer": lambda head, pages: (b"\x07" + head[1:], pages),
    "nothing": lambda head, pages: (b"", b""),
    "other pages than were hashed": lambda head, pages: (head, bytes(len(pages))) if pages else (head, pages),
    "gone with more": lambda head, pages: (Gone().serialize() + b"x", b""),
}


@pytest.mark.parametrize("how", LIES)
def test_a_donor_that_lies(
    how: str, small_clone: Path, small_recovered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy(small_recovered, tmp_path / "clone")
    path = directory / "theirs" / "t.ibd"
    path.write_bytes(bytes(path.stat().st_size))
    real = Comparer.answer
    monkeypatch.setattr(Comparer, "answer", lambda self, command: LIES[how](*real(self, command)))
    with served(small_clone, tmp_path) as donor, pytest.raises(ProtocolError):
        take(endpoint(donor.port), directory, incremental="require", discard_changes=True, threads=1, retry_for=0)
    assert is_unfinished(directory)


@contextlib.contextmanager
def begun(port: int, request: bytes = REQUEST) -> Iterator[tuple[Connection, Locator]]:
    """A clone that is begun, and a connection in clone mode beside it. The donor agrees to what is asked for, and says
    nothing of it to others."""
    master = Connection(endpoint(port), Compression(), timeout=10.0)
    master.command(bytes([COM_CLONE]))
    master.write_packet(Init(ProtocolVersion.V4, 300, False, (Locator(),), request).serialize())
    said: list[object] = []
    while not said or not isinstance(said[-1], Locators):
        said.append(parse_response(master.read_packet()))
    assert any(isinstance(one, Config) and one.key == ANSWER_KEY for one in said) is (request == REQUEST)
    found = said[-1]
    assert isinstance(found, Locators)
    other = Connection(endpoint(port), Compression(), timeout=10.0)
    other.command(bytes([COM_CLONE]))
    with master, other:
        yield other, found.locators[0]


def test_a_recipient_that_compares_is_not_waited_for(
    small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin anew: others, who share a server's snapshot with it, don't wait minutes for what is dead."""
    monkeypatch.setattr(course, "COMPARED", 0.0)
    for request, is_over in ((REQUEST, True), (b"", False)):
        with served(small_clone, tmp_path) as donor:
            with begun(donor.port, request):
                (taken,) = donor.courses
                taken.was_executed = True
            wait_until(lambda taken=taken: not taken.tasks, "the loss is seen")
            assert taken.is_over is is_over


QUESTIONS = {
    "a file that is not there": Compare(0xFFFFFFFF, 0, bytes(HASH)),
    "blocks behind the end": Compare(0, 0xFFFFFFF0, bytes(HASH)),
    "pages of a block behind the end": Fetch(0, 0xFFFFFFFF, b"\xff" * 8),
    "too many pages": Fetch(1, 0, b"\xff" * 80),
    "no pages": Fetch(1, 0, b""),
    "join again": Join(bytes(KEY), Locator(1, 1)),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_recipient_that_asks_for_what_it_may_not(what: str, small_clone: Path, tmp_path: Path) -> None:
    """It is hung up on, and others are served on."""
    with served(small_clone, tmp_path) as donor:
        with begun(donor.port) as (connection, locator):
            connection.write_packet(Join(bytes(KEY), locator).serialize())
            assert isinstance(parse_response(connection.read_packet()), Complete)
            connection.write_packet(QUESTIONS[what].serialize())
            with pytest.raises(CloneError, match=r"closed the connection|reset"):
                connection.read_packet()
        take(endpoint(donor.port), tmp_path / "clone")


@pytest.mark.parametrize("request_", [b"", b"\x01" * 94, b"innocent\x01"])
def test_nothing_is_offered_unasked(request_: bytes, small_clone: Path, tmp_path: Path) -> None:
    with served(small_clone, tmp_path) as donor, begun(donor.port, request_):
        pass


def test_no_comparison_without_a_clone(small_clone: Path, tmp_path: Path) -> None:
    with served(small_clone, tmp_path) as donor:
        with begun(donor.port) as (connection, _):
            connection.write_packet(Compare(0, 0, bytes(HASH)).serialize())
            with pytest.raises(CloneError, match=r"closed the connection|reset"):
                connection.read_packet()
        with begun(donor.port) as (connection, locator):
            other = Locator(locator.clone_id + 1, locator.snapshot_id)
            connection.write_packet(Join(bytes(KEY), other).serialize())
            assert struct.unpack("<Bi", connection.read_packet()[:5]) == (100, 1815)
