"""A copy of that part of a clone which tells where it stands: system tablespaces, dictionary, undo and redo logs.

A server recovers that by itself while users' tablespaces are missing (innodb_force_recovery=1), and tells the same
position and GTID set as on the whole clone, which stays as it is. The copy lies beside the clone, shares its blocks
where the file system can (reflink), and is thrown away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innoclone.errors import BootFailed, FileError, TargetUnusable
from innoclone.files.names import CLONE_DIR
from innoclone.files.system import file_error
from innoclone.innodb.space import DICTIONARY_SPACE, REDO_SPACE, SYSTEM_SPACE, is_undo
from innoclone.server import cloned

__all__ = ["OPTIONS", "await_gtids", "system_copy"]

# Go on without users' tablespaces; and nothing of it has to survive anything, or to be fast.
OPTIONS = (
    "--innodb-force-recovery=1", "--innodb-doublewrite=OFF", "--innodb-flush-log-at-trx-commit=0",
    "--innodb-use-native-aio=OFF",
)  # fmt: skip
POLL = 0.05  # seconds
_SCHEMA = "mysql"  # a directory without which no server starts


def _files(directory: Path, manifest: dict[str, Any]) -> list[Path]:
    """What is copied, as paths relative to the clone. Raises `TargetUnusable` where a copy would not be safe."""
    files: list[dict[str, Any]] = manifest.get("files", [])
    if not files:
        raise TargetUnusable(f"{directory} has no manifest that tells its files", hint=f"innoclone boot {directory}")
    if manifest.get("external_directories") or any(Path(file["name"]).is_absolute() for file in files):
        raise TargetUnusable(
            f"{directory} has tablespaces with absolute paths: a server on a copy could write to them",
            hint=f"innoclone boot {directory}",
        )
    wanted = (SYSTEM_SPACE, DICTIONARY_SPACE, REDO_SPACE)
    return [Path(file["path"]) for file in files if file["space_id"] in wanted or is_undo(file["space_id"])]


@contextmanager
def system_copy(directory: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """Make it for a clone that was never booted; it is removed at the end. Raises `TargetUnusable`, `FileError`."""
    names = _files(directory, manifest)
    scratch = _beside(directory)
    try:
        for name in names:
            _copy(directory / name, scratch / name)
        shutil.copytree(directory / CLONE_DIR, scratch / CLONE_DIR)
        (scratch / _SCHEMA).mkdir(exist_ok=True)
        owner = directory.stat()
        for path in (scratch, *scratch.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, owner.st_uid, owner.st_gid)
        yield scratch
    except OSError as error:
        raise file_error(error, f"can't copy {directory}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _beside(directory: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f"{directory.name}.position-", dir=directory.parent))
    except OSError as error:
        raise file_error(error, f"can't make a directory beside {directory}") from error


def _copy(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    command = ["cp", "-a", "--reflink=auto", "--sparse=auto", str(old), str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileError(f"can't copy {old}: {done.stderr.strip()}")


def await_gtids(copy: Path, timeout: float, waiting: Callable[[], None]) -> None:
    """Until the server on the copy, which answers, has noted its GTID set. Raises `BootFailed` after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not cloned.is_recovered(copy):
        if time.monotonic() > deadline:
            raise BootFailed(f"mysqld on a copy of the clone did not tell its GTID set within {timeout:g} s")
        waiting()
        time.sleep(POLL)
