"""What of a clone is copied when it is restored, where to, and whether there is room for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from innoclone.errors import DiskSpace, FileError, TargetUnusable
from innoclone.files.base import space_of
from innoclone.files.copying import share_blocks
from innoclone.files.extents import regular_files
from innoclone.files.names import ANY_TABLE, OWN_DIR, place
from innoclone.files.names import Mapping as PathMapping
from innoclone.files.ownlife import AUTO_CNF
from innoclone.innodb.space import SYSTEM_SPACE
from innoclone.sources.restoring import Item
from innoclone.stream.pagecheck import Plan, plan_files
from innoclone.verification.integrity import expected_files, other_problems

__all__ = ["check_space", "plan_copy", "rows_of"]

LITTLE = 0.01  # of what is copied: directories, and what the file system keeps for itself
# A server's own, made anew: its identity (a copy with the same UUID is taken for the same server) and what it only has
# while it runs.
LEFT_OUT = (AUTO_CNF, "ibtmp1")
LEFT_OUT_DIRECTORIES = (OWN_DIR, "#innodb_temp", "lost+found")
LEFT_OUT_ENDS = (".pid", ".sock.lock")


def plan_copy(
    clone: Path, manifest: dict[str, Any], directory: Path, mapping: PathMapping
) -> tuple[list[Item], list[Path], list[str]]:
    """Every file of ``clone`` with where it goes, its directories, and a line for each thing that is wrong with it.

    Raises `TargetUnusable` for what a clone has none of, `PathRefused` for a file outside without a mapping, OSError.
    """
    plans, extra = plan_files(clone, expected_files(clone, manifest))
    problems = [f"{plan.report.name}: {problem}" for plan in plans for problem in plan.report.problems]
    problems += [f"{name}: not part of the clone" for name in extra]
    problems += other_problems(clone, manifest)
    if problems:
        return [], [], problems
    known = {plan.path: plan for plan in plans}
    items = [_item(path, state, directory / path.relative_to(clone), known) for path, state in _inside(clone)]
    for row in manifest.get("files", []):
        if (path := Path(row["path"])).is_absolute():
            target = place(str(PurePosixPath(path)), ANY_TABLE, directory, mapping)
            items.append(_item(path, path.lstat(), target, known))
    return items, sorted(path for path in clone.rglob("*") if path.is_dir() and not _left_out(path, clone)), []


def _item(path: Path, state: os.stat_result, target: Path, known: Mapping[Path, Plan]) -> Item:
    if not stat.S_ISREG(state.st_mode):
        raise FileError(f"{path} is no regular file")
    return Item(path, target, state, known.get(path))


def _inside(clone: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in clone.rglob("*"):
        if path.is_symlink() and not _left_out(path, clone):
            raise TargetUnusable(f"{path} is a symbolic link, which a clone has none of", hint="restore another clone")
    for path, state in regular_files(clone):
        if not _left_out(path, clone):
            yield path, state


def _left_out(path: Path, clone: Path) -> bool:
    parts = path.relative_to(clone).parts
    alone = len(parts) == 1 and (parts[0] in LEFT_OUT or parts[0].endswith(LEFT_OUT_ENDS))
    return alone or parts[0] in LEFT_OUT_DIRECTORIES


def check_space(clone: Path, items: Sequence[Item], *, shares: bool) -> None:
    """Raise `DiskSpace` where the files don't fit; with ``shares`` blocks may be shared, where the file system can.

    Raises `TargetUnusable` where nothing can be made.
    """
    needed: dict[int, int] = {}  # by the file system's device
    folders: dict[int, Path] = {}
    try:
        for item in items:
            folder = next(parent for parent in item.target.parents if parent.is_dir())
            device = folder.stat().st_dev
            folders.setdefault(device, folder)
            needed[device] = needed.get(device, 0) + item.state.st_blocks * 512
        for device, folder in folders.items():
            usage = os.statvfs(folder)
            free, wanted = usage.f_bavail * usage.f_frsize, int(needed[device] * (1 + LITTLE))
            if free < wanted and not (shares and _can_share(clone, folder)):
                raise DiskSpace(f"{clone} takes {wanted} bytes, and {free} are free in {folder}")
    except OSError as error:
        raise TargetUnusable(f"can't use {error.filename}: {error.strerror}") from error


def _can_share(clone: Path, folder: Path) -> bool:
    """Whether a file in ``folder`` can have blocks of the clone's."""
    probe = folder / f".innoclone-probe-{os.getpid()}"
    try:
        with (clone / "mysql.ibd").open("rb") as source, probe.open("xb") as copy:
            return share_blocks(source.fileno(), copy.fileno())
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def rows_of(items: Sequence[Item], directory: Path) -> list[dict[str, object]]:
    """What a manifest says of tablespaces, for a clone that a server has changed since it had one."""
    rows: list[dict[str, object]] = []
    system = 0
    for item in items:
        header = space_of(item.source) if item.plan is not None else None
        if item.plan is None or header is None:
            continue
        is_system = item.plan.space_id == SYSTEM_SPACE  # whose second file has no header of its own
        system = system or (header.flags if is_system else 0)
        name = str(item.target.relative_to(directory))
        flags = system if is_system else header.flags
        rows.append({"name": name, "path": name, "space_id": item.plan.space_id, "flags": flags, "size": item.size})
    return rows
