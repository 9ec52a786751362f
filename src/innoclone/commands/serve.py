"""``innoclone serve``: a directory or a running server as a donor, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from innoclone.commands.awaitedsnapshot import Awaited
from innoclone.commands.options import ServeOptions
from innoclone.commands.recovery import recovered_copy
from innoclone.commands.serving import Attendant, record_taking
from innoclone.donor.account import Account
from innoclone.donor.clones import DonorOptions
from innoclone.donor.live import find_live
from innoclone.donor.offer import Source
from innoclone.donor.redolog import NotShutDown
from innoclone.donor.service import Donor, Observer
from innoclone.donor.shelf import Shelf, leads_to
from innoclone.donor.stored import look
from innoclone.donor.takings import Taking
from innoclone.records.folders import state_directory
from innoclone.records.limits import Limits
from innoclone.records.units import MIB

__all__ = ["Serving", "new_password", "serve", "serve_until"]

PASSWORD_BYTES = 15
STOP_LOOK = 0.2  # seconds


@dataclass(frozen=True)
class Serving:
    """Where recipients may come, and of which MySQL version what they get is."""

    bind_address: str
    port: int
    version: str


def new_password() -> str:
    """A password for one run, of letters, digits, - and _."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


class _Counting(Observer):
    """Counts the clones that were taken, and keeps them in the history."""

    def __init__(self, options: ServeOptions, source: Source, ended: Callable[[Taking], None]) -> None:
        self.taken = 0
        self.donor: Donor | None = None
        self._options, self._source, self._ended = options, source, ended

    def ended(self, taking: Taking) -> None:
        """A clone was taken, or came to another end."""
        self.taken += taking.is_complete
        record_taking(taking, self._source.name)
        self._ended(taking)
        if taking.is_complete and self._options.once and self.donor is not None:
            self.donor.stop()


def serve(
    options: ServeOptions,
    *,
    ready: Callable[[Donor], None],
    listening: Callable[[Donor], None] = lambda _: None,
    look_at: Callable[[Sequence[Taking]], None] = lambda _: None,
    ended: Callable[[Taking], None] = lambda _: None,
    limits: Limits | None = None,
    snapshot: Awaited | None = None,
) -> int:
    """Serve until somebody calls the donor's `stop`, or until the first clone was taken (``once``). How many were.

    ``listening`` is called with the donor when it listens, ``ready`` when what it serves is there, ``look_at`` once a
    second with who takes a clone, ``ended`` with each clone that came to an end; the last two from other threads, and
    ``ready`` where a ``snapshot`` is restored meanwhile in place of the options' directory. Raises `TargetUnusable`,
    `TargetBusy`, `KeyringFailed` if the directory can't be served, `ConnectFailed` if the port can't be had, a file
    error, what restoring the snapshot does.
    """
    with contextlib.ExitStack() as stack:
        source = snapshot or _source(options, stack)
        stack.callback(source.close)
        counting = _Counting(options, source, ended)
        donor = counting.donor = Donor(
            source,
            DonorOptions(
                Account(options.user, options.password), state_directory() / "donor", options.bind_address,
                options.port, options.ssl_cert, options.ssl_key, options.require_secure_transport,
                options.max_connections, options.reconnect_timeout, options.socket,
            ),
            limits or Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth),
            Limits(data=options.max_donor_read / MIB), observer=counting,
        )  # fmt: skip

        def attend(takings: Sequence[Taking]) -> None:
            look_at(takings)
            if isinstance(source, Shelf):
                source.put_back(lambda: donor.taken)

        with Attendant(donor, attend):
            listening(donor)
            if snapshot is None:
                ready(donor)
            else:
                snapshot.restore(lambda: ready(donor), donor.stop)
            donor.serve()
    return counting.taken


def serve_until(
    stopped: threading.Event | None,
    options: ServeOptions,
    *,
    ready: Callable[[Serving], None] | None = None,
    progress: Callable[[Sequence[Taking]], None] | None = None,
    limits: Limits | None = None,
    snapshot: Awaited | None = None,
) -> int:
    """`serve`, also until ``stopped`` is set."""
    done = threading.Event()

    def stop(donor: Donor) -> None:
        while stopped is not None and not done.is_set():
            if stopped.wait(STOP_LOOK):
                donor.stop()
                return

    def listening(donor: Donor) -> None:
        threading.Thread(target=stop, args=(donor,), name="innoclone-stop", daemon=True).start()

    def there(donor: Donor) -> None:
        if ready is not None:
            ready(Serving(options.bind_address, donor.port, donor.source.version))

    try:
        return serve(
            options, ready=there, listening=listening, look_at=progress or (lambda _: None), limits=limits,
            snapshot=snapshot,
        )  # fmt: skip
    finally:
        done.set()


def _source(options: ServeOptions, stack: contextlib.ExitStack) -> Source:
    """What is served; ``stack`` gets what is to be removed afterwards."""
    if options.live is not None:
        return find_live(options.live, options.datadir, relay=options.relay)
    assert options.directory is not None, "the options see to that"
    if options.directory.is_symlink() and options.recover is None:
        return _led_to(options.directory, options)
    try:
        found = look(options.directory, options.keyring, options.places)
        return replace(found, called=options.called)
    except NotShutDown:
        if options.recover is None:
            raise
    copy = stack.enter_context(recovered_copy(options.directory, options.recover, options.mysqld, options.keyring))
    note = f"{options.directory} was not shut down: what is served is a copy that was recovered, {copy}"
    found = look(copy, options.keyring)
    return replace(found, notes=(note, *found.notes))


def _led_to(link: Path, options: ServeOptions) -> Shelf:
    """What a link leads to whenever somebody comes: `latest` leads to another clone after each backup, which wants to
    use or remove what it led to before. Raises why what it leads to now can't be served."""
    keyring, places = options.keyring, options.places
    shelf = Shelf(str(link), lambda: look(link, keyring, places), lambda: leads_to(link))
    shelf.there()
    return shelf
