"""Commands on a store as processes that live for one command: forked from a server that has loaded everything, so that
they may be killed, and a thousand of them take no time."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from faults.storefaults import Fault, FaultyStore
from innoclone.commands import storeaccess
from innoclone.commands.backup import backup
from innoclone.commands.bootcheck import boot_check
from innoclone.commands.serve import Serving
from innoclone.commands.storecare import (
    add_store_key,
    forget_snapshots,
    list_store,
    make_store,
    prune_store,
    remove_store_key,
    snapshot_info,
    store_keys,
    verify_store,
)
from innoclone.commands.storediff import StoredPlace, diff_places
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.errors import CloneError
from innoclone.records.retention import Policy
from innoclone.store import care, known, pack, persistent, remote
from innoclone.store.address import objects_at
from innoclone.store.keys import secret_of
from innoclone.storeapi import backup_server, serve_snapshot
from servers import PASSWORD

__all__ = ["Done", "Job", "Process", "run"]

HANGS = 120.0  # seconds
REQUEST = "2s"  # that one of a remote store may take
REACHED, READY = "reached", "ready"  # what a process says before its end
MORE_THAN_ALL = 2.0  # of a pack
SMALL_PACK = 64 << 10  # bytes, so that a small clone takes several


OF_SERVERS = ("backup server", "boot check", "serve")  # their snapshots are larger


@dataclass(frozen=True)
class Job:
    """A command on a store. ``dead_leases``: take every run without a process for dead at once; ``leaves_packs``: of
    whatever pack of the parent's, little is needed."""

    what: str
    access: StoreAccess
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    dead_leases: bool = False
    leaves_packs: bool = False


@dataclass(frozen=True)
class Done:
    """How it ended: with ``result``, with ``error`` (a class's name, its words and hint), ``crashed`` with a
    traceback, or ``killed``. ``calls`` of the store, and whether the fault was ``reached``."""

    result: Any = None
    error: tuple[str, str, str] | None = None
    crashed: str = ""
    killed: bool = False
    calls: int = 0
    reached: bool = False


class Process:
    """One that runs a job. Use it with ``with``: it never outlives the block."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._answers, there = _CONTEXT.Pipe(duplex=False)
        self._done: Done | None = None
        self._reached = self._ready = False
        self._process = _CONTEXT.Process(target=_work, args=(job, dict(environment), there), daemon=True)
        self._process.start()
        there.close()

    def kill(self) -> None:
        """SIGKILL, now."""
        self._process.kill()

    def wait_ready(self, limit: float | None) -> bool:
        """Whether it has said that it is, within ``limit`` seconds; False where it ends before that."""
        until = time.monotonic() + (HANGS if limit is None else limit)
        try:
            while not self._ready and self._done is None and self._answers.poll(max(0.0, until - time.monotonic())):
                self._take()
        except (EOFError, ConnectionResetError):  # `end` says how it came to that
            return False
        return self._ready

    def end(self) -> Done:
        """How it ended. Raises `TimeoutError` where it doesn't."""
        try:
            while self._done is None and self._answers.poll(HANGS):
                self._take()
        except (EOFError, ConnectionResetError):
            self._process.join(HANGS)
            if self._process.exitcode != -9:
                return Done(crashed=f"exit status {self._process.exitcode}", reached=self._reached)
            return Done(killed=True, reached=self._reached)
        if self._done is None:
            raise TimeoutError(f"no end within {HANGS:.0f} s")
        self._process.join(HANGS)
        return replace(self._done, reached=self._reached)

    def _take(self) -> None:
        answer = self._answers.recv()
        if isinstance(answer, Done):
            self._done = answer
        self._reached |= answer == REACHED
        self._ready |= answer == READY

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._answers.close()


def run(job: Job, environment: Mapping[str, str]) -> Done:
    """From its beginning to its end."""
    with Process(job, environment) as process:
        return process.end()


def _work(job: Job, environment: dict[str, str], answers: Connection) -> None:
    os.environ.update(environment)
    persistent.FIRST_WAIT = 0.001
    remote.TIMEOUT, remote.RETRIES = REQUEST, 1
    if job.what not in OF_SERVERS:
        pack.PACK = SMALL_PACK
    if job.leaves_packs:
        known.THIN = MORE_THAN_ALL
    if job.dead_leases:
        care.LEASE = care.GRACE = 0.0
    made: list[FaultyStore] = []

    def faulty(address: str, options: Mapping[str, str]) -> FaultyStore:
        made.append(FaultyStore(objects_at(address, options), job.fault, lambda: answers.send(REACHED)))
        return made[-1]

    storeaccess.objects_at = faulty  # type: ignore[attr-defined]
    done = Done()
    try:
        ready = {"ready": lambda _: answers.send(READY)} if job.what == "serve" else {}
        done = Done(result=_COMMANDS[job.what](job.access, **job.arguments, **ready))
    except CloneError as error:
        done = Done(error=(type(error).__name__, error.message, error.advice or ""))
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        done = Done(crashed=traceback.format_exc())
    calls = sum(one.calls for one in made)
    answers.send(Done(done.result, done.error, done.crashed, calls=calls))
    os._exit(0)


def _init(access: StoreAccess) -> str:
    return make_store(access, encrypted=access.key_file is not None, single_writer=False).address


def _backup(access: StoreAccess, clone: Path, *, full: bool = False) -> str:
    return backup(BackupOptions(clone, access, full=full, threads=2)).snapshot


def _restore(access: StoreAccess, snapshot: str, directory: Path, *, delta: bool = False) -> list[str]:
    options = StoreRestoreOptions(access, snapshot, directory, delta=delta, threads=2, fsync=False)
    return restore_from_store(options).notes


def _backup_server(access: StoreAccess, donor: str, spool: Path, *, full: bool = False, local: bool = False) -> str:
    return backup_server(donor, access, password=PASSWORD, spool=spool, full=full, local=local, threads=2).snapshot


def _serve(
    access: StoreAccess, scratch: Path, port: int, password: str, *, ready: Callable[[Serving], None]
) -> int:  # fmt: skip
    return serve_snapshot(access, password=password, scratch=scratch, port=port, once=True, ready=ready)


def _diff(access: StoreAccess, old: str, new: str | Path) -> list[tuple[str, str, int]]:
    there = StoredPlace(access, new) if isinstance(new, str) else new
    return [(one.name, one.kind, one.differing) for one in diff_places(StoredPlace(access, old), there)[0]]


def _boot_check(access: StoreAccess, scratch: Path) -> str:
    return boot_check(BootCheckOptions(access, "latest", scratch, threads=2)).snapshot


def _list(access: StoreAccess) -> tuple[list[str], list[str]]:
    found = list_store(access)
    return [one.snapshot.id for one in found.snapshots], [error.message for error in found.unreadable]


def _forget(access: StoreAccess, names: Sequence[str] = (), keep: int = 0) -> list[str]:
    return [one.id for one in forget_snapshots(access, names, Policy(last=keep)).gone]


def _prune(access: StoreAccess, grace: float = 0.0) -> tuple[int, str]:
    found = prune_store(access, grace=grace)
    return len(found.removed), found.blocked


def _verify(access: StoreAccess) -> int:
    return verify_store(access, read_data=True, threads=2).packs


def _info(access: StoreAccess, snapshot: str = "latest") -> str:
    return str(snapshot_info(access, snapshot)["snapshot"])


def _keys(access: StoreAccess) -> list[str]:
    return [one.id for one in store_keys(access)[1]]


def _add_key(access: StoreAccess, new: Path) -> str:
    secret = secret_of(new, None)
    assert secret is not None
    return add_store_key(access, secret)


def _remove_key(access: StoreAccess, key: str) -> None:
    remove_store_key(access, key)


_COMMANDS: dict[str, Any] = {
    "init": _init, "backup": _backup, "restore": _restore, "list": _list, "forget": _forget, "prune": _prune,
    "verify": _verify, "info": _info, "keys": _keys, "add key": _add_key, "remove key": _remove_key,
    "boot check": _boot_check, "backup server": _backup_server, "serve": _serve, "diff": _diff,
}  # fmt: skip

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.storework"])
