"""A mysqld with a keyring: MySQL's own component_keyring_file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clones import rows
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs

__all__ = ["restarted", "restarted_with_keyring"]


@contextmanager
def restarted_with_keyring(programs: Programs, server: Server, folder: Path, *options: str) -> Iterator[Server]:
    """A donor, ended and started anew with a keyring; ``folder`` gets the keys."""
    server.stop()
    with restarted(programs, server, *options, keyring=Keyring(folder / "keys", read_only=False)) as again:
        assert rows(again, "SELECT 1 FROM performance_schema.keyring_component_status")
        yield again


@contextmanager
def restarted(programs: Programs, server: Server, *options: str, keyring: Keyring | None = None) -> Iterator[Server]:
    """A donor that has ended, started anew; its log goes on in the same file."""
    again = Server.start(
        programs, server.datadir, port=0, options=[*DONOR_OPTIONS, "--server-id=99", *options],
        error_log=server.error_log, keyring=keyring,
    )  # fmt: skip
    try:
        yield again
    finally:
        again.kill()
