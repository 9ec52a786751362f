"""/metrics through Prometheus' own parser, and the curve that the status page draws."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_clones import allow, clone_statement, ok, start_slow_clone
from agent_pages import agent, get, port_of, until
from agents import GRANTED, PATIENCE, RunningAgent
from browser import Browser
from innoclone.agent.clones.speeds import MAX_POINTS, SpeedHistory
from innoclone.agent.web.metrics import Metric, text_of
from innoclone.records.history import BACKUP
from innoclone.records.running import shown_running
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from paths import ROOT

__all__ = ["agent"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


def metrics(agent: RunningAgent) -> dict[str, float]:
    """Samples as Prometheus reads them: a name with its labels, and the value."""
    answer, body = get(port_of(agent), "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(body)


def read(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found
            found[name] = sample.value
    return found


def test_metrics_of_a_clone(agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs) -> None:
    before = metrics(agent)
    assert before["innoclone_connections"] == 0
    assert before["innoclone_clone_running"] == 0
    assert not any("stage" in name for name in before)
    agent.mysql("SELECT 1", *agent.tcp("nobody", "x"))
    target = tmp_path / 'a "name"'
    thread, _ = start_slow_clone(agent, donor, target)
    until(lambda: metrics(agent)["innoclone_connections"] == 1)  # that of the refused login is closed a moment later
    running = metrics(agent)
    assert running["innoclone_failed_logins_total"] == 1
    assert running["innoclone_clone_running"] == running["innoclone_clone_state{state=In Progress}"] == 1
    assert running["innoclone_clone_stage{stage=FILE COPY}"] == 1
    assert running["innoclone_clone_stage{stage=REDO COPY}"] == 0
    assert running["innoclone_clone_connections"] == 2
    assert running["innoclone_clone_stage_threads{stage=FILE COPY}"] == 2
    assert "innoclone_clone_end_timestamp_seconds" not in running
    source = f"clone@127.0.0.1:{donor.port}"
    assert running[f"innoclone_clone_info{{id=1,source={source},destination={target}}}"] == 1
    copied = running["innoclone_clone_stage_data_bytes{stage=FILE COPY}"]
    assert 0 < copied < running["innoclone_clone_stage_estimate_bytes{stage=FILE COPY}"]
    assert running["innoclone_copied_bytes_total"] <= copied
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    stopped = metrics(agent)
    assert stopped["innoclone_clone_error_number"] == 1317
    assert stopped["innoclone_clones_total{state=Interrupted}"] == 1
    assert "innoclone_last_success_timestamp_seconds" not in stopped
    ok(agent.mysql("SET GLOBAL clone_max_data_bandwidth = 0"))
    until(lambda: metrics(agent)["innoclone_copied_bytes_total"] == stopped["innoclone_copied_bytes_total"])
    ok(agent.mysql(clone_statement(donor, tmp_path / "quick")))  # over before anybody has looked
    done = metrics(agent)
    whole = sum(value for name, value in done.items() if name.startswith("innoclone_clone_stage_data_bytes"))
    whole -= done["innoclone_clone_stage_data_bytes{stage=FILE SYNC}"]
    assert done["innoclone_copied_bytes_total"] == stopped["innoclone_copied_bytes_total"] + whole
    assert done["innoclone_network_bytes_total"] > stopped["innoclone_network_bytes_total"]
    assert done["innoclone_clones_total{state=Completed}"] == done["innoclone_clone_state{state=Completed}"] == 1
    assert done["innoclone_last_success_timestamp_seconds"] == pytest.approx(
        done["innoclone_clone_end_timestamp_seconds"], abs=0.01
    )
    assert agent.terminate() == 0
    with RunningAgent(programs, tmp_path / "state", "--web-port=0") as second:
        found = metrics(second)
        assert found["innoclone_copied_bytes_total"] == 0
        assert found["innoclone_clone_stage_data_bytes{stage=FILE COPY}"] > 0
        assert found["innoclone_last_success_timestamp_seconds"] == done["innoclone_last_success_timestamp_seconds"]


def test_a_clone_that_goes_on_adds_only_what_it_copied(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    first = metrics(agent)["innoclone_copied_bytes_total"]
    assert first > 0
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    there = re.compile(r"going on with the clone .*; ([\d.]+) MiB are there")
    until(lambda: there.search(agent.log.read_text()))
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    second = metrics(agent)
    found = float(there.findall(agent.log.read_text())[0]) * (1 << 20)
    copied = second["innoclone_clone_stage_data_bytes{stage=FILE COPY}"] - found
    assert 0 <= second["innoclone_copied_bytes_total"] - first < copied + (1 << 17), (
        "the log says it in tenths of a MiB"
    )


def test_every_metric_is_documented(
    agent: RunningAgent, donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(agent, donor)
    ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with shown_running(BACKUP, CloneStatus()):
        exported = {re.split(r"[{ ]", name)[0] for name in metrics(agent)}
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    donors = {name for name in documented if name.startswith("innoclone_donor_")}  # of what the agent serves: nothing
    stores = {f"innoclone_last_{what}_timestamp_seconds" for what in ("backup", "boot_check", "restore")}  # none
    assert exported == documented - donors - stores


def test_labels_are_escaped() -> None:
    for text in ('"', "\\", "\n", '\\"\n\\n', "a{b}=c,", "größe", "\udcff"):
        lines = text_of([Metric("one", "gauge", "help", [({"label": text}, 1.5)])])
        (family,) = text_string_to_metric_families(lines)
        assert [(sample.labels, sample.value) for sample in family.samples] == [
            ({"label": text.replace("\udcff", "?")}, 1.5)
        ]


# ---- the curve ---------------------------------------------------------------------------------------------


class Watched:
    """What the curve asks the agent's clones for."""

    latest: CloneStatus | None = None
    began = 0.0


def test_a_long_clones_curve_is_thinned_and_keeps_its_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    clones = Watched()
    now = 1000.0
    monkeypatch.setattr("innoclone.agent.clones.speeds.time.time", lambda: now)
    curve = SpeedHistory(clones)  # type: ignore[arg-type]
    clones.began, clones.latest = now, CloneStatus(begin=now, state=State.IN_PROGRESS)
    counter = clones.latest.stages[Stage.FILE_COPY].counter()
    for _ in range(4 * MAX_POINTS):
        curve.sample()
        now += 1
        counter.data += 100
        counter.network += 50
    points = curve.points
    assert MAX_POINTS / 2 <= len(points) <= MAX_POINTS
    assert {(point[1], point[2]) for point in points} == {(100, 50)}
    assert points[-1][0] > 4 * MAX_POINTS - 10
    assert curve.totals == (4 * MAX_POINTS * 100, 4 * MAX_POINTS * 50)
    clones.latest.begin_anew()
    clones.latest.stages[Stage.FILE_COPY].counter().data = 7
    assert curve.totals == (4 * MAX_POINTS * 100 + 7, 4 * MAX_POINTS * 50)


def test_what_commands_do_beside_it(
    agent: RunningAgent, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of this host in metrics, table and page, for as long as it runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    status = CloneStatus(number=7, source="mysql://db1", destination="s3://bucket/<b>prefix</b>", begin=1e9)
    status.start(Stage.FILE_COPY, estimate=4000).counter().data = 1000
    ok(agent.mysql(GRANTED))
    table = "SELECT ID, PID, OPERATION, STAGE, DESTINATION, ESTIMATE, DATA FROM performance_schema.clone_operations"
    with shown_running(BACKUP, status):
        found = metrics(agent)
        assert found["innoclone_operation_data_bytes{id=7,operation=backup}"] == 1000
        assert found["innoclone_operation_estimate_bytes{id=7,operation=backup}"] == 4000
        assert found["innoclone_operation_start_timestamp_seconds{id=7,operation=backup}"] == 1e9
        [row] = agent.rows(table)
        assert row == (7, os.getpid(), "backup", "FILE COPY", status.destination, 4000, 1000)
        page = browser.dom(f"http://127.0.0.1:{port_of(agent)}/")
        assert "Running here" in page
        assert "s3://bucket/&lt;b&gt;prefix&lt;/b&gt;" in page
        assert '<section id="beside" hidden' not in page
    assert not any("operation" in name for name in metrics(agent))
    assert agent.rows(table) == []
