"""A fast sample of the fault suite: one round of each kind. ``./scripts/faults`` plays as many as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from faults.cuts import Cuts
from faults.disks import Disks
from faults.donors import Donors
from faults.hostility import Hostility
from faults.kills import Kills
from faults.rounds import Scenario, play
from faults.s3stores import S3Stores
from faults.stores import Stores
from faults.world import World
from innoclone.server.programs import Programs

Prepared: TypeAlias = "Callable[[type[Scenario]], Scenario]"

OVER_HTTP = ("backup", "restore", "forget", "prune")  # of the commands on stores; a folder has them all

ROUNDS = [
    pytest.param(scenario, seed, id=f"{scenario.name}-{kind}".replace(" ", "-"))
    for scenario in (Kills, Cuts, Donors, Disks, Hostility, Stores, S3Stores)
    for seed, kind in enumerate(scenario.kinds)
    if scenario is not S3Stores or kind in OVER_HTTP
]


@pytest.fixture(scope="module")
def prepared(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Scenarios with their donors, each made when it is first asked for."""
    world = World(programs, tmp_path_factory.mktemp("faults"), templates)
    made: dict[type[Scenario], Scenario] = {}

    def prepare(kind: type[Scenario]) -> Scenario:
        if kind not in made:
            made[kind] = kind(world)
        return made[kind]

    try:
        yield prepare
    finally:
        for scenario in made.values():
            scenario.close()
        world.close()


@pytest.mark.parametrize(("scenario", "seed"), ROUNDS)
def test_round(prepared: Prepared, scenario: type[Scenario], seed: int) -> None:
    """Whatever is done to it, the clone comes to its end and is exact, and nothing unfinished can be booted."""
    kind = scenario.kinds[seed]
    if reason := prepared(scenario).missing(kind):
        pytest.skip(reason)
    assert play(prepared(scenario), seed, kind)
