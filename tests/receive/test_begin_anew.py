"""Clones whose donor gives the snapshot up while they run begin anew; local ones also when it is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clones import booted, clone_server, rows
from faults.proxy import Fault, Proxy
from innoclone.commands import awaiting
from innoclone.commands import clone as clone_command
from innoclone.commands import local as local_command
from innoclone.commands.local import LocalResult, local
from innoclone.commands.options import LocalOptions
from innoclone.errors import ConnectFailed, NetworkError, PageUnfit, TargetExists
from innoclone.files.manifest import read_manifest
from innoclone.files.marks import is_unfinished
from innoclone.receive.attempt import Attempt, Received
from innoclone.receive.resume import is_resumable
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server import preflight
from innoclone.server.mysqld import Server
from innoclone.server.preflight import DonorFacts
from innoclone.server.programs import Programs
from innoclone.transport.donorerrors import from_donor
from innoclone.transport.endpoint import SslMode
from local_clones import MIB, assert_equal, checksums, local_clone
from servers import ServerFactory, endpoint_of


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    """A donor that survives everything here."""
    started = make_module_server()
    fill(started.connect, 16 * MIB)
    return started


def through(proxy: Proxy, server: Server, directory: Path, **options: object) -> LocalResult:
    """A local clone whose connections go over the proxy."""
    donor = endpoint_of(server, ssl_mode=SslMode.DISABLED, port=proxy.port)
    return local(LocalOptions(donor, directory, **options))  # type: ignore[arg-type]


def unfit(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the donor's error come so many times, at the end of the transfer, where most is there already."""
    left = [times]
    run = Attempt.run

    def fail(self: Attempt, stopped: threading.Event) -> Received:
        received = run(self, stopped)
        if left[0]:
            left[0] -= 1
            raise from_donor(1815, "Internal error: Innodb Clone Corrupt Page")
        return received

    monkeypatch.setattr(Attempt, "run", fail)


@pytest.mark.parametrize(("what", "share"), [("reset", 0.4), ("refused", 0.7), ("reset", 0.95)])
def test_connections_break(what: str, share: float, server: Server, programs: Programs, tmp_path: Path) -> None:
    """One, or all of them and new ones for a while: the clone begins anew and is exact.

    The auxiliary connection sends nothing but acknowledgements, so its bytes are spread over the stages.
    """
    with Proxy(server.port) as proxy:
        through(proxy, server, tmp_path / "whole")
        most = proxy.carried["auxiliary", True]
    fault = Fault(what, "auxiliary", True, int(most * share), seconds=1)
    with Proxy(server.port, [fault]) as proxy:
        result = through(proxy, server, tmp_path / "clone")
    assert fault.happened.is_set()
    assert any("begins anew" in note for note in result.notes), result.notes
    if share > 0.5:  # the files were copied by then
        assert result.summary.reused > 40
        assert result.summary.written < 16 * MIB  # of some 130; what a server writes by itself meanwhile
    assert_equal(programs, tmp_path / "clone", checksums(server))


def test_without_retries(server: Server, programs: Programs, tmp_path: Path) -> None:
    """The error ends the run; the next one uses what is there."""
    with Proxy(server.port, [Fault("reset", "auxiliary", True, 100)]) as proxy, pytest.raises(NetworkError):
        through(proxy, server, tmp_path / "clone", retry_for=0)
    assert is_unfinished(tmp_path / "clone")
    assert local_clone(server, tmp_path / "clone").incremental
    assert_equal(programs, tmp_path / "clone", checksums(server))


def test_the_donor_is_killed_and_comes_back(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """Its files have been recovered meanwhile, so they are others; the clone is of the server that came back."""
    server = make_server()
    fill(server.connect, 16 * MIB)
    status, limits, again = CloneStatus(), Limits(data=10), []

    def kill_and_start() -> None:
        while not status.stages[Stage.FILE_COPY].data:
            time.sleep(0.02)
        rows(server, "UPDATE shop.items SET amount = 1 + (amount + 1) % 9")
        server.kill()
        limits.data = 0
        time.sleep(1)
        again.append(
            Server.start(
                programs, server.datadir, port=server.port, options=[*DONOR_OPTIONS, "--server-id=99"],
                error_log=server.error_log,
            )
        )  # fmt: skip

    restart = threading.Thread(target=kill_and_start)
    restart.start()
    try:
        result = local_clone(server, tmp_path / "clone", status=status, limits=limits)
        restart.join()
        assert status.restarts == 1
        assert result.summary.reused
        assert_equal(programs, tmp_path / "clone", checksums(again[0]))
    finally:
        restart.join()
        for one in again:
            one.kill()


def test_the_donor_does_not_come_back(make_server: ServerFactory, tmp_path: Path) -> None:
    """After --retry-for seconds the reason is said, and what is there is kept."""
    server = make_server()
    status = CloneStatus()

    def kill() -> None:
        while not status.stages[Stage.FILE_COPY].data:
            time.sleep(0.02)
        server.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ConnectFailed):
        local_clone(server, tmp_path / "clone", status=status, limits=Limits(data=1), retry_for=1)
    killer.join()
    assert is_unfinished(tmp_path / "clone")


@pytest.mark.parametrize("keep_base", [False, True])
def test_a_page_is_unfit(
    keep_base: bool, server: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stock donor does now and then while indexes are built: another snapshot helps."""
    if keep_base:
        local_clone(server, tmp_path / "clone")
    unfit(1, monkeypatch)
    result = local_clone(server, tmp_path / "clone", keep_base=keep_base)
    assert result.summary.reused > 40
    assert any("Corrupt Page" in note for note in result.notes)
    assert_equal(programs, tmp_path / "clone", checksums(server))


def test_a_page_is_unfit_each_time(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless loop: the error, with what to do."""
    unfit(100, monkeypatch)
    with pytest.raises(PageUnfit) as raised:
        local_clone(server, tmp_path / "clone")
    assert (raised.value.code, raised.value.donor_number) == (1815, 1815)
    assert "CHECK TABLE" in str(raised.value.advice)
    assert is_unfinished(tmp_path / "clone")


def test_a_page_is_unfit_over_the_network(
    server: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more in full, which is said; not for ever, and not with --retry-for=0."""
    unfit(1, monkeypatch)
    result = clone_server(server, tmp_path / "clone")
    assert any("Corrupt Page; a new one begins, in full" in note for note in result.notes)
    with booted(programs, tmp_path / "clone") as clone:
        assert checksums(clone) == checksums(server)
    for times, options in ((2, {}), (1, {"retry_for": 0})):
        unfit(times, monkeypatch)
        with pytest.raises(PageUnfit):
            clone_server(server, tmp_path / "another", **options)
        assert not (tmp_path / "another").exists()


def replaced(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[DonorFacts]:
    """Let another server answer from the second time on that a command asks who the donor is: what it heard."""
    asked: list[DonorFacts] = []

    def check(*arguments: Any, **options: Any) -> DonorFacts:
        facts = preflight.check(*arguments, **options)
        if asked:
            facts.variables["server_uuid"] = "another"
        asked.append(facts)
        return facts

    for one in (module, awaiting):
        monkeypatch.setattr(one, "check", check)
    return asked


@pytest.mark.parametrize("options", [{}, {"write_changed_only": True}], ids=str)
def test_another_server_answers_by_then(
    options: dict[str, Any], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover, say: what is there of the first one stays, as if the command had been given now."""
    replaced(clone_command, monkeypatch)
    unfit(1, monkeypatch)
    with pytest.raises(TargetExists, match=r"another server answers at .* by now \(another\)"):
        clone_server(server, tmp_path / "clone", **options)
    assert is_resumable(tmp_path / "clone")
    assert (tmp_path / "clone" / "mysql.ibd").stat().st_size > MIB


@pytest.mark.parametrize("keep_base", [None, False, True])
def test_another_server_answers_a_local_clone_by_then(
    keep_base: bool | None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone of that would take the place of the first one's."""
    directory, options = tmp_path / "clone", {} if keep_base is None else {"keep_base": keep_base}
    if keep_base is not None:
        local_clone(server, directory)
    replaced(local_command, monkeypatch)
    unfit(1, monkeypatch)
    with pytest.raises(TargetExists, match=r"another server answers at .* by now \(another\)"):
        local_clone(server, directory, **options)
    assert is_unfinished(directory) is not keep_base
    assert list(directory.rglob("mysql.ibd"))


def test_the_manifest_is_of_the_donor_that_was_cloned_in_the_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first one's may go."""
    asked = replaced(clone_command, monkeypatch)
    unfit(1, monkeypatch)
    result = clone_server(server, tmp_path / "clone", discard_changes=True)
    assert len(asked) == 2
    assert any("of " + asked[0].variables["server_uuid"] in note for note in result.notes)
    assert result.donor_uuid == read_manifest(tmp_path / "clone")["donor"]["uuid"] == "another"
