"""The programs that ``./bench/store`` compares, what they put away, and where."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bench.measure import run_measured
from bench.servers import HALF, change_pages, fill_pages, started
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.programs import Programs
from innoclone.stream.pagecheck import find_tablespaces

__all__ = ["PROGRAMS", "Clones", "Place", "make_clones", "s3_server"]

PAGE, LEVEL = 16384, 1
CHANGED = 0.01
BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Clones:
    """The two of them. Bytes: ``size`` of the second one, ``compressed`` of the pages by which they differ."""

    first: Path
    second: Path
    size: int
    pages: int
    compressed: int


@dataclass(frozen=True)
class Place:
    """Where repositories are: ``folder`` has all that is in them. ``warm``: files are in the page cache."""

    name: str
    folder: Path
    port: int = 0
    warm: bool = False

    def url(self, program: str, repository: str) -> str:
        """Of a repository, as that program wants it."""
        if not self.port:
            return f"file://{self.folder / repository}" if program == "innoclone" else str(self.folder / repository)
        at = f"http://127.0.0.1:{self.port}/{BUCKET}/{repository}"
        return f"s3://{BUCKET}/{repository}" if program == "innoclone" else f"s3:{at}"

    @property
    def environment(self) -> dict[str, str]:
        """What all programs want."""
        endpoint = {"AWS_ENDPOINT": f"http://127.0.0.1:{self.port}", "AWS_ALLOW_HTTP": "true"} if self.port else {}
        return KEYS | endpoint | {
            "INNOCLONE_STORE_PASSPHRASE": "correct horse", "RESTIC_PASSWORD": "correct horse",
            "BORG_PASSPHRASE": "correct horse", "BORG_BASE_DIR": str(self.folder.parent / "borg-home"),
            "RESTIC_CACHE_DIR": str(self.folder.parent / "restic-cache"),
        }  # fmt: skip


SYNC = 'sync --file-system "$0"'
Commands = Callable[[str, Clones, Path], dict[str, list[str]]]


def _ours(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The commands of each step, and of the preparation. ``restore`` ends when the system has all, ``durable`` when the
    disk has."""
    program = [sys.executable, "-m", "innoclone"]
    return {
        "init": [*program, "store", "init", url],
        "first": [*program, "backup", str(clones.first), url],
        "increment": [*program, "backup", str(clones.second), url],
        "restore": [*program, "restore", "--no-fsync", url, str(target)],
        "durable": [*program, "restore", url, str(target)],
    }


def _restic(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The same."""
    program = ["restic", "--quiet", "--repo", url]
    restore = [*program, "restore", "latest", "--target", str(target)]
    return {
        "init": [*program, "init"],
        "first": [*program, "backup", str(clones.first)],
        "increment": [*program, "backup", str(clones.second)],
        "restore": restore,
        "durable": ["sh", "-c", f'"$@" && {SYNC}', str(target), *restore],
    }


def _borg(url: str, clones: Clones, target: Path, chunker: str = "default") -> dict[str, list[str]]:
    """The same; it extracts into the folder where it is."""
    create = ["borg", "create", "--compression=zstd,1", f"--chunker-params={chunker}"]
    extract = 'mkdir "$0" && cd "$0" && borg extract "$1"::second'
    return {
        "init": ["borg", "init", "--encryption=repokey-blake2", url],
        "first": [*create, f"{url}::first", str(clones.first)],
        "increment": [*create, f"{url}::second", str(clones.second)],
        "restore": ["sh", "-c", extract, str(target), url],
        "durable": ["sh", "-c", f"{extract} && {SYNC}", str(target), url],
    }


def _borg_of_pages(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The same with pieces of the size of a page."""
    return _borg(url, clones, target, "fixed,16384")


PROGRAMS: dict[str, Commands] = {"innoclone": _ours, "restic": _restic, "borg": _borg, "borg-16k": _borg_of_pages}


def make_clones(programs: Programs, work: Path, gib: float) -> Clones:
    """Two clones of a server, between which pages were changed at random."""
    print(f"filling a server, MySQL {programs.version}, with {gib:g} GiB", flush=True)
    fill_pages(programs, work / "source", gib, HALF)
    first, second, password = work / "first", work / "second", secrets.token_urlsafe(12)
    with started(programs, work / "source", 1, password) as server:
        dsn = f"mysql://{ACCOUNT}@127.0.0.1:{server.port}"
        command = [sys.executable, "-m", "innoclone", "local", "--no-defaults", dsn]
        run_measured([*command, str(first)], {"MYSQL_PWD": password})
        with server.connect() as connection, connection.cursor() as cursor:
            change_pages(cursor, CHANGED, 1)
            connection.commit()
        run_measured([*command, str(second)], {"MYSQL_PWD": password})
    shutil.rmtree(work / "source")
    pages, compressed = _difference(first, second)
    size = sum(path.stat().st_size for path in second.rglob("*") if path.is_file())
    return Clones(first, second, size, pages, compressed)


def _difference(first: Path, second: Path) -> tuple[int, int]:
    """Pages of all tablespaces that are others than in the first clone, and their bytes, each compressed by itself."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    pages = compressed = 0
    for name in find_tablespaces(second):
        there = first / name if (first / name).exists() else Path(os.devnull)
        with (second / name).open("rb") as new, there.open("rb") as old:
            while page := new.read(PAGE):
                if page != old.read(PAGE):
                    pages, compressed = pages + 1, compressed + len(compressor.compress(page))
    return pages, compressed


@contextmanager
def s3_server(kind: str, folder: Path) -> Iterator[int]:
    """Its port; what is stored is in ``folder``, or in its memory."""
    import boto3

    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = {
        "moto": [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        "localbucket": [str(Path(sys.executable).with_name("localbucket")), "--port", str(port), str(folder)],
    }[kind]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit(f"{kind} has ended") from None
                time.sleep(0.1)
        boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="a", aws_secret_access_key="b",  # noqa: S106
            region_name="us-east-1",
        ).create_bucket(Bucket=BUCKET)  # fmt: skip
        yield port
    finally:
        server.kill()
        server.wait()
