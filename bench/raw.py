"""Read and write a data directory's tablespaces, and nothing else: ``python -m bench.raw DIRECTORY [TARGET]``.

What the disk needs for as many bytes: O_DIRECT on both sides, parts of 64 MiB on four threads, then fsync. No server is
asked and no byte is looked at, so the copy is not a consistent one. Without a target they are only read.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from innoclone.files.copying import BLOCK, Method, copy_file
from innoclone.files.memory import aligned_memory
from innoclone.files.system import allocate
from innoclone.stream.pagecheck import find_tablespaces

__all__ = ["main"]

THREADS = 4
PART = 64 << 20


def main(directory: Path, target: Path | None = None) -> None:
    """Copy, or read."""
    with ThreadPoolExecutor(THREADS) as pool:
        if target is None:
            parts = _parts(directory, directory)
            futures = [pool.submit(_read, source, start, end) for source, _, start, end in parts]
        else:
            _make_files(directory, target)
            futures = [pool.submit(_copy, *part) for part in _parts(directory, target)]
        for future in futures:
            future.result()


def _make_files(directory: Path, target: Path) -> None:
    for name in find_tablespaces(directory):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with (target / name).open("wb") as file:
            allocate(file.fileno(), (directory / name).stat().st_size)


def _parts(directory: Path, target: Path) -> list[tuple[Path, Path, int, int]]:
    parts = []
    for name in find_tablespaces(directory):
        size = (directory / name).stat().st_size
        parts += [(directory / name, target / name, at, min(at + PART, size)) for at in range(0, size, PART)]
    return parts


def _copy(source: Path, target: Path, start: int, end: int) -> None:
    with source.open("rb") as reader, target.open("r+b") as writer:
        methods = (Method.DIRECT, Method.READ_WRITE)
        copy_file(reader.fileno(), writer.fileno(), lambda _: None, methods=methods, start=start, end=end)
        os.fsync(writer.fileno())


def _read(source: Path, start: int, end: int) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_DIRECT)
    buffer = aligned_memory(BLOCK)
    try:
        for at in range(start, end, BLOCK):
            os.preadv(descriptor, [buffer], at)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
