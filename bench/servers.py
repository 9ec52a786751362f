"""The servers of a comparison: a filled donor, a stock recipient, fresh servers to load dumps into, and where it is
wanted an encrypted donor with the same data.

All of them are stock, with MySQL's defaults but for what a donor needs (binary log with GTIDs, the clone plugin). What
other benchmarks need of servers and data is here, too.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pymysql.cursors import Cursor

from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import ACCOUNT, DONOR_OPTIONS, prepare_donor
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs

__all__ = ["FAST", "HALF", "ROWS_PER_PAGE", "Servers", "change_pages", "fill_pages", "started"]

# For the time of preparation alone: nothing is synced until all is there.
FAST = (
    "--skip-log-bin", "--innodb-flush-method=nosync", "--innodb-doublewrite=OFF", "--innodb-redo-log-capacity=1G",
    "--innodb-flush-log-at-trx-commit=0",
)  # fmt: skip
# Everything that can be.
ENCRYPTED = (
    "--default-table-encryption=ON", "--innodb-redo-log-encrypt=ON", "--innodb-undo-log-encrypt=ON",
)  # fmt: skip
ROWS_PER_PAGE = 2
PORTION = 1 << 18  # rows that one statement looks at
BODY = 7000  # bytes of a row: two of them fill a page of 16 KiB
SAME = f"REPEAT(RANDOM_BYTES(100), {BODY // 100})"
HALF = f"CONCAT({', '.join(['RANDOM_BYTES(1000)'] * 3)}, REPEAT(RANDOM_BYTES(100), {BODY // 100 - 30}))"

# The general tablespace of the filled data: a dump expects it to be there.
_SHARED = "CREATE TABLESPACE shared_space ADD DATAFILE 'shared_space.ibd'"
_SYSTEM = "('mysql', 'sys', 'performance_schema', 'information_schema', 'traffic')"


class Servers:
    """Donor and recipient below ``work``; they end with the ``with`` block."""

    def __init__(
        self, programs: Programs, work: Path, size: int, report: Callable[[str], None], *, encrypted: bool = False
    ) -> None:
        """Start both and fill the donor with about ``size`` bytes; ``encrypted``: and another one, equally."""
        self.programs, self.work = programs, work
        self.password = secrets.token_urlsafe(12)
        self._running = ExitStack()
        self._template = work / "template"
        try:
            report(f"filling a donor, MySQL {programs.version}, with {size / 2**20:,.0f} MiB")
            Server.initialize(programs, self._template)
            (self._template / "auto.cnf").unlink()
            self.donor = self._filled("donor", 1, size)
            self._running.callback(self.donor.kill)
            self.recipient = self._start("recipient", 2)
            self._running.callback(self.recipient.kill)
            with self.recipient.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET GLOBAL clone_valid_donor_list = %s", (f"127.0.0.1:{self.donor.port}",))
            self.encrypted = self._encrypted(size, report) if encrypted else None
        except BaseException:
            self.close()
            raise

    def _filled(self, name: str, number: int, size: int, keyring: Keyring | None = None) -> Server:
        """A donor that has no backlog of dirty pages for which the first runs would pay: it was shut down."""
        options = () if keyring is None else ENCRYPTED
        with self._start(name, number, (*options, *FAST), keyring) as server:
            if keyring is not None:
                with server.connect() as connection, connection.cursor() as cursor:
                    cursor.execute("ALTER TABLESPACE mysql ENCRYPTION = 'Y'")
            fill(server.connect, size)
        return self._start(name, number, options, keyring)

    def _encrypted(self, size: int, report: Callable[[str], None]) -> Server:
        report("filling another one, in which everything is encrypted")
        server = self._filled("encrypted", 3, size, Keyring(self.work / "encrypted.keys", read_only=False))
        self._running.callback(server.kill)
        return server

    def _start(self, name: str, number: int, more: Sequence[str] = (), keyring: Keyring | None = None) -> Server:
        datadir = self.work / name
        if not datadir.exists():
            shutil.copytree(self._template, datadir)
        options = [*DONOR_OPTIONS, f"--server-id={number}", *more]
        server = Server.start(
            self.programs, datadir, port=0, options=options, error_log=self.work / f"{name}.log", timeout=120,
            keyring=keyring,
        )  # fmt: skip
        with server.connect() as connection:
            prepare_donor(connection, self.password)
        return server

    @contextmanager
    def fresh(self, datadir: Path) -> Iterator[Server]:
        """An empty server on ``datadir``, thrown away at the end."""
        shutil.copytree(self._template, datadir)
        server = Server.start(self.programs, datadir, error_log=self.work / "fresh.log", timeout=120)
        try:
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute(_SHARED)
            yield server
        finally:
            server.kill()

    @property
    def account(self) -> str:
        """The donor as CLONE INSTANCE FROM wants it."""
        return f"{ACCOUNT}@127.0.0.1:{self.donor.port} IDENTIFIED BY '{self.password}'"

    def schemas(self) -> list[str]:
        """The filled schemas, for the dumps. The load's own schema is left out: a dump without it is the faster one."""
        with self.donor.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN {_SYSTEM}")
            return [row[0] for row in cursor.fetchall()]

    def close(self) -> None:
        """End both at once; their data is thrown away."""
        self._running.close()

    def __enter__(self) -> Servers:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """`close`."""
        self.close()


@contextmanager
def started(
    programs: Programs, datadir: Path, number: int, password: str, options: Sequence[str] = ()
) -> Iterator[Server]:
    """A donor or recipient on a directory, a new one where there is none; ended at once afterwards."""
    if not datadir.exists():
        Server.initialize(programs, datadir)
    options = [*DONOR_OPTIONS, f"--server-id={number}", *options]
    log = datadir.with_name(f"{datadir.name}.log")
    server = Server.start(programs, datadir, port=0, options=options, error_log=log, timeout=600)
    try:
        with server.connect() as connection:
            prepare_donor(connection, password)
        yield server
    finally:
        server.kill()


def fill_pages(programs: Programs, datadir: Path, gib: float, body: str = SAME) -> None:
    """A data directory with one big table, ``b.t``, two rows of ``body`` to a page; its server was shut down."""
    Server.initialize(programs, datadir)
    server = Server.start(programs, datadir, options=FAST, timeout=120)
    try:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE b")
            cursor.execute("CREATE TABLE b.t (id INT AUTO_INCREMENT PRIMARY KEY, n INT, body VARBINARY(7500))")
            have = cursor.execute(f"INSERT INTO b.t (n, body) VALUES (0, {body})")
            wanted = int(gib * (1 << 30) / 16384 * ROWS_PER_PAGE)
            while have < wanted:
                count = min(have, wanted - have, 20000)
                have += cursor.execute(f"INSERT INTO b.t (n, body) SELECT 0, {body} FROM b.t LIMIT {count}")
        server.stop(timeout=900)
    finally:
        server.kill()
    os.sync()


def change_pages(cursor: Cursor, part: float, seed: int) -> int:
    """Change a row on about that part of the pages of ``b.t``, chosen at random; how many pages."""
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")  # else every row is locked
    chosen = f"CRC32(CONCAT(id DIV {ROWS_PER_PAGE}, ' ', {seed})) % 1000000 < {part * 1000000:.0f}"
    update = f"UPDATE b.t SET n = n + 1 WHERE id % {ROWS_PER_PAGE} = 0 AND {chosen}"
    cursor.execute("SELECT MAX(id) FROM b.t")
    last = int((cursor.fetchone() or (0,))[0] or 0)
    return sum(  # in portions: no statement takes as long as a connection waits
        cursor.execute(f"{update} AND id > {first} AND id <= {first + PORTION}")
        for first in range(0, last if part else 0, PORTION)
    )
