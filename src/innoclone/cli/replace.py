"""``innoclone replace``: a running server's data takes the place of another server's on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand, split_targets
from innoclone.cli.copying import (
    COPY,
    FINISH,
    Compress,
    DataBandwidth,
    NetworkBandwidth,
    Threads,
    parse_compression,
    parse_threads,
)
from innoclone.cli.result import result_fields, result_table
from innoclone.cli.via import ViaArgs
from innoclone.commands.options import CloneOptions, ReplaceOptions
from innoclone.errors import Interrupted, UsageError
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.settings.managedtable import read_managed

__all__ = ["replace"]


@expand
def replace(
    targets: Annotated[list[str] | None, typer.Argument(metavar="[DSN]", help="The server to clone.")] = None,
    *,
    config: Annotated[
        Path, typer.Option(metavar="FILE", help="TOML file with a table [managed]: whose data is replaced.")
    ],
    recover: Annotated[
        bool, typer.Option("--recover", help="Only bring the server up after a run that was killed.")
    ] = False,
    threads: Threads = "auto",
    compress: Compress = "off",
    max_network_bandwidth: NetworkBandwidth = CloneOptions.max_network_bandwidth,
    max_data_bandwidth: DataBandwidth = CloneOptions.max_data_bandwidth,
    block_ddl: Annotated[
        bool, typer.Option("--block-ddl", help="Let no DDL run on the donor meanwhile.", rich_help_panel=COPY)
    ] = CloneOptions.block_ddl,
    keep_old_data: Annotated[
        bool, typer.Option("--keep-old-data", help="Leave the old data beside the new.", rich_help_panel=FINISH)
    ] = ReplaceOptions.keep_old_data,
    via: ViaArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Replace the data of a server on this host by a clone of another server, and restart it.

    The old data is served until the new is complete, and again if no server comes up on that.
    """
    from innoclone.commands.replace import recover_replacement

    out = output.open()
    managed = read_managed(config)
    if recover:
        done = recover_replacement(managed)
        out.message(done or "no replacement was broken off")
        out.result({"directory": str(managed.datadir), "recovered": done})
        out.completed()
        return
    dsn, directories = split_targets(targets or [])
    if directories:
        raise UsageError("the directory is the one in the configuration", hint="innoclone replace [DSN] --config=FILE")
    with via.donor(dsn, connection, files, out) as donor:
        clone = CloneOptions(
            donor, managed.datadir, threads=parse_threads(threads), compression=parse_compression(compress),
            max_network_bandwidth=max_network_bandwidth, max_data_bandwidth=max_data_bandwidth, block_ddl=block_ddl,
        )  # fmt: skip
        _replace(ReplaceOptions(clone, managed, keep_old_data=keep_old_data), out)


def _replace(options: ReplaceOptions, out: Output) -> None:
    from innoclone.commands.replace import replace_data

    out.message(f"replacing the data in {options.directory} by that of {options.donor}")
    status = CloneStatus()
    try:
        with out.watch(status):
            result = replace_data(options, status=status)
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="the server has its old data; the same command goes on") from None
    for line in result_table(status):
        out.message(line)
    old = {} if result.old_data is None else {"old_data": str(result.old_data)}
    out.result(result_fields(status) | {"donor_version": result.donor_version} | old)
    out.completed()
