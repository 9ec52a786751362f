"""What the commands share: connection and output options, and how such groups get into a command's signature.

`expand` lets a command take whole groups of options as one dataclass parameter.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from innoclone.dataclass import dataclass
from innoclone.errors import UsageError
from innoclone.report.output import Output
from innoclone.settings.dsn import INTO_STORE, is_dsn, refuse_store
from innoclone.settings.option_files import Files
from innoclone.settings.options import CONNECTION_OPTIONS, SWITCHES, Sources, find_settings, resolve
from innoclone.transport.endpoint import Endpoint

__all__ = [
    "CONNECTION", "OPTION_FILES", "OUTPUT", "AccountArgs", "ConnectionArgs", "FileArgs", "OutputArgs", "expand",
    "forget_sources", "parse_size", "refuse_address", "split_targets",
]  # fmt: skip

CONNECTION = "Connection"
ACCOUNT = "Account"
DEFAULT_ACCOUNT = "clone"
OPTION_FILES = "Option files"
OUTPUT = "Output"
LARGEST_SIZE = 1 << 63  # bytes; no file system has more


def _option(*names: str, panel: str, help: str, metavar: str | None = None, hidden: bool = False) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, hidden=hidden)


_connection = functools.partial(_option, panel=CONNECTION)
_files = functools.partial(_option, panel=OPTION_FILES)
_output = functools.partial(_option, panel=OUTPUT)


@dataclass(frozen=True)
class ConnectionArgs:
    """The connection options of MySQL's client programs."""

    host: Annotated[
        str | None, _connection("--host", "-h", metavar="NAME", help="Host of the server; default localhost.")
    ] = None
    port: Annotated[str | None, _connection("--port", "-P", metavar="N", help="TCP port; default 3306.")] = None
    user: Annotated[str | None, _connection("--user", "-u", metavar="NAME", help="Account to log in with.")] = None
    password: Annotated[
        str | None,
        _connection(
            "--password", "-p", metavar="[=TEXT]", help="Password (-pTEXT for short); without a value it is asked for."
        ),
    ] = None
    ask_password: Annotated[bool, _connection("--ask-password", hidden=True, help="What a bare -p becomes.")] = False
    socket: Annotated[
        str | None, _connection("--socket", "-S", metavar="PATH", help="Unix socket of a server on this host.")
    ] = None
    protocol: Annotated[str | None, _connection("--protocol", metavar="TCP|SOCKET", help="Instead of guessing.")] = None
    ssl_mode: Annotated[
        str | None,
        _connection(
            "--ssl-mode",
            metavar="MODE",
            help="DISABLED, PREFERRED, REQUIRED (the default), VERIFY_CA or VERIFY_IDENTITY.",
        ),
    ] = None
    ssl_ca: Annotated[str | None, _connection("--ssl-ca", metavar="FILE", help="CA certificate to trust.")] = None
    ssl_cert: Annotated[str | None, _connection("--ssl-cert", metavar="FILE", help="Our certificate.")] = None
    ssl_key: Annotated[str | None, _connection("--ssl-key", metavar="FILE", help="Its key.")] = None
    connect_timeout: Annotated[
        str | None,
        _connection("--connect-timeout", metavar="SECONDS", help="Wait this long for a connection; default 10."),
    ] = None
    server_public_key_path: Annotated[
        str | None,
        _connection(
            "--server-public-key-path", metavar="FILE", help="The server's RSA key, to log in without TLS (PEM)."
        ),
    ] = None
    get_server_public_key: Annotated[
        bool,
        _connection(
            "--get-server-public-key", help="Without TLS: log in with the RSA key that the server sends, whoever it is."
        ),
    ] = False

    @property
    def typed(self) -> dict[str, str | None]:
        """The options that were on the command line, by option name; None for a password to ask for."""
        found: dict[str, str | None] = {}
        for option in CONNECTION_OPTIONS:
            value = getattr(self, option.replace("-", "_"))
            if option in SWITCHES:
                value = "1" if value else None
            if value is not None:
                found[option] = value
        return found | ({"password": None} if self.ask_password else {})

    def endpoint(self, dsn: str | None, files: FileArgs, output: Output) -> Endpoint:
        """The server that is meant."""
        return resolve(self.typed, files.sources(output.warn), dsn=dsn, warn=output.warn)


@dataclass(frozen=True)
class AccountArgs:
    """The account that others log in with here."""

    user: Annotated[
        str | None, _option("--user", "-u", panel=ACCOUNT, metavar="NAME", help="Its name; default clone.")
    ] = None
    password: Annotated[
        str | None,
        _option(
            "--password", "-p", panel=ACCOUNT, metavar="[=TEXT]", help="Its password; without a value it is asked for."
        ),
    ] = None
    ask_password: Annotated[
        bool, _option("--ask-password", panel=ACCOUNT, hidden=True, help="What a bare -p becomes.")
    ] = False

    def resolve(self, files: FileArgs, output: Output) -> tuple[str, str]:
        """User and password; the password is empty where none was given, the user `DEFAULT_ACCOUNT`.

        They may stand in option files, a login path and MYSQL_PWD as elsewhere.
        """
        typed: dict[str, str | None] = {"user": self.user} if self.user is not None else {}
        if self.password is not None or self.ask_password:
            typed["password"] = None if self.ask_password else self.password
        sources = files.sources(output.warn)
        named = "user" in typed or any(setting.key == "user" for setting in sources.settings)
        found = resolve(typed, sources, warn=output.warn)
        return found.user if named else DEFAULT_ACCOUNT, found.password


@dataclass(frozen=True)
class FileArgs:
    """Which option files and which login path count."""

    login_path: Annotated[
        str | None, _files("--login-path", metavar="NAME", help="Login path of mysql_config_editor to use.")
    ] = None
    defaults_file: Annotated[
        Path | None, _files("--defaults-file", metavar="FILE", help="Read this option file only.")
    ] = None
    defaults_extra_file: Annotated[
        Path | None, _files("--defaults-extra-file", metavar="FILE", help="Read this option file as well.")
    ] = None
    no_defaults: Annotated[bool, _files("--no-defaults", help="Read no option file but the login path file.")] = False

    def sources(self, warn: Callable[[str], None]) -> Sources:
        """The settings in them. They are read once for a command line: a named file may be a pipe, `<(...)`."""
        if self not in _already_read:
            files = Files(_at_home(self.defaults_file), _at_home(self.defaults_extra_file), self.no_defaults)
            warnings: list[str] = []
            _already_read[self] = find_settings(files, login=self.login_path, warn=warnings.append), warnings
        sources, warnings = _already_read[self]
        for text in warnings:
            warn(text)
        return sources

    def name_a_server(self) -> bool:
        """Whether an option file that was named in this very command says where a server is or who logs in, or a login
        path was named. Raises UsageError."""
        named = [_at_home(path) for path in (self.defaults_file, self.defaults_extra_file) if path is not None]
        return self.login_path is not None or any(
            setting.key in ("host", "port", "socket", "user") and setting.origin.rpartition(":")[0] == str(path)
            for setting in self.sources(lambda _: None).settings
            for path in named
        )


def _at_home(path: Path | None) -> Path | None:
    """With ~ for the home directory, as MySQL reads it: no shell replaces it behind a =."""
    return None if path is None else Path(os.path.expanduser(path))  # noqa: PTH111 - an unknown ~user stays as it is


_already_read: dict[FileArgs, tuple[Sources, list[str]]] = {}


def forget_sources() -> None:
    """What was read for an earlier command line counts no more."""
    _already_read.clear()


@dataclass(frozen=True)
class OutputArgs:
    """How a command talks."""

    quiet: Annotated[bool, _output("--quiet", "-q", help="Only warnings, errors and the last line.")] = False
    verbose: Annotated[bool, _output("--verbose", "-v", help="Tell more, and progress more often.")] = False
    json: Annotated[bool, _output("--json", help="Write events and the result to stdout, one JSON object a line.")] = (
        False
    )
    log_file: Annotated[
        Path | None, _output("--log-file", metavar="FILE", help="Also append messages and progress to this file.")
    ] = None
    debug: Annotated[bool, _output("--debug", help="Show a traceback when something unexpected fails.")] = False

    def open(self) -> Output:
        """The way out that these options ask for."""
        return Output(quiet=self.quiet, verbose=self.verbose, json_events=self.json, log_file=self.log_file)


def expand(body: Callable[..., int | None]) -> Callable[..., int | None]:
    """Replace each parameter of ``body`` that is a dataclass by that dataclass's fields, for typer to see."""
    hints = get_type_hints(body, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(body).parameters.items():
        kind = hints[name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = kind
        inner = get_type_hints(kind, include_extras=True)
        for item in fields(kind):
            parameters.append(
                inspect.Parameter(
                    item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=inner[item.name]
                )
            )

    @functools.wraps(body)
    def command(**values: Any) -> int | None:
        for name, kind in groups.items():
            values[name] = kind(**{item.name: values.pop(item.name) for item in fields(kind)})
        return body(**values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def split_targets(targets: Sequence[str], *, most: int = 1) -> tuple[str | None, list[Path]]:
    """The DSN, if there is one among a command's arguments, and the directories. Raises UsageError."""
    servers = [word for word in targets if is_dsn(word)]
    directories = [Path(word).absolute() for word in targets if not is_dsn(word)]
    for word in servers:
        refuse_store(word, "this takes a server and a directory, and no store", hint=INTO_STORE)
    if len(servers) > 1 or len(directories) > most:
        raise UsageError("too many arguments", hint="a DSN starts with mysql://")
    return (servers[0] if servers else None), directories


def refuse_address(
    directory: Path, *, hint: str = "innoclone restore URL DIRECTORY makes one of a snapshot"
) -> None:  # fmt: skip
    """Where only a directory will do: a server runs on it, or something is made there. Raises UsageError."""
    scheme, separator, rest = str(directory).partition(":/")
    if not separator:
        return
    from innoclone.store.address import is_address

    if is_address(f"{scheme}://{rest}") and not directory.exists():
        raise UsageError(f"{scheme}://{rest.lstrip('/')} is a store, and this needs a directory", hint=hint)


def parse_size(text: str) -> int:
    """Bytes of ``300M``, ``1.5G`` or ``1000000``, with MySQL's powers of 1024; raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = float(found[1]) * 1024 ** " KMG".index(found[2].upper() or " ") if found else 0
    if not 1 <= size < LARGEST_SIZE:
        raise UsageError(f"{text!r} is not a size", hint="write it as 300M or 2G")
    return int(size)
