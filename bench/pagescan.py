"""An increment as programs make it that go by the pages' LSNs alone (xtrabackup's ``--incremental-lsn``): the donor's
side reads every page of every tablespace and sends those that are newer than the earlier copy.

Here it brings a plain copy up to date over TCP, for `bench.increments` to compare with. It knows tablespaces alone: no
redo log, no renamed or dropped files; and it trusts that both sides have one history, which LSNs can't show.

    python -m bench.pagescan serve ADDRESS DIRECTORY        prints its port, serves one copy and ends
    python -m bench.pagescan take ADDRESS PORT DIRECTORY
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from innoclone.stream.pagecheck import find_tablespaces

PAGE, BLOCK = 16384, 1 << 20
LSN = struct.Struct(">16xQ")  # FIL_PAGE_LSN
FLUSHED = struct.Struct(">26xQ")  # FIL_PAGE_FILE_FLUSH_LSN of the system tablespace: where a shutdown left it
NUMBER, FILE = struct.Struct(">Q"), struct.Struct(">QHI")  # of a file: bytes, bytes of its name, pages that follow


def _newer(file: BinaryIO, lsn: int, buffer: memoryview) -> list[tuple[int, bytes]]:
    """Offsets and bytes of the pages that were written behind ``lsn``, and of page 0, which has fields without one."""
    found, offset = [], 0
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        for at in range(0, size, PAGE):
            if LSN.unpack_from(buffer, at)[0] > lsn or offset + at == 0:
                found.append((offset + at, bytes(buffer[at : at + PAGE])))
        offset += size
    return found


def _serve(address: str, directory: Path) -> None:
    with socket.create_server((address, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        peer = listener.accept()[0]
    buffer = memoryview(bytearray(BLOCK))
    with peer, peer.makefile("rwb", buffering=BLOCK) as stream:
        (lsn,) = NUMBER.unpack(stream.read(NUMBER.size))
        for name in find_tablespaces(directory):
            path = directory / name
            with path.open("rb", buffering=0) as file:
                pages = _newer(file, lsn, buffer)
            stream.write(FILE.pack(path.stat().st_size, len(name.encode()), len(pages)) + name.encode())
            for offset, page in pages:
                stream.write(NUMBER.pack(offset) + page)


def _take(address: str, port: int, directory: Path) -> None:
    with (directory / "ibdata1").open("rb") as file:
        (lsn,) = FLUSHED.unpack(file.read(FLUSHED.size))
    with socket.create_connection((address, port)) as peer, peer.makefile("rwb", buffering=BLOCK) as stream:
        stream.write(NUMBER.pack(lsn))
        stream.flush()
        while head := stream.read(FILE.size):
            size, length, pages = FILE.unpack(head)
            path = directory / stream.read(length).decode()
            with path.open("r+b" if path.exists() else "w+b") as copy:
                copy.truncate(size)
                for _ in range(pages):
                    copy.seek(NUMBER.unpack(stream.read(NUMBER.size))[0])
                    copy.write(stream.read(PAGE))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], Path(sys.argv[3]))
    else:
        _take(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
