"""A snapshot that is served: the port is had first, and who comes before it is restored is told so."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import innoclone
from innoclone.commands import awaitedsnapshot
from innoclone.commands.backup import backup
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.commands.serve import Serving
from innoclone.commands.storeoptions import BackupOptions, StoreAccess
from innoclone.commands.storescratch import ForServing
from innoclone.errors import CloneError, CloneRunning, ConnectFailed, Interrupted, StoreUnavailable
from innoclone.records.history import TEMPORARY, read_history
from restores import contents
from serving import PASSWORD, USER, endpoint

PATIENCE = 60.0  # seconds


def restores() -> int:
    """How many the history has that were made to be served, of all tests so far."""
    return sum(one["operation"] == TEMPORARY for one in read_history())


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Donor:
    """`serve_snapshot` in a thread; its restore waits for ``goes_on``, and fails with ``error`` then."""

    def __init__(self, access: StoreAccess, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on, self.is_ready, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.error: CloneError | None = None
        self.raised: BaseException | None = None
        self.port = free_port()

        @contextlib.contextmanager
        def restored(*_: object, stopped: threading.Event, **__: object) -> Iterator[ForServing]:
            while not self.goes_on.wait(0.05):
                if stopped.is_set():
                    raise Interrupted("stopped while a snapshot was restored")
            if self.error is not None:
                raise self.error
            yield ForServing(directory, f"{access.address}@abc")

        monkeypatch.setattr(awaitedsnapshot, "restored_to_serve", restored)
        self.thread = threading.Thread(target=self._run, args=(access,))
        self.thread.start()

    def _run(self, access: StoreAccess) -> None:
        def ready(serving: Serving) -> None:
            assert serving.version.startswith("9.")
            self.is_ready.set()

        try:
            innoclone.serve_snapshot(
                access, password=PASSWORD, user=USER, port=self.port, ready=ready, stopped=self.stopped
            )
        except CloneError as error:
            self.raised = error

    def listens(self) -> None:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            self.thread.join(0.1)
        raise AssertionError("it does not listen")

    def end(self) -> BaseException | None:
        self.stopped.set()
        self.goes_on.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.raised


@pytest.fixture
def donor(access: StoreAccess, small_clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Donor]:
    found = Donor(access, small_clone, monkeypatch)
    try:
        found.listens()
        yield found
    finally:
        found.end()


def test_who_comes_early_is_told_so(
    donor: Donor, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("innoclone.receive.timings.BUSY_DONOR", 0.0)
    options = CloneOptions(endpoint(donor.port), tmp_path / "taken", retry_for=0)
    with pytest.raises(CloneRunning, match="is being restored, 0 bytes are there; try again later"):
        clone(options)
    donor.goes_on.set()
    assert donor.is_ready.wait(PATIENCE)
    clone(options)
    taken, stored = contents(tmp_path / "taken"), contents(small_clone)
    assert {name: taken[name] for name in stored if name.endswith(".ibd")} == {
        name: digest for name, digest in stored.items() if name.endswith(".ibd")
    }
    assert donor.end() is None


def test_a_restore_that_fails_ends_it(donor: Donor) -> None:
    donor.error = StoreUnavailable("503 Slow Down")
    donor.goes_on.set()
    donor.thread.join(PATIENCE)
    assert donor.raised is donor.error
    assert not donor.is_ready.is_set()


def test_stopped_before_it_is_there(donor: Donor) -> None:
    donor.stopped.set()
    donor.thread.join(PATIENCE)
    assert isinstance(donor.raised, Interrupted)


def test_a_port_in_use_is_told_first(small_clone: Path, access: StoreAccess) -> None:
    """Nothing is restored then."""
    backup(BackupOptions(small_clone, access))
    before = restores()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "innoclone", "serve", "--no-defaults", "--user=x", f"--port={port}"]
        done = subprocess.run(
            [*command, f"--key-file={access.key_file}", access.address], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == ConnectFailed.exit_status
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr
    assert restores() == before
