"""A command as MySQL's users know one: its defaults may stand in option files, and ``-p`` takes no next word.

`Command` reads the option files before the options, so that [innoclone] can hold any of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from innoclone.cli.arguments import FileArgs, forget_sources
from innoclone.errors import UsageError
from innoclone.report.output import Output
from innoclone.settings.option_files import Setting
from innoclone.settings.options import CONNECTION_OPTIONS, SWITCHES

__all__ = ["Command", "Program", "options_of"]

# What says which files to read can't stand in one.
ONLY_TYPED = {"--help", "--ask-password", "--login-path", "--defaults-file", "--defaults-extra-file", "--no-defaults"}

SKIPPING = ("skip-password", *(f"skip-{name}" for name in SWITCHES))


class Command(TyperCommand):
    """A command whose defaults may stand in the [innoclone] group of the option files."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Make MySQL's ``-p`` readable, then look up defaults, then parse."""
        names = {parameter.name for parameter in self.params}
        forget_sources()
        if args == ["-h"]:  # nobody means a host by that
            args = ["--help"]
        if "ask_password" in names:
            args = _readable_password(args, _flags(self.params))
        if "defaults_file" in names and "--help" not in args:
            given = self.make_parser(ctx).parse_args(args=list(args))[0]
            ctx.default_map = _defaults(ctx, self.params, _file_args(given))
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


class Program(TyperGroup):
    """The commands together. Not all of them need be loaded, but it knows their options."""

    def known_options(self) -> set[str]:
        """The long options of every command that an option file may hold."""
        return options_of(self)


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


def options_of(command: Any) -> set[str]:
    """The long options of a command, or of all in a group, that an option file may hold."""
    found = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for inner in getattr(command, "commands", {}).values():
        found |= options_of(inner)
    return found - ONLY_TYPED


def _is_another_commands(ctx: Any, option: str) -> bool:
    program = ctx.find_root().command
    return isinstance(program, Program) and option in program.known_options()


def _defaults(ctx: Any, parameters: Sequence[Any], files: FileArgs) -> dict[str, Any]:
    """What [innoclone] says about these parameters, by name. The connection's are left to `resolve`.

    Raises UsageError for an option that no command knows, unless it is a ``loose-`` one.
    """
    found: dict[str, Any] = {}
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)} - ONLY_TYPED
    for setting in files.sources(lambda _: None).settings:
        if setting.group.lower() != "innoclone" or setting.key in (*CONNECTION_OPTIONS, *SKIPPING):
            continue
        option = f"--{setting.key}"
        if option not in known and not setting.loose and not _is_another_commands(ctx, option):
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
