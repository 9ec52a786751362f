"""``innoclone check``: would a clone work?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand, split_targets
from innoclone.cli.copying import parse_map_path
from innoclone.cli.via import ViaArgs
from innoclone.commands.options import CheckOptions

__all__ = ["check"]


@expand
def check(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DSN] [DIRECTORY]", help="mysql://user@host:port, and the directory to be made."),
    ] = None,
    *,
    install_plugin: Annotated[
        bool, typer.Option("--install-plugin", help="A missing clone plugin is no fault: clone would install it.")
    ] = CheckOptions.install_plugin,
    map_path: Annotated[
        list[str] | None,
        typer.Option("--map-path", metavar="OLD=NEW", help="As for clone; may be repeated."),
    ] = None,
    mysqld: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The mysqld that shall run on the clone.")
    ] = CheckOptions.mysqld,
    via: ViaArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> int:
    """Say what would keep a server from being cloned.

    All faults are reported at once; the exit status is that of the first.
    """
    from innoclone.commands.check import check as run

    out = output.open()
    dsn, directories = split_targets(targets or [])
    with via.donor(dsn, connection, files, out) as donor:
        options = CheckOptions(
            donor=donor,
            directory=directories[0] if directories else None,
            map_paths=tuple(parse_map_path(text) for text in map_path or ()),
            install_plugin=install_plugin,
            mysqld=mysqld,
        )
        facts = run(options)
    for line in facts.good:
        out.message(f"ok: {line}")
    for line in facts.notes:
        out.message(f"note: {line}")
    for fault in facts.problems:
        out.error(fault, fault.exit_status)
    if facts.problems:
        return facts.problems[0].exit_status
    out.result({"donor": str(donor), "version": facts.version, "faults": 0, "notes": facts.notes})
    out.completed()
    return 0
