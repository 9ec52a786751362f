"""``innoclone serve``: a directory or a running server as a donor, for as long as it is wanted."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from innoclone.commands.options import ServeOptions
from innoclone.donor.account import Account
from innoclone.donor.clones import DonorOptions
from innoclone.donor.course import Course
from innoclone.donor.live import find_live
from innoclone.donor.offer import Source
from innoclone.donor.service import Donor
from innoclone.donor.stored import Stored, look
from innoclone.records.folders import state_directory
from innoclone.records.limits import Limits
from innoclone.records.units import MIB

__all__ = ["new_password", "serve"]

PASSWORD_BYTES = 15


def new_password() -> str:
    """A password for one run, of letters, digits, - and _."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def serve(options: ServeOptions, *, ready: Callable[[Donor], None]) -> int:
    """Serve until somebody calls the donor's `stop`, or until the first clone was taken (``once``). How many were.

    ``ready`` is called with the donor when it listens. Raises `TargetUnusable`, `TargetBusy`, `EncryptionUnsupported`
    if the directory can't be served, `ConnectFailed` if the port can't be had, a file error.
    """
    taken = 0

    def completed(_course: Course, _host: str) -> None:
        nonlocal taken
        taken += 1
        if options.once:
            donor.stop()

    source: Source = find_live(options.live, options.datadir) if options.live is not None else _stored(options)
    try:
        donor = Donor(
            source,
            DonorOptions(
                Account(options.user, options.password), state_directory() / "donor", options.bind_address,
                options.port, options.ssl_cert, options.ssl_key, options.require_secure_transport,
                options.max_connections, options.reconnect_timeout, options.socket,
            ),
            Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth),
            Limits(data=options.max_donor_read / MIB), on_completed=completed,
        )  # fmt: skip
        ready(donor)
        donor.serve()
    finally:
        source.close()
    return taken


def _stored(options: ServeOptions) -> Stored:
    assert options.directory is not None, "the options see to that"
    return look(options.directory)
