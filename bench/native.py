"""``./bench/native``: how fast pages are checked, compared and hashed, by the native library and by Python.

On one thread, in memory: blocks of 1 MiB of a working set that is larger than the processor's caches. GB/s are 10**9
bytes a second of one of the buffers; the best of the rounds, since whatever else runs only ever takes away.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.poly1305 import Poly1305

from innoclone.files.memory import aligned_memory
from innoclone.files.system import differing
from innoclone.innodb.page import PageChecker, checksum, zip_checksum
from innoclone.innodb.space import KIB, MIB, SpaceFlags
from innoclone.native.block import Block
from innoclone.native.library import Library, describe, library
from innoclone.native.pages import Pages, Place
from innoclone.native.transfer import Channel
from innoclone.records.chunks import stamp
from innoclone.records.keys import own_certificate
from innoclone.stream.contenthash import ContentHash
from innoclone.wire.comparison import KEY

__all__ = ["main"]

BLOCK = MIB
SPACE = 7
ROW = "{:56} {:>10} {:>10} {:>7}"


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="bench/native", description=__doc__)
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="of the working set (default 256)")
    parser.add_argument("--rounds", type=int, default=5, help="the best of them counts (default 5)")
    options = parser.parse_args()
    print(describe())
    print(f"load average {os.getloadavg()[0]:.2f}, {os.cpu_count()} processors\n")
    print(ROW.format("", "library", "Python", "times"))
    size = options.size * MIB
    for label, work in _rows(size):
        print(_row(label, work, options.rounds, time.perf_counter))
    for connections in (1, 4):
        label = f"receive over TLS, connections: {connections}, by CPU time"
        print(_row(label, _receiving(size, connections), options.rounds, time.process_time))
    for label, one in (("one call", True), ("several calls", False)):
        if library is not None:
            speed = _speed(lambda: _blocks(library, size, one_call=one), options.rounds, time.process_time)  # noqa: B023
            print(ROW.format(f"receive, check, write a block by {label}, by CPU time", f"{speed:.2f} GB/s", "-", "-"))
    view = aligned_memory(size)
    for label, digest in _hashes():
        speed = _speed(lambda: _hash(digest, view), options.rounds, time.perf_counter)  # noqa: B023
        print(ROW.format(f"hash each page of 16 KiB, {label}", "-", f"{speed:.2f} GB/s", "-"))
    return 0


Work = Callable[[Library | None], int]  # returns the bytes it went through


def _row(label: str, work: Work, rounds: int, clock: Callable[[], float]) -> str:
    python = _speed(lambda: work(None), rounds, clock)
    if library is None:
        return ROW.format(label, "-", f"{python:.2f} GB/s", "-")
    native = _speed(lambda: work(library), rounds, clock)
    return ROW.format(label, f"{native:.2f} GB/s", f"{python:.2f} GB/s", f"{native / python:.1f}")


def _speed(work: Callable[[], int], rounds: int, clock: Callable[[], float]) -> float:
    """GB/s."""
    best = 0.0
    for _ in range(rounds):
        begin = clock()
        best = max(best, work() / (clock() - begin) / 1e9)
    return best


def _rows(size: int) -> Iterator[tuple[str, Work]]:
    for label, flags in (
        ("16 KiB", SpaceFlags(0)),
        ("4 KiB", SpaceFlags(SpaceFlags.PAGE_SSIZE.put(3))),
        ("64 KiB", SpaceFlags(SpaceFlags.PAGE_SSIZE.put(7))),
        ("8 KiB, ROW_FORMAT=COMPRESSED", SpaceFlags(SpaceFlags.ZIP_SSIZE.put(4))),
    ):
        yield f"check pages of {label}", _checking(flags, _pages(flags, size))
    yield "check pages of zeros", _checking(SpaceFlags(0), aligned_memory(size), start=1)
    one, other = aligned_memory(size), aligned_memory(size)
    one[:] = other[:] = _pages(SpaceFlags(0), size)
    yield "compare equal buffers", _comparing(one, other)
    changed = aligned_memory(size)
    changed[:] = one
    for at in range(0, size, 1600 * KIB):
        changed[at] ^= 1
    yield "compare buffers, 1 page of 100 differs", _comparing(one, changed)


def _pages(flags: SpaceFlags, size: int) -> memoryview:
    """Sound pages with random content, from number 0 on."""
    view, page = aligned_memory(size), flags.physical_page_size
    content = os.urandom(BLOCK)
    for number in range(size // page):
        made = view[number * page : (number + 1) * page]
        begin = number * page % BLOCK
        made[:] = content[begin : begin + page]
        struct.pack_into(">I", made, 4, number)
        struct.pack_into(">H", made, 24, 17855)
        struct.pack_into(">I", made, 34, SPACE)
        if flags.is_compressed:
            struct.pack_into(">I", made, 0, zip_checksum(made))
        else:
            made[-4:] = made[20:24]
            struct.pack_into(">I", made, 0, checksum(made))
            made[-8:-4] = made[:4]
    return view


def _checking(flags: SpaceFlags, view: memoryview, start: int = 0) -> Work:
    def work(way: Library | None) -> int:
        checker = PageChecker(flags, SPACE, native=way)
        for at in range(0, len(view), BLOCK):
            first = start + at // flags.physical_page_size
            assert not checker.bad_pages(view[at : at + BLOCK], first)
        return len(view)

    return work


def _comparing(one: memoryview, other: memoryview) -> Work:
    def work(way: Library | None) -> int:
        for at in range(0, len(one), BLOCK):
            for _ in differing(one[at : at + BLOCK], other[at : at + BLOCK], 16 * KIB, native=way):
                pass
        return len(one)

    return work


def _receiving(size: int, connections: int) -> Work:
    """From another process, which sends what it has encrypted; the time is our own CPU's."""
    with tempfile.TemporaryDirectory() as folder:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*own_certificate(Path(folder)))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE

    def work(way: Library | None) -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            child = os.fork()
            if not child:
                with ThreadPoolExecutor(connections) as pool:
                    list(
                        pool.map(lambda _: _send(server, listener.accept()[0], size // connections), range(connections))
                    )
                os._exit(0)
            with ThreadPoolExecutor(connections) as pool:
                counts = list(pool.map(lambda _: _receive(way, client, listener.getsockname()), range(connections)))
        os.waitpid(child, 0)
        return sum(counts)

    return work


def _send(context: ssl.SSLContext, connection: socket.socket, count: int) -> None:
    with context.wrap_socket(connection, server_side=True) as sock:
        block = bytes(BLOCK)
        for _ in range(count // BLOCK):
            sock.sendall(block)
        sock.unwrap()


def _receive(way: Library | None, context: ssl.SSLContext, address: tuple[str, int]) -> int:
    view, got = aligned_memory(BLOCK), 0
    with context.wrap_socket(socket.create_connection(address)) as sock:
        sock.settimeout(1)
        receive = sock.recv_into if way is None else Channel(way, sock, 1).recv_into
        while count := receive(view):
            got += count
        sock.unwrap()
    return got


def _blocks(native: Library, size: int, *, one_call: bool) -> int:
    """Blocks over TCP from another process into memory that is a file."""
    sound, view = _pages(SpaceFlags(0), BLOCK), aligned_memory(BLOCK)
    checker, pages, block = PageChecker(SpaceFlags(0), SPACE), Pages(16 * KIB, SPACE, False), Block(native, BLOCK)
    file = os.memfd_create("blocks")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if not child:
            with listener.accept()[0] as connection:
                for _ in range(size // BLOCK):
                    connection.sendall(sound)
            os._exit(0)
        with socket.create_connection(listener.getsockname()) as connection:
            channel = Channel(native, connection, 10)
            for _ in range(size // BLOCK):
                if one_call:
                    block.begin(view, pages=pages, place=Place(file, 0, direct=False))
                    assert block.advance(channel) == BLOCK
                    assert block.is_written
                    assert not block.unusual
                    assert block.stamps
                else:
                    assert channel.recv_into(view) == BLOCK
                    assert not checker.bad_pages(view, 0)
                    assert stamp(view, 16 * KIB)
                    os.pwrite(file, view, 0)
    os.waitpid(child, 0)
    os.close(file)
    return size


def _hashes() -> Iterator[tuple[str, Callable[[memoryview], bytes]]]:
    """What would do for telling pages of two sides apart: keyed, so that no row can be made to collide."""
    key = os.urandom(32)
    yield "BLAKE2b (hashlib)", lambda page: hashlib.blake2b(page, digest_size=16, key=key).digest()
    yield "SHA-256 (hashlib)", lambda page: hashlib.sha256(page).digest()
    yield "Poly1305 (cryptography)", lambda page: Poly1305.generate_tag(key, page)
    yield "GMAC (cryptography), as increments do it", ContentHash(key[:KEY]).of


def _hash(digest: Callable[[memoryview], bytes], view: memoryview) -> int:
    for at in range(0, len(view), 16 * KIB):
        digest(view[at : at + 16 * KIB])
    return len(view)


if __name__ == "__main__":
    sys.exit(main())
