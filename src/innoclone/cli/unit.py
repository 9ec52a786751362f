"""``innoclone unit``: a systemd service and timer for a command of innoclone."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.errors import TargetExists, UsageError
from innoclone.files.system import file_error
from innoclone.settings.dsn import is_dsn, parse_dsn
from innoclone.store.address import is_address

__all__ = ["unit"]

STORE = "store"
OF_STORES = ("forget", "prune", "verify")  # behind the one before: what is done to a store by the clock
COMMANDS = ("local", "clone", "backup", "agent", *(f"{STORE} {one}" for one in OF_STORES))
USUAL = {"agent": "agent", "backup": "store", **{f"{STORE} {one}": one for one in OF_STORES}}
SECRET = re.compile(r"(?i)secret|token|key|sig|password|credential")  # in the name of an option of a store
IN_A_FILE = "anybody could read them in the unit: 'systemctl edit' it, and name a file of root's by EnvironmentFile="
READABLE = "anybody could read it in the unit: put it into an option file (--defaults-file) or a login path"


@expand
def unit(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND [ARGUMENTS]...",
            help="What shall run, as typed: local, clone, backup, store forget|prune|verify or agent.",
        ),
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the units; default innoclone-backup, -store, ... or -agent.",
        ),
    ] = None,
    on_calendar: Annotated[
        str, typer.Option(metavar="CALENDAR", help="When, as in systemd.time(7).")
    ] = "*-*-* 02:30:00",
    user: Annotated[str, typer.Option(metavar="USER", help="Who runs it: mysqld's user, or root.")] = "mysql",
    install: Annotated[bool, typer.Option("--install", help="Write the files instead of printing them.")] = False,
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where they are written.")] = Path(
        "/etc/systemd/system"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="Also where other files of these names are.")] = False,
    output: OutputArgs,
) -> None:
    """Print or install a systemd service and timer for a nightly clone or backup or the care of a store, or the agent's
    service.

    Options of this command come before COMMAND, and what follows is that command's own. It is checked now, so that it
    isn't found to be wrong in the night.
    """
    out = output.open()
    command = " ".join(words[: 2 if words[0] == STORE else 1])
    if command not in COMMANDS:
        raise UsageError(f"no unit can be made for {command}", hint=f"known are {', '.join(COMMANDS)}")
    name = name or f"innoclone-{USUAL.get(command, 'backup')}"
    found = _units(name, command, words, user, on_calendar)
    if not install:
        for file, text in found.items():
            out.data(f"# ---- {directory / file}\n{text}")
        out.result({"units": found, "installed": False})
        return
    for file, text in found.items():
        out.message(f"wrote {_write(directory / file, text, replace=replace)}")
    if command != "agent" and not _is_known(user):
        out.warn(f"there is no user {user} on this host: the service will not run until there is")
    start = f"{name}.timer" if command != "agent" else f"{name}.service"
    out.message(f"to start it: systemctl daemon-reload && systemctl enable --now {start}")
    out.result({"units": found, "installed": True})
    out.completed()


def _units(name: str, command: str, words: list[str], user: str, calendar: str) -> dict[str, str]:
    """The text of each file. Raises UsageError for what could not run in the night."""
    from innoclone.cli.agentunit import unit as agents
    from innoclone.cli.systemd import nightly

    values = _parsed(command, words[len(command.split()) :])
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", name) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", user):
        raise UsageError("names of units and users are made of letters, digits, dashes, dots and underscores")
    if command == "agent":
        return {f"{name}.service": agents(Path(values["config"]) if values["config"] else None)}
    _check_calendar(calendar)
    options = ["--install", "--replace", f"--name={name}", f"--user={user}", f"--on-calendar={calendar}"]
    made = shlex.join(["innoclone", "unit", *options, *words])
    return nightly(name, words, what=command, calendar=calendar, user=user, made=made)


def _is_known(user: str) -> bool:
    """Whether this host has a user of that name or number."""
    try:
        _ = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _parsed(command: str, arguments: list[str]) -> Mapping[str, Any]:
    """The command's parameters as its own parser reads them. Raises UsageError, and what that raises."""
    from innoclone.cli.app import program

    if any(char in word for word in arguments for char in "\n\r\0"):
        raise UsageError("a unit can't have line breaks in its command")
    first, *rest = command.split()
    parser: Any = typer.main.get_command(program(first))
    parent = parser.context_class(parser)
    for word in (first, *rest):
        parser = parser.commands[word]
    values: dict[str, Any] = parser.make_context(f"innoclone {command}", list(arguments), parent=parent).params
    if values.get("password") is not None or values.get("ask_password"):
        raise UsageError("a unit can't have a password", hint=READABLE)
    for target in values.get("targets") or ():
        if command == "backup" and is_address(target):
            continue
        if is_dsn(target):
            if "password" in parse_dsn(target):
                raise UsageError("a unit can't have a password", hint=READABLE)
        elif not target.startswith("/"):
            raise UsageError(f"{target} is no absolute path: a service runs in another directory than this one")
    for option in values.get("store_option") or ():
        if SECRET.search(option.partition("=")[0]):
            raise UsageError("a unit can't have a store's credentials", hint=IN_A_FILE)
    for parameter in parser.params:
        value = values.get(parameter.name)
        if value and getattr(parameter.type, "name", "") == "path" and not str(value).startswith("/"):
            raise UsageError(f"{parameter.opts[0]}={value} is no absolute path: a service runs in another directory")
    if command == "local":
        from innoclone.cli.keeping import KeepArgs
        from innoclone.cli.local import split_local

        keeping = KeepArgs(**{item.name: values[item.name] for item in fields(KeepArgs)})
        split_local(values["targets"], values["to"], keeping.policy, dry_run=values["dry_run"])
    elif command == "clone":
        _check_repeated(values)
    return values


def _check_repeated(values: Mapping[str, Any]) -> None:
    """Raises UsageError for a clone over the network that would be refused when it is made for the second time."""
    from innoclone.cli.keeping import KeepArgs, split_kept

    keeping = KeepArgs(**{item.name: values[item.name] for item in fields(KeepArgs)})
    split_kept(values["targets"], values["to"], keeping.policy, "clone")
    repeated = values["write_changed_only"] or values["keep_base"] or values["to"]
    if not repeated and values["incremental"] != "require":
        raise UsageError(
            "the second clone into the same directory would be refused",
            hint="--write-changed-only updates the first, --incremental=require does from another innoclone; --to keeps"
            " dated ones",
        )


def _check_calendar(text: str) -> None:
    """Raises UsageError for what systemd wouldn't take, where there is one to ask."""
    if "\n" in text or not text.strip():
        raise UsageError("--on-calendar needs a time, as in '*-*-* 02:30:00' or daily")
    if (program := shutil.which("systemd-analyze")) is None:
        return
    done = subprocess.run([program, "calendar", "--", text], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or text).splitlines()[-1]
        raise UsageError(f"--on-calendar {shlex.quote(text)}: {said}", hint="as in '*-*-* 02:30:00' or daily")


def _write(path: Path, text: str, *, replace: bool) -> Path:
    """Write a unit whole. Raises `TargetExists` where another one of that name is, a file error."""
    try:
        if path.exists() and path.read_text(errors="replace") != text and not replace:
            raise TargetExists(
                f"{path} exists and says something else",
                hint="--replace writes it anew; settings of your own belong into 'systemctl edit'",
            )
        beside = path.with_name(f".{path.name}.new")
        with open(beside, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o644)) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        raise file_error(error, f"can't write {path}") from error
    return path
