"""``innoclone local``: a server on this host becomes a directory, or an earlier clone of it is brought up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand
from innoclone.cli.copying import COPY, DONOR, CopyArgs, parse_copy_methods
from innoclone.cli.keeping import KEEP, FullCopies, KeepArgs, KeepBase, To, refuse_kept, split_kept
from innoclone.cli.result import result_fields, result_table
from innoclone.commands.keywords import FilesKeywords
from innoclone.commands.options import LocalOptions
from innoclone.errors import UsageError
from innoclone.files.generations import LATEST
from innoclone.records.retention import Policy
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.report.units import MIB

if TYPE_CHECKING:
    from innoclone.commands.local import LocalResult

__all__ = ["local", "split_local"]

KEEPING = "innoclone local [DSN] --to FOLDER --generations N --keep-daily N ..."


@dataclass(frozen=True)
class LocalArgs:
    """How the files are copied, and to what; names and defaults are those of `LocalOptions`."""

    incremental: Annotated[
        str,
        typer.Option(metavar="auto|off|require", help="Bring an earlier clone up to date.", rich_help_panel=COPY),
    ] = LocalOptions.incremental
    keep_base: KeepBase = LocalOptions.keep_base
    full_copies: FullCopies = LocalOptions.full_copies
    datadir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The donor's data directory as seen from here.", rich_help_panel=DONOR),
    ] = LocalOptions.datadir
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", help="Files and parts of files copied at the same time.", rich_help_panel=COPY
        ),
    ] = LocalOptions.threads
    copy_method: Annotated[
        list[str] | None,
        typer.Option(
            "--copy-method",
            metavar="NAME",
            help="One of reflink, direct, copy_file_range, read-write; default: the first that works.",
            rich_help_panel=COPY,
        ),
    ] = None
    max_data_bandwidth: Annotated[
        float, typer.Option(metavar="MIB/S", help="Limit of data read; 0 is none.", rich_help_panel=COPY)
    ] = LocalOptions.max_data_bandwidth

    @property
    def options(self) -> FilesKeywords:
        """The same as fields of `LocalOptions`. Raises UsageError."""
        return {
            "incremental": self.incremental,
            "keep_base": self.keep_base,
            "full_copies": self.full_copies,
            "datadir": self.datadir,
            "threads": self.threads,
            "copy_methods": parse_copy_methods(self.copy_method, LocalOptions.copy_methods),
            "max_data_bandwidth": self.max_data_bandwidth,
        }


@expand
def local(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DSN] DIRECTORY", help="The server on this host, and the directory to make."),
    ] = None,
    *,
    to: To = None,
    how: LocalArgs,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --to, only say which clones would stay and go.", rich_help_panel=KEEP),
    ] = False,
    keeping: KeepArgs,
    copying: CopyArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Clone a server on this host at file-copy speed, in full or only what changed."""
    out = output.open()
    policy = keeping.policy
    dsn, directories = split_local(targets, to, policy, dry_run=dry_run)
    options = LocalOptions(
        donor=connection.endpoint(dsn, files, out),
        directory=directories[0] if to is None else to.absolute(),
        keep=policy,
        **how.options,
        **copying.options,
    )
    from innoclone.commands.generations import add_generation
    from innoclone.commands.local import local as clone_locally

    if dry_run:
        _preview(options, out)
        return
    run = add_generation if policy else clone_locally
    if not policy:
        out.message(f"cloning {options.donor} into {options.directory}")
    status = CloneStatus()
    with out.watch(status):
        result = run(options, status=status)
    _tell(options, result, status, out)


def _tell(options: LocalOptions, result: LocalResult, status: CloneStatus, out: Output) -> None:
    """Raises `GenerationKept`, once all is told, where an old generation had to stay."""
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
    if options.policy:
        out.message(f"the clone is {result.directory}, and {options.directory / LATEST} leads to it")
    fields = {name: value for name, value in vars(summary).items() if name != "methods"}
    out.result(
        result_fields(status)
        | {"incremental": result.incremental, "reflink": result.reflink, "methods": sorted(summary.methods)}
        | fields
    )
    refuse_kept(result.directory, result.kept)
    out.completed()


def split_local(
    targets: Sequence[str] | None, to: Path | None, policy: Policy, *, dry_run: bool
) -> tuple[str | None, list[Path]]:
    """The DSN, if there is one, and the directory, if it isn't a folder that is cloned to. Raises UsageError."""
    if dry_run and to is None:
        raise UsageError("--dry-run goes together with --to", hint=KEEPING)
    return split_kept(targets, to, policy, "local")


def _preview(options: LocalOptions, out: Output) -> None:
    """What a clone with these rules would do to the folder."""
    from innoclone.commands.generations import preview

    found = preview(options)
    out.message(f"would clone {options.donor} into {found.new}")
    for path, reasons in found.kept:
        out.data(f"keep    {path}  ({', '.join(reasons)})")
    for path in found.removed:
        out.data(f"remove  {path}")
    for path, why in found.stuck:
        out.data(f"stays   {path}  ({why})")
    out.result({
        "dry_run": True,
        "new": str(found.new),
        "kept": [{"path": str(path), "reasons": list(reasons)} for path, reasons in found.kept],
        "removed": [str(path) for path in found.removed],
        "stuck": [{"path": str(path), "reason": why} for path, why in found.stuck],
    })  # fmt: skip
