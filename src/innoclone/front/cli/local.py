"""``innoclone local``: a server on this host becomes a directory, or an earlier clone of it is brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.errors import GenerationKept, UsageError
from innoclone.front.cli.common import ConnectionArgs, FileArgs, OutputArgs, expand, split_targets
from innoclone.front.cli.copying import COPY, DONOR, CopyArgs
from innoclone.front.result import result_fields, result_table
from innoclone.front.units import MIB
from innoclone.operation.options import LocalOptions
from innoclone.ops.status import CloneStatus

__all__ = ["local"]

METHODS = {
    "reflink": "reflink",
    "direct": "O_DIRECT",
    "copy_file_range": "copy_file_range",
    "read-write": "read and write",
}


@expand
def local(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DSN] DIRECTORY", help="The server on this host, and the directory to make."),
    ] = None,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Where --generations keeps them.", rich_help_panel=COPY),
    ] = None,
    incremental: Annotated[
        str,
        typer.Option(metavar="auto|off|require", help="Bring an earlier clone up to date.", rich_help_panel=COPY),
    ] = LocalOptions.incremental,
    keep_base: Annotated[
        bool,
        typer.Option("--keep-base", help="Keep the earlier clone whole until the new one is.", rich_help_panel=COPY),
    ] = LocalOptions.keep_base,
    generations: Annotated[
        int,
        typer.Option(
            metavar="N", help="Keep N dated clones in FOLDER that share unchanged blocks.", rich_help_panel=COPY
        ),
    ] = LocalOptions.generations,
    full_copies: Annotated[
        bool,
        typer.Option(
            "--full-copies", help="With --generations, also where blocks can't be shared.", rich_help_panel=COPY
        ),
    ] = LocalOptions.full_copies,
    datadir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The donor's data directory as seen from here.", rich_help_panel=DONOR),
    ] = LocalOptions.datadir,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", help="Files and parts of files copied at the same time.", rich_help_panel=COPY
        ),
    ] = LocalOptions.threads,
    copy_method: Annotated[
        list[str] | None,
        typer.Option(
            "--copy-method",
            metavar="NAME",
            help="One of reflink, direct, copy_file_range, read-write; default: the first that works.",
            rich_help_panel=COPY,
        ),
    ] = None,
    max_data_bandwidth: Annotated[
        float, typer.Option(metavar="MIB/S", help="Limit of data read; 0 is none.", rich_help_panel=COPY)
    ] = LocalOptions.max_data_bandwidth,
    copying: CopyArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Clone a server on this host at file-copy speed, in full or only what changed."""
    out = output.open()
    dsn, directories = split_targets(targets or [])
    if bool(generations) != (to is not None):
        raise UsageError("--generations and --to go together")
    if len(directories) != (0 if generations else 1):
        raise UsageError("name one directory, or --generations with --to", hint="innoclone local [DSN] DIRECTORY")
    unknown = [name for name in copy_method or () if name not in METHODS]
    if unknown:
        raise UsageError(f"unknown copy method {unknown[0]}", hint=f"known are {', '.join(METHODS)}")
    options = LocalOptions(
        donor=connection.endpoint(dsn, files, out),
        directory=directories[0] if to is None else to.absolute(),
        incremental=incremental,
        keep_base=keep_base,
        generations=generations,
        full_copies=full_copies,
        datadir=datadir,
        threads=threads,
        copy_methods=tuple(METHODS[name] for name in copy_method) if copy_method else LocalOptions.copy_methods,
        max_data_bandwidth=max_data_bandwidth,
        **copying.options,
    )
    from innoclone.operation.generations import add_generation
    from innoclone.operation.local import local as clone_locally

    run = add_generation if generations else clone_locally
    status = CloneStatus()
    with out.watch(status):
        result = run(options, status=status)
    for line in result_table(status):
        out.message(line)
    summary = result.summary
    if result.incremental:
        out.message(f"pages compared: {summary.pages_compared}, written: {summary.pages_written}")
        out.message(
            f"tablespaces new: {summary.new}, brought up to date: {summary.reused}, of these renamed: "
            f"{summary.renamed}, removed: {summary.removed}"
        )
    how = "shared blocks" if result.reflink else f"wrote {summary.written / MIB:,.1f} MiB"
    out.message(how + (f" by {', '.join(sorted(summary.methods))}" if summary.methods else ""))
    fields = {name: value for name, value in vars(summary).items() if name != "methods"}
    out.result(
        result_fields(status)
        | {"incremental": result.incremental, "reflink": result.reflink, "methods": sorted(summary.methods)}
        | fields
    )
    if result.kept:
        raise GenerationKept(
            f"{result.directory} is complete, but {len(result.kept)} old generation{'s' * (len(result.kept) > 1)} had"
            f" to stay: {'; '.join(error.message for error in result.kept)}"
        )
    out.completed()
