"""What opens a store, as options that all commands share which may work on one."""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from innoclone.commands.storeoptions import BootCheckOptions, StoreAccess
from innoclone.errors import UsageError
from innoclone.report.output import Output

__all__ = ["STORE", "URL", "BootCheckArgs", "StoreArgs", "TrialArgs", "warn_if_open"]

STORE = "Store"
TRIAL = "Trial"
URL = "The store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://... or file:///FOLDER."


def warn_if_open(file: Path | None, out: Output) -> None:
    """Where a file with a key can be read by everybody on this host."""
    with contextlib.suppress(OSError):  # who reads it says why that can't be
        mode = file.stat().st_mode if file is not None else 0
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            out.warn(f"everybody on this host can read {file}: chmod 600 is for keys")


@dataclass(frozen=True)
class StoreArgs:
    """The key, and what the store's library is told."""

    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The store's key: 32 random bytes or more.", rich_help_panel=STORE),
    ] = None
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The store's passphrase is its first line; default: INNOCLONE_STORE_PASSPHRASE.",
            rich_help_panel=STORE,
        ),
    ] = None
    store_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="For obstore, such as aws_endpoint=URL; may be repeated.", rich_help_panel=STORE
        ),
    ] = None

    def access(self, address: str, out: Output) -> StoreAccess:
        """All together; a key that others can read is told of. Raises UsageError."""
        from innoclone.store.address import parse_options

        for file in (self.key_file, self.passphrase_file):
            warn_if_open(file, out)

        options = tuple(parse_options(self.store_option or []).items())
        return StoreAccess(address, self.key_file, self.passphrase_file, options)

    def refuse(self) -> None:
        """Where no store is named. Raises UsageError."""
        if self.key_file or self.passphrase_file or self.store_option:
            raise UsageError(
                "--key-file, --passphrase-file and --store-option go with a store", hint="name a store's URL"
            )


@dataclass(frozen=True)
class TrialArgs:
    """Where a snapshot is restored to for a while, and what comes up on it."""

    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="With room for all of the snapshot for a while; default: TMPDIR.",
            rich_help_panel=TRIAL,
        ),
    ] = BootCheckOptions.scratch  # fmt: skip

    def refuse(self) -> None:
        """Where no store is named. Raises UsageError."""
        if self.scratch is not None:
            raise UsageError("--scratch goes with a store", hint="name a store's URL")

    def options(
        self, access: StoreAccess, snapshot: str, *, mysqld: Path | None, keyring: Path | None, threads: int
    ) -> BootCheckOptions:
        """All together. Raises UsageError."""
        return BootCheckOptions(
            store=access, snapshot=snapshot, scratch=self.scratch, mysqld=mysqld,
            keyring=None if keyring is None else keyring.absolute(), threads=threads,
        )  # fmt: skip


@dataclass(frozen=True)
class BootCheckArgs:
    """Whether a snapshot is tried out by a boot, and how."""

    boot_check: Annotated[
        bool,
        typer.Option(
            "--boot-check",
            help="Restore the snapshot for a while, and let a private mysqld come up on it.",
            rich_help_panel=TRIAL,
        ),
    ] = False
    mysqld: Annotated[Path | None, typer.Option(metavar="FILE", help="The mysqld for that.", rich_help_panel=TRIAL)] = (
        BootCheckOptions.mysqld
    )
    keyring: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of an encrypted clone, for that; backing up a server: to use, or to make.",
            rich_help_panel=TRIAL,
        ),
    ] = BootCheckOptions.keyring

    def options(self, trial: TrialArgs, access: StoreAccess, snapshot: str, *, threads: int) -> BootCheckOptions:
        """All together. Raises UsageError."""
        return trial.options(access, snapshot, mysqld=self.mysqld, keyring=self.keyring, threads=threads)

    def refuse_alone(self, trial: TrialArgs, *, needs_keyring: bool = False) -> None:
        """What means something with --boot-check only, but for a keyring that is needed. Raises UsageError."""
        if not self.boot_check and (self.mysqld or (self.keyring and not needs_keyring) or trial.scratch):
            raise UsageError("--mysqld, --keyring and --scratch go with --boot-check")
