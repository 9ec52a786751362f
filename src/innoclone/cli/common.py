"""What the commands share: connection and output options, and how they get into a command's signature.

`expand` lets a command take whole groups of options as one dataclass parameter; `Command` reads the option files
before the options, so that [innoclone] can hold any of them, and knows MySQL's ``-p``.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from innoclone.errors import UsageError
from innoclone.report.output import Output
from innoclone.settings.dsn import is_dsn
from innoclone.settings.option_files import Files, Setting
from innoclone.settings.options import CONNECTION_OPTIONS, SWITCHES, Sources, find_settings, resolve
from innoclone.transport.endpoint import Endpoint

__all__ = ["AccountArgs", "Command", "ConnectionArgs", "FileArgs", "OutputArgs", "expand", "split_targets"]

CONNECTION = "Connection"
ACCOUNT = "Account"
DEFAULT_ACCOUNT = "clone"
OPTION_FILES = "Option files"
OUTPUT = "Output"


def _option(*names: str, panel: str, help: str, metavar: str | None = None, hidden: bool = False) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, hidden=hidden)


# What says which files to read can't stand in one.
ONLY_TYPED = {"--help", "--ask-password", "--login-path", "--defaults-file", "--defaults-extra-file", "--no-defaults"}

SKIPPING = ("skip-password", *(f"skip-{name}" for name in SWITCHES))

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


class Command(TyperCommand):
    """A command whose defaults may stand in the [innoclone] group of the option files."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Make MySQL's ``-p`` readable, then look up defaults, then parse."""
        names = {parameter.name for parameter in self.params}
        _already_read.clear()
        if args == ["-h"]:  # nobody means a host by that
            args = ["--help"]
        if "ask_password" in names:
            args = _readable_password(args, _flags(self.params))
        if "defaults_file" in names and "--help" not in args:
            given = self.make_parser(ctx).parse_args(args=list(args))[0]
            ctx.default_map = _defaults(self.params, _file_args(given))
            if ctx.default_map.get("json"):
                Output(json_events=True)  # for what is wrong with the other options
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments as their metavars say."""
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(parameter.metavar) for parameter in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Options under the headings that they were given, plain and without rich."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                sections.setdefault("Arguments", []).append(
                    (str(parameter.metavar), getattr(parameter, "help", None) or "")
                )
            elif (record := parameter.get_help_record(ctx)) is not None:
                heading = getattr(parameter, "rich_help_panel", None) or "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def split_targets(targets: Sequence[str], *, most: int = 1) -> tuple[str | None, list[Path]]:
    """The DSN, if there is one among a command's arguments, and the directories. Raises UsageError."""
    servers = [word for word in targets if is_dsn(word)]
    directories = [Path(word).absolute() for word in targets if not is_dsn(word)]
    if len(servers) > 1 or len(directories) > most:
        raise UsageError("too many arguments", hint="a DSN starts with mysql://")
    return (servers[0] if servers else None), directories


def _flags(parameters: Sequence[Any]) -> str:
    """The letters of the short options that take no value."""
    return "".join(
        name[1] for each in parameters if getattr(each, "is_flag", False) for name in each.opts if len(name) == 2
    )


def _readable_password(args: Sequence[str], flags: str) -> list[str]:
    """``-p`` and ``--password`` alone never take the next word; ``-pTEXT`` is ``--password=TEXT``, also behind short
    options without a value (``flags``), as in ``-vp``."""
    options = list(itertools.takewhile(lambda word: word != "--", args))
    found = []
    for word in options:
        short = re.match(f"-([{flags}]*)p(.*)", word, re.DOTALL)
        if word == "--password":
            found.append("--ask-password")
        elif short is None:
            found.append(word)
        else:
            found += [f"-{short[1]}"] if short[1] else []
            found.append(f"--password={short[2]}" if short[2] else "--ask-password")
    return found + list(args[len(options) :])


def _file_args(given: Mapping[str, Any]) -> FileArgs:
    """`FileArgs` from what click's parser found, before any conversion."""
    paths = {name: Path(given[name]) for name in ("defaults_file", "defaults_extra_file") if name in given}
    return FileArgs(login_path=given.get("login_path"), no_defaults=bool(given.get("no_defaults")), **paths)


def _options(command: Any) -> set[str]:
    """The long options of a command, or of all in a group, that an option file may hold."""
    found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for inner in getattr(command, "commands", {}).values():
        found |= _options(inner)
    return found - ONLY_TYPED


def _is_another_commands(option: str) -> bool:
    from innoclone.cli.app import program  # all commands: it takes its time, and is rarely asked

    return option in _options(typer.main.get_command(program()))


def _defaults(parameters: Sequence[Any], files: FileArgs) -> dict[str, Any]:
    """What [innoclone] says about these parameters, by name. The connection's are left to `resolve`.

    Raises UsageError for an option that no command knows, unless it is a ``loose-`` one.
    """
    found: dict[str, Any] = {}
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)} - ONLY_TYPED
    for setting in files.sources(lambda _: None).settings:
        if setting.group.lower() != "innoclone" or setting.key in (*CONNECTION_OPTIONS, *SKIPPING):
            continue
        option = f"--{setting.key}"
        if option not in known and not setting.loose and not _is_another_commands(option):
            raise UsageError(f"unknown option {setting.name} at {setting.origin}", hint="innoclone COMMAND --help")
        for parameter in parameters:
            if option in parameter.secondary_opts:
                found[parameter.name] = not _switch(setting)
            elif option in parameter.opts and parameter.is_flag:
                found[parameter.name] = _switch(setting)
            elif option in parameter.opts and setting.value is None:
                raise UsageError(f"option {setting.name} needs a value at {setting.origin}")
            elif option in parameter.opts and parameter.multiple:
                found.setdefault(parameter.name, []).append(setting.value)
            elif option in parameter.opts:
                found[parameter.name] = setting.value
    return found


def _switch(setting: Setting) -> bool:
    """A boolean option's value: nothing, or what MySQL takes for one."""
    value = "1" if setting.value is None else setting.value.lower()
    if value not in ("1", "0", "on", "off", "true", "false"):
        raise UsageError(f"option {setting.name} must be ON or OFF at {setting.origin}")
    return value in ("1", "on", "true")
