"""``innoclone boot``: a mysqld recovers a cloned directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import FileArgs, OutputArgs, expand, refuse_address
from innoclone.cli.result import result_fields, result_table
from innoclone.commands.options import BootOptions
from innoclone.records.status import CloneStatus

__all__ = ["boot"]


@expand
def boot(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="A directory that innoclone clone made.")],
    *,
    mysqld: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The mysqld to start; default one on PATH or the sandbox's.")
    ] = BootOptions.mysqld,
    keyring: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of an encrypted clone; default: as its manifest tells.")
    ] = BootOptions.keyring,
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Only tell where the clone stands: boot a copy of its system tablespaces."),
    ] = BootOptions.copy,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = BootOptions.keep,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Keep it on this TCP port of 127.0.0.1; default a Unix socket only.")
    ] = BootOptions.port,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait this long for recovery.")
    ] = BootOptions.timeout,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Start a mysqld on a clone and let it recover.

    Its binary log position and GTID set are noted in the clone's manifest, then it is stopped again. With --copy the
    clone stays as it is, never booted.
    """
    from innoclone.commands.boot import boot as run

    out = output.open()
    refuse_address(directory)
    status = CloneStatus()
    where = directory.absolute()
    options = BootOptions(
        directory=where, mysqld=mysqld, keyring=None if keyring is None else keyring.absolute(), copy=copy, keep=keep,
        port=port, timeout=timeout,
    )  # fmt: skip
    with out.watch(status, pages=False):
        booted = run(options, status=status)
    for line in result_table(status):
        out.message(line)
    kept = {"pid": booted.pid, "port": booted.port, "socket": str(booted.socket)} if booted.pid else {}
    if kept:
        reached = f"port {booted.port}, socket {booted.socket}" if booted.port else f"socket {booted.socket}"
        out.message(f"the server runs on: pid {booted.pid}, {reached}; kill {booted.pid} stops it")
    out.result(result_fields(status) | kept)
    out.completed()
