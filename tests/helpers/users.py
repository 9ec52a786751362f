"""Other users of this machine in the tests, which root alone can play."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def passable(folder: Path) -> Iterator[None]:
    """Everybody may pass through to it meanwhile."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.parents)}
    try:
        for path, mode in modes.items():
            path.chmod(mode | 0o711)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
