"""The library that is tested: the one that was built, or the one that $INNOCLONE_NATIVE names (./scripts/sanitize)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from innoclone.native.library import BY_PROCESSOR, BY_TABLES, OFF, VARIABLE, Library, load


@pytest.fixture(scope="session")
def native() -> Library:
    """The library; there must be one, also where the other tests do without."""
    wanted = os.environ.get(VARIABLE, "")
    found, missing = load("" if wanted == OFF else wanted)
    assert found is not None, f"./scripts/setup builds it: {missing}"
    return found


@pytest.fixture(scope="module", params=[BY_PROCESSOR, BY_TABLES], ids=["by the processor", "by tables"])
def either_way(native: Library, request: pytest.FixtureRequest) -> Iterator[Library]:
    """The library, with each way of the checksum."""
    if native.crc32c_way(request.param) != request.param:
        pytest.skip("this processor has no instruction for it")
    yield native
    native.crc32c_way(BY_PROCESSOR)
