"""``innoclone serve``: a stored clone as a donor."""

from __future__ import annotations

import logging
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import AccountArgs, FileArgs, OutputArgs, expand
from innoclone.commands.options import ServeOptions
from innoclone.errors import UsageError
from innoclone.report.logs import log_to

if TYPE_CHECKING:
    from innoclone.donor.service import Donor

__all__ = ["serve"]


@expand
def serve(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIRECTORY", help="A clone, or the data of a server that was shut down.")
    ] = None,
    *,
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
    account: AccountArgs,
    files: FileArgs,
    output: OutputArgs,
) -> int:
    """Serve a stored clone to CLONE INSTANCE statements of MySQL servers.

    The directory is proven complete and at rest first, and no server starts on it meanwhile. The statements to type at
    the recipient are printed. Without a password there is a new one for each run, which they show.
    """
    if stdio:
        from innoclone.commands.stdio import serve_stdio

        log_to(replace(output, quiet=True).open())
        logging.getLogger("innoclone").setLevel(logging.ERROR)  # what a recipient is refused, it is told
        return serve_stdio(directory)
    if directory is None:
        raise UsageError("no directory was named", hint="innoclone serve DIRECTORY")
    from innoclone.commands.serve import new_password
    from innoclone.commands.serve import serve as run

    out = output.open()
    user, given = account.resolve(files, out)
    options = ServeOptions(
        directory=directory.absolute(), user=user, password=given or new_password(), bind_address=bind_address,
        port=port, once=once, ssl_cert=ssl_cert, ssl_key=ssl_key, require_secure_transport=require_secure_transport,
        max_connections=max_connections, reconnect_timeout=reconnect_timeout,
        max_data_bandwidth=max_data_bandwidth, max_network_bandwidth=max_network_bandwidth,
    )  # fmt: skip

    def ready(donor: Donor) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: donor.stop())
        for note in donor.stored.notes:
            out.message(note)
        described, host = donor.stored.description, _reached_at(bind_address)
        out.message(
            f"serving {donor.stored.directory}, MySQL {described.version}, on {bind_address}:{donor.port};"
            f" at the recipient:"
        )
        out.data(_statements(host, donor.port, user, None if given else options.password))
        out.event(
            "listening",
            {"host": host, "port": donor.port, "user": user, "version": described.version}
            | ({} if given else {"password": options.password}),
        )

    log_to(out)
    taken = run(options, ready=ready)
    out.message(f"{taken} clone{'' if taken == 1 else 's'} taken")
    out.result({"taken": taken})
    out.completed()
    return 0


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
