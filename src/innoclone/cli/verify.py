"""``innoclone verify``: is a clone whole, and is it the donor's?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import ConnectionArgs, FileArgs, OutputArgs, expand
from innoclone.cli.storeargs import StoreArgs, TrialArgs
from innoclone.commands.options import VerifyOptions
from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.transport.endpoint import Endpoint

if TYPE_CHECKING:
    from innoclone.commands.verify import VerifyReport

__all__ = ["verify"]


@expand
def verify(
    directory: Annotated[str, typer.Argument(metavar="DIRECTORY", help="A clone, or a store's URL[@SNAPSHOT].")],
    *,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DSN", help="Also boot the clone and compare its tables with this server's."),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Files or tables looked at in parallel.")
    ] = VerifyOptions.threads,
    mysqld: Annotated[Path | None, typer.Option(metavar="FILE", help="The mysqld to boot the clone with.")] = (
        VerifyOptions.mysqld
    ),
    keyring: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of an encrypted clone: decrypt its pages and check them, too.")
    ] = VerifyOptions.keyring,
    trial: TrialArgs,
    store: StoreArgs,
    connection: ConnectionArgs,
    files: FileArgs,
    output: OutputArgs,
) -> None:
    """Check a clone's pages, and compare its tables.

    Every page's checksum is checked, and every file against the manifest. Where a server is named in the command, the
    rows and contents of all tables are also compared with its own: by --against, by a connection option, or by an
    option file or login path that is named and holds one. The usual option files and the environment name none. The
    verdict says what was not compared.

    A snapshot of a store is restored to a folder for that, which goes in the end.
    """
    from innoclone.commands.verify import verify as run
    from innoclone.store.address import is_address

    out = output.open()
    status = CloneStatus()
    named = against or connection.typed or files.name_a_server()
    donor = connection.endpoint(against, files, out) if named else None
    if is_address(directory):
        report = _stored(directory, trial, store, (donor, mysqld, keyring, threads), status, out)
    else:
        store.refuse()
        options = VerifyOptions(
            directory=Path(directory).absolute(), against=donor, mysqld=mysqld, threads=threads,
            keyring=None if keyring is None else keyring.absolute(),
        )  # fmt: skip
        with out.watch(status):
            report = run(options, status=status)
    _tell(report, out)


def _stored(
    text: str, trial: TrialArgs, store: StoreArgs, how: tuple[Endpoint | None, Path | None, Path | None, int],
    status: CloneStatus, out: Output,
) -> VerifyReport:  # fmt: skip
    from innoclone.commands.bootcheck import verify_snapshot
    from innoclone.store.address import split_snapshot

    address, snapshot = split_snapshot(text)
    donor, mysqld, keyring, threads = how
    options = trial.options(store.access(address, out), snapshot, mysqld=mysqld, keyring=keyring, threads=threads)
    out.message(f"restoring {address}@{snapshot} for a while")
    with out.watch(status):
        return verify_snapshot(options, donor, status=status)


def _tell(report: VerifyReport, out: Output) -> None:
    for line in report.gaps():
        out.message(line)
    if report.position:
        out.message(f"compared at {report.position}")
    out.message(f"verdict: {report}")
    out.result(
        {
            "verdict": str(report),
            "pages": report.pages.pages,
            "bytes": report.pages.bytes,
            "encrypted": report.pages.encrypted,
            "position": report.position,
            "compared": report.compared,
            "not_compared": report.gaps(),
            "tables": [
                {"name": result.name, "outcome": result.outcome.value, "reason": result.reason, "rows": result.rows}
                for result in (*report.tables, *report.objects)
            ],
        }
    )
    out.completed()
