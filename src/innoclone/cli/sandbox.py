"""``innoclone sandbox``: private MySQL servers for trying things out."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand, parse_size
from innoclone.cli.command import Command
from innoclone.commands.options import LONGEST_WAIT, above_0, bounded
from innoclone.errors import ServerNotFound, SqlError, UsageError
from innoclone.report.output import Output
from innoclone.report.units import amount, duration

if TYPE_CHECKING:
    from innoclone.sandbox.server import Sandbox

__all__ = ["sandbox"]

sandbox = typer.Typer(
    name="sandbox",
    help="Private MySQL servers for trying things out.",
    rich_markup_mode=None,
)

DEFAULT_NAME = "default"
MOST_CONNECTIONS = 1000  # of a load; a server takes 151 unless told otherwise
Name = Annotated[str, typer.Argument(metavar="[NAME]", help=f"Name of the sandbox; default {DEFAULT_NAME}.")]
_SIZE_HELP = "Size of the data, as in 300M or 2G."


@sandbox.command(cls=Command)
@expand
def start(
    name: Name = DEFAULT_NAME,
    *,
    port: Annotated[
        int, typer.Option(metavar="N", help="TCP port on 127.0.0.1; default: as last time, or any free one.")
    ] = 0,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help=_SIZE_HELP)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Option for mysqld, as in --innodb-page-size=32k; may be repeated."),
    ] = None,
    output: OutputArgs,
) -> None:
    """Start a sandbox; a new one is made, and MySQL downloaded where there is none."""
    from innoclone.sandbox import server as sandbox

    out = output.open()
    wanted = parse_size(size) if size else 0
    bounded("port", port, 0, 65535)
    box = sandbox.start(name, port=port, options=option or (), report=out.message)
    _describe(out, box)
    if wanted:
        _fill(out, box, wanted)
    out.result(_fields(box))
    out.completed()


@sandbox.command(cls=Command)
@expand
def stop(
    name: Name = DEFAULT_NAME,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Delete its data as well.")] = False,
    output: OutputArgs,
) -> None:
    """Stop a sandbox; its data stays for the next start."""
    from innoclone.sandbox import server as sandbox

    out = output.open()
    if remove:
        sandbox.remove(name)
    else:
        sandbox.stop(name)
    out.result({"name": name, "removed": remove})
    out.completed()


@sandbox.command("list", cls=Command)
@expand
def list_(*, output: OutputArgs) -> None:
    """Show all sandboxes."""
    from innoclone.sandbox import server as sandbox

    out = output.open()
    boxes = sandbox.list_sandboxes()
    for box in boxes:
        state = f"port {box.port}, pid {box.pid}" if box.running() else "stopped"
        out.data(f"{box.name}\tMySQL {box.version}\t{state}\t{box.directory}")
    out.result({"sandboxes": [_fields(box) for box in boxes]})


@sandbox.command(cls=Command)
def shell(
    name: Name = DEFAULT_NAME,
    execute: Annotated[
        str | None, typer.Option("--execute", "-e", metavar="SQL", help="Run these statements instead of asking.")
    ] = None,
) -> None:
    """Open MySQL's client as root."""
    from innoclone.sandbox import server as sandbox
    from innoclone.server.programs import find_programs

    box = sandbox.find(name)
    client = find_programs().mysql
    if client is None:
        raise ServerNotFound("MySQL's client program mysql is not there", hint="install it")
    arguments = ["--no-defaults", f"--socket={box.socket}", "--user=root", "--default-character-set=utf8mb4"]
    if execute is not None:
        arguments.append(f"--execute={execute}")
    environment = {name: value for name, value in os.environ.items() if name != "MYSQL_PWD"}  # root has no password
    os.execve(client[0], [*client, *arguments], environment)  # noqa: S606 - it takes over the terminal, without a shell


@sandbox.command(cls=Command)
@expand
def fill(
    name: Name = DEFAULT_NAME,
    *,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help=_SIZE_HELP)] = None,
    load: Annotated[bool, typer.Option("--load", help="Keep a write load running until Ctrl-C.")] = False,
    ddl: Annotated[bool, typer.Option("--ddl", help="Run all kinds of DDL beside the load.")] = False,
    threads: Annotated[int, typer.Option(metavar="N", help="Connections of the load.")] = 2,
    pause: Annotated[float, typer.Option(metavar="SECONDS", help="Wait of a connection after each transaction.")] = 0.0,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End the load after this time instead.")
    ] = None,
    output: OutputArgs,
) -> None:
    """Add tables of every kind, or keep a write load running."""
    from innoclone.sandbox import server as sandbox

    out = output.open()
    if not size and not load and not ddl:
        raise UsageError("nothing to do", hint="use --size, --load or --ddl")
    bounded("threads", threads, 1, MOST_CONNECTIONS)
    bounded("pause", pause, 0, LONGEST_WAIT)
    if seconds is not None:
        above_0("seconds", seconds)
    wanted = parse_size(size) if size else 0
    box = sandbox.find(name)
    grown = _fill(out, box, wanted) if wanted else 0
    done = _load(out, box, threads if load else 0, ddl, pause, seconds) if load or ddl else {}
    out.result({"name": name, "grown": grown} | done)
    out.completed()


def _fill(out: Output, box: Sandbox, size: int) -> int:
    """How many bytes it has grown by."""
    import pymysql

    from innoclone.sandbox.fill import fill as run

    out.message(f"filling in {amount(size)}")
    begin = time.monotonic()
    try:
        grown = run(box.connect, size, progress=lambda part: out.detail(f"{part:.0%}"))
    except pymysql.err.MySQLError as error:
        number = error.args[0] if isinstance(error.args[0], int) else 0
        raise SqlError(f"sandbox {box.name}: {error.args[-1]}", server_number=number) from error
    out.message(f"{amount(grown)} more after {duration(time.monotonic() - begin)}")
    return grown


def _load(out: Output, box: Sandbox, threads: int, ddl: bool, pause: float, seconds: float | None) -> dict[str, object]:
    """What was done, for ``--json``."""
    from innoclone.sandbox.ddl import DdlLoop
    from innoclone.sandbox.load import Load

    load, loop = Load(box.connect, threads=threads, pause=pause), DdlLoop(box.connect)
    running = [load, loop] if ddl else [load]
    begin = time.monotonic()
    try:
        for work in running:
            work.start()
        out.message("the load runs" + ("; Ctrl-C ends it" if seconds is None else ""))
        while seconds is None or time.monotonic() < begin + seconds:
            time.sleep(0.2)
            if faults := [fault for work in running for fault in work.errors]:
                raise SqlError(f"the load ended: {faults[0]}")
    finally:
        for work in running:
            work.stop()
        spent = time.monotonic() - begin
        out.message(f"{load.transactions} transactions in {spent:.1f} s ({load.transactions / spent:.0f}/s)")
        if ddl:
            out.message(f"{sum(loop.done.values())} DDL operations")
    return {"transactions": load.transactions, "ddl": sum(loop.done.values()), "seconds": round(spent, 3)}


def _describe(out: Output, box: Sandbox) -> None:
    out.message(f"sandbox {box.name}: MySQL {box.version} on 127.0.0.1:{box.port}, data in {box.datadir}")
    out.message(f"as root: innoclone sandbox shell {box.name}")
    out.message(f"to clone it: innoclone clone --defaults-file={_quoted(box.option_file)} DIRECTORY")
    out.data(box.dsn)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _fields(box: Sandbox) -> dict[str, object]:
    return {
        "name": box.name,
        "version": box.version,
        "running": box.running(),
        "pid": box.pid,
        "port": box.port,
        "socket": str(box.socket),
        "datadir": str(box.datadir),
        "option_file": str(box.option_file),
        "dsn": box.dsn,
    }
