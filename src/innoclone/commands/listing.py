"""What is in a folder of clones: time, size, donor, position and verdict of each; what is unfinished, what isn't ours.

Nothing is written and no server is started: what can't be seen that way is said to be unknown.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from innoclone.commands.inspect import Condition, inspect
from innoclone.errors import CloneError, TargetUnusable
from innoclone.files.base import is_earlier_clone, server_process
from innoclone.files.extents import SHARING, Usage, file_system_of, regular_files, usage_of
from innoclone.files.generations import LATEST, generations_of, series_of
from innoclone.files.keyring import is_keyring_home
from innoclone.files.lock import Holder, holder_of
from innoclone.files.manifest import MANIFEST, donor_text, read_manifest
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error
from innoclone.records import retention
from innoclone.records.retention import Policy
from innoclone.records.verdict import Verdict, verdict_of
from innoclone.server.cloned import was_changed

__all__ = ["Kind", "Listed", "Listing", "Sharing", "list_clones"]


OBJECTS = ("donor", "position", "restored", "verified")  # of a manifest


class Kind(enum.Enum):
    """What a directory in the folder is."""

    GENERATION = "generation"  # of the folder's own series: counts for --generations and --keep-...
    CLONE = "clone"
    UNFINISHED = "unfinished"
    DATA = "data directory"  # a server's, or one that the stock CLONE statement made
    KEYRINGS = "keyrings"  # of the clone, or the series, whose name it has
    FOREIGN = "not innoclone's"


class Sharing(enum.Enum):
    """Whether files of a file system can share blocks."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # it doesn't tell


@dataclass(frozen=True)
class Listed:
    """One directory. ``finished`` is in seconds since the epoch; ``server`` is the process id of a mysqld that runs on
    it, 0 if that can't be seen from here, None if none runs; ``was_server``: a server of its own has run on the clone;
    ``problem`` is why something isn't known.

    ``reasons``, with a policy: the rules that keep it, none if it would go, None for what is no generation.
    """

    path: Path
    kind: Kind
    latest: bool = False
    finished: float | None = None
    usage: Usage | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    condition: Condition | None = None
    holder: Holder | None = None
    server: int | None = None
    was_server: bool = False
    problem: str = ""
    reasons: tuple[str, ...] | None = None

    @property
    def donor(self) -> str:
        """``user@host:port``, or the socket, or the way."""
        return donor_text(self.manifest.get("donor") or {})

    @property
    def position(self) -> Mapping[str, Any] | None:
        """``binlog_file``, ``binlog_position``, ``gtid_executed``, or None."""
        return self.manifest.get("position") or None

    @property
    def fields(self) -> dict[str, Any]:
        """All of it, for ``--json``."""
        usage, verdict = self.usage, self.verdict
        shown: dict[str, Any] = {
            "path": str(self.path),
            "name": self.path.name,
            "kind": self.kind.value,
            "latest": self.latest,
            "started": self.manifest.get("started"),
            "finished": self.manifest.get("finished"),
            "restored": self.manifest.get("restored"),
            "size": usage.size if usage else None,
            "allocated": usage.allocated if usage else None,
            "shared": usage.shared if usage else None,
            "exclusive": usage.exclusive if usage else None,
            "donor": self.manifest.get("donor"),
            "position": self.position,
            "verified": None,
            "condition": self.condition.value if self.condition else None,
            "process": {"pid": self.holder.pid, "host": self.holder.host} if self.holder else None,
            "server_pid": self.server,
            "was_server": self.was_server,
            "problem": self.problem,
        }
        if verdict is not None:
            record = self.manifest["verified"]
            shown["verified"] = {name: value for name, value in record.items() if name != "files"}
            shown["verified"]["current"] = verdict.current
        if self.reasons is not None:
            shown |= {"keep": bool(self.reasons), "reasons": list(self.reasons)}
        return shown


@dataclass(frozen=True)
class Listing:
    """A folder's directories, ours first, oldest first. ``dangling``: where ``latest`` leads, if nothing is there."""

    folder: Path
    file_system: str
    sharing: Sharing
    entries: tuple[Listed, ...]
    dangling: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """All of it, for ``--json``."""
        newest = [str(entry.path) for entry in self.entries if entry.latest]
        return {
            "folder": str(self.folder), "file_system": self.file_system, "sharing": self.sharing.value,
            "latest": newest[0] if newest else None, "clones": [entry.fields for entry in self.entries],
        }  # fmt: skip


def list_clones(folder: Path, policy: Policy | None = None, *, now: float | None = None) -> Listing:
    """Look at every directory in ``folder``, or at ``folder`` itself if that is a clone. With a ``policy`` also what of
    each series it would keep ``now``.

    Raises `TargetUnusable` if it is no directory, a file error if it can't be read.
    """
    if not folder.is_dir():
        raise TargetUnusable(f"{folder} is not a directory", hint="name a folder with clones")
    try:
        latest, dangling = _latest(folder)
        ours = _series(folder)
        single = is_earlier_clone(folder) or (folder / "mysql.ibd").exists()
        paths = [folder] if single else [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        entries = [_look(path, generation=path in ours, latest=path == latest) for path in paths]
    except OSError as error:
        raise file_error(error, f"can't look at {folder}") from error
    if policy:
        entries = _judged(entries, folder, policy, time.time() if now is None else now)
    beside = (Kind.KEYRINGS, Kind.FOREIGN)
    entries.sort(key=lambda one: (one.kind in beside, one.finished or float("inf"), one.path.name))
    kind = file_system_of(folder)
    return Listing(
        folder=folder, file_system=kind, sharing=_sharing(kind, entries), entries=tuple(entries), dangling=dangling
    )


def _latest(folder: Path) -> tuple[Path | None, str]:
    """The directory in ``folder`` that ``latest`` names, and where it leads instead if nothing is there."""
    link = folder / LATEST
    if not link.is_symlink():
        return None, ""
    leads = Path(os.path.realpath(link))
    if not leads.is_dir():
        return None, os.readlink(link)  # noqa: PTH115 - as it is written
    return (folder / leads.name if leads.parent == Path(os.path.realpath(folder)) else None), ""


def _series(folder: Path) -> set[Path]:
    donors = {one.donor for one in generations_of(folder)}
    return {one.path for donor in donors for one in series_of(folder, donor)}


def _judged(entries: list[Listed], folder: Path, policy: Policy, now: float) -> list[Listed]:
    """With what the policy does to each series."""
    found: dict[Path, tuple[str, ...]] = {}
    for donor in {one.donor for one in generations_of(folder)}:
        series = series_of(folder, donor)
        kept = retention.apply([one.moment for one in series], policy, now)
        found |= {one.path: verdict.reasons for one, verdict in zip(series, kept, strict=True)}
    return [replace(entry, reasons=found.get(entry.path)) for entry in entries]


def _sharing(kind: str, entries: list[Listed]) -> Sharing:
    usages = [entry.usage for entry in entries if entry.usage is not None]
    if any(usage.shared for usage in usages) or kind in SHARING:
        return Sharing.YES
    return Sharing.UNKNOWN if any(usage.shared is None for usage in usages) and kind != "tmpfs" else Sharing.NO


def _look(path: Path, *, generation: bool, latest: bool) -> Listed:
    """One directory; what can't be read is its own problem, not the folder's."""
    try:
        if is_unfinished(path):
            found = inspect(path)
            # Extents are written out before they are counted: a clone that runs is not to be held up by that.
            usage = _usage(path, {}, extents=found.holder is None)
            return Listed(
                path, Kind.UNFINISHED, latest=latest, usage=usage, condition=found.condition, holder=found.holder
            )
        server, problem = _server(path)
        if not (path / OWN_DIR / MANIFEST).exists():
            data = is_earlier_clone(path) or (path / "mysql.ibd").exists()
            kind = Kind.DATA if data else Kind.KEYRINGS if is_keyring_home(path) else Kind.FOREIGN
            size = _usage(path, {}) if data else None
            return Listed(path, kind, latest=latest, usage=size, server=server, problem=problem)
        manifest = read_manifest(path)
        if not all(
            isinstance(manifest.get(name) or {}, dict) for name in ("donor", "position", "restored", "verified")
        ):
            raise ValueError("a field that is no object")
        return Listed(
            path,
            Kind.GENERATION if generation else Kind.CLONE,
            latest=latest,
            finished=datetime.fromisoformat(manifest["finished"]).timestamp(),
            usage=_usage(path, manifest),
            manifest=manifest,
            verdict=verdict_of(path, manifest),
            condition=Condition.COMPLETE,
            holder=holder_of(path),
            server=server,
            was_server=was_changed(path, manifest),
            problem=problem,
        )
    except CloneError as error:
        return Listed(path, Kind.FOREIGN, latest=latest, problem=error.message)
    except OSError as error:
        return Listed(path, Kind.FOREIGN, latest=latest, problem=f"can't be read: {error.strerror}")
    except (KeyError, TypeError, ValueError) as error:
        return Listed(path, Kind.FOREIGN, latest=latest, problem=f"its manifest is damaged: {error!r}")


def _server(path: Path) -> tuple[int | None, str]:
    """The process id of a mysqld on it, None without one, and why that can't be seen."""
    try:
        return server_process(path), ""
    except CloneError:
        return None, "this user can't see whether a server runs on it"


def _usage(path: Path, manifest: Mapping[str, Any], *, extents: bool = True) -> Usage:
    """With the files that the clone has outside its directory."""
    total = Usage()
    for file, state in regular_files(path):
        total += usage_of(file) if extents else Usage(state.st_size, state.st_blocks * 512, None)
    for row in manifest.get("files", []):
        if (outside := Path(row["path"])).is_absolute() and outside.is_file():
            total += usage_of(outside)
    return total
