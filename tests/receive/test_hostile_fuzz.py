"""A good donor's conversation with random damage: it ends, with success or one of our errors, and harms nothing.

INNOCLONE_FUZZ_ROUNDS says how many conversations are damaged, INNOCLONE_FUZZ_SEED with which number to begin; a round
that fails tells its own number. Threads take turns as they like, so the same number need not give the same round.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from damage import converse, hurried

ROUNDS = int(os.environ.get("INNOCLONE_FUZZ_ROUNDS", "200"))
SEED = int(os.environ.get("INNOCLONE_FUZZ_SEED", "1"))
GROUPS = 10


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_damaged_conversation(tmp_path: Path, group: int) -> None:
    with hurried():
        for seed in range(SEED + group, SEED + ROUNDS, GROUPS):
            converse(tmp_path / str(seed), seed)
