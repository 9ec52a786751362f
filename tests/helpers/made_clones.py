"""Directories that look like clones, and processes that use them: for tests of files alone, without a server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from innoclone.files.marks import IN_PROGRESS, WANT_RECOVERY_STATUS, begin_directory
from innoclone.innodb.space import SpaceHeader

LIKE_MYSQLD = "import fcntl; file = open(sys.argv[1], 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
LIKE_US = """
from pathlib import Path
from innoclone.files.lock import take_lock
take_lock(Path(sys.argv[1]), Path(sys.argv[1]).parent)
"""


def space_page(space_id: int, flags: int = 0, size: int = 16384) -> bytes:
    """Page 0 of a tablespace, as far as its header goes."""
    page = bytearray(SpaceHeader.LAYOUT.pack(space_id, 1, flags).ljust(size, b"\0"))
    page[24:26] = (8).to_bytes(2, "big")
    return bytes(page)


def finished_clone(directory: Path, **fields: object) -> Path:
    """A clone that no server has run on: a table, and a manifest with ``fields``."""
    (directory / "schema").mkdir(parents=True)
    (directory / "schema" / "t.ibd").write_bytes(space_page(7))
    (directory / "mysql.ibd").write_bytes(space_page(0xFFFFFFFE))
    for name in ("#clone", "#innoclone"):
        (directory / name).mkdir()
    (directory / "#clone" / WANT_RECOVERY_STATUS).touch()
    manifest = {"format": 1, "files": [{"path": "mysql.ibd"}], **fields}
    (directory / "#innoclone" / "manifest.json").write_text(json.dumps(manifest))
    return directory


def unfinished_clone(directory: Path) -> Path:
    """A clone that was broken off, with a table."""
    begin_directory(directory)
    (directory / "schema").mkdir()
    (directory / "schema" / "t.ibd").write_bytes(space_page(7))
    assert (directory / "#clone" / IN_PROGRESS).exists()
    return directory


def contents(directory: Path) -> dict[str, bytes | None]:
    """Everything in a directory: its files' bytes, None for what is none."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")
    }


@contextlib.contextmanager
def _running(*command: str, file: Path | None = None, cwd: Path | None = None) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        stdin = stack.enter_context(file.open("rb")) if file else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, cwd=cwd)
        try:
            if command[0] == sys.executable:
                assert process.stdout is not None
                assert process.stdout.readline() == b"on\n"
            yield process.pid
        finally:
            process.kill()
            process.communicate()


def opened(path: Path) -> contextlib.AbstractContextManager[int]:
    """Meanwhile another process, whose id it gives, has the file open."""
    return _running("sleep", "600", file=path)


def stood_in(directory: Path) -> contextlib.AbstractContextManager[int]:
    """Meanwhile it is another process's working directory."""
    return _running("sleep", "600", cwd=directory)


def locked(path: Path, how: str = LIKE_MYSQLD) -> contextlib.AbstractContextManager[int]:
    """Meanwhile another process has locked a file, as mysqld does; with `LIKE_US`, a folder of ours."""
    return _running(
        sys.executable, "-c", f"import sys, time; {how}\nprint('on', flush=True); time.sleep(600)", str(path)
    )
