"""Options of a clone that is taken through ssh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs
from innoclone.dataclass import dataclass
from innoclone.errors import UsageError
from innoclone.report.output import Output
from innoclone.transport.endpoint import Endpoint

__all__ = ["ViaArgs"]

VIA = "Through ssh"


@dataclass(frozen=True)
class ViaArgs:
    """Which host, and what is taken from there."""

    via: Annotated[
        str | None,
        typer.Option(
            metavar="ssh://[USER@]HOST[:PORT]",
            help="Take the clone through ssh, from an innoclone started there; the DSN is that host's.",
            rich_help_panel=VIA,
        ),
    ] = None
    from_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Clone this there: a stored clone, or the data of a server that was shut down.",
            rich_help_panel=VIA,
        ),
    ] = None
    remote_innoclone: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Where innoclone is on that host; default: on its PATH.", rich_help_panel=VIA
        ),
    ] = None

    @contextlib.contextmanager
    def donor(self, dsn: str | None, connection: ConnectionArgs, files: FileArgs, out: Output) -> Iterator[Endpoint]:
        """The donor, as long as the ``with`` block runs.

        Raises UsageError for options that don't fit together, and what is wrong with the way there.
        """
        if self.via is None:
            if self.from_dir is not None or self.remote_innoclone is not None:
                raise UsageError("--from-dir and --remote-innoclone go with --via", hint="--via ssh://HOST")
            yield connection.endpoint(dsn, files, out)
            return
        from innoclone.settings.via import way_of

        if typed := [f"--{name}" for name in connection.typed]:
            raise UsageError(
                f"{typed[0]} is of a connection from here, and not through ssh",
                hint="name a server as its host sees it: mysql://user@localhost",
            )
        program = self.remote_innoclone
        with way_of(self.via, dsn=dsn, from_dir=self.from_dir, program=program, say=out.warn) as way:
            yield way.endpoint
