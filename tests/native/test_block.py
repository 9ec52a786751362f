"""A block of pages through the library in one call: what is in the file, and what Python is told, is as by Python."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from innoclone.files.direct import DirectFile
from innoclone.files.memory import aligned_memory
from innoclone.innodb.page import PageChecker
from innoclone.innodb.space import SpaceFlags
from innoclone.native.block import Block
from innoclone.native.library import Library
from innoclone.native.pages import Pages, Place
from innoclone.native.transfer import Channel
from innoclone.records.chunks import stamp
from innodb_pages import LAYOUTS, PLAIN, SPACE, make_file

MOST = 1 << 20


def _pages(flags: SpaceFlags) -> Pages:
    return Pages(flags.physical_page_size, SPACE, flags.is_compressed)


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_a_block_as_python_sees_it(native: Library, flags: SpaceFlags, tmp_path: Path) -> None:
    """Received in two parts, the first of which Python has read ahead; one page damaged, one empty."""
    data, size = make_file(flags, 7), flags.physical_page_size
    data[3 * size + 50] ^= 1
    data[5 * size : 6 * size] = bytes(size)
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("wb+") as file:
        ours.setblocking(False)
        channel, block = Channel(native, ours, 0.02), Block(native, MOST)
        view = memoryview(bytearray(len(data)))
        view[:10] = data[:10]
        place = Place(file.fileno(), 2 * size, direct=False)
        block.begin(view, received=10, pages=_pages(flags), first_page=0, place=place)
        theirs.sendall(data[10:100])
        assert block.advance(channel) == 100
        with pytest.raises(TimeoutError):
            block.advance(channel)
        assert not block.is_written
        sender = threading.Thread(target=theirs.sendall, args=[data[100:]])
        sender.start()
        while block.advance(channel) < len(data):
            pass
        sender.join()
        assert (view, block.is_written) == (data, True)
        checker = PageChecker(flags, SPACE, native=None)
        assert [bad.number for bad in checker.bad_pages(data, 0)] == block.unusual == [3]
        assert checker.examine(view, 0, block.unusual) == checker.check(data, 0)
        assert checker.pages == _pages(flags)
        assert block.stamps == stamp(view, size)
        assert (tmp_path / "file").read_bytes() == bytes(2 * size) + data


def test_around_the_page_cache(native: Library, tmp_path: Path) -> None:
    data = make_file(PLAIN, 8)
    view = aligned_memory(len(data))
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("wb+") as file:
        direct = DirectFile.of(file.fileno())
        if direct is None:
            pytest.skip("no O_DIRECT here")
        theirs.sendall(data)
        block = Block(native, MOST)
        block.begin(view, pages=_pages(PLAIN), place=Place(direct.descriptor, 4096, direct=True))
        assert block.advance(Channel(native, ours, 5)) == len(data)
        assert block.is_written
        direct.close()
    assert (tmp_path / "file").read_bytes() == bytes(4096) + data


def test_the_connection_ends(native: Library) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"abc")
        theirs.close()
        block = Block(native, MOST)
        block.begin(memoryview(bytearray(10)))
        channel = Channel(native, ours, 5)
        assert block.advance(channel) == 0
        assert not block.is_written


def test_a_full_disk(native: Library) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Path("/dev/full").open("wb") as file:
        theirs.sendall(bytes(100))
        block = Block(native, MOST)
        view = memoryview(bytearray(b"x" * 100))
        block.begin(view, place=Place(file.fileno(), 0, direct=False))
        assert block.advance(Channel(native, ours, 5)) == 100
        assert not block.is_written, "what it means is for who tries again"
        assert view == bytes(100), "it came"


def test_not_looked_at_and_not_written(native: Library) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = os.urandom(1000)
        theirs.sendall(data)
        block = Block(native, MOST)
        view = memoryview(bytearray(1000))
        block.begin(view)
        assert block.advance(Channel(native, ours, 5)) == 1000
        assert (view, block.unusual, block.stamps, block.is_written) == (data, [], b"", False)


def test_pages_that_are_not_checked_have_stamps(native: Library) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = os.urandom(4 * 16384)
        view = memoryview(bytearray(len(data)))
        block = Block(native, MOST)
        block.begin(view, pages=_pages(PLAIN)._replace(checked=False))
        theirs.sendall(data)
        assert block.advance(Channel(native, ours, 5)) == len(data)
        assert (block.unusual, block.stamps) == ([], stamp(view, 16384))


def test_bounds(native: Library) -> None:
    block = Block(native, 65536)
    for size, received in ((65537, 0), (0, 0), (100, 101), (100, -1)):
        with pytest.raises(ValueError, match="a block of"):
            block.begin(memoryview(bytearray(size)), received=received)
    with pytest.raises(ValueError, match="a block of"):
        block.begin(memoryview(bytes(100)))
    with pytest.raises(ValueError, match="a block of"):
        block.begin(memoryview(bytearray(16385)), pages=_pages(PLAIN))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(native, ours, 0.01)
        block.begin(memoryview(bytearray(100)))
        for field, value in (("room", 99), ("received", 101), ("buffer", None)):
            saved = getattr(block._struct, field)
            setattr(block._struct, field, value)
            with pytest.raises(ValueError, match="refuses"):
                block.advance(channel)
            setattr(block._struct, field, saved)
        theirs.sendall(bytes(16384))
        block.begin(memoryview(bytearray(16384)), pages=Pages(16384, SPACE, False))
        block._struct.unusual_room = 0
        with pytest.raises(ValueError, match="refuses"):
            block.advance(channel)
