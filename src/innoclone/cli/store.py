"""``innoclone store``: stores of snapshots, what is in them, and what goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.cli.command import Command
from innoclone.cli.result import checked_fields, tell_checked
from innoclone.cli.storeargs import URL, BootCheckArgs, StoreArgs, TrialArgs, warn_if_open
from innoclone.errors import UsageError
from innoclone.records.retention import Policy, Span
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.report.units import amount

if TYPE_CHECKING:
    from innoclone.commands.storecare import Listed
    from innoclone.commands.storeoptions import BootCheckOptions
    from innoclone.store.care import Pruned

__all__ = ["store"]

store = typer.Typer(name="store", help="Stores of snapshots: object stores and folders.", rich_markup_mode=None)
key = typer.Typer(name="key", help="The keys that open a store.", rich_markup_mode=None)
store.add_typer(key)

Url = Annotated[str, typer.Argument(metavar="URL", help=URL)]
DAY = 24.0  # hours
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
Grace = Annotated[
    float, typer.Option(metavar="HOURS", help="What is needed no more goes when it was marked so long ago; default 24.")
]
VERSIONS = "a lifecycle rule of the bucket removes old ones"
HEADINGS = ("snapshot", "made", "size", "added", "donor", "position", "booted")


def _rule(name: str, what: str) -> object:
    return typer.Option(f"--keep-{name}", metavar="N", help=f"Keep {what}.", rich_help_panel="Rules")


@dataclass(frozen=True)
class RuleArgs:
    """Which snapshots stay, of each server for itself; what one rule keeps is kept."""

    keep_last: Annotated[int, _rule("last", "the N newest")] = 0
    keep_hourly: Annotated[int, _rule("hourly", "the newest of each of N hours that have one")] = 0
    keep_daily: Annotated[int, _rule("daily", "the newest of each of N days that have one")] = 0
    keep_weekly: Annotated[int, _rule("weekly", "the newest of each of N weeks that have one")] = 0
    keep_monthly: Annotated[int, _rule("monthly", "the newest of each of N months that have one")] = 0
    keep_yearly: Annotated[int, _rule("yearly", "the newest of each of N years that have one")] = 0
    keep_within: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="Keep all that are at most that much older than the newest: 14d, 1y5m7d2h.",
            rich_help_panel="Rules",
        ),
    ] = ""  # fmt: skip

    @property
    def policy(self) -> Policy:
        """The rules. Raises UsageError."""
        if self.keep_last < 0:
            raise UsageError(f"keep-last must be 0 or more, not {self.keep_last}")
        return Policy(
            last=self.keep_last, hourly=self.keep_hourly, daily=self.keep_daily, weekly=self.keep_weekly,
            monthly=self.keep_monthly, yearly=self.keep_yearly,
            within=Span.parse(self.keep_within) if self.keep_within else Span(),
        )  # fmt: skip


@store.command(cls=Command)
@expand
def init(
    url: Url,
    *,
    encryption: Annotated[
        bool, typer.Option("--encryption/--no-encryption", help="Whether nobody can read it without a key.")
    ] = True,
    single_writer: Annotated[
        bool,
        typer.Option("--single-writer", help="Also where the store can't keep two writers apart: there never are two."),
    ] = False,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Make a store. The key that is named opens it from then on: without it nobody reads what is in it."""
    from innoclone.commands.storecare import make_store

    out = output.open()
    made = make_store(opening.access(url, out), encrypted=encryption, single_writer=single_writer)
    out.message(f"{made.address} is a store now, {'encrypted' if encryption else 'NOT encrypted'}")
    if made.objects.keeps_versions:
        out.warn(f"the bucket keeps versions: what 'forget' and 'prune' remove takes its room until {VERSIONS}")
    out.result(
        {
            "store": made.address, "id": made.id.hex(), "encrypted": encryption, "single_writer": single_writer,
            "keeps_versions": made.objects.keeps_versions,
        }
    )  # fmt: skip
    out.completed()


@store.command(name="list", cls=Command)
@expand
def list_(url: Url, *, rules: RuleArgs, opening: StoreArgs, output: OutputArgs) -> None:
    """List the snapshots in a store. With rules it says of each whether 'forget' with these would keep it."""
    from innoclone.commands.storecare import list_store

    out = output.open()
    found = list_store(opening.access(url, out), rules.policy)
    rows = [HEADINGS, *(_row(one) for one in found.snapshots)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows if found.snapshots else []:
        out.data("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for one in found.snapshots:
        if one.reasons is not None:
            out.data(f"{one.snapshot.id}: {'kept by ' + ', '.join(one.reasons) if one.reasons else 'would go'}")
    for error in found.unreadable:
        out.warn(error.message)
    if not found.snapshots:
        out.data(f"{found.address} has no snapshot{' that can be read' if found.unreadable else ''}")
    unreadable = [error.message for error in found.unreadable]
    out.result({"store": found.address, "snapshots": [one.fields for one in found.snapshots], "unreadable": unreadable})


def _row(one: Listed) -> tuple[str, ...]:
    fields = one.snapshot.fields
    position = one.position
    where = f"{position['binlog_file']}:{position.get('binlog_position')}" if position.get("binlog_file") else ""
    donor = fields.get("donor") or {}
    return (
        one.snapshot.id,
        _time(one.snapshot.moment),
        amount(int(fields.get("size", 0))),
        amount(int(fields.get("added", 0))),
        f"{donor.get('host')}:{donor.get('port')}",
        where or "unknown until booted",
        f"checked {_time(one.check['checked'])}" if one.check else "yes" if fields.get("booted") else "no",
    )


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@store.command(cls=Command)
@expand
def info(
    url: Annotated[str, typer.Argument(metavar="URL[@SNAPSHOT]", help="A snapshot; default the latest.")],
    *,
    packs: Annotated[
        bool, typer.Option("--packs", help="Also how much of its packs it needs: their directories are read.")
    ] = False,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Tell all about one snapshot."""
    from innoclone.commands.storecare import snapshot_info
    from innoclone.store.address import split_snapshot

    out = output.open()
    address, snapshot = split_snapshot(url)
    found = snapshot_info(opening.access(address, out), snapshot, packs=packs)
    for name, value in found.items():
        if name not in ("manifest", "paths", "contents"):
            out.data(f"{name}: {value}")
    out.result(found)


@store.command(cls=Command)
@expand
def verify(
    url: Annotated[str, typer.Argument(metavar="URL[@SNAPSHOT]", help="A snapshot; default all of them.")],
    *,
    read_data: Annotated[bool, typer.Option("--read-data", help="Also read the packs, every frame of them.")] = False,
    subset: Annotated[float, typer.Option(metavar="PERCENT", help="Read so much of them, by chance.")] = 100.0,
    threads: Annotated[int, typer.Option(metavar="N", help="Packs read at the same time.")] = 4,
    checking: BootCheckArgs,
    trial: TrialArgs,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Check that all that snapshots need is there.

    With --boot-check it is one snapshot, by default the latest.
    """
    from innoclone.commands.storecare import verify_store
    from innoclone.store.address import split_snapshot

    out = output.open()
    address, snapshot = split_snapshot(url)
    status = CloneStatus()
    checking.refuse_alone(trial)
    if checking.boot_check:
        if read_data:
            raise UsageError("--read-data and --boot-check are two things", hint="the second reads all of a snapshot")
        access = opening.access(address, out)
        _boot_check(checking.options(trial, access, snapshot, threads=threads), status, out)
        return
    with out.watch(status, pages=False):
        found = verify_store(
            opening.access(address, out), snapshot if address != url else "", read_data=read_data, subset=subset,
            threads=threads, status=status,
        )  # fmt: skip
    read = f", {found.read} of them read as a whole ({amount(found.bytes)})" if read_data else ", none of them read"
    out.message(f"verdict: {found.packs} packs are there{read}")
    out.result({"packs": found.packs, "packs_read": found.read, "bytes_read": found.bytes})
    out.completed()


def _boot_check(options: BootCheckOptions, status: CloneStatus, out: Output) -> None:
    from innoclone.commands.bootcheck import boot_check

    with out.watch(status):
        checked = boot_check(options, status=status)
    tell_checked(checked, out)
    out.result(checked_fields(checked))
    out.completed()


@store.command(cls=Command)
@expand
def forget(
    url: Url,
    snapshots: Annotated[list[str] | None, typer.Argument(metavar="[SNAPSHOT]...", help="Those that go.")] = None,
    *,
    dry_run: DryRun = False,
    prune: Annotated[bool, typer.Option("--prune", help="Then do what 'prune' does.")] = False,
    grace: Grace = DAY,
    rules: RuleArgs,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Remove snapshots: those that are named, or all that no rule keeps. Their space is freed by 'prune'."""
    from innoclone.commands.storecare import forget_snapshots

    out = output.open()
    found = forget_snapshots(
        opening.access(url, out), snapshots or [], rules.policy, dry_run=dry_run, and_prune=prune, grace=grace * 3600
    )
    for one in found.kept:
        out.message(f"keeps {one.snapshot.id}: {', '.join(one.reasons or ())}")
    for snapshot in found.gone:
        out.data(f"{'would forget' if dry_run else 'forgot'} {snapshot.id}")
    for snapshot in found.used:
        out.warn(f"snapshot {snapshot.id} stays: a running backup builds on it")
    if found.pruned is not None:
        _tell_pruned(found.pruned, out, dry_run=dry_run)
    out.result(
        {
            "dry_run": dry_run, "forgotten": [one.id for one in found.gone], "in_use": [one.id for one in found.used],
            "kept": [one.snapshot.id for one in found.kept],
            **({} if found.pruned is None else {"prune": _pruned_fields(found.pruned)}),
        }
    )  # fmt: skip
    out.completed()


@store.command(cls=Command)
@expand
def prune(url: Url, *, grace: Grace = DAY, dry_run: DryRun = False, opening: StoreArgs, output: OutputArgs) -> None:
    """Remove what no snapshot needs.

    It is marked first, and goes with a prune that comes --grace hours later. Backups may run meanwhile.
    """
    from innoclone.commands.storecare import prune_store

    out = output.open()
    found = prune_store(opening.access(url, out), grace=grace * 3600, dry_run=dry_run)
    _tell_pruned(found, out, dry_run=dry_run)
    out.result({"dry_run": dry_run, **_pruned_fields(found)})
    out.completed()


def _tell_pruned(found: Pruned, out: Output, *, dry_run: bool) -> None:
    if found.blocked:
        out.warn(f"nothing was removed: {found.blocked}")
        return
    would = "would be " if dry_run else ""
    out.message(f"{would}removed: {len(found.removed)} objects, {amount(found.removed_size)}")
    out.message(f"{would}marked: {len(found.marked)} objects, {amount(found.marked_size)}")
    out.message(f"{would}left: {found.left} objects, {amount(found.left_size)}, what was marked among them")
    if found.keeps_versions:
        out.warn(f"the bucket keeps versions: what was removed takes its room until {VERSIONS}")
    for name in found.abandoned:
        out.message(f"a backup that began at {name.partition('-')[0]} and never ended was given up")


def _pruned_fields(found: Pruned) -> dict[str, object]:
    return {
        "removed": len(found.removed), "removed_bytes": found.removed_size, "marked": len(found.marked),
        "marked_bytes": found.marked_size, "left": found.left, "left_bytes": found.left_size,
        "keeps_versions": found.keeps_versions, "abandoned": found.abandoned, "blocked": found.blocked or None,
    }  # fmt: skip


@key.command(name="list", cls=Command)
@expand
def list_keys(url: Url, *, opening: StoreArgs, output: OutputArgs) -> None:
    """List the keys that open a store."""
    from innoclone.commands.storecare import store_keys

    out = output.open()
    used, found = store_keys(opening.access(url, out))
    for one in found:
        out.data(f"{one.id}  {one.kind:<10}  {_time(one.created)}{'  (used now)' if one.id == used else ''}")
    fields = [{"key": one.id, "kind": one.kind, "created": one.created, "used": one.id == used} for one in found]
    out.result({"keys": fields})


@key.command(cls=Command)
@expand
def add(
    url: Url,
    *,
    new_key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="The new key.")] = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The new passphrase is its first line.")
    ] = None,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Let another key open the store as well. To rotate keys, add the new one and remove the old one by it."""
    from innoclone.commands.storecare import add_store_key
    from innoclone.store.keys import secret_of

    out = output.open()
    if new_key_file is None and new_passphrase_file is None:
        raise UsageError("the new key is missing", hint="--new-key-file or --new-passphrase-file")
    new = secret_of(new_key_file, new_passphrase_file, new=True)
    assert new is not None
    for file in (new_key_file, new_passphrase_file):
        warn_if_open(file, out)
    added = add_store_key(opening.access(url, out), new)
    out.data(added)
    out.result({"key": added})
    out.completed()


@key.command(cls=Command)
@expand
def remove(
    url: Url,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id.")],
    *,
    dry_run: DryRun = False,
    opening: StoreArgs,
    output: OutputArgs,
) -> None:
    """Take a key away, by another one.

    Who had it may have kept a copy of the store's master key: that needs a new store.
    """
    from innoclone.commands.storecare import remove_store_key

    out = output.open()
    remove_store_key(opening.access(url, out), key, dry_run=dry_run)
    out.message(f"{'would remove' if dry_run else 'removed'} key {key}")
    out.result({"dry_run": dry_run, "key": key})
    out.completed()
