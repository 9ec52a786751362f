"""``innoclone backup``: a clone becomes a snapshot in a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.cli.result import result_fields, result_table
from innoclone.cli.storeargs import URL, StoreArgs
from innoclone.commands.storeoptions import BackupOptions
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.report.units import MIB

if TYPE_CHECKING:
    from innoclone.commands.backup import BackupResult

__all__ = ["backup"]


@expand
def backup(
    clone: Annotated[Path, typer.Argument(metavar="CLONE", help="A finished clone, such as FOLDER/latest.")],
    url: Annotated[str, typer.Argument(metavar="URL", help=URL)],
    *,
    full: Annotated[bool, typer.Option("--full", help="Build on no earlier snapshot.")] = BackupOptions.full,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Back up a clone that a server of its own has changed, as it is now."),
    ] = BackupOptions.accept_changes,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Parts of files read, sealed and sent at the same time.")
    ] = BackupOptions.threads,
    max_data_bandwidth: Annotated[float, typer.Option(metavar="MIB/S", help="Limit of data read; 0 is none.")] = (
        BackupOptions.max_data_bandwidth
    ),
    verify_pages: Annotated[
        bool, typer.Option("--verify-pages/--no-verify-pages", help="Check every page's checksum.")
    ] = BackupOptions.verify_pages,
    store: StoreArgs,
    output: OutputArgs,
) -> None:
    """Put a clone into a store, as a snapshot that is whole by itself.

    Only pages that the newest snapshot of the same server lacks are sent; that snapshot may be removed later. The clone
    is only read. It must be complete, and no server may run on it. 'innoclone store init URL' makes a store.
    """
    from innoclone.commands.backup import backup as run

    out = output.open()
    options = BackupOptions(
        clone=clone.absolute(), store=store.access(url), full=full, accept_changes=accept_changes, threads=threads,
        max_data_bandwidth=max_data_bandwidth, verify_pages=verify_pages,
    )  # fmt: skip
    out.message(f"backing up {options.clone.resolve()} to {url}")
    status = CloneStatus()
    with out.watch(status):
        result = run(options, status=status)
    _tell(result, status, out)


def _tell(result: BackupResult, status: CloneStatus, out: Output) -> None:
    for line in result_table(status):
        out.message(line)
    beside = f"beside snapshot {result.parent}" if result.parent else "without an earlier snapshot"
    out.message(
        f"{result.files} files, {result.size / MIB:,.1f} MiB; {result.changed / MIB:,.1f} MiB of pages sent {beside}, "
        f"{result.added / MIB:,.1f} MiB in the store"
    )
    out.data(f"{result.store}@{result.snapshot}")
    out.result(
        result_fields(status)
        | {
            "store": result.store, "snapshot": result.snapshot, "name": result.name, "parent": result.parent or None,
            "clone": str(result.clone), "files": result.files, "bytes": result.size, "changed": result.changed,
            "added": result.added,
        }
    )  # fmt: skip
    out.completed()
