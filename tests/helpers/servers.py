"""Real servers for the tests: started in a second from copies of initialized data directories."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from innoclone.sandbox.server import ACCOUNT, DONOR_OPTIONS, prepare_donor
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Endpoint

PASSWORD = "a password"


class ServerFactory:
    """Starts servers below ``folder``; all of them end with `close`. ``templates`` outlives the test run."""

    def __init__(self, programs: Programs, folder: Path, templates: Path) -> None:
        self.programs = programs
        self._folder = folder
        self._templates = templates
        self._servers = ExitStack()
        self._count = 0

    def __call__(
        self,
        *options: str,
        init: Sequence[str] = (),
        donor: bool = True,
        port: int | None = 0,
        keyring: Keyring | None = None,
    ) -> Server:
        """A fresh server. ``init``: options that the data directory is also initialized with (innodb_page_size);
        ``donor``: with binary log, GTIDs, the clone plugin and the account ``clone``."""
        self._count += 1
        datadir = self._folder / f"server-{self._count}"
        if any("/" in option for option in init):  # of this test alone: no template for later ones
            Server.initialize(self.programs, datadir, init)
        else:
            shutil.copytree(self.template(init), datadir)
        ours = [*DONOR_OPTIONS, f"--server-id={100 + self._count}"] if donor else []
        log = self._folder / f"server-{self._count}.log"
        server = Server.start(
            self.programs,
            datadir,
            port=port,
            options=[*ours, *init, *options],
            error_log=log,
            timeout=120,
            keyring=keyring,
        )
        self._servers.callback(self._throw_away, server)
        if donor:
            with server.connect() as connection:
                prepare_donor(connection, PASSWORD)
        return server

    def close(self) -> None:
        """End them all; their data is thrown away, so there is nothing to shut down in order."""
        self._servers.close()

    @staticmethod
    def _throw_away(server: Server) -> None:
        server.kill()
        shutil.rmtree(server.datadir, ignore_errors=True)

    def template(self, init: Sequence[str]) -> Path:
        """An initialized data directory, to be copied."""
        name = hashlib.sha256(repr((self.programs, list(init))).encode()).hexdigest()[:16]
        template = self._templates / name
        if not template.is_dir():
            with tempfile.TemporaryDirectory(dir=self._templates) as beside:
                new = Path(beside) / "data"
                Server.initialize(self.programs, new, init)
                (new / "auto.cnf").unlink()  # every server is to have a UUID of its own
                if not template.is_dir():  # another test run may have been faster
                    new.rename(template)
        return template


def endpoint_of(server: Server, **changes: object) -> Endpoint:
    """The account ``clone`` of a donor over TCP. Where a test wants no TLS, the loopback interface is trusted."""
    values: dict[str, object] = {
        "host": "127.0.0.1", "port": server.port, "user": ACCOUNT, "password": PASSWORD, "get_server_public_key": True,
    }  # fmt: skip
    return Endpoint(**values | changes)  # type: ignore[arg-type]
