"""``innoclone replicate``: a clone becomes a replica of its donor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand, split_targets
from innoclone.cli.logins import PLACE, Login, chosen_login, logins_of, only_for
from innoclone.commands.options import ReplicateOptions
from innoclone.errors import UsageError
from innoclone.report.output import Output
from innoclone.settings.dsn import parse_dsn
from innoclone.settings.options import Sources, resolve
from innoclone.transport.endpoint import Endpoint

if TYPE_CHECKING:
    from innoclone.commands.replicate import ReplicateResult

__all__ = ["replicate"]


@expand
def replicate(
    clone: Annotated[
        str, typer.Argument(metavar="DIRECTORY|DSN", help="The clone, or the server that runs on it: mysql://...")
    ],
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="DSN",
            help="The server to replicate from; default the donor. Connection options are for this one.",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Execute the statements.")] = ReplicateOptions.run,
    reset_channels: Annotated[
        bool,
        typer.Option("--reset-channels", help="Drop replication channels also if they may be the server's own."),
    ] = ReplicateOptions.reset_channels,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="With --run, wait this long for it to catch up.")
    ] = ReplicateOptions.wait,
    ask_replica_password: Annotated[
        bool, typer.Option("--ask-replica-password", help="Ask for the password of the DSN's account as well.")
    ] = False,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Make a clone replicate from its donor.

    The statements for that are printed; with --run they are executed, and the replica is looked at until it has caught
    up. They drop the replication channels that a clone of a replica has inherited.
    """
    from innoclone.commands.replicate import replicate as operation

    out = output.open()
    servers = _Servers(clone, source, connection, files, out)
    replica = servers.replica(ask=ask_replica_password)
    endpoint, is_donor = servers.source(replica)
    servers.tell_unused()
    options = ReplicateOptions(
        replica=replica, source=endpoint, run=run, reset_channels=reset_channels, wait=wait, source_is_donor=is_donor
    )
    result = operation(options)
    _tell(result, endpoint, out)
    if run:
        out.completed()


def _tell(result: ReplicateResult, source: Endpoint, out: Output) -> None:
    for statement in result.statements:
        out.data(f"{statement};")
    for note in result.notes:
        out.warn(note)
    if result.caught_up:
        out.message(f"the replica has caught up with {source.address}: {result.target or 'nothing was to be done'}")
    out.result(
        {
            "statements": result.statements,
            "executed": result.executed,
            "caught_up": result.caught_up,
            "target": result.target,
            "notes": result.notes,
        }
    )


@dataclass
class _Servers:
    """Who is meant, and with which password: what belongs to one of the two never goes to the other."""

    clone: str
    dsn: str | None
    connection: ConnectionArgs
    files: FileArgs
    out: Output

    def __post_init__(self) -> None:
        """Read the option files."""
        self.sources = self.files.sources(self.out.warn)
        self.logins: list[Login] = logins_of(
            self.sources,
            named=self.files.login_path,
            files=(self.files.defaults_file, self.files.defaults_extra_file),
        )
        self.unused = {login.origin for login in self.logins if login.has_password}
        self.alone = True

    def replica(self, *, ask: bool) -> Path | Endpoint:
        """The directory, or the server that the first argument names."""
        dsn, directories = split_targets([self.clone])
        self.alone = dsn is None
        if dsn is None:
            if ask:
                raise UsageError("--ask-replica-password: a directory has no password", hint="name a server's DSN")
            return directories[0]
        return resolve(
            {"password": None} if ask else {},
            self._sources_for(dict(parse_dsn(dsn))),
            dsn=dsn,
            role="the replica",
            warn=self.out.warn,
        )

    def source(self, replica: Path | Endpoint) -> tuple[Endpoint, bool]:
        """The source, and whether it is only by the manifest that we know it."""
        typed = dict(self.connection.typed)
        named: dict[str, str | None] = {**(parse_dsn(self.dsn) if self.dsn is not None else {}), **typed}
        is_donor = False
        if not any(named.get(option) for option in PLACE):
            if login := chosen_login(self.logins):
                named = {**login.options, **named}
            else:
                is_donor = True
                donor, user = self._donor(replica)
                named = {**donor, **named}
                if not any(login.options.get("user") and login.fits(named, alone=self.alone) for login in self.logins):
                    named = {"user": user, **named}
                typed = {**named, **typed}
        endpoint = resolve(typed, self._sources_for(named), dsn=self.dsn, role="the source", warn=self.out.warn)
        return endpoint, is_donor

    @staticmethod
    def _donor(replica: Path | Endpoint) -> tuple[dict[str, str | None], str]:
        """Where the clone's donor is, and the account that it was cloned with."""
        from innoclone.commands.replicate import find_donor

        donor = find_donor(replica)
        if donor.host.startswith("/"):
            return {"socket": donor.host}, donor.user
        return {"host": donor.host, "port": str(donor.port)}, donor.user

    def _sources_for(self, named: dict[str, str | None]) -> Sources:
        sources, out = only_for(self.sources, self.logins, named, alone=self.alone)
        self.unused &= out
        return sources

    def tell_unused(self) -> None:
        """A login that is refused later for want of a password would be a riddle."""
        for origin in sorted(self.unused):
            self.out.message(f"the password in {origin} is not used: it belongs to another server or account")
