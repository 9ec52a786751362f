"""``/metrics``: the agent and its clone in Prometheus' text format, version 0.0.4.

The format is a few lines of text, so there is no library for it; the tests read it with Prometheus' own client. Names
and units are by Prometheus' conventions ("Metric and label naming"); docs/reference/metrics.md explains each one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from innoclone.agent.clones.commandclones import beside_agent
from innoclone.agent.clones.speeds import SpeedHistory
from innoclone.agent.connections import ClientKind
from innoclone.agent.donors.donors import Donors
from innoclone.agent.services import Services
from innoclone.records.history import BACKUP, BOOT_CHECK, CLONE, RESTORE, last_successes
from innoclone.records.status import CLONE_STAGES, CloneStatus, State
from innoclone.version import __version__

__all__ = ["CONTENT_TYPE", "Metric", "agent_metrics", "text_of"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("Completed", "Failed", "Interrupted")


@dataclass
class Metric:
    """One name with its samples: a value for each set of labels."""

    name: str
    kind: str  # gauge or counter
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)


def text_of(metrics: Iterable[Metric]) -> str:
    """In the exposition format. Metrics without a sample are left out."""
    return "".join(line for metric in metrics if metric.samples for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    for labels, value in metric.samples:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{metric.name}{{{inside}}} {value!r}\n" if inside else f"{metric.name} {value!r}\n"


def _escaped(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()  # a path may be no Unicode
    return whole.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def agent_metrics(services: Services, speeds: SpeedHistory) -> list[Metric]:
    """All of them; what does not apply has no samples."""
    data, network = speeds.totals
    clones, successes = services.clones, last_successes()
    outcomes, recipients = clones.outcomes, services.connections.count(ClientKind.RECIPIENT)
    found = [
        _one("innoclone_build_info", "The agent's version.", 1, {"version": __version__}),
        _one("process_start_time_seconds", "When the agent was started, seconds since the epoch.", services.started),
        _one("innoclone_connections", "Connections of MySQL clients.", len(services.connections) - recipients),
        _one("innoclone_max_connections", "As many are let in over TCP.", services.settings.max_connections),
        _count("innoclone_failed_logins_total", "Logins that were refused.", services.failed_logins.count),
        Metric(
            "innoclone_clones_total", "counter", "Clones that ended since the agent was started, by how.",
            [({"state": state}, outcomes[state]) for state in OUTCOMES],
        ),
        _count("innoclone_copied_bytes_total", "Data that clones copied from donors.", data),
        _count("innoclone_network_bytes_total", "What of it was on the wire.", network),
        Metric(
            "innoclone_last_success_timestamp_seconds", "gauge",
            "When the newest clone of the history that completed did so, seconds since the epoch.",
            [({}, successes[CLONE])] if CLONE in successes else [],
        ),
        *(
            _one(
                f"innoclone_last_{kind.replace('-', '_')}_timestamp_seconds",
                f"When the newest {kind} of the history that completed did so, seconds since the epoch.",
                successes[kind],
            )
            for kind in (BACKUP, RESTORE, BOOT_CHECK)
            if kind in successes
        ),
        _one("innoclone_clone_running", "1 while a clone runs.", int(clones.is_running)),
    ]  # fmt: skip
    found += _of_operations(beside_agent(clones))
    return found + _of_donors(services.donors) + (_of_clone(clones.latest) if clones.latest is not None else [])


def _of_operations(running: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Backups, restores and clones of commands, while they run."""
    told = [(one, {"id": str(one["id"]), "operation": str(one["operation"])}) for one in running]
    return [
        Metric(
            "innoclone_operation_info", "gauge", "A backup, restore or clone of a command that runs.",
            [({**labels, "source": one["source"], "destination": one["destination"]}, 1) for one, labels in told],
        ),
        Metric(
            "innoclone_operation_start_timestamp_seconds", "gauge", "When it began, seconds since the epoch.",
            [(labels, one["began"] or 0.0) for one, labels in told],
        ),
        Metric(
            "innoclone_operation_data_bytes", "gauge", "Data that it has copied.",
            [(labels, one["data"]) for one, labels in told],
        ),
        Metric(
            "innoclone_operation_estimate_bytes", "gauge", "What it will come to.",
            [(labels, one["estimate"]) for one, labels in told],
        ),
        Metric(
            "innoclone_operation_bytes_per_second", "gauge", "How fast it copies, over the last seconds.",
            [(labels, one["speed"]) for one, labels in told],
        ),
    ]  # fmt: skip


def _of_donors(donors: Donors) -> list[Metric]:
    """What the agent serves; no samples where that is nothing."""
    served = [(one, {"name": one.served.name}) for one in donors]
    takings = [(one.donor.takings, labels) for one, labels in served]
    return [
        Metric(
            "innoclone_donor_info", "gauge", "What is served, and on which port.",
            [
                ({**labels, "source": one.served.source, "port": str(one.donor.port)}, 1)
                for one, labels in served
            ],
        ),
        Metric(
            "innoclone_donor_connections", "gauge", "Connections of its recipients.",
            [(labels, len(one.donor.conversations)) for one, labels in served],
        ),
        Metric(
            "innoclone_donor_recipients", "gauge", "Recipients that take it, or may come back for the rest.",
            [(labels, len(found)) for found, labels in takings],
        ),
        Metric(
            "innoclone_donor_data_bytes", "gauge", "What those have of it, together.",
            [(labels, sum(taking.data for taking in found)) for found, labels in takings],
        ),
        Metric(
            "innoclone_donor_estimate_bytes", "gauge", "What they will have.",
            [(labels, sum(taking.estimate for taking in found)) for found, labels in takings],
        ),
        Metric(
            "innoclone_donor_bytes_per_second", "gauge", "How fast data goes to them, over the last seconds.",
            [(labels, sum(taking.speed for taking in found)) for found, labels in takings],
        ),
        Metric(
            "innoclone_donor_clones_total", "counter", "Clones of it that ended since the agent was started, by how.",
            [({**labels, "state": state}, one.outcomes[state]) for one, labels in served for state in OUTCOMES],
        ),
        Metric(
            "innoclone_donor_network_bytes_total", "counter", "Bytes of data sent to recipients.",
            [(labels, one.donor.network) for one, labels in served],
        ),
    ]  # fmt: skip


def _of_clone(status: CloneStatus) -> list[Metric]:
    """The clone that runs, or the last one."""
    begin, end = status.begin or 0.0, status.end
    current = status.current
    rows = [(row, {"stage": row.stage.value}) for row in (status.stages[stage] for stage in CLONE_STAGES)]
    labels = {"id": str(status.number), "source": status.source, "destination": status.destination}
    states = [({"state": state.value}, int(status.state is state)) for state in State]
    return [
        _one("innoclone_clone_info", "What the clone that runs, or the last one, copies.", 1, labels),
        Metric("innoclone_clone_state", "gauge", "1 for the state that it is in.", [*states]),
        _one("innoclone_clone_start_timestamp_seconds", "When it began, seconds since the epoch.", begin),
        Metric(
            "innoclone_clone_end_timestamp_seconds", "gauge", "When it ended; not there while it runs.",
            [] if end is None else [({}, end)],
        ),
        _one("innoclone_clone_seconds", "How long it took, or has been running.", (end or time.time()) - begin),
        _one("innoclone_clone_connections", "Connections that carry data, as autotuned.", status.connections),
        _one("innoclone_clone_restarts", "How often the connection to the donor was made anew.", status.restarts),
        _one("innoclone_clone_error_number", "Number of the error that ended it, 0 for none.", status.error_number),
        Metric(
            "innoclone_clone_stage", "gauge", "1 for the stage that runs.",
            [(labels, int(row is current)) for row, labels in rows],
        ),
        _stage("data_bytes", "Data copied in the stage.", [(labels, row.data) for row, labels in rows]),
        _stage("network_bytes", "Bytes on the wire.", [(labels, row.network) for row, labels in rows]),
        _stage("estimate_bytes", "What the stage will come to.", [(labels, row.estimate) for row, labels in rows]),
        _stage("seconds", "How long it took so far.", [(labels, row.seconds) for row, labels in rows]),
        _stage("threads", "Threads of the stage.", [(labels, row.threads) for row, labels in rows]),
    ]  # fmt: skip


def _one(name: str, text: str, value: float, labels: Mapping[str, str] | None = None) -> Metric:
    return Metric(name, "gauge", text, [(labels or {}, value)])


def _count(name: str, text: str, value: int) -> Metric:
    return Metric(name, "counter", text, [({}, value)])


def _stage(name: str, text: str, samples: list[tuple[dict[str, str], float]]) -> Metric:
    return Metric(f"innoclone_clone_stage_{name}", "gauge", text, [*samples])
