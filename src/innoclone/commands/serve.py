"""``innoclone serve``: a directory as a donor, for as long as it is wanted."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.donor.account import Account
from innoclone.donor.clones import DonorOptions
from innoclone.donor.course import Course
from innoclone.donor.service import Donor
from innoclone.donor.stored import look
from innoclone.errors import UsageError
from innoclone.records.folders import state_directory
from innoclone.records.limits import Limits

__all__ = ["DEFAULT_PORT", "ServeOptions", "new_password", "serve"]

DEFAULT_PORT = 3307
LONGEST_TIMEOUT = 30  # minutes, as a stock donor's clone_donor_timeout_after_network_failure
PASSWORD_BYTES = 15


@dataclass(frozen=True)
class ServeOptions:
    """What to serve, where, to whom. Raises UsageError for what makes no sense. Limits in MiB/s, 0 is none;
    ``reconnect_timeout`` in minutes."""

    directory: Path
    user: str
    password: str = field(repr=False)
    bind_address: str = "127.0.0.1"
    port: int = DEFAULT_PORT  # 0: any that is free
    once: bool = False  # end when one clone was taken in full
    ssl_cert: Path | None = None  # None: one of our own making
    ssl_key: Path | None = None
    require_secure_transport: bool = False
    max_connections: int = 512
    reconnect_timeout: int = 5
    max_data_bandwidth: float = 0.0
    max_network_bandwidth: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not be served."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be from 0 to 65535, not {self.port}")
        if not self.bind_address:
            raise UsageError("the bind address must not be empty", hint="* is everywhere")
        if not self.user or not self.password:
            raise UsageError("a recipient needs a user and a password", hint="--user and --password")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise UsageError("--ssl-cert and --ssl-key go together", hint="name both or none")
        if not 3 <= self.max_connections <= 100_000:
            raise UsageError(f"max-connections must be from 3 to 100000, not {self.max_connections}")
        if not 0 <= self.reconnect_timeout <= LONGEST_TIMEOUT:
            raise UsageError(f"reconnect-timeout must be from 0 to {LONGEST_TIMEOUT} minutes")
        if self.max_data_bandwidth < 0 or self.max_network_bandwidth < 0:
            raise UsageError("a bandwidth must not be below 0")


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

    stored = look(options.directory)
    try:
        donor = Donor(
            stored,
            DonorOptions(
                Account(options.user, options.password), state_directory() / "donor", options.bind_address,
                options.port, options.ssl_cert, options.ssl_key, options.require_secure_transport,
                options.max_connections, options.reconnect_timeout,
            ),
            Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth), on_completed=completed,
        )  # fmt: skip
        ready(donor)
        donor.serve()
    finally:
        stored.close()
    return taken
