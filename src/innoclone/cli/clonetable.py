"""A folder of clones as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from innoclone.commands.listing import Kind, Listed, Listing, Sharing
from innoclone.errors import escaped
from innoclone.files.keyring import SUFFIX
from innoclone.report.units import amount, moment

__all__ = ["listing_lines", "verdict_words"]

HEADINGS = ("name", "finished", "size", "exclusive", "donor", "position", "verified")


def listing_lines(found: Listing) -> list[str]:
    """A table of what is a clone, then a line for each other directory, then what the columns can't say."""
    ours = [entry for entry in found.entries if entry.manifest]
    lines = _table([HEADINGS, *(_row(entry, found.sharing) for entry in ours)]) if ours else []
    judged = [entry for entry in ours if entry.reasons is not None]
    lines += [f"{entry.path.name}: {escaped(text)}" for entry in found.entries for text in _remarks(entry)]
    if found.dangling:
        lines.append(f"latest leads to {escaped(found.dangling)}, which isn't there")
    if found.sharing is Sharing.NO:
        lines.append(f"the file system ({found.file_system or 'unknown'}) can't share blocks: each is a full copy")
    elif found.sharing is Sharing.UNKNOWN:
        lines.append(f"the file system ({found.file_system or 'unknown'}) doesn't tell which blocks are shared")
    if judged:
        stay = sum(bool(entry.reasons) for entry in judged)
        lines.append(f"these rules keep {stay} of {len(judged)} generations")
    return lines or [f"{found.folder} holds no clone"]


def verdict_words(entry: Listed) -> str:
    """What was verified and when, if it still counts."""
    verdict = entry.verdict
    if verdict is None:
        return "no"
    when = moment(datetime.fromisoformat(verdict.at).timestamp())
    if not verdict.current:
        return f"no, changed since {when}"
    return f"{verdict.what}, {when}" if verdict.sound else f"DAMAGED, {when}"


def _row(entry: Listed, sharing: Sharing) -> tuple[str, ...]:
    usage, position = entry.usage, entry.position
    exclusive = "" if usage is None or usage.exclusive is None or sharing is Sharing.NO else amount(usage.exclusive)
    where = "unknown until booted" if position is None else "none"
    if position and position.get("binlog_file"):
        where = f"{position['binlog_file']}:{position.get('binlog_position', '')}"
    return (
        entry.path.name + (" (latest)" if entry.latest else ""), moment(entry.finished or 0),
        amount(usage.size) if usage else "", exclusive, entry.donor, where, verdict_words(entry),
    )  # fmt: skip


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    right = {HEADINGS.index("size"), HEADINGS.index("exclusive")}
    lines = []
    for row in rows:
        cells = [
            escaped(text).rjust(width) if column in right else escaped(text).ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _remarks(entry: Listed) -> Iterator[str]:
    """What is to be known of one directory beside its row."""
    if entry.kind is Kind.UNFINISHED:
        state = entry.condition.value if entry.condition else "unfinished"
        who = f" by {entry.holder}" if entry.holder else ""
        size = f", {amount(entry.usage.allocated)}" if entry.usage else ""
        yield f"unfinished clone, {state}{who}{size}"
    elif entry.kind is Kind.DATA:
        yield "a data directory without a manifest of innoclone"
    elif entry.kind is Kind.KEYRINGS:
        yield f"keyrings of {entry.path.name.removesuffix(SUFFIX)}, without which nothing encrypted in it can be read"
    elif entry.kind is Kind.FOREIGN and not entry.problem:
        yield "not innoclone's"
    elif entry.holder is not None:
        yield f"{entry.holder} works on it"
    if restored := entry.manifest.get("restored"):
        yield f"restored from {restored.get('from', '')}"
    if entry.verdict is not None and entry.verdict.current and not entry.verdict.sound:
        yield entry.verdict.text
    if entry.server is not None:
        yield f"a server runs on it (process {entry.server})" if entry.server else "a server runs on it"
    elif entry.was_server and entry.manifest:
        yield "a server of its own has run on it since it was cloned"
    if entry.reasons is not None:
        stuck = ", but not without --discard-changes" if entry.was_server else ""
        stuck = ", but not while a server runs on it" if entry.server is not None else stuck
        yield f"kept ({', '.join(entry.reasons)})" if entry.reasons else f"would be removed{stuck}"
    if entry.problem:
        yield entry.problem
