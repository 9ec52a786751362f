"""The Python API against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import innoclone
from clones import booted, rows
from innoclone.errors import (
    AccessDenied,
    Interrupted,
    StoreKeyWrong,
    StoreMissing,
    TargetExists,
    UsageError,
    VerifyFailed,
)
from innoclone.records.status import Stage, State
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from restores import contents
from servers import PASSWORD


def dsn(server: Server) -> str:
    return f"mysql://clone@127.0.0.1:{server.port}"


def test_clone_with_progress(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """A typed result, progress that only grows, and a directory that boots."""
    seen: list[tuple[int, State]] = []

    def progress(status: innoclone.CloneStatus) -> None:
        seen.append((status.stages[Stage.FILE_COPY].data, status.state))

    result = innoclone.clone(
        dsn(donor), tmp_path / "clone", password=PASSWORD, threads=2, compress="zstd", progress=progress,
        progress_interval=0.01,
    )  # fmt: skip
    assert result.directory == tmp_path / "clone"
    assert result.connections == 2
    assert result.compression == "zstd"
    assert result.cipher.startswith("TLSv1.3")
    assert 0 < result.network < result.data
    assert [data for data, _ in seen] == sorted(data for data, _ in seen)
    assert seen[-1][1] is State.COMPLETED
    assert len(seen) > 1
    with booted(programs, tmp_path / "clone") as clone:
        assert rows(clone, "SELECT COUNT(*) FROM information_schema.TABLES") == rows(
            donor, "SELECT COUNT(*) FROM information_schema.TABLES"
        )


def test_its_names_are_listed() -> None:
    """Though they are loaded when they are first used."""
    code = "import innoclone, sys; print(*dir(innoclone)); print('innoclone.api' in sys.modules)"
    names, loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n", 1)
    assert set(innoclone.__all__) <= set(names.split())
    assert loaded == "False\n"
    for name in dir(innoclone):
        assert getattr(innoclone, name) is not None


def test_check(donor: Server, tmp_path: Path) -> None:
    """Good is an empty list; an occupied target is named."""
    assert innoclone.check(dsn(donor), tmp_path / "new", password=PASSWORD) == []
    (tmp_path / "file").touch()
    (found,) = innoclone.check(dsn(donor), tmp_path, password=PASSWORD)
    assert found.startswith("1007: ")


def test_boot_verify_replicate(donor: Server, tmp_path: Path) -> None:
    """What comes after a clone, with typed results; a clone that was changed does not pass."""
    target = tmp_path / "clone"
    innoclone.clone(dsn(donor), target, password=PASSWORD)
    seen: list[str] = []
    result = innoclone.boot(target, progress=lambda status: seen.append(status.stages[Stage.RECOVERY].state.value))
    assert result.gtid_executed == rows(donor, "SELECT @@GLOBAL.gtid_executed")[0][0]
    assert (result.pid, seen[-1]) == (0, State.COMPLETED.value)
    report = innoclone.verify(target, against=dsn(donor), password=PASSWORD)
    assert isinstance(report, innoclone.VerifyReport)
    assert report.tables
    assert "0 differ" in str(report)
    source = innoclone.endpoint(dsn(donor), password=PASSWORD)
    result = innoclone.replicate(target, password=PASSWORD)  # from its donor
    assert result == innoclone.replicate(target, source)
    *_, change, start = result.statements
    with pytest.raises(UsageError, match="no server is named that could execute"):
        innoclone.replicate(target, source, run=True)
    with pytest.raises(AccessDenied):
        innoclone.replicate(f"mysql://clone:wrong@127.0.0.1:{donor.port}", source)
    assert f"SOURCE_PORT={donor.port}" in change.replace(" = ", "=")
    assert start.startswith("START REPLICA")
    with (target / "mysql.ibd").open("r+b") as file:
        file.seek(5 * 16384 + 100)
        file.write(b"?")
    with pytest.raises(VerifyFailed):
        innoclone.verify(target)


def test_stop_and_limits(donor: Server, tmp_path: Path) -> None:
    """A slow clone ends when asked to; what is left can't be taken for a clone, and the same call succeeds."""
    stopped = threading.Event()
    limits = innoclone.Limits(data=2)

    def progress(status: innoclone.CloneStatus) -> None:
        if status.stages[Stage.FILE_COPY].data:
            stopped.set()

    target = tmp_path / "clone"
    with pytest.raises(Interrupted):
        innoclone.clone(
            dsn(donor), target, password=PASSWORD, stopped=stopped, limits=limits, progress=progress,
            progress_interval=0.02,
        )  # fmt: skip
    assert (target / "#clone" / "#status_in_progress").exists()
    result = innoclone.clone(dsn(donor), target, password=PASSWORD)
    assert any("going on with the clone" in note for note in result.notes)
    assert not (target / "#clone" / "#status_in_progress").exists()
    with pytest.raises(TargetExists):
        innoclone.clone(dsn(donor), target, password=PASSWORD)


def test_serve(small_clone: Path, tmp_path: Path) -> None:
    """Until it is stopped; who takes it is told meanwhile."""
    stopped, ready = threading.Event(), threading.Event()
    places: list[innoclone.Serving] = []
    seen: list[innoclone.Taking] = []
    limits, taken = innoclone.Limits(data=8), []

    def listening(serving: innoclone.Serving) -> None:
        places.append(serving)
        ready.set()

    def serve() -> None:
        taken.append(
            innoclone.serve(
                small_clone, user="taker", password=PASSWORD, port=0, ready=listening, progress=seen.extend,
                stopped=stopped, limits=limits,
            )
        )  # fmt: skip

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    innoclone.clone(f"mysql://taker@127.0.0.1:{places[0].port}", tmp_path / "clone", password=PASSWORD)
    stopped.set()
    thread.join(60)
    assert taken == [1]
    assert places[0].version.startswith("9.7.4")
    assert {(one.recipient.user, one.recipient.tls) for one in seen} == {("taker", True)}
    last = innoclone.history()[-2]
    assert (last["operation"], last["state"], last["source"]) == ("serve", "Completed", str(small_clone))
    with pytest.raises(UsageError, match="user and a password"):
        innoclone.serve(small_clone, password="")


def test_a_store_from_the_first_backup_to_the_last_key(donor: Server, small_clone: Path, tmp_path: Path) -> None:
    """A clone and a running server go in, one comes out; what is not kept goes."""
    keys = [tmp_path / "key", tmp_path / "other"]
    for key in keys:
        key.write_bytes(os.urandom(32))
    store = innoclone.StoreAccess(f"file://{tmp_path}/store", keys[0])
    with pytest.raises(StoreMissing):
        innoclone.store_list(store)
    innoclone.store_init(store)
    seen: list[int] = []
    first = innoclone.backup(small_clone, store, progress=lambda status: seen.append(status.copied))
    assert seen[-1] == first.size
    live = innoclone.backup_server(dsn(donor), store, password=PASSWORD, compress="zstd")
    second = innoclone.backup(small_clone, store)
    assert (second.parent, second.changed) == (first.snapshot, 0)
    info = innoclone.store_info(store, live.snapshot, packs=True)
    assert info["source"] == live.source
    assert 0 < info["needed"] <= info["stored"]
    assert info["thin_packs"] == 0
    assert innoclone.store_verify(store, read_data=True).read > 1
    result = innoclone.restore_snapshot(store, tmp_path / "new", snapshot=first.snapshot[:8], threads=2)
    assert result.files == first.files
    assert contents(tmp_path / "new") == contents(small_clone)
    with pytest.raises(UsageError, match="no clone"):
        innoclone.backup(dsn(donor), store)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    checked = innoclone.store_boot_check(store, first.snapshot, scratch=scratch)
    assert (checked.snapshot, checked.binlog_file) == (first.snapshot, first.binlog_file)
    assert innoclone.verify_snapshot(store, first.snapshot, scratch=scratch).pages.pages == checked.pages
    there = innoclone.StoredPlace(store, first.snapshot)
    assert {row.kind for row in innoclone.diff_places(tmp_path / "new", there)} == {"equal"}
    assert "changed" in {row.kind for row in innoclone.diff_places(there, innoclone.StoredPlace(store, live.snapshot))}
    stopped, said = threading.Event(), []

    def ready(serving: innoclone.Serving) -> None:
        said.append(serving.port)
        stopped.set()

    taken = innoclone.serve_snapshot(store, password="x", port=0, scratch=scratch, ready=ready, stopped=stopped)
    assert (taken, len(said), list(scratch.iterdir())) == (0, 1, [])
    assert len(innoclone.store_forget(store, keep=innoclone.Policy(last=1), dry_run=True).gone) == 1
    assert [one.id for one in innoclone.store_forget(store, [first.snapshot]).gone] == [first.snapshot]
    assert innoclone.store_prune(store, grace=0).removed_size > 0
    added = innoclone.store_add_key(store, key_file=keys[1])
    by_other = innoclone.StoreAccess(store.address, keys[1])
    [used] = [one.id for one in innoclone.store_keys(by_other) if one.id != added]
    innoclone.store_remove_key(by_other, used)
    with pytest.raises(StoreKeyWrong):
        innoclone.store_list(store)
    assert [one.snapshot.id for one in innoclone.store_list(by_other).snapshots] == [live.snapshot, second.snapshot]


def test_errors_are_typed(donor: Server, tmp_path: Path) -> None:
    """A wrong password, a wrong option, a wrong name."""
    with pytest.raises(AccessDenied) as caught:
        innoclone.clone(dsn(donor), tmp_path / "clone", password="wrong")
    assert (caught.value.code, caught.value.sqlstate, caught.value.exit_status) == (1045, "28000", 4)
    with pytest.raises(UsageError):
        innoclone.clone(dsn(donor), tmp_path / "clone", password=PASSWORD, threads=129)
    with pytest.raises(UsageError):
        innoclone.endpoint("http://host")
    assert not hasattr(innoclone, "nothing")
