"""The status of a directory, and the history, as lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from innoclone.commands.inspect import Condition, DirectoryStatus
from innoclone.errors import escaped
from innoclone.files.manifest import donor_text
from innoclone.records.history import RESTORE
from innoclone.records.status import State
from innoclone.report.units import amount, duration, moment, speed

__all__ = ["history_table", "progress_words", "resume_words", "status_lines"]

STALE = 10.0  # seconds without a new status after which that is worth a word
SHOWN_NOTES = 5


def status_lines(found: DirectoryStatus) -> list[str]:
    """Aligned lines: what it is, how far, from where, by whom, what one can do."""
    match found.condition:
        case Condition.COMPLETE:
            rows = _complete(found)
        case Condition.SERVED:
            rows = iter([("state", "at rest; no clone of innoclone")])
        case _:
            rows = _unfinished(found)
    rows = chain(rows, _served(found.served))
    return [f"{label:<12} {escaped(text)}" for label, text in [("directory", str(found.directory)), *rows]]


def running_lines(running: Sequence[Mapping[str, Any]]) -> list[str]:
    """Two lines for each: what goes where, and how far it is."""
    found = []
    for one in running:
        found.append(f"{one['operation']} {one['id']}: {one['source']} -> {one['destination']}")
        told = [progress_words(one), *([_copied(one, running=True)] if one["estimate"] else [])]
        began = "" if one["began"] is None else f"began {moment(one['began'])}, "
        found.append(f"    {', '.join(told)}; {began}process {one['pid']} of {one['user']}")
    return [escaped(line) for line in found]


def _served(donors: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Who serves it, and who takes it."""
    for donor in donors:
        name = f" as {donor['name']}" if donor["name"] else ""
        yield "served", f"on {donor['where']}{name}, by process {donor['pid']}"
        for taking in donor["recipients"]:
            stage = f"{taking['stage']}, " if taking["stage"] else ""
            percent = f"{taking['percent']:g} %" if taking["percent"] is not None else "0 %"
            size = f"{amount(taking['data'])} of {amount(taking['estimate'])}"
            rate = speed(found) if (found := taking.get("bytes_per_second")) else "nothing moves"
            yield "", f"{taking['user']}@{taking['host']}: {stage}{percent}, {size}, {rate}"


def _unfinished(found: DirectoryStatus) -> Iterator[tuple[str, str]]:
    last, now = found.last, time.time()
    running = found.condition is Condition.RUNNING
    if running:
        yield "state", f"{last['state']}: {progress_words(last)}" if last else "starting"
    elif last:
        when = f"{moment(last['updated'])} ({_ago(now - last['updated'])})"
        yield "state", f"{found.condition.value} {when}: {progress_words(last)}"
    else:
        yield "state", "unfinished; nothing tells how far it came"
    if found.condition is Condition.FAILED:
        yield "error", f"{last['error_number']}: {last['error_message']}"
    if last:
        if last["estimate"]:
            yield "copied", _copied(last, running=running)
        yield "source", last["source"] + (f", MySQL {last['donor_version']}" if last["donor_version"] else "")
        if last["began"] is not None:
            yield "began", f"{moment(last['began'])} ({_ago(now - last['began'])})"
    if found.holder is not None:
        user = f" of {last['user']}" if last else ""
        where = f" on {found.holder.host}, since {moment(found.holder.started)}" if found.holder.pid else ""
        yield "process", f"{found.holder.pid or 'unknown'}{user}{where}"
    if running and last:
        yield "connections", f"{last['connections']}" + (f", restarts {last['restarts']}" if last["restarts"] else "")
        if now - last["updated"] > STALE:
            yield "last heard", f"{moment(last['updated'])} ({_ago(now - last['updated'])})"
    for note in last.get("notes", [])[-SHOWN_NOTES:]:
        yield "note", note
    yield "if it stops" if running else "next", resume_words(last, now, running=running)
    if not running:
        yield "", f"innoclone discard {found.directory} removes it"


def _complete(found: DirectoryStatus) -> Iterator[tuple[str, str]]:
    manifest, fields = found.manifest, found.fields
    begun, finished = (_epoch(manifest[name]) for name in ("started", "finished"))
    donor, position = manifest["donor"], manifest.get("position")
    yield "state", f"complete since {moment(finished)} ({_ago(time.time() - finished)})"
    yield "size", f"{amount(fields['size'])} in {fields['files']} files"
    yield "took", duration(finished - begun)
    yield "source", f"{donor_text(donor)}, MySQL {donor['version']}, server {donor['uuid']}"
    if position is None:
        yield "position", f"unknown until booted: innoclone boot {found.directory}"
    else:
        if position["binlog_file"]:
            yield "position", f"{position['binlog_file']}:{position['binlog_position']}"
        if position["gtid_executed"]:
            yield "GTID set", position["gtid_executed"]
        elif position["gtid_executed"] is None and donor["gtid_mode"] != "OFF":
            yield "GTID set", f"unknown until booted: innoclone boot --copy {found.directory}"
    if restored := manifest.get("restored"):
        yield "restored", f"{moment(_epoch(restored['at']))} from {restored['from']}"
    if found.holder is not None:
        yield "in use", f"by {found.holder}"
    if found.successor is not None:
        yield "successor", f"{found.successor.directory}, {found.successor.condition.value}"
        if found.successor.last:
            yield "", progress_words(found.successor.last)


def progress_words(last: Mapping[str, Any]) -> str:
    """The stage and how far it is."""
    if not last["stage"]:
        return f"{last['percent']:g} %" if last["percent"] is not None else "before the first byte"
    percent = f", {last['stage_percent']:g} %" if last["stage_percent"] is not None else ""
    return f"{last['stage']}{percent}"


def resume_words(last: Mapping[str, Any], now: float, *, running: bool = False) -> str:
    """What the same command does with what is there."""
    until = last.get("resumable_until")
    if last.get("operation") == RESTORE:
        return "the same command begins anew"
    if until is None:
        return "the same command continues it"
    if running:
        return f"the same command goes on from the very block, for {duration(until - last['updated'])}"
    if now < until:
        return f"the same command goes on from the very block until {moment(until)} ({duration(until - now)} left)"
    return f"the donor held the snapshot until {moment(until)}: the same command takes a new one"


def _copied(last: Mapping[str, Any], *, running: bool) -> str:
    text = f"{amount(last['data'])} of {amount(last['estimate'])}"
    if not running or not last["speed"]:
        return text
    left = (last["estimate"] - last["data"]) / last["speed"]
    return f"{text}, {speed(last['speed'])}" + (f", {duration(left)} left" if left > 0 else "")


def _ago(seconds: float) -> str:
    """``m:ss ago``, in days where it is long."""
    return f"{seconds / 86400:.0f} days ago" if seconds > 2 * 86400 else f"{duration(max(seconds, 0))} ago"


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def history_table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each clone, and one below it for its error."""
    wide = max([7, *(len(record.get("operation", "")) for record in records)])
    lines = [f"{'id':>5}  {'began':<19} {'what':<{wide}} {'state':<11} {'time':>8} {'data':>11}  from -> to"]
    for record in records:
        began, seconds, data = record.get("began"), record.get("seconds") or 0.0, record.get("data") or 0
        lines.append(
            escaped(
                f"{record.get('id') or '':>5}  {moment(began) if began else '':<19} "
                f"{record.get('operation', ''):<{wide}} {record['state']:<11} "
                f"{duration(seconds):>8} {amount(data) if data else '':>11}  "
                f"{record.get('source', '')} -> {record.get('destination', '')}"
            )
        )
        if record["state"] == State.FAILED.value:
            first = record.get("error_message", "").partition("\n")[0]
            lines.append(f"{'':<27}error {record['error_number']}: {escaped(first)}")
    return lines
