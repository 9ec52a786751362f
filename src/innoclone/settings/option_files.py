"""MySQL's option files: which ones there are, and what they say.

Syntax and places are those of the manual's "Using Option Files"; where the manual is silent (quotes inside a value, an
unknown escape, what follows a ``]``) they are those of mysys/my_default.cc, and the tests compare with
``my_print_defaults``. One difference: a last line ``!include FILE`` may lack its newline.

Bad files, as tried with the mysql client 9.7.4: one that was **named** (``--defaults-file``, ``--defaults-extra-file``)
must be there and readable, and bad syntax ends the program, with MySQL's words. On purpose stricter are we where MySQL
goes on without what it was told, that is as root on localhost: a named file that is world-writable or a directory, an
``!include`` in it that can't be followed, and options that exclude each other are errors. Files at the standard places
are not named: there a world-writable one and a bad ``!include`` are warnings, as in MySQL, an unreadable one nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from innoclone.errors import UsageError

__all__ = ["Files", "Line", "Setting", "parse", "read", "home_of", "settings_of", "standard_files"]

Warn = Callable[[str], None]

# max_recursion_level of mysys/my_default.cc; deeper includes are skipped with a warning.
MAX_INCLUDE_DEPTH = 10

UNREADABLE = "check the path and who may read it"

# isspace() of the C locale. MySQL's latin1 also counts 0xA0, which would cut UTF-8 text in two.
SPACE = " \t\n\v\f\r"

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}


class Setting(NamedTuple):
    """One option as written: ``name`` untouched, ``value`` unquoted and unescaped, None if there was no ``=``."""

    group: str
    name: str
    value: str | None
    origin: str = ""  # "file:line", for messages

    @property
    def key(self) -> str:
        """The name as options are compared: dashes, no ``loose-``."""
        return self.name.replace("_", "-").removeprefix("loose-")

    @property
    def loose(self) -> bool:
        """Whether a program that doesn't know the option shall say nothing."""
        return self.name.replace("_", "-").startswith("loose-")


class Line(NamedTuple):
    """A line that is an ``!include`` or ``!includedir`` directive."""

    directive: str
    argument: str
    origin: str


class Files(NamedTuple):
    """Which option files to read (the options of the manual's "Options that Affect Option-File Handling")."""

    defaults_file: Path | None = None
    defaults_extra_file: Path | None = None
    no_defaults: bool = False


def parse(text: str, name: str = "", *, login_file: bool = False) -> Iterator[Setting | Line]:
    """The settings and directives of one file, in order. A login file knows no comments at a line's end.

    Raises UsageError for an option before the first group and for a group without its ``]``.
    """
    group: str | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line, origin, where = raw.strip(SPACE), f"{name}:{number}", f"in config file {name} at line {number}"
        if not line or line[0] in "#;":
            continue
        if line[0] == "!":
            yield from _directive(line[1:].lstrip(SPACE), origin, where)
        elif line[0] == "[":
            inside, closed, _ = line[1:].partition("]")
            if not closed:
                raise UsageError(f"wrong group definition {where}", hint="write it as [name]")
            group = inside.rstrip(SPACE)
        elif group is None:
            raise UsageError(f"found option without preceding group {where}", hint="start the file with [client]")
        else:
            yield _setting(group, line if login_file else _without_comment(line), origin)


def _directive(text: str, origin: str, where: str) -> Iterator[Line]:
    found = re.match(r"(includedir|include)[ \t\v\f\r]+(.*)", text)
    if found is not None:  # an unknown directive is ignored, as MySQL does
        yield Line(found[1], found[2].strip(SPACE), origin)
    elif text in ("include", "includedir"):
        raise UsageError(f"wrong '!{text}' directive {where}", hint=f"write it as !{text} PATH")


def _without_comment(line: str) -> str:
    """Cut at the first ``#`` outside of quotes."""
    quote, escaped = "", False
    for position, letter in enumerate(line):
        if letter in "'\"" and not escaped:
            if not quote:
                quote = letter
            elif quote == letter:
                quote = ""
        if not quote and letter == "#":
            return line[:position]
        escaped = bool(quote) and letter == "\\" and not escaped
    return line


def _setting(group: str, line: str, origin: str) -> Setting:
    name, has_value, value = line.partition("=")
    name = name.rstrip(SPACE)
    if not has_value:
        return Setting(group, name, None, origin)
    value = value.strip(SPACE)
    if len(value) > 1 and value[0] in "'\"" and value[0] == value[-1]:
        value = value[1:-1]
    return Setting(group, name, _unescape(value), origin)


def _unescape(value: str) -> str:
    """Undo the known escapes; an unknown one keeps its backslash."""
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), value, flags=re.DOTALL)


def standard_files(home: Path | None, files: Files) -> list[tuple[Path, bool]]:
    """The files to read, in order, each with whether it was named. Raises UsageError where options exclude each other.

    $MYSQL_HOME/my.cnf is left out: the manual reserves it for servers.
    """
    named = [f"--{option}" for option, value in (
        ("no-defaults", files.no_defaults),
        ("defaults-file", files.defaults_file is not None),
        ("defaults-extra-file", files.defaults_extra_file is not None),
    ) if value]  # fmt: skip
    if len(named) > 1:  # MySQL would leave one of them out without a word
        raise UsageError(f"{named[0]} and {named[1]} exclude each other", hint="name one of them")
    if files.no_defaults:
        return []
    if files.defaults_file is not None:
        return [(files.defaults_file, True)]
    found = [(Path("/etc/my.cnf"), False), (Path("/etc/mysql/my.cnf"), False)]
    if files.defaults_extra_file is not None:
        found.append((files.defaults_extra_file, True))
    if home is not None:
        found.append((home / ".my.cnf", False))
    return found


def read(path: Path, *, named: bool = False, warn: Warn) -> list[Setting]:
    """The settings of ``path`` and of what it includes, in order.

    What can't be read, must not be trusted or includes such a file is an error if it was ``named``; else it is left
    out, see the top of this file. Raises UsageError.
    """
    return list(_read(path, "", named, warn, depth=0))


def _read(path: Path, directive: str, named: bool, warn: Warn, depth: int) -> Iterator[Setting]:
    """``directive`` is the one that names the file, with its place."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            if named:
                raise UsageError(f"world-writable config file '{path}' can't be trusted", hint=f"chmod o-w {path}")
            warn(f"world-writable config file '{path}' is ignored")
            return
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        if named:
            what = f"config file {path}, which {directive} names" if directive else f"required defaults file: {path}"
            raise UsageError(
                f"failed to open {what} ({_reason(error)})", hint="check the path and who may read it"
            ) from None
        if directive:
            warn(f"stopped processing {directive}: {path}: {_reason(error)}")
        return
    for item in parse(text, str(path)):
        if isinstance(item, Setting):
            yield item
            continue
        directive = f"!{item.directive} at {item.origin}"
        if depth >= MAX_INCLUDE_DEPTH:
            if named:
                raise UsageError(f"{directive}: nested too deep", hint=f"at most {MAX_INCLUDE_DEPTH} levels are read")
            warn(f"{directive} is ignored: nested too deep")
            continue
        for included in _included(item):
            yield from _read(included, directive, named, warn, depth + 1)


def _reason(error: OSError) -> str:
    return f"OS errno {error.errno} - {error.strerror}"


def _included(line: Line) -> list[Path]:
    """A folder below an included one is no file of it, whatever its name."""
    if line.directive == "include":
        return [Path(line.argument)]
    try:
        with os.scandir(line.argument) as entries:
            return sorted(Path(entry) for entry in entries if entry.name.endswith(".cnf") and not entry.is_dir())
    except OSError as error:
        raise UsageError(
            f"can't read dir of '{line.argument}' ({_reason(error)}), which !{line.directive} at {line.origin} names",
            hint=UNREADABLE,
        ) from None


def settings_of(settings: Iterable[Setting], groups: Sequence[str]) -> Iterator[Setting]:
    """Those of ``settings`` that belong to ``groups`` (compared without regard to case, as MySQL does)."""
    wanted = {group.lower() for group in groups}
    return (setting for setting in settings if setting.group.lower() in wanted)


def home_of(environ: Mapping[str, str]) -> Path | None:
    """The home directory as MySQL's programs see it: $HOME."""
    home = environ.get("HOME")
    return Path(home) if home else None
