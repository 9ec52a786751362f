"""``innoclone restore``: a clone becomes a new data directory."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand, refuse_address
from innoclone.cli.copying import parse_copy_methods, parse_map_path
from innoclone.cli.result import result_fields, result_table
from innoclone.cli.storeargs import STORE, StoreArgs
from innoclone.commands.keywords import RestoreKeywords
from innoclone.commands.options import RestoreOptions
from innoclone.commands.storeoptions import StoreRestoreOptions
from innoclone.errors import UsageError
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output

if TYPE_CHECKING:
    from innoclone.commands.restore import RestoreResult

__all__ = ["restore"]


@dataclass(frozen=True)
class RestoreArgs:
    """How a restore is made; names and defaults are those of `RestoreOptions`."""

    chown: Annotated[
        str | None,
        typer.Option(metavar="USER[:GROUP]", help="Who shall own the files; root's default is the clone's owner."),
    ] = RestoreOptions.chown
    keyring: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of an encrypted clone; default: as its manifest tells.")
    ] = RestoreOptions.keyring
    mysqld_check: Annotated[
        bool, typer.Option("--mysqld-check", help="Let a private mysqld come up on TARGET once, and recover it.")
    ] = RestoreOptions.mysqld_check
    mysqld: Annotated[Path | None, typer.Option(metavar="FILE", help="The mysqld for that.")] = RestoreOptions.mysqld
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Restore a clone that a server of its own has changed, as it is now."),
    ] = RestoreOptions.accept_changes
    map_path: Annotated[
        list[str] | None,
        typer.Option(
            "--map-path", metavar="OLD=NEW", help="Where the clone's files outside of CLONE go; may be repeated."
        ),
    ] = None
    threads: Annotated[int, typer.Option(metavar="N", help="Files and parts of files copied at the same time.")] = (
        RestoreOptions.threads
    )
    copy_method: Annotated[
        list[str] | None,
        typer.Option("--copy-method", metavar="NAME", help="One of reflink, direct, read-write; default: what works."),
    ] = None
    max_data_bandwidth: Annotated[float, typer.Option(metavar="MIB/S", help="Limit of data read; 0 is none.")] = (
        RestoreOptions.max_data_bandwidth
    )
    fsync: Annotated[bool, typer.Option("--fsync/--no-fsync", help="Make it durable before it counts.")] = (
        RestoreOptions.fsync
    )
    verify_pages: Annotated[
        bool, typer.Option("--verify-pages/--no-verify-pages", help="Check every page's checksum.")
    ] = RestoreOptions.verify_pages

    @property
    def options(self) -> RestoreKeywords:
        """The same as fields of `RestoreOptions`. Raises UsageError."""
        return {
            "chown": self.chown,
            "keyring": None if self.keyring is None else self.keyring.absolute(),
            "mysqld_check": self.mysqld_check,
            "mysqld": self.mysqld,
            "accept_changes": self.accept_changes,
            "map_paths": tuple(parse_map_path(text) for text in self.map_path or ()),
            "threads": self.threads,
            "copy_methods": parse_copy_methods(self.copy_method, RestoreOptions.copy_methods),
            "max_data_bandwidth": self.max_data_bandwidth,
            "fsync": self.fsync,
            "verify_pages": self.verify_pages,
        }


@dataclass(frozen=True)
class DeltaArgs:
    """What only a restore out of a store has."""

    delta: Annotated[
        bool,
        typer.Option("--delta", help="TARGET holds data already: write only what differs.", rich_help_panel=STORE),
    ] = StoreRestoreOptions.delta
    discard_changes: Annotated[
        bool,
        typer.Option(
            "--discard-changes",
            help="With --delta: also onto a server's data, or another one's; what is no table is kept beside.",
            rich_help_panel=STORE,
        ),
    ] = StoreRestoreOptions.discard_changes


@expand
def restore(
    clone: Annotated[
        str,
        typer.Argument(metavar="CLONE", help="A finished clone, such as FOLDER/latest, or a store's URL[@SNAPSHOT]."),
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The data directory to make.")],
    *,
    how: RestoreArgs,
    delta: DeltaArgs,
    store: StoreArgs,
    output: OutputArgs,
) -> None:
    """Make a new data directory of a clone or a snapshot in a store, whole or not at all.

    The clone is only read. It must be complete and no server may run on it; what is written is read back and compared.
    The lines that my.cnf must have for a server on TARGET go to stdout.
    """
    from innoclone.store.address import is_address

    out = output.open()
    status = CloneStatus()
    refuse_address(target, hint="a restore makes a directory; nothing copies one store to another")
    if is_address(clone):
        result = _from_store(clone, target, how, delta, store, status, out)
    else:
        store.refuse()
        if delta.delta or delta.discard_changes:
            raise UsageError("--delta and --discard-changes are for snapshots in stores, not for clones")
        result = _from_clone(Path(clone), target, how, status, out)
    _tell(how, result, status, out)


def _from_clone(clone: Path, target: Path, how: RestoreArgs, status: CloneStatus, out: Output) -> RestoreResult:
    from innoclone.commands.restore import restore as run

    options = RestoreOptions(clone=clone.absolute(), directory=target.absolute(), **how.options)
    out.message(f"restoring {options.clone.resolve()} to {options.directory}")
    with out.watch(status):
        return run(options, status=status)


def _from_store(
    text: str, target: Path, how: RestoreArgs, delta: DeltaArgs, store: StoreArgs, status: CloneStatus, out: Output
) -> RestoreResult:
    from innoclone.commands.storerestore import restore_from_store
    from innoclone.store.address import split_snapshot

    address, snapshot = split_snapshot(text)
    if how.accept_changes or how.copy_method:
        raise UsageError("--accept-changes and --copy-method are for clones, not for stores")
    options = StoreRestoreOptions(
        store=store.access(address, out), snapshot=snapshot, directory=target.absolute(), chown=how.chown,
        delta=delta.delta, discard_changes=delta.discard_changes,
        mysqld_check=how.mysqld_check, mysqld=how.mysqld, keyring=how.options["keyring"],
        map_paths=how.options["map_paths"], threads=how.threads,
        max_data_bandwidth=how.max_data_bandwidth, fsync=how.fsync, verify_pages=how.verify_pages,
    )  # fmt: skip
    out.message(f"restoring {address}@{snapshot} to {options.directory}")
    with out.watch(status):
        return restore_from_store(options, status=status)


def _tell(how: RestoreArgs, result: RestoreResult, status: CloneStatus, out: Output) -> None:
    for line in result_table(status):
        out.message(line)
    files = f"{result.files} files by {', '.join(result.methods)}"
    checked = f", {result.pages_checked} pages sound" if how.verify_pages else ", pages not checked"
    compared = (
        "; what was written was read back and compared" if set(result.methods) - {"reflink", "store", "delta"} else ""
    )
    out.message(f"{files}{checked}{compared}")
    if result.booted:
        out.message(f"mysqld {result.booted} came up on {result.directory} and was stopped again")
    owner = _name(result.owner[0]) if result.owner else ""
    if owner:
        out.message(f"the files belong to {owner}")
    out.message("my.cnf of a server on it must have:")
    out.data("[mysqld]")
    for name, value in result.settings.items():
        out.data(f"{name} = {value}")
    out.result(
        result_fields(status)
        | {
            "clone": str(result.clone), "files": result.files, "bytes": result.size, "methods": list(result.methods),
            "pages_checked": result.pages_checked, "owner": owner or None, "booted": result.booted or None,
            "settings": dict(result.settings),
        }
    )  # fmt: skip
    out.completed()


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
