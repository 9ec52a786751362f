"""A speed is shown where there is one, and stages in the order in which they ran."""

from __future__ import annotations

import io
import json

import pytest

from innoclone.cli.result import result_fields, result_table
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.report.progress import JsonRenderer, PlainRenderer, Watcher
from innoclone.report.units import MIB
from renderers import Clock, Recorder, screen, status

__all__ = ["status"]


def whole_clone(status: CloneStatus, *, boot: bool) -> CloneStatus:
    """300 MiB in 3 s and then a boot of 7 s, or none; the redo is a few blocks."""
    status.begin = moment = 1000.0
    stages = [(Stage.FILE_COPY, 300 * MIB, 2.0), (Stage.REDO_COPY, 2560, 0.001), (Stage.FILE_SYNC, 300 * MIB, 0.01)]
    for stage, size, seconds in stages + [(Stage.RESTART, 0, 1.0), (Stage.RECOVERY, 0, 6.0)] * boot:
        row = status.start(stage, estimate=size, threads=4)
        row.counter().data = size
        status.finish(stage)
        row.begin, row.end = moment, moment + seconds
        moment += seconds
    status.state, status.end = State.COMPLETED, 1010.0 if boot else 1003.0
    return status


@pytest.mark.parametrize("boot", [False, True])
def test_a_rate_is_shown_where_there_is_one(status, boot):
    """Not of making durable what was written before, of a few blocks, or of a time with a boot in it."""
    lines, stream, recorder = [], io.StringIO(), Recorder()
    with Watcher(whole_clone(status, boot=boot), [PlainRenderer(lines.append), JsonRenderer(stream), recorder]):
        pass
    assert [line for line in lines if "MiB/s" in line] == ["FILE COPY: completed in 2.0 s, 300.0 MiB, 150.0 MiB/s"]
    assert "FILE SYNC: completed in 0.0 s, 300.0 MiB" in lines
    ended = [json.loads(line) for line in stream.getvalue().splitlines()]
    rates = {event["stage"]: event["bytes_per_second"] for event in ended if event["event"] == "stage_end"}
    assert {stage: rate for stage, rate in rates.items() if rate is not None} == {"FILE COPY": 150 * MIB}
    rated = ["FILE COPY"] if boot else ["FILE COPY", "total"]
    assert [line.split("  ")[0] for line in result_table(status)[1:] if len(line) > 40] == rated
    assert status.rate == (None if boot else pytest.approx(100 * MIB, rel=0.001))
    assert screen(120, recorder.rows).count("MiB/s") == 2 * len(rated)  # it is drawn twice


def test_a_clone_that_another_process_began_has_no_rate(status):
    """Its time has a pause in it."""
    whole_clone(status, boot=False).stages[Stage.FILE_COPY].measured = False
    assert status.rate is None
    assert not any(line.endswith("0") and len(line) > 40 for line in result_table(status)[1:])


def test_a_stage_without_a_rate_has_none_while_it_runs(status):
    clock, lines = Clock(), []
    watcher = Watcher(status, [PlainRenderer(lines.append, interval=0)], clock=clock)
    counter = status.start(Stage.FILE_SYNC, estimate=100 * MIB).counter()
    for _ in range(3):
        clock.now += 1
        counter.data += 20 * MIB
        watcher.look()
    assert lines[-1] == "FILE SYNC: 60 %, 60.0 MiB of 100.0 MiB"


def test_the_old_data_is_dropped_after_recovery(status):
    """Told and listed by time, as it is in a replacement, not in the order of clone_progress."""
    recorder, stages = Recorder(), [Stage.FILE_COPY, Stage.TRIAL, Stage.RESTART, Stage.RECOVERY, Stage.DROP_DATA]
    for number, stage in enumerate(stages):
        row = status.start(stage)
        status.finish(stage)
        row.begin, row.end = 1000.0 + number, 1001.0 + number
    Watcher(status, [recorder]).look()
    assert [stage if kind == "began" else stage[0] for kind, stage in recorder.told] == [
        each for stage in stages for each in (stage, stage)
    ]
    assert [row.stage for row in recorder.rows] == stages
    assert [line.split("  ")[0] for line in result_table(status)[1:-1]] == [stage.value for stage in stages]
    assert [row["stage"] for row in result_fields(status)["stages"]] == [stage.value for stage in stages]
