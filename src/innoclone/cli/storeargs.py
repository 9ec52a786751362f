"""What opens a store, as options that all commands share which may work on one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from innoclone.commands.storeoptions import StoreAccess
from innoclone.errors import UsageError

__all__ = ["STORE", "URL", "StoreArgs"]

STORE = "Store"
URL = "The store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://... or file:///FOLDER."


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

    def access(self, address: str) -> StoreAccess:
        """All together. Raises UsageError."""
        from innoclone.store.address import parse_options

        options = tuple(parse_options(self.store_option or []).items())
        return StoreAccess(address, self.key_file, self.passphrase_file, options)

    def refuse(self) -> None:
        """Where no store is named. Raises UsageError."""
        if self.key_file or self.passphrase_file or self.store_option:
            raise UsageError(
                "--key-file, --passphrase-file and --store-option go with a store", hint="name a store's URL"
            )
