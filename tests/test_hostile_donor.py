"""A donor that means no good, or is broken: each sin ends in the right error, and harms nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena import Arena
from hostile import PAGE, REDO, Donor
from innoclone.engine.recipient import Received


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("verify", [True, False])
def test_the_scripted_donor_is_a_good_one(arena, workers, verify):
    donor = Donor(workers=workers)
    outcome = arena.receive(donor, threads=workers + 1, verify_pages=verify)
    assert isinstance(outcome, Received)
    for file in donor.files:
        content = file.content
        if file.name == "./db/t.ibd":
            content = content[: 2 * len(PAGE)] + PAGE + content[3 * len(PAGE) :]
        found = (arena.target / file.name).read_bytes()
        assert found[: len(content)] == content
        assert not any(found[len(content) :])
    redo = (arena.target / "#innodb_redo" / "#ib_redo0").read_bytes()
    assert redo == bytes(2048) + REDO + bytes(65536 - 2048 - len(REDO))
    assert outcome.connections == workers + 1
