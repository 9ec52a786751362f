"""Fixtures: MySQL's programs and real servers, stopped at the end whatever happens."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import StoreAccess
from innoclone.sandbox.fill import fill
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, provide_programs
from local_clones import local_clone
from managed import MakeManaged, ManagedServer
from restores import linked_clone, restored
from servers import ServerFactory


def pytest_configure() -> None:
    """Let SIGTERM (a time limit, a cancelled job) end the run like Ctrl-C does, so that servers are stopped.

    Programs that are tested inherit which signals are ignored, and nohup or a shell's background job ignores some.

    Property tests try the same examples in each run, so that a change is judged by itself; INNOCLONE_RANDOM=1 looks
    for new ones. INNOCLONE_EXAMPLES says how many.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # How long an example takes says more of what else this machine does: no deadline.
    settings.register_profile(
        "repeatable",
        deadline=None,
        derandomize=not os.environ.get("INNOCLONE_RANDOM"),
        max_examples=int(os.environ.get("INNOCLONE_EXAMPLES", "100")),
    )
    settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs MySQL's programs, so that the rest can run alone."""
    for item in items:
        if "programs" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Clones of the tests don't come into the history of whoever runs them."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def log_handlers() -> Iterator[None]:
    """A command that runs in this process logs to its own output, which is closed afterwards."""
    logs = [logging.getLogger(name) for name in ("innoclone", "waitress")]
    before = [list(log.handlers) for log in logs]
    yield
    for log, handlers in zip(logs, before, strict=True):
        log.handlers[:] = handlers


@pytest.fixture(scope="session")
def programs() -> Programs:
    """MySQL's programs, downloaded where there are none."""
    return provide_programs(print)


@pytest.fixture(scope="session")
def templates(pytestconfig: pytest.Config) -> Path:
    """Initialized data directories, kept from one test run to the next."""
    cache = pytestconfig.cache
    assert cache is not None, "the cache plugin is part of pytest"
    return cache.mkdir("mysql-templates")


@pytest.fixture
def make_server(programs: Programs, templates: Path, tmp_path: Path) -> Iterator[ServerFactory]:
    """Starts servers that end with the test."""
    factory = ServerFactory(programs, tmp_path, templates)
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture(scope="module")
def make_module_server(
    programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerFactory]:
    """Starts servers that end with the module."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("servers"), templates)
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture(scope="session")
def donor(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A stock server with the clone plugin and about 60 MB of data; only to be read."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("donor"), templates)
    try:
        server = factory()
        fill(server.connect, 60 * 1024 * 1024)
        yield server
    finally:
        factory.close()


@pytest.fixture(scope="session")
def small_donor(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A donor with 1000 rows in ``theirs.t``; only to be read."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("small-donor"), templates)
    try:
        server = factory()
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE theirs")
            cursor.execute("CREATE TABLE theirs.t (a INT PRIMARY KEY, b BLOB)")
            rows = [(number,) for number in range(1000)]
            cursor.executemany("INSERT INTO theirs.t VALUES (%s, REPEAT('x', 8000))", rows)
        yield server
    finally:
        factory.close()


@pytest.fixture(scope="session")
def recipient(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A stock server with the clone plugin; it takes clones into directories, its own data stay."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("recipient"), templates)
    try:
        yield factory()
    finally:
        factory.close()


@pytest.fixture(scope="session")
def small_clone(small_donor: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of `small_donor` that no server has run on; only to be read."""
    directory = tmp_path_factory.mktemp("small-clone") / "clone"
    local_clone(small_donor, directory)
    return directory


@pytest.fixture(scope="session")
def small_recovered(small_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, booted once; only to be read."""
    directory = tmp_path_factory.mktemp("small-recovered") / "clone"
    restored(small_clone, directory)
    boot(BootOptions(directory))
    return directory


@pytest.fixture
def linked(small_clone: Path, tmp_path: Path) -> Path:
    """`small_clone` as hard links, whose files may be replaced but not written to."""
    return linked_clone(small_clone, tmp_path / "linked")


@pytest.fixture
def mounted_xfs(tmp_path: Path) -> Iterator[Path]:
    """A mounted XFS, whose files can share blocks."""
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("needs root and mkfs.xfs; tests/files/test_copying.py tests the choice of the method without them")
    image, mounted = tmp_path / "xfs.img", tmp_path / "xfs"
    with image.open("wb") as file:
        file.truncate(1500 << 20)
    mounted.mkdir()
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True, timeout=60)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False, timeout=60).returncode:
        pytest.skip("loop devices can't be mounted here")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True, timeout=60)


@pytest.fixture
def make_managed(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> Iterator[MakeManaged]:
    """Starts servers whose data may be replaced; their schema ``mine`` has one row. They end with the test."""
    made: list[ManagedServer] = []

    def make(*options: str, **settings: Any) -> ManagedServer:
        server = ManagedServer(programs, make_server.template(()), tmp_path / f"m{len(made)}", *options, **settings)
        made.append(server)
        server.begin()
        return server

    try:
        yield make
    finally:
        for server in made:
            server.end()


@pytest.fixture
def access(tmp_path: Path) -> StoreAccess:
    """A new store in a folder."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    found = StoreAccess(f"file://{tmp_path}/store", key_file=key)
    make_store(found, encrypted=True, single_writer=False)
    return found
