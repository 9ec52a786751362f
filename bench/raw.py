"""Read and write a data directory's tablespaces, and nothing else: ``python -m bench.raw DIRECTORY TARGET``.

What the disk needs for as many bytes: O_DIRECT on both sides, parts of 64 MiB on four threads, then fsync. No server is
asked and no byte is looked at, so the copy is not a consistent one.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from innoclone.files.copying import Method, copy_file
from innoclone.stream.pagecheck import find_tablespaces

__all__ = ["main"]

THREADS = 4
PART = 64 << 20


def main(directory: Path, target: Path) -> None:
    """Copy."""
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(_copy, *part) for part in _parts(directory, target)]:
            future.result()


def _parts(directory: Path, target: Path) -> list[tuple[Path, Path, int, int]]:
    parts = []
    for name in find_tablespaces(directory):
        size = (directory / name).stat().st_size
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).touch()
        parts += [(directory / name, target / name, at, min(at + PART, size)) for at in range(0, size, PART)]
    return parts


def _copy(source: Path, target: Path, start: int, end: int) -> None:
    with source.open("rb") as reader, target.open("r+b") as writer:
        methods = (Method.DIRECT, Method.READ_WRITE)
        copy_file(reader.fileno(), writer.fileno(), lambda _: None, methods=methods, start=start, end=end)
        os.fsync(writer.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
