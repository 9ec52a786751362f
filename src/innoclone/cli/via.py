"""Options of a clone that is taken through ssh."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

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
            help="Take the clone through ssh, from an innoclone that is started on that host.",
            rich_help_panel=VIA,
        ),
    ] = None
    from_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTORY",
            help="What is cloned from there: a stored clone, or the data of a server that was shut down.",
            rich_help_panel=VIA,
        ),
    ] = None
    remote_innoclone: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="The innoclone program on that host; default innoclone.", rich_help_panel=VIA
        ),
    ] = None

    @contextlib.contextmanager
    def donor(self, named: str | None, direct: Callable[[], Endpoint], out: Output) -> Iterator[Endpoint]:
        """The donor, as long as the ``with`` block runs. ``named``: how another one was named on the command line.

        Raises UsageError for options that don't fit together, and what is wrong with the way there.
        """
        if self.via is None:
            if self.from_dir is not None or self.remote_innoclone is not None:
                raise UsageError("--from-dir and --remote-innoclone go with --via", hint="--via ssh://HOST")
            yield direct()
            return
        from innoclone.settings.via import parse_via
        from innoclone.transport.ssh import SshWay

        route = parse_via(self.via, program=self.remote_innoclone)
        if self.from_dir is None:
            raise UsageError("nothing says what is to be cloned from there", hint="--from-dir DIRECTORY")
        if named is not None:
            raise UsageError(f"{named} and --from-dir name two donors", hint="leave one of them out")
        with SshWay(route, self.from_dir, say=out.warn) as way:
            yield way.endpoint
