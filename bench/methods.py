"""The rows of the comparison: each is one way to get from a running donor to a copy on the same disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pymysql.cursors import Cursor

from bench.measure import Meter, Sample
from bench.openssl import python_of
from bench.servers import Servers
from innoclone.sandbox.server import ACCOUNT

__all__ = ["METHODS", "Method", "NotAvailable"]

CONNECTIONS = (1, 4)


class NotAvailable(Exception):
    """A program that a row needs is not there."""


@dataclass(frozen=True)
class Method:
    """One row. ``run`` makes a copy in a directory that is not there yet, measured; it raises `NotAvailable` or
    `CommandFailed`. ``reference``: the row that it is compared with; ``slow``: runs in fewer rounds; ``encrypted``: of
    the encrypted donor."""

    key: str
    label: str
    family: str  # ours, stock or other
    run: Callable[[Servers, Path, Meter], Sample]
    reference: str = ""
    slow: bool = False
    encrypted: bool = False

    @property
    def on_tmpfs(self) -> bool:
        """Whether it is worth a row where no disk is: what the program costs is."""
        on_disk = {"zstd", "zlib", "unjournaled", "local", "encrypted"}
        return self.family != "other" and not on_disk & set(self.key.split("-"))


PROGRAM = (str(Path(sys.executable).with_name("innoclone")),)
WITHOUT_JOURNAL = (sys.executable, "-m", "bench.unjournaled")


def _ours(*options: str, program: Sequence[str] = PROGRAM) -> Callable[[Servers, Path, Meter], Sample]:
    def clone(servers: Servers, target: Path, meter: Meter) -> Sample:
        """The donor over TCP; its password is for the environment."""
        command = [*program, "clone", f"mysql://{ACCOUNT}@127.0.0.1:{meter.donor.port}", str(target), *options]
        return meter.run(lambda: meter.child(command, {"MYSQL_PWD": servers.password}), lambda: _size(target))

    return clone


def _ours_with_the_servers_openssl(*options: str) -> Callable[[Servers, Path, Meter], Sample]:
    def clone(servers: Servers, target: Path, meter: Meter) -> Sample:
        python = python_of(servers.programs)
        if python is None:
            raise NotAvailable("the server has no OpenSSL of its own")
        return _ours(*options, program=(*python, "-m", "innoclone"))(servers, target, meter)

    return clone


def _stock(connections: int, *, tls: bool = False, compression: bool = False) -> Callable[..., Sample]:
    def clone(servers: Servers, target: Path, meter: Meter) -> Sample:
        with servers.recipient.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SET GLOBAL clone_autotune_concurrency = OFF, clone_max_concurrency = %s,"
                " clone_enable_compression = %s",
                (connections, "ON" if compression else "OFF"),
            )
            meter.server(servers.recipient)
            statement = (
                f"CLONE INSTANCE FROM {servers.account} DATA DIRECTORY = '{target}' REQUIRE {'' if tls else 'NO '}SSL"
            )
            return meter.run(lambda: _execute(cursor, statement), lambda: _size(target))

    return clone


def _clone_local(servers: Servers, target: Path, meter: Meter) -> Sample:
    with servers.donor.connect() as connection, connection.cursor() as cursor:
        statement = f"CLONE LOCAL DATA DIRECTORY = '{target}'"
        return meter.run(lambda: _execute(cursor, statement), lambda: _size(target))


def _raw(servers: Servers, target: Path, meter: Meter) -> Sample:
    """What the disk alone needs."""
    command = [sys.executable, "-m", "bench.raw", str(servers.donor.datadir), str(target)]
    return meter.run(lambda: meter.child(command), lambda: _size(target))


def _cp(servers: Servers, target: Path, meter: Meter) -> Sample:
    """The copy of a running server is not a usable one."""
    script = 'cp -r "$0" "$1" && sync --file-system "$1"'
    command = ["sh", "-c", script, str(servers.donor.datadir), str(target)]
    return meter.run(lambda: meter.child(command), lambda: _size(target))


def _mysqldump(servers: Servers, target: Path, meter: Meter) -> Sample:
    if servers.programs.mysqldump is None or servers.programs.mysql is None:
        raise NotAvailable("no mysqldump and mysql beside mysqld")
    dump = [
        *servers.programs.mysqldump, "--no-defaults", f"--socket={servers.donor.socket}", "--user=root",
        "--single-transaction", "--set-gtid-purged=OFF", "--databases", *servers.schemas(),
    ]  # fmt: skip
    with servers.fresh(target) as recipient:
        load = [
            *servers.programs.mysql,
            "--no-defaults",
            f"--socket={recipient.socket}",
            "--user=root",
            "--binary-mode",
        ]
        meter.server(recipient)
        return meter.run(lambda: meter.pipeline([dump, load]), lambda: _size(target))


def _mydumper(servers: Servers, target: Path, meter: Meter) -> Sample:
    if not (shutil.which("mydumper") and shutil.which("myloader")):
        raise NotAvailable("mydumper and myloader are not installed")
    # Debian's mydumper (0.10) fails on schemas with other names; one at a time is a way past them that ends with 0.
    schemas = [schema for schema in servers.schemas() if schema.isascii()]
    folder = target.with_name("mydumper")
    folder.mkdir()
    try:
        with servers.fresh(target) as recipient:
            meter.server(recipient)

            def dump_and_load() -> None:
                for schema in schemas:
                    place = str(folder / schema)
                    common = ("--user=root", "--threads=4")
                    meter.child(
                        ["mydumper", f"--socket={servers.donor.socket}", *common, f"--database={schema}",
                         f"--outputdir={place}", "--trx-consistency-only"]
                    )  # fmt: skip
                    meter.child(["myloader", f"--socket={recipient.socket}", *common, f"--directory={place}"])

            return meter.run(dump_and_load, lambda: _size(target))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _execute(cursor: Cursor, statement: str) -> None:
    cursor.execute(statement)


def _size(target: Path) -> int:
    """Allocated bytes of all files below ``target``."""
    return sum(path.lstat().st_blocks * 512 for path in target.rglob("*"))


def _pairs() -> list[Method]:
    rows = []
    for n in CONNECTIONS:
        many = f"{n} connection{'s' if n > 1 else ''}"
        common = (f"--threads={n}",)
        plain = (*common, "--ssl-mode=DISABLED", "--get-server-public-key")
        unchecked = (*plain, "--no-verify-pages")
        zstd = (*plain, "--compress=zstd")
        rows += [
            Method(f"ours-plain-{n}", f"innoclone, plain, {many}", "ours", _ours(*plain), f"stock-plain-{n}"),
            Method(f"stock-plain-{n}", f"stock CLONE, plain, {many}", "stock", _stock(n)),
            Method(
                f"ours-unchecked-{n}", f"innoclone, plain, no page checks, {many}", "ours", _ours(*unchecked),
                f"stock-plain-{n}",
            ),
            Method(
                f"ours-unjournaled-{n}", f"innoclone, plain, no journal, {many}", "ours",
                _ours(*plain, program=WITHOUT_JOURNAL), f"stock-plain-{n}",
            ),
            Method(
                f"ours-tls-{n}", f"innoclone, TLS, {many}", "ours", _ours(*common, "--ssl-mode=REQUIRED"),
                f"stock-tls-{n}",
            ),
            Method(
                f"ours-openssl-{n}", f"innoclone, TLS by the server's OpenSSL, {many}", "ours",
                _ours_with_the_servers_openssl(*common, "--ssl-mode=REQUIRED"), f"stock-tls-{n}",
            ),
            Method(f"stock-tls-{n}", f"stock CLONE, TLS, {many}", "stock", _stock(n, tls=True)),
            Method(f"ours-zstd-{n}", f"innoclone, zstd, {many}", "ours", _ours(*zstd), f"stock-zlib-{n}", slow=True),
            Method(
                f"stock-zlib-{n}", f"stock CLONE, compressed (zlib), {many}", "stock", _stock(n, compression=True),
                slow=True,
            ),
        ]  # fmt: skip
    return rows


METHODS = [
    *_pairs(),
    Method(
        "ours-encrypted-4",
        "innoclone, encrypted donor, TLS, 4 connections",
        "ours",
        _ours("--threads=4", "--ssl-mode=REQUIRED"),
        "ours-tls-4",
        encrypted=True,
    ),
    Method("clone-local", "stock CLONE LOCAL", "stock", _clone_local),
    Method("raw", "tablespaces read and written, no server", "other", _raw),
    Method("cp", "cp -r + sync (not consistent)", "other", _cp),
    Method("mysqldump", "mysqldump | mysql", "other", _mysqldump, slow=True),
    Method("mydumper", "mydumper, myloader (most schemas)", "other", _mydumper, slow=True),
]
