"""``innoclone clone``: a running server becomes a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand
from innoclone.cli.copying import (
    COPY,
    Compress,
    CopyArgs,
    DataBandwidth,
    NetworkBandwidth,
    Threads,
    parse_compression,
    parse_threads,
)
from innoclone.cli.keeping import FullCopies, KeepArgs, KeepBase, To, refuse_kept, split_kept
from innoclone.cli.result import result_fields, result_table
from innoclone.cli.via import ViaArgs
from innoclone.commands.options import CloneOptions
from innoclone.errors import Interrupted
from innoclone.files.generations import LATEST
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.report.output import Output

if TYPE_CHECKING:
    from innoclone.commands.clone import CloneResult

__all__ = ["clone"]


@expand
def clone(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DSN] DIRECTORY", help="mysql://user@host:port, and the directory to make."),
    ] = None,
    *,
    to: To = None,
    threads: Threads = "auto",
    max_concurrency: Annotated[
        int, typer.Option(metavar="N", help="The most connections that auto may open.", rich_help_panel=COPY)
    ] = CloneOptions.max_concurrency,
    compress: Compress = "off",
    max_network_bandwidth: NetworkBandwidth = CloneOptions.max_network_bandwidth,
    max_data_bandwidth: DataBandwidth = CloneOptions.max_data_bandwidth,
    write_changed_only: Annotated[
        bool,
        typer.Option(
            "--write-changed-only", help="Update an earlier clone: write differing pages only.", rich_help_panel=COPY
        ),
    ] = CloneOptions.write_changed_only,
    incremental: Annotated[
        str,
        typer.Option(
            metavar="auto|off|require", help="Take only what differs from an earlier clone.", rich_help_panel=COPY
        ),
    ] = CloneOptions.incremental,
    keep_base: KeepBase = CloneOptions.keep_base,
    full_copies: FullCopies = CloneOptions.full_copies,
    keeping: KeepArgs,
    copying: CopyArgs,
    via: ViaArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Clone a running MySQL server into a new directory."""
    out = output.open()
    policy = keeping.policy
    dsn, directories = split_kept(targets, to, policy, "clone")
    with via.donor(dsn, connection, files, out) as donor:
        options = CloneOptions(
            donor=donor,
            directory=directories[0] if to is None else to.absolute(),
            threads=parse_threads(threads),
            max_concurrency=max_concurrency,
            compression=parse_compression(compress),
            max_network_bandwidth=max_network_bandwidth,
            max_data_bandwidth=max_data_bandwidth,
            write_changed_only=write_changed_only,
            incremental=incremental,
            keep_base=keep_base,
            keep=policy,
            full_copies=full_copies,
            **copying.options,
        )
        out.detail(f"connections {threads}, ssl-mode {donor.ssl_mode.value}, compression {compress}")
        _run(options, out)


def _run(options: CloneOptions, out: Output) -> None:
    if options.policy or options.keep_base:
        from innoclone.commands.networkclones import clone_over_network as run
    else:
        from innoclone.commands.clone import clone as run

    out.message(f"cloning {options.donor} into {options.directory}")
    out.detail(f"fsync {'on' if options.fsync else 'off'}, page checks {'on' if options.verify_pages else 'off'}")
    status = CloneStatus()
    try:
        with out.watch(status):
            result = run(options, status=status)
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint=_how_to_go_on(options.directory, status)) from None
    _tell(result, status, out, through_ssh=options.donor.via is not None)
    if options.policy:
        out.message(f"the clone is {result.directory}, and {options.directory / LATEST} leads to it")
    refuse_kept(result.directory, result.kept)
    out.completed()


def _tell(result: CloneResult, status: CloneStatus, out: Output, *, through_ssh: bool) -> None:
    out.message(
        f"donor {result.donor_version}, {result.connections} connections, compression {result.compression}, "
        f"{result.cipher or ('through ssh' if through_ssh else 'no TLS')}"
    )
    for line in result_table(status):
        out.message(line)
    how = {
        "donor_uuid": result.donor_uuid,
        "donor_version": result.donor_version,
        "connections": result.connections,
        "compression": result.compression,
        "cipher": result.cipher,
        "incremental": result.incremental,
    }
    out.result(result_fields(status) | how)


def _how_to_go_on(directory: Path, status: CloneStatus) -> str:
    """What is left of a clone that was stopped, and what to do with it."""
    from innoclone.files.marks import is_unfinished

    if is_unfinished(directory):
        return (
            f"no server starts on {directory} as it is: the same command goes on with it,"
            f" 'innoclone discard {directory}' removes it"
        )
    if status.stages[Stage.FILE_SYNC].state is State.COMPLETED:
        return f"the clone itself is complete: innoclone boot {directory}"
    return "run the same command again"
