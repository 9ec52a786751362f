"""``./bench/store``: a first backup, an increment of 1 % of the pages, and a restore, beside restic and borg.

All take the same two clones of one server, whose files are dropped from the page cache before each run, into a folder
and into a server of S3 on this machine; what is compared is what each of them does by default, compressed and
encrypted. An increment is told beside the changed pages, each of them compressed by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import zstandard

from bench.measure import CommandFailed, Cost, compile_ours, prepare_files, run_measured
from bench.publishing import ROOT
from bench.report import Target, aligned
from bench.servers import HALF, change_pages, fill_pages, started
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.programs import Programs, provide_programs
from innoclone.stream.pagecheck import find_tablespaces

PAGE, LEVEL = 16384, 1
CHANGED = 0.01
STEPS = ("first", "increment", "restore")
HEADER = ["", "step", "s", "CPU s", "CPU s/GiB", "peak MiB", "MiB added"]
# To reach, beside the better of the others where that is said.
WALL, SPEED, SIZE, OVERHEAD, CPU, MEMORY = 0.5, 2.0, 1.0, 1.15, 5.0, 200.0
BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Row:
    """One step of one program: seconds, and bytes of memory and of what the repository grew by."""

    program: str
    step: str
    wall: float
    cpu: float
    memory: int
    added: int


@dataclass(frozen=True)
class Clones:
    """The two of them. Bytes: ``size`` of the second one, ``compressed`` of the pages by which they differ."""

    first: Path
    second: Path
    size: int
    pages: int
    compressed: int


@dataclass
class Place:
    """Where repositories are: ``folder`` has all that is in them."""

    name: str
    folder: Path
    port: int = 0
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def url(self, program: str) -> str:
        """Of a repository, as that program wants it."""
        if not self.port:
            return f"file://{self.folder / program}" if program == "innoclone" else str(self.folder / program)
        at = f"http://127.0.0.1:{self.port}/{BUCKET}/{program}"
        return f"s3://{BUCKET}/{program}" if program == "innoclone" else f"s3:{at}"

    @property
    def environment(self) -> dict[str, str]:
        """What all programs want."""
        endpoint = {"AWS_ENDPOINT": f"http://127.0.0.1:{self.port}", "AWS_ALLOW_HTTP": "true"} if self.port else {}
        return KEYS | endpoint | {
            "INNOCLONE_STORE_PASSPHRASE": "correct horse", "RESTIC_PASSWORD": "correct horse",
            "BORG_PASSPHRASE": "correct horse", "BORG_BASE_DIR": str(self.folder.parent / "borg-home"),
            "RESTIC_CACHE_DIR": str(self.folder.parent / "restic-cache"),
        }  # fmt: skip


Commands = Callable[[str, Clones, Path], dict[str, list[str]]]


def ours(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The commands of each step, and of the preparation."""
    program = [sys.executable, "-m", "innoclone"]
    return {
        "init": [*program, "store", "init", url],
        "first": [*program, "backup", str(clones.first), url],
        "increment": [*program, "backup", str(clones.second), url],
        "restore": [*program, "restore", url, str(target)],
    }


def restic(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The same."""
    program = ["restic", "--quiet", "--repo", url]
    return {
        "init": [*program, "init"],
        "first": [*program, "backup", str(clones.first)],
        "increment": [*program, "backup", str(clones.second)],
        "restore": [*program, "restore", "latest", "--target", str(target)],
    }


def borg(url: str, clones: Clones, target: Path, chunker: str = "default") -> dict[str, list[str]]:
    """The same; it extracts into the folder where it is."""
    create = ["borg", "create", "--compression=zstd,1", f"--chunker-params={chunker}"]
    extract = 'mkdir "$0" && cd "$0" && exec borg extract "$1"::second'
    return {
        "init": ["borg", "init", "--encryption=repokey-blake2", url],
        "first": [*create, f"{url}::first", str(clones.first)],
        "increment": [*create, f"{url}::second", str(clones.second)],
        "restore": ["sh", "-c", extract, str(target), url],
    }


def borg_of_pages(url: str, clones: Clones, target: Path) -> dict[str, list[str]]:
    """The same with pieces of the size of a page."""
    return borg(url, clones, target, "fixed,16384")


PROGRAMS: dict[str, Commands] = {"innoclone": ours, "restic": restic, "borg": borg, "borg-16k": borg_of_pages}


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    places: list[Place] = []
    with tempfile.TemporaryDirectory(prefix="store-", dir=options.work or options.out) as name:
        work = Path(name).resolve()
        os.environ["XDG_STATE_HOME"] = str(work / "state")  # the bench's runs are in nobody's history
        clones = _clones(provide_programs(print), work, options.size)
        print(
            f"{clones.size >> 20} MiB each; {clones.pages} pages differ, {clones.compressed / 2**20:.1f} MiB compressed"
        )
        if "folder" in options.places:
            places.append(_measure(Place("folder", work / "folder" / "there"), clones, work, options.programs))
        if "s3" in options.places:
            with _s3_server(options.s3, work / "s3" / "there") as port:
                there = Place(f"S3, {options.s3}", work / "s3" / "there", port)
                places.append(_measure(there, clones, work, options.programs))
    for place in places:
        print(f"\n{place.name}, {options.size:g} GiB of data")
        print(aligned([HEADER, *(_cells(row, clones) for row in place.rows)]))
        print("\n".join(map(str, targets(place, clones))))
        for program, reason in place.missing.items():
            print(f"{program}: not available: {reason}")
    print(f"load average {os.getloadavg()[0]:.2f}")
    results = {place.name: [asdict(row) for row in place.rows] for place in places}
    facts = {"size": clones.size, "pages": clones.pages, "compressed": clones.compressed}
    (options.out / "store.json").write_text(json.dumps(facts | {"places": results}, indent=1) + "\n")
    print(options.out / "store.json")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/store", description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GiB of data: 5 and 20 are to be shown (default 2)")
    listed = lambda text: text.split(",")  # noqa: E731 - as argparse wants it
    parser.add_argument("--places", type=listed, default=["folder", "s3"], help="folder, s3 or both (the default)")
    parser.add_argument("--programs", type=listed, default=list(PROGRAMS), help="of " + ",".join(PROGRAMS))
    parser.add_argument(
        "--s3", choices=("moto", "localbucket"), default="localbucket",
        help="the server of S3: moto keeps all in memory, but restic takes it (default localbucket)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where clones and repositories go (default: --out)")
    return parser.parse_args()


def _clones(programs: Programs, work: Path, gib: float) -> Clones:
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
def _s3_server(kind: str, folder: Path) -> Iterator[int]:
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


def _measure(place: Place, clones: Clones, work: Path, programs: list[str]) -> Place:
    """All programs, one after the other."""
    place.folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        commands = PROGRAMS[program](place.url(program), clones, work / "target")
        if place.port and program.startswith("borg"):
            place.missing[program] = "it has no S3"
        elif shutil.which(commands["init"][0]) is None:
            place.missing[program] = "it is not installed (apt-get install restic borgbackup)"
        else:
            try:
                _play(place, program, commands, clones, work / "target")
            except CommandFailed as error:
                place.missing[program] = str(error)
    return place


def _play(place: Place, program: str, commands: dict[str, list[str]], clones: Clones, target: Path) -> None:
    run_measured(commands["init"], place.environment)
    before = _stored(place.folder)
    for step in STEPS:
        prepare_files(clones.first, clones.second, place.folder, warm=False)
        try:
            cost: Cost = run_measured(commands[step], place.environment)
        finally:
            shutil.rmtree(target, ignore_errors=True)
        now = _stored(place.folder)
        row = Row(program, step, cost.wall, cost.cpu, cost.memory, now - before)
        before = now
        place.rows.append(row)
        print(f"  {place.name}: {program}, {step}: {row.wall:.2f} s, {row.cpu:.2f} CPU s", flush=True)


def _stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cells(row: Row, clones: Clones) -> list[str]:
    added = "" if row.step == "restore" else f"{row.added / 2**20:.1f}"
    gib = clones.size / 2**30
    return [
        row.program, row.step, f"{row.wall:.2f}", f"{row.cpu:.2f}", f"{row.cpu / gib:.2f}",
        f"{row.memory / 2**20:.0f}", added,
    ]  # fmt: skip


def targets(place: Place, clones: Clones) -> list[Target]:
    """What is to be reached, by step."""
    mine = {row.step: row for row in place.rows if row.program == "innoclone"}
    others = [row for row in place.rows if row.program != "innoclone"]
    found = []
    for step, row in mine.items():
        theirs = min((other.wall for other in others if other.step == step), default=None)
        if step == "restore":
            faster = theirs / row.wall if theirs is not None else None
            found.append(Target("restore, times as fast as the faster one's", SPEED, True, faster))
        else:
            ratio = row.wall / theirs if theirs is not None else None
            found.append(Target(f"{step}, time / the faster one's", WALL, False, ratio))
        found.append(Target(f"{step}, CPU s/GiB", CPU, False, row.cpu / (clones.size / 2**30)))
        found.append(Target(f"{step}, peak MiB", MEMORY, False, row.memory / 2**20))
    if "moto" not in place.name and "first" in mine:
        smallest = min((other.added for other in others if other.step == "first"), default=None)
        size = mine["first"].added / smallest if smallest else None
        found.append(Target("first, size / the smaller one's", SIZE, False, size))
    if "moto" not in place.name and "increment" in mine:
        over = mine["increment"].added / clones.compressed
        found.append(Target("increment, size / changed pages compressed", OVERHEAD, False, over))
    return found


if __name__ == "__main__":
    sys.exit(main())
