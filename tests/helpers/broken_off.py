"""Clones that are broken off, and what is said and true of them when they go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clones import booted, check_tables, innochecksum
from innoclone.commands.clone import CloneResult, clone
from innoclone.commands.options import CloneOptions
from innoclone.errors import Interrupted
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Endpoint, SslMode
from local_clones import checksums
from servers import endpoint_of


def assert_equal(programs: Programs, directory: Path, donor: Server) -> None:
    """The clone has what the donor has, and is sound."""
    with booted(programs, directory) as server:
        assert checksums(server) == checksums(donor)
        assert check_tables(server) == []
    assert innochecksum(programs, directory) == []


def break_off(
    donor: Server | Endpoint,
    directory: Path,
    when: Callable[[CloneStatus], bool],
    *,
    run: Callable[..., CloneResult] = clone,
    **options: Any,
) -> CloneStatus:
    """Begin a clone and stop it once ``when`` says so."""
    stopped, status = threading.Event(), CloneStatus()
    arguments = {"max_data_bandwidth": 40.0, "threads": 3} | options

    def watch() -> None:
        while not stopped.wait(0.005):
            if when(status):
                stopped.set()

    where = donor if isinstance(donor, Endpoint) else endpoint_of(donor, ssl_mode=SslMode.DISABLED)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Interrupted):
            run(
                CloneOptions(donor=where, directory=directory, **arguments),
                status=status, stopped=stopped, limits=Limits(data=arguments["max_data_bandwidth"]),
            )  # fmt: skip
    finally:
        stopped.set()
        watcher.join()
    return status


def copied(amount: int) -> Callable[[CloneStatus], bool]:
    """When so many bytes of FILE COPY are there."""
    return lambda status: status.stages[Stage.FILE_COPY].data >= amount


def said(result: CloneResult) -> list[str]:
    """What the clone said about going on or beginning anew."""
    return [note for note in result.notes if "going on" in note or "can't be continued" in note]
