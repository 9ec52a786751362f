"""The Python API: the same operations as the command line, with plain arguments and typed results.

A server is a DSN (``mysql://user@host:port``) or an `Endpoint`. No setting is read from option files or the
environment, nothing is printed; every failure is a `CloneError`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from innoclone.apicalls import Progress, donor_by, endpoint, server_of, watched
from innoclone.commands import boot as boot_operation
from innoclone.commands import clone as clone_operation
from innoclone.commands import discard as discard_operation
from innoclone.commands import listing
from innoclone.commands import local as local_operation
from innoclone.commands import replace as replace_operation
from innoclone.commands import replicate as replicate_operation
from innoclone.commands import restore as restore_operation
from innoclone.commands import serve as serve_operation
from innoclone.commands import stop as stop_operation
from innoclone.commands import verify as verify_operation
from innoclone.commands.boot import BootResult
from innoclone.commands.clone import CloneResult
from innoclone.commands.generations import add_generation
from innoclone.commands.inspect import DirectoryStatus, inspect_with_donors
from innoclone.commands.keywords import (
    BootKeywords,
    CloneKeywords,
    LocalKeywords,
    ReplaceKeywords,
    ReplicateKeywords,
    RestoreKeywords,
    ServeKeywords,
    VerifyKeywords,
    with_paths,
)
from innoclone.commands.listing import Listing
from innoclone.commands.local import LocalResult
from innoclone.commands.networkclones import clone_over_network
from innoclone.commands.options import (
    STOP_TIMEOUT,
    BootOptions,
    CheckOptions,
    CloneOptions,
    LocalOptions,
    ReplaceOptions,
    ReplicateOptions,
    RestoreOptions,
    ServeOptions,
    VerifyOptions,
)
from innoclone.commands.replace import ReplaceResult
from innoclone.commands.replicate import ReplicateResult, find_donor
from innoclone.commands.restore import RestoreResult
from innoclone.commands.serve import Serving
from innoclone.commands.verify import VerifyReport
from innoclone.donor.takings import Taking
from innoclone.records.history import read_history
from innoclone.records.limits import Limits
from innoclone.records.managedserver import Managed
from innoclone.records.retention import Policy
from innoclone.records.status import CloneStatus
from innoclone.settings.dsn import is_dsn
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = [
    "boot", "check", "clone", "discard", "endpoint", "history", "list_clones", "local", "replace_data", "replicate",
    "restore", "serve", "status", "stop", "verify",
]  # fmt: skip


def clone(
    donor: str | Endpoint | None,
    directory: str | os.PathLike[str],
    *,
    password: str | None = None,
    via: str | None = None,
    from_dir: str | None = None,
    remote_innoclone: str | None = None,
    compress: str | Compression = "off",
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[CloneKeywords],
) -> CloneResult:
    """Clone a running server into a directory.

    With ``via="ssh://user@host"`` the clone is taken through ssh, from an innoclone that is started there
    (``remote_innoclone``): ``donor`` is a DSN as that host sees it, without a password, or None; ``from_dir`` is a
    stored clone there in its place. What ssh says is in the result's notes.

    ``password`` is the donor account's, if the DSN has none. ``progress`` is called every ``progress_interval``
    seconds, and once at the end, from a thread of its own, with the live status. Setting ``stopped`` ends the clone
    with `Interrupted`; changing ``limits`` changes its bandwidth. ``options`` are the other fields of `CloneOptions`
    (``threads``, ``block_ddl``, ``boot``, ...). Raises a `CloneError`.
    """
    compression = Compression(compress) if isinstance(compress, str) else compress
    status = CloneStatus()
    with contextlib.ExitStack() as kept:
        server = donor_by(kept, status, donor, password, via, from_dir, remote_innoclone)
        kept.enter_context(watched(status, progress, progress_interval))
        place = Path(directory).absolute()
        choice = CloneOptions(donor=server, directory=place, compression=compression, **with_paths(options))
        run = clone_over_network if choice.policy or choice.keep_base else clone_operation.clone
        return run(choice, status=status, stopped=stopped, limits=limits)


def local(
    donor: str | Endpoint,
    directory: str | os.PathLike[str],
    *,
    password: str | None = None,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[LocalKeywords],
) -> LocalResult:
    """Clone a server on this host by copying its files; an earlier clone in the directory is brought up to date.

    With ``generations``, or a `Policy` as ``keep``, ``directory`` is a folder to which a dated clone is added. The
    arguments are those of `clone`; ``options`` are the other fields of `LocalOptions` (``incremental``, ``keep_base``,
    ``datadir``, ...). Raises a `CloneError`.
    """
    choice = LocalOptions(donor=server_of(donor, password), directory=Path(directory).absolute(), **with_paths(options))
    run = add_generation if choice.policy else local_operation.local
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return run(choice, status=status, stopped=stopped, limits=limits)


def restore(
    clone: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[RestoreKeywords],
) -> RestoreResult:
    """Make a new data directory of a finished clone, whole or not at all.

    ``options`` are the other fields of `RestoreOptions` (``chown``, ``mysqld_check``, ``map_paths``, ...). Raises a
    `CloneError`.
    """
    choice = RestoreOptions(clone=Path(clone).absolute(), directory=Path(directory).absolute(), **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return restore_operation.restore(choice, status=status, stopped=stopped, limits=limits)


def serve(
    source: str | os.PathLike[str] | Endpoint,
    *,
    password: str,
    user: str = "clone",
    ready: Callable[[Serving], None] | None = None,
    progress: Callable[[Sequence[Taking]], None] | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[ServeKeywords],
) -> int:
    """Serve a stored clone, or a running server of this host (a DSN or an `Endpoint`), to recipients that log in as
    ``user`` with ``password``; how many took a clone in full.

    It ends when ``stopped`` is set, or with ``once`` after the first of them. ``ready`` is called when recipients may
    come, ``progress`` once a second, from a thread of its own, with those that take a clone. Changing ``limits``
    changes the bandwidth of all together. ``options`` are the other fields of `ServeOptions` (``port``,
    ``bind_address``, ``require_secure_transport``, ...). Raises a `CloneError`.
    """
    is_live = isinstance(source, Endpoint) or (isinstance(source, str) and is_dsn(source))
    live = server_of(source, None) if isinstance(source, str | Endpoint) and is_live else None
    directory = None if isinstance(source, Endpoint) or is_live else Path(source).absolute()
    choice = ServeOptions(directory=directory, live=live, user=user, password=password, **with_paths(options))
    return serve_operation.serve_until(stopped, choice, ready=ready, progress=progress, limits=limits)


def list_clones(folder: str | os.PathLike[str], keep: Policy | None = None) -> Listing:
    """What is in a folder of clones; with ``keep`` also what these rules would keep of its generations.

    Raises `TargetUnusable` if it is no directory, or a file error.
    """
    return listing.list_clones(Path(folder).absolute(), keep)


def replace_data(
    donor: str | Endpoint | None,
    managed: Managed,
    *,
    password: str | None = None,
    via: str | None = None,
    from_dir: str | None = None,
    remote_innoclone: str | None = None,
    keep_old_data: bool = False,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[ReplaceKeywords],
) -> ReplaceResult:
    """Replace the data of ``managed``, a server on this host, by a clone of ``donor``, and restart it.

    The arguments are those of `clone`; ``options`` are the other fields of `CloneOptions` that count for the copy.
    After an error the server runs on its old data. Raises a `CloneError`.
    """
    status = CloneStatus()
    with contextlib.ExitStack() as kept:
        server = donor_by(kept, status, donor, password, via, from_dir, remote_innoclone)
        copy = CloneOptions(donor=server, directory=managed.datadir, **with_paths(options))
        choice = ReplaceOptions(copy, managed, keep_old_data=keep_old_data)
        kept.enter_context(watched(status, progress, progress_interval))
        return replace_operation.replace_data(choice, status=status, stopped=stopped, limits=limits)


def check(
    donor: str | Endpoint, directory: str | os.PathLike[str] | None = None, *, password: str | None = None
) -> list[str]:
    """What would keep ``donor`` from being cloned (into ``directory``), as messages; an empty list is good.

    Raises a `CloneError` if the login fails.
    """
    from innoclone.commands.check import check as run

    target = None if directory is None else Path(directory).absolute()
    facts = run(CheckOptions(donor=server_of(donor, password), directory=target))
    return [f"{problem.code}: {problem.message}" for problem in facts.problems]


def boot(
    directory: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    **options: Unpack[BootKeywords],
) -> BootResult:
    """Start a mysqld on a clone and let it recover; its binary log position is in the result and in the manifest.

    ``options`` are the other fields of `BootOptions` (``mysqld``, ``copy``, ``keep``, ``port``, ``timeout``).
    Raises a `CloneError`.
    """
    choice = BootOptions(directory=Path(directory).absolute(), **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return boot_operation.boot(choice, status=status, stopped=stopped)


def verify(
    directory: str | os.PathLike[str],
    *,
    against: str | Endpoint | None = None,
    password: str | None = None,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    **options: Unpack[VerifyKeywords],
) -> VerifyReport:
    """Check every page of a clone; with ``against`` also compare its tables with that server's.

    ``options`` are the other fields of `VerifyOptions` (``threads``, ``mysqld``). What could not be compared is in the
    report. Raises `VerifyFailed` where something is damaged or differs, or another `CloneError`.
    """
    server = None if against is None else server_of(against, password)
    choice = VerifyOptions(directory=Path(directory).absolute(), against=server, **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return verify_operation.verify(choice, status=status, stopped=stopped)


def replicate(
    replica: str | os.PathLike[str] | Endpoint,
    source: str | Endpoint | None = None,
    *,
    password: str | None = None,
    **options: Unpack[ReplicateKeywords],
) -> ReplicateResult:
    """The statements that make a clone, a directory or a running server, replicate from ``source``.

    Without a ``source`` that is the clone's donor, with the account that the clone was made with. ``password`` is the
    source account's, if its DSN has none; a replica's is in its own DSN. ``options`` are the other fields of
    `ReplicateOptions`: with ``run`` the statements are executed on the server, and ``wait`` is for how many seconds it
    may catch up; ``reset_channels`` drops replication channels also if they may be the server's own. Raises a
    `CloneError`.
    """
    if isinstance(replica, str) and is_dsn(replica):
        replica = endpoint(replica)
    where = replica if isinstance(replica, Endpoint) else Path(replica).absolute()
    server = _donor_of(where, password) if source is None else server_of(source, password)
    choice = ReplicateOptions(where, server, source_is_donor=source is None, **with_paths(options))
    return replicate_operation.replicate(choice)


def _donor_of(clone: Path | Endpoint, password: str | None) -> Endpoint:
    donor = find_donor(clone)
    if donor.host.startswith("/"):
        return Endpoint(socket=Path(donor.host), user=donor.user, password=password or "", ssl_mode=SslMode.DISABLED)
    return Endpoint(host=donor.host, port=donor.port, user=donor.user, password=password or "")


def status(directory: str | os.PathLike[str]) -> DirectoryStatus:
    """What a directory holds: a clone that runs in this or another process, what is left of one, or a finished one.

    Raises `TargetUnusable` if none of these.
    """
    return inspect_with_donors(Path(directory).absolute())


def stop(directory: str | os.PathLike[str], *, timeout: float = STOP_TIMEOUT) -> bool:
    """End a clone that this or another process makes in ``directory``, or the replacement of that server's data, and
    wait for that; False if there is none.

    Only that ends, and its call raises `Interrupted`. Raises `TargetUnusable`, `TargetBusy` where it can't be reached
    or doesn't end in ``timeout`` seconds.
    """
    return stop_operation.stop(Path(directory).absolute(), timeout=timeout) is not None


def discard(directory: str | os.PathLike[str]) -> bool:
    """Remove an unfinished clone with its files outside by mapping; False if the emptied directory had to stay.

    Raises `TargetExists` for a finished one, `TargetBusy` if a process works on it, `TargetUnusable` if it holds no
    clone of ours, or a file error.
    """
    return discard_operation.discard(Path(directory).absolute())


def history(limit: int | None = None) -> list[dict[str, Any]]:
    """This user's clones that came to an end, the newest ``limit`` of them, oldest first. Raises a file error."""
    records = read_history()
    return records if limit is None else records[max(len(records) - limit, 0) :]
