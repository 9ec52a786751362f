"""What all rounds share: MySQL's programs, a folder to work in, and small donors that can be hurt and mended."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql

from clones import rows
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import checksums
from servers import PASSWORD, ServerFactory

__all__ = ["SmallDonor", "World"]

MIB = 1 << 20
CONTENT = 16 * MIB  # of tables; with a server's own files about 100 MiB are copied
# A small cache is enough for so little, and the machine has other things to hold.
CHEAP = ("--innodb-buffer-pool-size=48M", "--performance-schema=ON")
CHANGING = "`traffic`."  # the tables that the load writes to


class World:
    """Programs, a folder and the donors in it. `close` ends the donors."""

    def __init__(self, programs: Programs, folder: Path, templates: Path) -> None:
        """``templates`` holds initialized data directories, for this run and later ones."""
        self.programs = programs
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self._factory = ServerFactory(programs, folder, templates)
        self._donors: list[SmallDonor] = []

    def donor(self, *options: str) -> SmallDonor:
        """A new donor, filled, with the tables of the load."""
        server = self._factory(*CHEAP, *options)
        fill(server.connect, CONTENT)
        donor = SmallDonor(self.programs, server, [*CHEAP, *options])
        self._donors.append(donor)
        with donor.loaded():
            pass
        return donor

    @property
    def environment(self) -> dict[str, str]:
        """For innoclone: nothing of this machine's MySQL configuration, a home of its own, stacks where it hangs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MYSQL", "XDG_"))}
        return {
            **kept, "HOME": str(self.home), "COLUMNS": "80", "PYTHONFAULTHANDLER": "1", "MYSQL_PWD": PASSWORD,
        }  # fmt: skip

    def close(self) -> None:
        """End all servers."""
        for donor in self._donors:
            donor.server.kill()
        self._factory.close()


class SmallDonor:
    """A stock server that keeps its port and its data over restarts."""

    def __init__(self, programs: Programs, server: Server, options: list[str]) -> None:
        self.server = server
        self._programs, self._options = programs, options
        self._checksums: dict[str, object] = {}

    @property
    def port(self) -> int:
        return self.server.port

    def dsn(self, *, host: str = "127.0.0.1", port: int = 0, ssl_mode: str = "DISABLED") -> str:
        """As the command line takes it; by way of a proxy where ``port`` is given."""
        return f"mysql://clone@{host}:{port or self.port}?ssl-mode={ssl_mode}&get-server-public-key=1"

    def restart(self) -> None:
        """Start it again after it has ended, however that was."""
        self.server.kill()
        self.server = Server.start(
            self._programs, self.server.datadir, port=self.port, error_log=self.server.error_log, timeout=120,
            options=[*DONOR_OPTIONS, "--server-id=101", *self._options],
        )  # fmt: skip
        self._checksums = {}

    @contextlib.contextmanager
    def loaded(self) -> Iterator[None]:
        """Transactions run meanwhile; their binary log is thrown away afterwards, so that the donor stays small."""
        self._checksums = {}
        with Load(self.server.connect, pause=0.002) as load:
            yield
        assert load.errors == [], load.errors
        rows(self.server, "FLUSH BINARY LOGS")
        names = rows(self.server, "SHOW BINARY LOGS")
        rows(self.server, f"PURGE BINARY LOGS TO '{names[-1][0]}'")

    def checksums(self) -> dict[str, object]:
        """What is in its tables now; nobody writes to them without `loaded`."""
        if not self._checksums:
            self._checksums = checksums(self.server)
        return self._checksums

    def clones(self) -> list[object]:
        """Ids of the sessions that clone."""
        found = rows(self.server, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'clone'")
        return [number for (number,) in found]

    def wait_until_free(self, limit: float = 60.0) -> None:
        """Until no session of an earlier clone is left: one whose client died in COM_REINIT waits for 30 s."""
        deadline = time.monotonic() + limit
        while self.clones() and time.monotonic() < deadline:
            time.sleep(0.1)

    def kill_clones(self) -> int:
        """KILL of the sessions that clone; their number."""
        found = self.clones()
        for number in found:
            with contextlib.suppress(pymysql.err.OperationalError):  # the first KILL ends the others
                rows(self.server, f"KILL {number}")
        return len(found)


def unchanging(found: dict[str, object]) -> dict[str, object]:
    """Only what the load leaves alone."""
    return {name: value for name, value in found.items() if not name.startswith(CHANGING) and name != "gtid_executed"}
