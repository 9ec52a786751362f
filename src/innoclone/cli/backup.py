"""``innoclone backup``: a clone, or a running server, becomes a snapshot in a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand
from innoclone.cli.copying import parse_compression
from innoclone.cli.result import checked_fields, result_fields, result_table, tell_checked
from innoclone.cli.storeargs import BootCheckArgs, StoreArgs, TrialArgs
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, LiveBackupOptions
from innoclone.errors import CloneError, UsageError
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.report.units import MIB
from innoclone.settings.dsn import is_dsn

if TYPE_CHECKING:
    from innoclone.commands.backup import BackupResult
    from innoclone.commands.bootcheck import BootChecked

__all__ = ["backup"]

LIVE = "Of a running server"


@dataclass(frozen=True)
class LiveArgs:
    """What only a running server's backup has."""

    spool: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="With room for changed pages and redo; default: TMPDIR.", rich_help_panel=LIVE
        ),
    ] = LiveBackupOptions.spool
    local: Annotated[
        bool,
        typer.Option("--local", help="Read the server's files here, on its host.", rich_help_panel=LIVE),
    ] = LiveBackupOptions.local
    datadir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --local: its data directory as seen from here.", rich_help_panel=LIVE),
    ] = LiveBackupOptions.datadir
    compress: Annotated[
        str, typer.Option(metavar="off|zlib|zstd[:LEVEL]", help="On the way here.", rich_help_panel=LIVE)
    ] = "off"
    block_ddl: Annotated[
        bool, typer.Option("--block-ddl", help="Hold the donor's backup lock meanwhile.", rich_help_panel=LIVE)
    ] = LiveBackupOptions.block_ddl
    keyring_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The master key in --keyring; default: its newest.", rich_help_panel=LIVE),
    ] = LiveBackupOptions.keyring_key


@expand
def backup(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="[CLONE|DSN] URL", help="A finished clone, or a server; and the store."),
    ],
    *,
    full: Annotated[bool, typer.Option("--full", help="Build on no earlier snapshot.")] = BackupOptions.full,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Back up a clone that a server of its own has changed, as it is now."),
    ] = BackupOptions.accept_changes,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Parts of files, or of a server's stream, taken at the same time.")
    ] = BackupOptions.threads,
    max_data_bandwidth: Annotated[float, typer.Option(metavar="MIB/S", help="Limit of data read; 0 is none.")] = (
        BackupOptions.max_data_bandwidth
    ),
    verify_pages: Annotated[
        bool, typer.Option("--verify-pages/--no-verify-pages", help="Check every page's checksum.")
    ] = BackupOptions.verify_pages,
    checking: BootCheckArgs,
    trial: TrialArgs,
    live: LiveArgs,
    store: StoreArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Put a clone, or a running server, into a store, as a snapshot that is whole by itself.

    Only pages that the newest snapshot of the same server lacks are sent; that snapshot may be removed later. A clone
    is only read; it must be complete, and no server may run on it. Of a server, a DSN or that of the connection
    options, no copy is made here: its stream goes into the store as it comes. 'store init URL' makes a store.
    """
    out = output.open()
    if not 1 <= len(targets) <= 2:
        raise UsageError("too many arguments", hint="a clone or a server, and the store's URL")
    source, url = (targets[0] if len(targets) == 2 else None), targets[-1]
    access, status = store.access(url, out), CloneStatus()
    is_clone = source is not None and not is_dsn(source)
    checking.refuse_alone(trial, needs_keyring=not is_clone)
    if checking.boot_check:
        from innoclone.server.programs import find_programs

        find_programs(checking.mysqld)  # before hours of copying
    if source is not None and not is_dsn(source):
        from innoclone.commands.backup import backup as run

        if live != LiveArgs():
            raise UsageError(f"the options of {LIVE!r} are for servers, not for clones", hint="see --help")
        options = BackupOptions(
            clone=Path(source).absolute(), store=access, full=full, accept_changes=accept_changes,
            threads=threads, max_data_bandwidth=max_data_bandwidth, verify_pages=verify_pages,
        )  # fmt: skip
        out.message(f"backing up {options.clone.resolve()} to {url}")
        with out.watch(status):
            result = run(options, status=status)
    else:
        from innoclone.commands.livebackup import backup_live

        if accept_changes or not verify_pages:
            raise UsageError("--accept-changes and --no-verify-pages are for clones, not for servers")
        donor = connection.endpoint(source, files, out)
        choice = LiveBackupOptions(
            donor=donor, store=access, full=full, spool=live.spool, threads=threads,
            local=live.local, datadir=None if live.datadir is None else live.datadir.absolute(),
            compression=parse_compression(live.compress), block_ddl=live.block_ddl,
            max_data_bandwidth=max_data_bandwidth,
            keyring=None if checking.keyring is None else checking.keyring.absolute(),
            keyring_key=live.keyring_key,
        )  # fmt: skip
        out.message(f"backing up {donor} to {url}")
        with out.watch(status):
            result = backup_live(choice, status=status)
    checked = None
    if checking.boot_check:
        checked = _try_out(checking.options(trial, access, result.name, threads=threads), result, out)
    _tell(result, checked, status, out)


def _try_out(options: BootCheckOptions, result: BackupResult, out: Output) -> BootChecked:
    """The backup is there, whatever comes of this. Raises a `CloneError` that says so."""
    from innoclone.commands.bootcheck import boot_check

    status = CloneStatus()
    out.message(f"snapshot {result.snapshot} is in {result.store}; trying it out")
    try:
        with out.watch(status):
            return boot_check(options, status=status)
    except CloneError as error:
        error.message = f"snapshot {result.snapshot} is in the store, but its trial failed: {error.message}"
        error.advice = f"innoclone store verify {result.store}@{result.snapshot} --boot-check tries it again"
        raise


def _tell(result: BackupResult, checked: BootChecked | None, status: CloneStatus, out: Output) -> None:
    for line in result_table(status):
        out.message(line)
    beside = f"beside snapshot {result.parent}" if result.parent else "without an earlier snapshot"
    out.message(
        f"{result.files} files, {result.size / MIB:,.1f} MiB; {result.changed / MIB:,.1f} MiB of pages sent {beside}, "
        f"{result.added / MIB:,.1f} MiB in the store"
    )
    if checked is not None:
        tell_checked(checked, out)
    out.data(f"{result.store}@{result.snapshot}")
    out.result(
        result_fields(status)
        | {
            "store": result.store, "snapshot": result.snapshot, "name": result.name, "parent": result.parent or None,
            "from": result.source, "files": result.files, "bytes": result.size, "changed": result.changed,
            "added": result.added, "check": None if checked is None else checked_fields(checked),
        }
    )  # fmt: skip
    out.completed()
