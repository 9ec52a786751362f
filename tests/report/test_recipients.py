"""Lines and events about who takes a clone from a donor."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from innoclone.donor.takings import COMPLETED, IN_PROGRESS, Recipient, Taking
from innoclone.report.output import Output
from innoclone.report.recipients import RecipientLines
from innoclone.wire.descriptors import StageNumber

MIB = 1 << 20
FIRST = Taking(
    recipient=Recipient("10.0.0.7", "taker", tls=True, compression="zstd"), stage=StageNumber.FILE_COPY, connections=4,
    restarts=0, data=0, estimate=100 * MIB, network=0, began=1000.0, ended=None, state=IN_PROGRESS,
)  # fmt: skip


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One when it begins, one every ten seconds; of a recipient that lost its connections, that."""
    now = [0.0]
    lines = RecipientLines(Output(), interval=10, clock=lambda: now[0])
    for second in range(11):
        now[0] = float(second)
        lines.look([replace(FIRST, data=5 * second * MIB, speed=5 * MIB)])
    now[0] = 20.0
    lines.look([replace(FIRST, data=50 * MIB, connections=0)])
    lines.look([])
    lines.look([replace(FIRST, began=1021.0, recipient=Recipient("10.0.0.7", "taker"))])
    assert capsys.readouterr().err.splitlines() == [
        "innoclone: taker@10.0.0.7 takes a clone (TLS, zstd): 100.0 MiB",
        "innoclone: taker@10.0.0.7: FILE COPY: 50 %, 50.0 MiB of 100.0 MiB, 4 connections, 5.0 MiB/s, 0:10 left",
        "innoclone: taker@10.0.0.7: 50 %, its connections are lost; it may come back",
        "innoclone: taker@10.0.0.7 takes a clone: 100.0 MiB",
    ]


def test_events(capsys: pytest.CaptureFixture[str]) -> None:
    """Each time, and at the end; what the clone is known by on the wire is in none of them."""
    lines = RecipientLines(Output(json_events=True), interval=10, clock=lambda: 5.0)
    lines.look([FIRST])
    lines.ended(replace(FIRST, data=100 * MIB, ended=1010.0, state=COMPLETED, stage=StageNumber.DONE))
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["percent"], first["stage"], first["tls"]) == ("recipient", 0.0, "FILE COPY", True)
    assert (last["event"], last["state"], last["percent"], last["stage"]) == ("recipient_end", COMPLETED, 100.0, "")
    assert last["seconds"] == 10.0
