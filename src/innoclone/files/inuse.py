"""Is a directory in use, and by whom? Whatever removes, replaces or overwrites one asks here first.

Names prove nothing: a directory is reached through symbolic links, bind mounts and other mount namespaces, a file by
hard links. So what processes have open is compared by device and inode (``/proc/PID/fd``, proc(5)), and mounts by what
they show (``/proc/PID/mountinfo``). mysqld also locks its files, which is seen without /proc, for whatever user. Of
other users' processes only root sees more than those locks. This process itself does not count.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from innoclone.errors import TargetBusy
from innoclone.files.base import server_process
from innoclone.files.lock import holder_of
from innoclone.files.system import file_error

__all__ = ["Purpose", "Use", "User", "mounts_below", "refuse_in_use", "server_on", "users_of"]

PROC = Path("/proc")
SERVERS = re.compile(r"(mysqld|mariadbd)(-debug)?\Z")
NAMED = 3  # users that an error message names


class Use(enum.Enum):
    """How somebody uses a directory."""

    SERVER = "a server runs on it"
    CLONE = "another innoclone process works on it"
    FILES = "files in it are open"
    STANDS = "a process has its working directory or its root in it"
    MOUNT = "it is a mount point"
    INSIDE = "something is mounted in it"
    BOUND = "it is mounted at another place, too"
    CONTAINER = "it is mounted in another mount namespace"


class Purpose(enum.Enum):
    """What is to be done with a directory; the value holds the uses that are in the way of it."""

    LOOK = frozenset({Use.SERVER})
    """Read what is in it."""
    START = frozenset({Use.SERVER, Use.CLONE})
    """Start a server on it."""
    UPDATE = frozenset({Use.SERVER, Use.CLONE, Use.FILES, Use.INSIDE, Use.CONTAINER})
    """Overwrite or remove what is in it; the directory itself stays."""
    REMOVE = frozenset({*UPDATE, Use.STANDS, Use.MOUNT, Use.BOUND})
    """Remove it, or put another one in its place."""


class User(NamedTuple):
    """One use; ``text`` tells of it in a message, ``pid`` is 0 where no process is known."""

    use: Use
    text: str
    pid: int = 0


def refuse_in_use(directory: Path, purpose: Purpose, *, outside: Iterable[Path] = ()) -> None:
    """Raise `TargetBusy` if somebody uses ``directory`` so that ``purpose`` would harm, a file error where that can't
    be seen. ``outside`` are more files, which belong to what is in the directory."""
    found = [user for user in users_of(directory, outside) if user.use in purpose.value]
    if not found:
        return
    if found[0].use is Use.CLONE:
        raise TargetBusy(f"{found[0].text} {directory}", hint=f"wait for it, or: innoclone stop {directory}")
    if found[0].use is Use.SERVER:
        raise TargetBusy(f"a server runs on {directory}: {found[0].text}", hint="stop that server first")
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    raise TargetBusy(
        f"{directory} is in use: {'; '.join(user.text for user in found[:NAMED])}{more}",
        hint="end that use first; nothing was touched",
    )


def users_of(directory: Path, outside: Iterable[Path] = ()) -> list[User]:
    """Whoever uses a directory, in the order of `Use`; an empty list for one that is not there. Raises a file error
    where the directory can't be looked through."""
    real = Path(os.path.realpath(directory))
    if not real.is_dir():
        return []
    found = []
    locked = server_process(real, outside)
    if locked is not None:
        text = f"process {locked}" if locked else "its process can't be seen from here"
        found.append(User(Use.SERVER, text, locked))
    holder = holder_of(real)
    if holder is not None and holder.pid != os.getpid():
        found.append(User(Use.CLONE, f"{holder} is working on", holder.pid))
    try:
        files, folders = _inodes(real)
        files |= {(state.st_dev, state.st_ino): str(path) for path in outside for state in [path.lstat()]}
    except OSError as error:
        raise file_error(error, f"can't look through {real}") from error
    known = {user.pid for user in found}
    found += [user for user in _processes(real, files, folders) if user.pid not in known]
    found += _mounts(real)
    return sorted(found, key=lambda user: list(Use).index(user.use))


def server_on(directory: Path) -> int | None:
    """The process id of the server on a directory, also of one that has no lock yet or none any more; 0 for one that
    can't be seen from here, None if there is none. Raises a file error."""
    locked = server_process(directory)
    if locked is not None:
        return locked
    return next((user.pid for user in users_of(directory) if user.use is Use.SERVER), None)


def mounts_below(directory: Path) -> list[Path]:
    """Mount points in a directory, itself among them: what is in them is somebody else's."""
    real = Path(os.path.realpath(directory))
    return [mount.point for mount in _mount_table("self") if mount.point.is_relative_to(real)]


# ---- processes -------------------------------------------------------------------------------------------------

_Inode = tuple[int, int]  # device, inode


def _inodes(root: Path) -> tuple[dict[_Inode, str], dict[_Inode, str]]:
    """Files and folders of a directory, itself among them, by what they are, with their paths in it. Raises OSError."""
    state = root.stat()
    files: dict[_Inode, str] = {}
    folders: dict[_Inode, str] = {(state.st_dev, state.st_ino): ""}
    waiting = [str(root)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    one = entry.stat(follow_symlinks=False)
                    name = os.path.relpath(entry.path, root)
                    if not entry.is_dir(follow_symlinks=False):
                        files[one.st_dev, one.st_ino] = name
                    elif one.st_dev == state.st_dev:  # else a mount: `_mounts` tells of it
                        folders[one.st_dev, one.st_ino] = name
                        waiting.append(entry.path)
    return files, folders


def _processes(root: Path, files: dict[_Inode, str], folders: dict[_Inode, str]) -> Iterator[User]:
    """Processes with open files in the directory, or with their working directory or root there: one use of each."""
    for pid in _pids():
        name, is_server = _name(pid)
        opened = next((files[key] for key in _descriptors(pid) if _is_at(root, files, key)), None)
        stands = next((folders[key] for key in _places(pid) if _is_at(root, folders, key)), None)
        if is_server and (opened is not None or stands is not None):
            yield User(Use.SERVER, f"process {pid} ({name})", pid)
        elif opened is not None:
            yield User(Use.FILES, f"process {pid} ({name}) has {opened} open", pid)
        elif stands is not None:
            yield User(Use.STANDS, f"process {pid} ({name}) is in {root / stands}", pid)


def _is_at(root: Path, names: dict[_Inode, str], inode: _Inode) -> bool:
    """Whether an inode that somebody has open is one of those, and still is: of a file that was removed since (a status
    file is written anew each second) the inode may be another one's by now."""
    if inode not in names:
        return False
    with contextlib.suppress(OSError):
        state = (root / names[inode]).lstat()
        return (state.st_dev, state.st_ino) == inode
    return False


def _pids() -> Iterator[int]:
    """All processes that can be seen, but for this one."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(PROC):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                yield int(entry.name)


def _name(pid: int) -> tuple[str, bool]:
    """What a process is called, and whether it is a database server, maybe run by a loader or a wrapper."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:6]
    except OSError:
        words = []
    names = [os.fsdecode(word).rpartition("/")[2] for word in words if word and not word.startswith(b"-")]
    server = next((name for name in names if SERVERS.match(name)), None)
    return server or (names[0] if names else "?"), server is not None


def _descriptors(pid: int) -> Iterator[_Inode]:
    """The files that a process has open."""
    folder = PROC / str(pid) / "fd"
    try:
        numbers = os.listdir(folder)  # noqa: PTH208 - no paths are wanted
    except OSError:
        return  # another user's, or gone
    for number in numbers:
        with contextlib.suppress(OSError):
            link = f"{folder}/{number}"
            if os.readlink(link).startswith("/"):  # noqa: PTH115 - else a socket, a pipe
                state = os.stat(link)  # noqa: PTH116
                yield state.st_dev, state.st_ino


def _places(pid: int) -> Iterator[_Inode]:
    """Working directory and root of a process."""
    for name in ("cwd", "root"):
        with contextlib.suppress(OSError):
            state = (PROC / str(pid) / name).stat()
            yield state.st_dev, state.st_ino


# ---- mounts ----------------------------------------------------------------------------------------------------


class _Mount(NamedTuple):
    """A line of mountinfo: what of a file system (its root) is seen where."""

    device: str
    root: Path
    point: Path


def _mount_table(pid: int | str) -> list[_Mount]:
    """The mounts that a process sees; none where that can't be read."""
    try:
        lines = (PROC / str(pid) / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    rows = [line.split(" ") for line in lines]
    return [_Mount(row[2], _unescaped(row[3]), _unescaped(row[4])) for row in rows if len(row) > 4]


def _unescaped(text: str) -> Path:
    """Blanks and the like are written as octal numbers."""
    return Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text))


def _mounts(directory: Path) -> Iterator[User]:
    """Mounts on the directory, below it, and of it (or a part of it) elsewhere."""
    ours = _mount_table("self")
    for mount in ours:
        if mount.point == directory:
            yield User(Use.MOUNT, f"{directory} is a mount point")
        elif mount.point.is_relative_to(directory):
            yield User(Use.INSIDE, f"{mount.point} is a mount point")
    # The last of the longest: later mounts hide earlier ones.
    above = [mount for mount in reversed(ours) if directory.is_relative_to(mount.point)]
    if not above:
        return
    home = max(above, key=lambda one: len(one.point.parts))
    inside = home.root / directory.relative_to(home.point)
    for mount in ours:
        if _shows(mount, home.device, inside) and not mount.point.is_relative_to(directory):
            yield User(Use.BOUND, f"it is mounted at {mount.point}")
    seen = {_namespace("self")}
    for pid in _pids():
        namespace = _namespace(pid)
        if namespace is None or namespace in seen:
            continue
        seen.add(namespace)
        for mount in _mount_table(pid):
            if not _shows(mount, home.device, inside) or mount in ours:
                continue
            # At its own place it is no other name: systemd's ReadWritePaths= makes such mounts.
            if mount.point != home.point / mount.root.relative_to(home.root):
                yield User(Use.CONTAINER, f"it is mounted at {mount.point} for process {pid} ({_name(pid)[0]})", pid)


def _shows(mount: _Mount, device: str, inside: Path) -> bool:
    """Whether a mount shows a directory, or a part of it, by its place in the file system."""
    return mount.device == device and mount.root.is_relative_to(inside)


def _namespace(pid: int | str) -> str | None:
    try:
        return str((PROC / str(pid) / "ns" / "mnt").readlink())
    except OSError:
        return None
