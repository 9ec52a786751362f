"""Bytes that are kept for a while: in memory as long as they are few, else in a file that has no name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from innoclone.errors import FileError
from innoclone.files.system import file_error, write_all

__all__ = ["MEMORY", "Spool"]

MEMORY = 32 << 20  # bytes


class Spool:
    """One thread appends; when it has ended, any may read."""

    def __init__(self, folder: Path, memory: int = MEMORY) -> None:
        """``folder``: where the file goes, if there has to be one; ``memory``: bytes up to which there isn't."""
        self._folder, self._memory = folder, memory
        self._bytes = bytearray()
        self._fd = -1
        self.size = 0

    @property
    def is_in_memory(self) -> bool:
        """Whether there is no file."""
        return self._fd < 0

    def append(self, data: bytes) -> None:
        """Raises a file error."""
        if self._fd < 0 and len(self._bytes) + len(data) > self._memory:
            self._to_file()
        if self._fd < 0:
            self._bytes += data
        else:
            self._write(data, self.size)
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes from there on. Raises a file error."""
        if self._fd < 0:
            return bytes(memoryview(self._bytes)[offset : offset + length])
        parts, end = [], offset + length
        while offset < end:
            try:
                part = os.pread(self._fd, end - offset, offset)
            except OSError as error:
                raise file_error(error, f"can't read a temporary file in {self._folder}") from error
            if not part:
                raise FileError(f"a temporary file in {self._folder} is too short")
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Forget everything."""
        self._bytes = bytearray()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _to_file(self) -> None:
        """For this user alone (0600), and without a name, so that it goes with the process whatever happens."""
        try:
            with tempfile.TemporaryFile(dir=self._folder, prefix="innoclone-") as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            raise file_error(error, f"can't make a temporary file in {self._folder}") from error
        kept, self._bytes = self._bytes, bytearray()
        self._write(kept, 0)

    def _write(self, data: bytes | bytearray, offset: int) -> None:
        try:
            write_all(self._fd, memoryview(data), offset)
        except OSError as error:
            raise file_error(error, f"can't write a temporary file in {self._folder}") from error
