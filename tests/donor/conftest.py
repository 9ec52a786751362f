"""What the donor's tests share: a stock server that takes clones, and data of a server that was shut down."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innoclone.sandbox.fill import fill
from innoclone.server.programs import Programs
from local_clones import checksums
from servers import ServerFactory

MIB = 1 << 20
Place = Callable[[], Path]


@pytest.fixture(scope="session")
def at_rest(
    programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, object]]]:
    """Data of a server that was shut down, with tables of all kinds; and what CHECKSUM TABLE said. Only to be read."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("at-rest"), templates)
    try:
        server = factory("--innodb-buffer-pool-dump-at-shutdown=ON")
        fill(server.connect, 20 * MIB)
        expected = checksums(server)
        server.stop()
        yield server.datadir, expected
    finally:
        factory.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Names directories that are not there yet; they are removed afterwards."""
    numbers = itertools.count(1)
    made: list[Path] = []

    def name() -> Path:
        made.append(tmp_path / f"taken-{next(numbers)}")
        return made[-1]

    yield name
    for path in made:
        shutil.rmtree(path, ignore_errors=True)
