"""What every command that makes a clone can be told: the options that ``clone`` and ``local`` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.commands.options import CloneOptions
from innoclone.dataclass import dataclass
from innoclone.errors import UsageError
from innoclone.transport.endpoint import Compression

if TYPE_CHECKING:
    from innoclone.commands.keywords import SharedKeywords

__all__ = [
    "COPY", "DONOR", "FINISH", "Compress", "CopyArgs", "DataBandwidth", "NetworkBandwidth", "Threads",
    "parse_compression", "parse_copy_methods", "parse_map_path", "parse_threads",
]  # fmt: skip

COPY = "Copy"
DONOR = "Donor"
FINISH = "Finish"
METHODS = {
    "reflink": "reflink",
    "direct": "O_DIRECT",
    "copy_file_range": "copy_file_range",
    "read-write": "read and write",
}

Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        metavar="auto|N",
        help="Connections that carry data, 1-128; auto: as many as are measured to help.",
        rich_help_panel=COPY,
    ),
]
Compress = Annotated[
    str,
    typer.Option("--compress", metavar="zstd[:LEVEL]|zlib|off", help="Compress what travels.", rich_help_panel=COPY),
]
NetworkBandwidth = Annotated[
    float, typer.Option(metavar="MIB/S", help="Limit on the wire; 0 is none, 0.5 is possible.", rich_help_panel=COPY)
]
DataBandwidth = Annotated[
    float, typer.Option(metavar="MIB/S", help="Limit of data written; 0 is none.", rich_help_panel=COPY)
]


@dataclass(frozen=True)
class CopyArgs:
    """How a clone is made and finished; names and defaults are those of the operations' options."""

    map_path: Annotated[
        list[str] | None,
        typer.Option(
            "--map-path",
            metavar="OLD=NEW",
            help="Where files outside the donor's data directory go; may be repeated.",
            rich_help_panel=COPY,
        ),
    ] = None
    stall_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Give a silent connection up after this.", rich_help_panel=COPY)
    ] = CloneOptions.stall_timeout
    retry_for: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time to reconnect when a connection is lost; default: the donor's patience.",
            rich_help_panel=COPY,
        ),
    ] = CloneOptions.retry_for
    fsync: Annotated[
        bool, typer.Option("--fsync/--no-fsync", help="Make the clone durable before it counts.", rich_help_panel=COPY)
    ] = CloneOptions.fsync
    verify_pages: Annotated[
        bool | None,
        typer.Option(
            "--verify-pages/--no-verify-pages",
            help="Check every page's checksum. Default: but not of shared blocks.",
            rich_help_panel=COPY,
        ),
    ] = None
    block_ddl: Annotated[
        bool, typer.Option("--block-ddl", help="Let no DDL run on the donor meanwhile.", rich_help_panel=DONOR)
    ] = CloneOptions.block_ddl
    ddl_timeout: Annotated[
        int, typer.Option(metavar="SECONDS", help="Wait for the lock of --block-ddl.", rich_help_panel=DONOR)
    ] = CloneOptions.ddl_timeout
    install_plugin: Annotated[
        bool, typer.Option("--install-plugin", help="Install the clone plugin if it is missing.", rich_help_panel=DONOR)
    ] = CloneOptions.install_plugin
    discard_changes: Annotated[
        bool,
        typer.Option(
            "--discard-changes",
            help="Update an earlier clone though a server ran on it, or it is of another server: that goes.",
            rich_help_panel=COPY,
        ),
    ] = CloneOptions.discard_changes
    chown: Annotated[
        str | None, typer.Option(metavar="USER[:GROUP]", help="Who shall own the files.", rich_help_panel=FINISH)
    ] = CloneOptions.chown
    boot: Annotated[
        bool,
        typer.Option("--boot", help="Start a mysqld on the clone once: recovery, position.", rich_help_panel=FINISH),
    ] = CloneOptions.boot
    mysqld: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The mysqld to start.", rich_help_panel=FINISH)
    ] = CloneOptions.mysqld

    keyring: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of an encrypted donor: the keyring file to use, or to make; default: beside the clone.",
            rich_help_panel=COPY,
        ),
    ] = CloneOptions.keyring
    keyring_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The master key in it; default: its newest.", rich_help_panel=COPY),
    ] = CloneOptions.keyring_key

    @property
    def options(self) -> SharedKeywords:
        """The same as fields of `CloneOptions` or `LocalOptions`. Raises UsageError."""
        found: SharedKeywords = {
            "map_paths": tuple(parse_map_path(text) for text in self.map_path or ()),
            "stall_timeout": self.stall_timeout,
            "retry_for": self.retry_for,
            "fsync": self.fsync,
            "block_ddl": self.block_ddl,
            "ddl_timeout": self.ddl_timeout,
            "install_plugin": self.install_plugin,
            "discard_changes": self.discard_changes,
            "chown": self.chown,
            "boot": self.boot,
            "mysqld": self.mysqld,
            "keyring": None if self.keyring is None else self.keyring.absolute(),
            "keyring_key": self.keyring_key,
        }
        if self.verify_pages is not None:
            found["verify_pages"] = self.verify_pages
        return found


def parse_map_path(text: str) -> tuple[str, str]:
    """``OLD=NEW``. Raises UsageError."""
    old, separator, new = text.partition("=")
    if not (separator and old and new):
        raise UsageError(f"--map-path {text} is not of the form OLD=NEW")
    return old, new


def parse_copy_methods(names: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """The methods that ``--copy-method`` names. Raises UsageError."""
    unknown = [name for name in names or () if name not in METHODS]
    if unknown:
        raise UsageError(f"unknown copy method {unknown[0]}", hint=f"known are {', '.join(METHODS)}")
    return tuple(METHODS[name] for name in names) if names else default


def parse_threads(text: str) -> int | None:
    """``auto`` (None) or a number. Raises UsageError."""
    if text.lower() == "auto":
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"threads must be auto or a number, not {text}")
    return int(text)


def parse_compression(text: str) -> Compression:
    """``off``, ``zlib``, ``zstd`` or ``zstd:LEVEL``. Raises UsageError."""
    algorithm, has_level, level = text.lower().partition(":")
    if algorithm not in ("off", "zlib", "zstd") or (has_level and algorithm != "zstd"):
        raise UsageError(f"unknown compression {text}", hint="known are zstd, zstd:LEVEL, zlib and off")
    if not has_level:
        return Compression(algorithm)
    if not (level.isascii() and level.isdigit()) or not 1 <= int(level) <= 22:
        raise UsageError(f"zstd has no level {level}", hint="levels are 1-22")
    return Compression(algorithm, int(level))
