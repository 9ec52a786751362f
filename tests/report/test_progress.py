"""What is shown of a running clone: on a terminal, in a log, as JSON, and at the end."""

from __future__ import annotations

import io
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from innoclone.cli.result import result_fields, result_table
from innoclone.records.position import ClonePosition
from innoclone.records.status import CloneStatus, Decision, Stage, State
from innoclone.report.live import LiveRenderer
from innoclone.report.output import Output
from innoclone.report.progress import JsonRenderer, PlainRenderer, Row, Watcher
from innoclone.report.units import MIB, amount, duration, speed
from renderers import Clock, Recorder, screen, status

__all__ = ["status"]


def test_stages_and_notes_are_told_once_and_in_order(status):
    recorder = Recorder()
    watcher = Watcher(status, [recorder])
    watcher.look()
    assert recorder.told == []
    status.start(Stage.FILE_COPY, estimate=100, threads=2)
    status.notes.append("first")
    watcher.look()
    watcher.look()
    assert recorder.told == [("began", Stage.FILE_COPY), ("note", "first")]
    status.start(Stage.PAGE_COPY)  # ends the one before
    status.finish(Stage.PAGE_COPY)  # begun and over between two looks
    status.start(Stage.REDO_COPY)
    status.fail(1158, "cut")
    watcher.look()
    assert recorder.told[2:] == [
        ("ended", (Stage.FILE_COPY, State.COMPLETED)),
        ("began", Stage.PAGE_COPY),
        ("ended", (Stage.PAGE_COPY, State.COMPLETED)),
        ("began", Stage.REDO_COPY),
        ("ended", (Stage.REDO_COPY, State.FAILED)),
    ]
    status.start(Stage.REDO_COPY)
    watcher.look()
    assert recorder.told[7:] == [("began", Stage.REDO_COPY)]


def test_speed_is_that_of_the_last_seconds(status):
    clock, recorder = Clock(), Recorder()
    watcher = Watcher(status, [recorder], clock=clock)
    stage = status.start(Stage.FILE_COPY, estimate=1000 * MIB, threads=1)
    counter = stage.counter()
    watcher.look()
    assert recorder.rows[0].left is None
    for _ in range(10):
        clock.now += 1
        counter.data += 10 * MIB
        watcher.look()
    assert recorder.rows[0].speed == 10 * MIB
    assert recorder.rows[0].left == 90
    for _ in range(5):
        clock.now += 1
        counter.data += 40 * MIB
        watcher.look()
    assert recorder.rows[0].speed == 40 * MIB
    assert recorder.rows[0].fraction == 0.3
    for _ in range(6):
        clock.now += 1
        watcher.look()
    assert recorder.rows[0].speed == 0
    assert recorder.rows[0].left is None


def test_ticks_come_no_faster_than_asked(status):
    clock, slow, fast = Clock(), Recorder(10.0), Recorder(0.125)
    watcher = Watcher(status, [slow, fast], clock=clock)
    for _ in range(20):
        watcher.look()
        clock.now += 1
    assert (len(slow.calls), len(fast.calls)) == (2, 20)


def test_the_end_is_always_told(status):
    recorder = Recorder(1e9)
    with Watcher(status, [recorder]):
        status.start(Stage.FILE_SYNC)
        status.finish(Stage.FILE_SYNC)
    assert recorder.told[-2:] == [("ended", (Stage.FILE_SYNC, State.COMPLETED)), ("close", None)]
    assert [row.stage for row in recorder.rows] == [Stage.FILE_SYNC]


def test_an_error_passes_through_and_still_closes(status):
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError), Watcher(status, [recorder]):
        1 / 0  # noqa: B018
    assert recorder.calls[-1] == ("close", None)


def filled(status: CloneStatus) -> CloneStatus:
    """A clone of 300 MiB in 2 s, with times as they would be."""
    status.begin = 1000.0
    for stage, size, seconds in [(Stage.FILE_COPY, 300, 2.0), (Stage.REDO_COPY, 1, 0.5), (Stage.FILE_SYNC, 0, 0.5)]:
        row = status.start(stage, estimate=size * MIB, threads=4)
        row.counter().data = size * MIB
        row.counters[0].network = size * MIB // 2
        status.finish(stage)
        row.begin, row.end = 1000.0, 1000.0 + seconds
    status.state, status.end = State.COMPLETED, 1004.0
    return status


def test_plain_lines(status):
    clock, lines = Clock(), []
    watcher = Watcher(status, [PlainRenderer(lines.append)], clock=clock)
    stage = status.start(Stage.FILE_COPY, estimate=100 * MIB, threads=4)
    counter = stage.counter()
    watcher.look()
    clock.now += 10
    counter.data = 25 * MIB
    status.notes.append("db1/t1.ibd was created on the donor")
    watcher.look()
    status.finish(Stage.FILE_COPY)
    stage.begin, stage.end = 1000.0, 1020.0
    watcher.look()
    assert lines[:3] == [
        "FILE COPY: started, 100.0 MiB, 4 connections",
        "db1/t1.ibd was created on the donor",
        "FILE COPY: 25 %, 25.0 MiB of 100.0 MiB, 2.5 MiB/s, 0:30 left",
    ]
    assert lines[-1] == "FILE COPY: completed in 20.0 s, 25.0 MiB, 1.2 MiB/s"


def test_a_terminal_that_has_gone_is_told_nothing_more(status):
    class Gone(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            raise OSError(5, "Input/output error")

    gone, other = Gone(), Recorder()
    with Watcher(status, [gone, other]) as watcher:
        status.notes.append("one")
        watcher.look()
        status.notes.append("two")
    assert [call for call in gone.calls if call[0] != "tick"] == [("note", "one")]
    assert other.told == [("note", "one"), ("note", "two"), ("close", None)]


def test_json_events(status):
    clock, stream = Clock(), io.StringIO()
    watcher = Watcher(status, [JsonRenderer(stream)], clock=clock)
    stage = status.start(Stage.FILE_COPY, estimate=1000, threads=2)
    counter = stage.counter()
    watcher.look()
    counter.data, counter.network = 500, 400
    status.notes.append('a "quoted"\nnote')
    clock.now += 1
    watcher.look()
    status.finish(Stage.FILE_COPY)
    watcher.look()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["stage_begin", "progress", "note", "progress", "stage_end"]
    assert events[0] | {"time": 0} == {
        "event": "stage_begin", "time": 0, "stage": "FILE COPY", "estimate": 1000, "threads": 2,
    }  # fmt: skip
    assert (events[3]["data"], events[3]["network"], events[3]["bytes_per_second"]) == (500, 400, 500)
    assert events[3]["left"] == 1.0
    assert events[4]["state"] == "Completed"


def test_decisions_about_connections(status):
    """For those who ask for them; a program gets the numbers."""
    told, silent, stream = [], [], io.StringIO()
    renderers = [PlainRenderer(told.append), PlainRenderer(silent.append, decisions=False), JsonRenderer(stream)]
    watcher = Watcher(status, renderers, clock=Clock())
    status.decisions.append(Decision(16, 1234.5, "8 connections: 1.0 MiB/s, trying 16"))
    watcher.look()
    watcher.look()
    assert told == ["8 connections: 1.0 MiB/s, trying 16"]
    assert silent == []
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert event | {"time": 0} == {
        "event": "connections", "time": 0, "connections": 16, "bytes_per_second": 1234, "text": told[0],
    }  # fmt: skip


def test_json_goes_on_without_a_reader():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        renderer = JsonRenderer(stream)
        renderer.note("one")
        renderer.note("two")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that closing has somewhere to flush to


RUNNING = Row(Stage.FILE_COPY, State.IN_PROGRESS, 250 * MIB, 0, 1000 * MIB, 4, 100.0 * MIB, 2.5)
DONE = Row(Stage.DROP_DATA, State.COMPLETED, 0, 0, 0, 1, 0, 0.5)


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_display_says_everything(width):
    picture = screen(width, [DONE, RUNNING])
    for word in [
        "FILE COPY",
        "25 %",
        "250.0 MiB / 1,000.0 MiB",
        "100.0 MiB/s",
        "4 conn",
        "0:08 left",
        "0:02",
        "total",
        "1:02",
    ]:
        assert word in picture
    assert "…" not in picture


def test_notes_scroll_by_above_the_live_display():
    stream = io.StringIO()
    renderer = LiveRenderer(Console(file=stream, force_terminal=True, width=100, color_system=None))
    renderer.began(RUNNING)
    renderer.tick([RUNNING], 2.5)
    renderer.note("[bold] is no markup")
    renderer.close()
    assert "[bold] is no markup" in stream.getvalue()


def test_result_table(status):
    status = filled(status)
    status.position = ClonePosition(binlog_file="binlog.000004", binlog_position=157, gtid_executed="uuid:1-7")
    assert result_table(status, verdict="identical") == [
        "stage        seconds          MiB     MiB/s",
        "FILE COPY       2.00        300.0     150.0",
        "REDO COPY       0.50          1.0       2.0",
        "FILE SYNC       0.50",
        "total           4.00        301.0      75.2",
        "binary log position: binlog.000004:157",
        "GTID set: uuid:1-7",
        "verdict: identical",
    ]


def test_what_is_checked_after_a_copy_counts_once(status):
    """As in a restore: the pages that are checked are those that were copied."""
    status = filled(status)
    status.start(Stage.PAGE_CHECK, estimate=300 * MIB)
    status.stages[Stage.PAGE_CHECK].counter().data = 300 * MIB
    status.finish(Stage.PAGE_CHECK)
    assert status.data == 301 * MIB


def test_result_fields(status):
    found = result_fields(filled(status))
    assert (found["data"], found["network"], found["seconds"]) == (301 * MIB, 150 * MIB + MIB // 2, 4.0)
    assert [row["stage"] for row in found["stages"]] == ["FILE COPY", "REDO COPY", "FILE SYNC"]
    assert json.loads(json.dumps(found)) == found


def test_units():
    assert amount(2560) == "2.5 KiB"
    assert amount(0) == "0.0 MiB"
    assert amount(1536 * 1024) == "1.5 MiB"
    assert amount(10 * 1024 * MIB) == "10.00 GiB"
    assert speed(1234.5 * MIB) == "1,234.5 MiB/s"
    assert [duration(seconds) for seconds in (0, 59.6, 3599, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_fraction_is_never_above_one(data, estimate):
    fraction = Row(Stage.FILE_COPY, State.IN_PROGRESS, data, 0, estimate, 1, 1.0, 1.0).fraction
    assert fraction is None or 0 <= fraction <= 1


# ---- where the words go ------------------------------------------------------------------------------------


def test_quiet_hides_messages_and_nothing_else(capsys):
    out = Output(quiet=True)
    out.message("hello")
    out.warn("careful")
    out.data("SELECT 1")
    out.completed()
    caught = capsys.readouterr()
    assert caught.err == "innoclone: warning: careful\ninnoclone: completed OK!\n"
    assert caught.out == "SELECT 1\n"


def test_json_leaves_stdout_to_events(capsys, status):
    out = Output(json_events=True)
    out.message("hello")
    out.data("SELECT 1")
    with out.watch(status):
        filled(status)
    out.result(result_fields(status))
    out.completed()
    caught = capsys.readouterr()
    events = [json.loads(line)["event"] for line in caught.out.splitlines()]
    assert events[0] == "stage_begin"
    assert events[-1] == "result"
    assert caught.err == "innoclone: completed OK!\n"


def test_a_log_file_gets_everything_with_times(tmp_path, status, capsys):
    path = tmp_path / "clone.log"
    path.write_text("before\n")
    out = Output(quiet=True, log_file=path)
    with out.watch(status):
        filled(status)
        status.notes.append("noted")
    out.message("hello")
    out.completed()
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    for line in lines[1:]:
        time.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S%z")
    text = "\n".join(lines)
    for word in ["started", "FILE COPY: completed", "noted", "hello", "completed OK!"]:
        assert word in text
    assert "hello" not in capsys.readouterr().err
