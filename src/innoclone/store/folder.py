"""Objects in a plain folder, also of NFS: one file each.

A file is written beside, synced, and linked to its name: link(2) fails where the name is taken, which makes it
create-if-absent, also over NFS. Then the folder is synced (rule 7 of docs/design.md).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from innoclone.errors import AccessDenied, CloneError, StoreUnavailable
from innoclone.files.system import file_error, sync_directory, write_all
from innoclone.store.objects import AlreadyThere, Entry, Gone, too_large

__all__ = ["FolderObjects"]

TEMPORARY = ".new-"  # names that begin so are no objects yet; they are listed, so that a prune finds a dead run's
DIR_MODE, FILE_MODE = 0o750, 0o640
BUSY = (BlockingIOError, InterruptedError, TimeoutError)


class FolderObjects:
    """The objects of one folder, which `create` makes where it isn't there."""

    keeps_versions = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.address = f"file://{root}"

    def create(self, name: str, data: bytes | bytearray) -> None:
        """Write beside, sync, link, sync the folders."""
        path = self._root / name
        beside = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        try:
            self._make_folder(path.parent)
            with contextlib.ExitStack() as clean:
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
                clean.callback(beside.unlink, missing_ok=True)
                clean.callback(os.close, descriptor)
                write_all(descriptor, memoryview(data), 0)
                os.fsync(descriptor)
                os.link(beside, path, follow_symlinks=False)
            sync_directory(path.parent)
        except FileExistsError:
            raise AlreadyThere(f"{path} exists") from None
        except OSError as error:
            raise _fault(error, f"can't write {path}") from error

    def read(self, name: str, most: int) -> bytes:
        """The file's content."""
        try:
            with (self._root / name).open("rb") as file:
                if (size := os.fstat(file.fileno()).st_size) > most:
                    raise too_large(name, size, most)
                return file.read(most)
        except OSError as error:
            raise _fault(error, f"can't read {self._root / name}") from error

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """A part of it."""
        found = b""
        try:
            descriptor = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while len(found) < length and (more := os.pread(descriptor, length - len(found), start + len(found))):
                    found += more
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _fault(error, f"can't read {self._root / name}") from error
        return found

    def list(self, prefix: str) -> Iterator[Entry]:
        """The files below a folder; what goes meanwhile is left out."""

        def fail(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise _fault(error, f"can't list {self._root / prefix}") from error

        for parent, _, names in os.walk(self._root / prefix, onerror=fail):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    state = path.lstat()
                    yield Entry(str(path.relative_to(self._root)), state.st_size, state.st_mtime)

    def delete(self, names: Iterable[str]) -> None:
        """Unlink, and sync the folders; a folder that became empty goes too."""
        folders = set()
        try:
            for name in names:
                path = self._root / name
                path.unlink(missing_ok=True)
                folders.add(path.parent)
            for folder in folders:
                with contextlib.suppress(FileNotFoundError):
                    sync_directory(folder)
                if folder.parent != self._root:
                    with contextlib.suppress(OSError):  # another writer's are in it
                        folder.rmdir()
        except OSError as error:
            raise _fault(error, f"can't remove objects of {self._root}") from error

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=DIR_MODE, exist_ok=True)
            sync_directory(new.parent)


def _fault(error: OSError, doing: str) -> CloneError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Gone(f"{doing}: {error.strerror}")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{doing}: {error.strerror}", hint="check owner and mode of the store's folder")
    if isinstance(error, BUSY):
        return StoreUnavailable(f"{doing}: {error.strerror}")
    return file_error(error, doing)
