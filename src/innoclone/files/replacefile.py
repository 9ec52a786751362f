"""A small file that is replaced whole: whoever reads it finds the old content or the new one."""

from __future__ import annotations

import os
from pathlib import Path

from innoclone.files.system import file_error, sync_directory

__all__ = ["replace_file"]


def replace_file(path: Path, data: str | bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Write beside it, then rename. Unless ``durable``, a crash of the system may leave it empty.

    Raises a file error, and then the old content is there.
    """
    beside = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise file_error(error, f"can't write {path}") from error
