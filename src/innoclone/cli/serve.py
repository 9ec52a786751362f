"""``innoclone serve``: a stored clone or a running server as a donor."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import AccountArgs, FileArgs, OutputArgs, expand, parse_size
from innoclone.cli.storeargs import StoreArgs, TrialArgs
from innoclone.commands.options import ServeOptions
from innoclone.commands.storeoptions import BootCheckOptions
from innoclone.errors import UsageError
from innoclone.records.status import CloneStatus
from innoclone.report.logs import log_to
from innoclone.report.output import Output
from innoclone.settings.dsn import SCHEME, refuse_store
from innoclone.settings.options import resolve
from innoclone.transport.endpoint import Endpoint

if TYPE_CHECKING:
    from innoclone.donor.service import Donor

__all__ = ["serve"]

LIVE = "A running server"
NOWHERE = Path(os.devnull)


@dataclass(frozen=True)
class LiveArgs:
    """The running server that is served."""

    live: Annotated[
        str | None,
        typer.Option(
            "--live", metavar="DSN", help="Serve this running server of this host instead.", rich_help_panel=LIVE
        ),
    ] = None
    live_defaults_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its password and the like; no other file counts.", rich_help_panel=LIVE),
    ] = None
    live_login_path: Annotated[
        str | None, typer.Option(metavar="NAME", help="The same from a login path.", rich_help_panel=LIVE)
    ] = None
    datadir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Its data directory as seen from here.", rich_help_panel=LIVE),
    ] = ServeOptions.datadir
    relay: Annotated[
        bool,
        typer.Option(
            "--relay", help="Pass on what it sends, to one recipient at a time, and read no file.", rich_help_panel=LIVE
        ),
    ] = ServeOptions.relay

    def endpoint(self, output: Output) -> Endpoint | None:
        """The server, None if none was named. Raises UsageError."""
        if self.live is None:
            if self.live_defaults_file or self.live_login_path or self.datadir or self.relay:
                raise UsageError(
                    "--live-defaults-file, --live-login-path, --datadir and --relay go together with --live"
                )
            return None
        files = FileArgs(
            login_path=self.live_login_path, defaults_file=self.live_defaults_file,
            no_defaults=self.live_defaults_file is None,
        )  # fmt: skip
        sources = replace(files.sources(output.warn), environ={})  # the password there is the recipients'
        return resolve({}, sources, dsn=self.live, role="server", warn=output.warn)


@expand
def serve(
    directory: Annotated[
        str | None,
        typer.Argument(
            metavar="DIRECTORY",
            help="A clone, the data of a server that was shut down, or a store's URL[@SNAPSHOT].",
        ),
    ] = None,
    *,
    recover: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of a crashed server: recover a copy in FOLDER, and serve that."),
    ] = ServeOptions.recover,
    mysqld: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The server program that recovers it.")
    ] = ServeOptions.mysqld,
    live: LiveArgs,
    stdio: Annotated[
        bool,
        typer.Option(
            "--stdio", help="Serve who started this through ssh (clone --via): what is in DIRECTORY, or anything."
        ),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End when one recipient has the clone.")] = ServeOptions.once,
    bind_address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen there; * is everywhere.")
    ] = ServeOptions.bind_address,
    port: Annotated[int, typer.Option(metavar="N", help="TCP port; 0 is any free one.")] = ServeOptions.port,
    ssl_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate to show; default is one of its own making.")
    ] = ServeOptions.ssl_cert,
    ssl_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = ServeOptions.ssl_key,
    require_secure_transport: Annotated[
        bool, typer.Option("--require-secure-transport", help="Let nobody log in without TLS.")
    ] = ServeOptions.require_secure_transport,
    max_connections: Annotated[
        int, typer.Option(metavar="N", help="At the same time; a recipient needs one more than it has threads.")
    ] = ServeOptions.max_connections,
    reconnect_timeout: Annotated[
        int, typer.Option(metavar="MINUTES", help="A recipient may come back for so long after a network error; 0-30.")
    ] = ServeOptions.reconnect_timeout,
    max_network_bandwidth: Annotated[
        float, typer.Option(metavar="MIB/S", help="Limit on the wire, of all recipients together; 0 is none.")
    ] = ServeOptions.max_network_bandwidth,
    max_data_bandwidth: Annotated[
        float, typer.Option(metavar="MIB/S", help="Limit of data read, of all recipients together; 0 is none.")
    ] = ServeOptions.max_data_bandwidth,
    max_donor_read: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Read no more of the files in a second, as in 50M; 0 is no limit."),
    ] = "0",
    keyring: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of an encrypted directory; default: as a clone's manifest tells."),
    ] = ServeOptions.keyring,
    innodb_directories: Annotated[
        str,
        typer.Option(
            metavar="DIR[;DIR]...",
            help="Where the server whose data it is had tablespaces outside.",
        ),
    ] = ServeOptions.innodb_directories,
    trial: TrialArgs,
    store: StoreArgs,
    account: AccountArgs,
    files: FileArgs,
    output: OutputArgs,
) -> int:
    """Serve a stored clone, or a running server, to CLONE INSTANCE statements of MySQL servers.

    A directory is proven complete and at rest first, and no server starts on it meanwhile. Of a running server (--live)
    several recipients share a snapshot, and its files are read here, beside it. The statements to type at
    the recipient are printed. Without a password there is a new one for each run, which they show.

    A snapshot of a store is restored to a folder first, which goes in the end.
    """
    settings = partial(
        ServeOptions, datadir=live.datadir, relay=live.relay, recover=recover, mysqld=mysqld,
        max_connections=max_connections, reconnect_timeout=reconnect_timeout,
        max_data_bandwidth=max_data_bandwidth, max_network_bandwidth=max_network_bandwidth,
        max_donor_read=0 if max_donor_read == "0" else parse_size(max_donor_read),
        keyring=None if keyring is None else keyring.absolute(),
        innodb_directories=innodb_directories,
    )  # fmt: skip
    if stdio:
        _refuse_store(directory, store, trial, "--stdio takes a directory or --live, not a store")
        where = None if directory is None else Path(directory)
        return _serve_stdio(where, live, settings, files, replace(output, quiet=True).open())
    from innoclone.commands.serve import new_password

    out = output.open()
    user, given = account.resolve(files, out)
    settings = partial(
        settings, live=live.endpoint(out), user=user, password=given or new_password(), bind_address=bind_address,
        port=port, once=once, ssl_cert=ssl_cert, ssl_key=ssl_key, require_secure_transport=require_secure_transport,
    )  # fmt: skip
    interval = 1.0 if output.verbose else 10.0
    if directory is None or not _is_store(directory):
        _refuse_store(directory, store, trial, "")
        options = settings(directory=None if directory is None else Path(directory).absolute())
        return _serve(options, out, interval, shown=not given)
    if recover is not None or mysqld is not None or innodb_directories:
        raise UsageError("--recover, --mysqld and --innodb-directories are for a server's directory, not for a store")
    wanted = _wanted(directory, trial, store, keyring, out)
    return _serve(settings(directory=Path(directory)), out, interval, shown=not given, wanted=wanted)


def _is_store(text: str) -> bool:
    from innoclone.store.address import is_address

    return is_address(text)


def _refuse_store(directory: str | None, store: StoreArgs, trial: TrialArgs, reason: str) -> None:
    """Where nothing is restored. Raises UsageError."""
    if directory is not None:
        refuse_store(directory, reason)
    store.refuse()
    trial.refuse()


def _wanted(text: str, trial: TrialArgs, store: StoreArgs, keyring: Path | None, out: Output) -> BootCheckOptions:
    """The snapshot that is to be a directory meanwhile."""
    from innoclone.store.address import split_snapshot

    address, snapshot = split_snapshot(text)
    return trial.options(
        store.access(address, out), snapshot, mysqld=None, keyring=keyring, threads=BootCheckOptions.threads
    )


def _serve(
    options: ServeOptions, out: Output, interval: float, *, shown: bool, wanted: BootCheckOptions | None = None
) -> int:
    """Until a signal comes. ``shown``: the password is ours, and told; ``interval``: seconds between lines about who
    takes it; ``wanted`` is restored first."""
    from innoclone.commands.awaitedsnapshot import Awaited
    from innoclone.commands.serve import serve as run
    from innoclone.report.aside import Aside
    from innoclone.report.recipients import RecipientLines

    status = CloneStatus()
    snapshot = None if wanted is None else Awaited(wanted, status)
    watching = ExitStack()

    def listening(donor: Donor) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: donor.stop())
        if snapshot is not None:
            where = f"{options.bind_address}:{donor.port}"
            out.message(
                f"restoring {snapshot.name} for as long as it is served; who comes to {where} earlier is told so"
            )
            watching.enter_context(out.watch(status))

    def ready(donor: Donor) -> None:
        watching.close()
        _announce(donor, options, out, shown=shown)

    lines = RecipientLines(out, interval=interval)
    with Aside() as aside, watching:
        log_to(out, aside.say)
        taken = run(
            options, ready=ready, listening=listening, snapshot=snapshot,
            look_at=lambda takings: aside.say(partial(lines.look, takings)),
            ended=lambda taking: aside.say(partial(lines.ended, taking)),
        )  # fmt: skip
    out.message(f"{taken} clone{'' if taken == 1 else 's'} taken")
    out.result({"taken": taken})
    out.completed()
    return 0


def _announce(donor: Donor, options: ServeOptions, out: Output, *, shown: bool) -> None:
    """What is served, and what to type at a recipient."""
    for note in donor.source.notes:
        out.message(note)
    version, host = donor.source.description.version, _reached_at(options.bind_address)
    out.message(
        f"serving {donor.source.name}, MySQL {version}, on {options.bind_address}:{donor.port}; at the recipient:"
    )
    password = options.password if shown else None
    out.data(_statements(host, donor.port, options.user, password))
    out.event(
        "listening",
        {"host": host, "port": donor.port, "user": options.user, "version": version}
        | ({"password": password} if shown else {}),
    )


def _serve_stdio(
    directory: Path | None, live: LiveArgs, settings: Callable[..., ServeOptions], files: FileArgs, out: Output
) -> int:
    """What was named here is all that may be asked for."""
    from innoclone.commands.stdio import Allowed, serve_stdio

    def server(dsn: str) -> Endpoint:
        if live.live is None and directory is None:
            return resolve({}, files.sources(out.warn), dsn=dsn, role="server", warn=out.warn)
        found = live.endpoint(out)
        if found is None or dsn not in (SCHEME, live.live):
            raise UsageError(
                f"{dsn} is not what may be cloned from there",
                hint=f"innoclone serve --stdio was started for {live.live or directory}",
            )
        return found

    if directory is not None and live.live is not None:
        raise UsageError("--stdio takes a directory or --live")
    log_to(out)
    logging.getLogger("innoclone").setLevel(logging.ERROR)  # what a recipient is refused, it is told
    return serve_stdio(Allowed(directory if live.live is None else NOWHERE, server, settings))


def _reached_at(bind_address: str) -> str:
    """How a recipient names this host."""
    return socket.gethostname() if bind_address in ("*", "0.0.0.0", "::") else bind_address  # noqa: S104


def _statements(host: str, port: int, user: str, password: str | None) -> str:
    """What is to be typed; a password that the user knows is not shown."""
    shown = "..." if password is None else password
    return "\n".join((
        f"SET GLOBAL clone_valid_donor_list = '{_quoted(host)}:{port}';",
        f"CLONE INSTANCE FROM '{_quoted(user)}'@'{_quoted(host)}':{port} IDENTIFIED BY '{_quoted(shown)}'",
        "  DATA DIRECTORY = '/path/of/a/new/directory' REQUIRE SSL;",
        "-- Without DATA DIRECTORY it replaces all data of the server on which it is typed.",
    ))  # fmt: skip


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")
