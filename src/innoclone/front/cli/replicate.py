"""``innoclone replicate``: a clone becomes a replica of its donor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.front.cli.common import ConnectionArgs, FileArgs, OutputArgs, expand, split_targets
from innoclone.front.options import resolve
from innoclone.operation.options import ReplicateOptions
from innoclone.transport.endpoint import Endpoint

__all__ = ["replicate"]


@expand
def replicate(
    clone: Annotated[
        str, typer.Argument(metavar="DIRECTORY|DSN", help="The clone, or the server that runs on it: mysql://...")
    ],
    *,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="DSN", help="The server to replicate from; connection options add to it."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Execute the statements.")] = ReplicateOptions.run,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Make a clone replicate from its donor.

    The statements for that are printed; with --run they are executed.
    """
    from innoclone.operation.replicate import replicate as operation

    out = output.open()
    dsn, directories = split_targets([clone])
    replica: Path | Endpoint = (
        directories[0] if dsn is None else resolve({}, files.sources(out.warn), dsn=dsn, warn=out.warn)
    )
    options = ReplicateOptions(replica=replica, source=connection.endpoint(source, files, out), run=run)
    statements: list[str] = operation(options)
    for statement in statements:
        out.data(f"{statement};")
    out.result({"statements": statements, "executed": run})
    if run:
        out.completed()
