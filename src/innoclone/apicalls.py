"""What the functions of the Python API share: the servers that a call names, and the progress that it watches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Unpack

from innoclone.errors import UsageError
from innoclone.records.status import CloneStatus
from innoclone.settings.options import CONNECTION_OPTIONS, ConnectionKeywords, Sources, resolve
from innoclone.settings.via import way_from
from innoclone.transport.endpoint import Endpoint

__all__ = ["Progress", "donor_by", "endpoint", "server_of", "watched"]

Progress = Callable[[CloneStatus], None]


def endpoint(dsn: str, *, password: str | None = None, **options: Unpack[ConnectionKeywords]) -> Endpoint:
    """The server that ``dsn`` names. ``options`` are those of the command line, with underscores (``ssl_ca=...``,
    ``get_server_public_key=True``).

    Raises `UsageError`.
    """
    if unknown := [name for name in options if name.replace("_", "-") not in CONNECTION_OPTIONS]:
        raise UsageError(f"there is no option {unknown[0]}", hint="docs/api.md says how a server is named")
    typed: dict[str, str | None] = {
        name.replace("_", "-"): str(int(value)) if isinstance(value, bool) else str(value)
        for name, value in options.items()
    }
    if password is not None:
        typed["password"] = password
    return resolve(typed, Sources(), dsn=dsn, warn=lambda _: None)


def donor_by(
    kept: contextlib.ExitStack, status: CloneStatus, donor: str | Endpoint | None, password: str | None,
    via: str | None, from_dir: str | None, program: str | None,
) -> Endpoint:  # fmt: skip
    """The donor that a call names; a way through ssh is there as long as ``kept``."""
    if via is None and donor is not None and from_dir is None and program is None:
        return server_of(donor, password)
    way = way_from(via, donor, password, from_dir, program, say=status.notes.append)
    return kept.enter_context(way).endpoint


def server_of(donor: str | Endpoint, password: str | None) -> Endpoint:
    """A server that a call names, with the password that it gives."""
    if isinstance(donor, str):
        return endpoint(donor, password=password)
    return donor if password is None else replace(donor, password=password)


@contextlib.contextmanager
def watched(status: CloneStatus, progress: Progress | None, interval: float) -> Iterator[None]:
    """Call ``progress`` now and then while the body runs."""
    if progress is None:
        yield
        return
    done = threading.Event()

    def report() -> None:
        while not done.wait(interval):
            progress(status)

    watcher = threading.Thread(target=report, name="innoclone-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        progress(status)
