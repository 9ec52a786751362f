"""The walks of docs/design.md: each fits ten lines, names functions that exist, and never turns back up."""

from __future__ import annotations

import importlib
import re

import pytest

from paths import ROOT

STEP = re.compile(r"\d+\. `([\w/]+)\.py` `([\w.]+)` ")
FLOORS = ("cli", "commands", "receive", "sources", "sinks", "stream", "records", "transport", "files", "native")


def walks() -> list[list[str]]:
    text = (ROOT / "docs" / "design.md").read_text()
    chapter = text[text.index("Two walks, function by function") :]
    chapter = chapter[: chapter.index("\n## ")]
    return [part.splitlines() for part in re.findall(r"(?:^\d+\. .*\n)+", chapter, re.M)]


def test_there_are_two() -> None:
    assert len(walks()) == 2


@pytest.mark.parametrize("walk", [0, 1])
def test_a_walk_leads_through_the_code_and_down(walk: int) -> None:
    steps = walks()[walk]
    assert len(steps) <= 10
    floors = []
    for step in steps:
        found = STEP.match(step)
        assert found is not None, step
        thing: object = importlib.import_module(f"innoclone.{found[1].replace('/', '.')}")
        for name in found[2].split("."):
            thing = getattr(thing, name)
        assert callable(thing)
        floors.append(FLOORS.index(found[1].partition("/")[0]))
    assert floors == sorted(floors)
