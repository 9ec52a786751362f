"""Keeps the generated parts of docs/ in step with the code: ``python -m innoclone.cli.reference docs``.

The pages are written by hand around blocks ``<!-- generated: NAME -->`` ... ``<!-- end -->``; `refresh` fills them.
Names are ``command NAME``, ``panel HEADING``, ``exit-statuses`` and ``errors``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from innoclone.cli.app import exit_statuses, program
from innoclone.cli.arguments import CONNECTION, OPTION_FILES, OUTPUT
from innoclone.errors import CloneError, registry

__all__ = ["PAGES", "commands", "refresh"]

PAGES = ("cli.md", "errors.md")
SHARED = (CONNECTION, OPTION_FILES, OUTPUT)

BLOCK = re.compile(r"(<!-- generated: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> dict[str, Any]:
    """Every command by its full name, ``clone`` or ``sandbox start``."""
    return dict(_walk(typer.main.get_command(program()), ""))


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from _walk(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def refresh(page: str) -> str:
    """``page`` with all its blocks generated anew. Raises KeyError for a block that nothing can fill."""
    return BLOCK.sub(lambda found: f"{found[1]}{_block(found['name'])}\n{found[3]}", page)


def _block(name: str) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "command":
        return _command(rest, commands()[rest])
    if kind == "panel":
        return _table(_records(commands()["clone"])[rest])
    return {"exit-statuses": _exit_statuses, "errors": _errors}[name]()


def _command(name: str, command: Any) -> str:
    usage = " ".join(["innoclone", name, *command.collect_usage_pieces(_context(command))])
    records = _records(command)
    parts = [f"```\n{usage}\n```", _help(command)]
    for heading, rows in records.items():
        if heading not in SHARED:
            parts.append(_table(rows, heading))
    if shared := [heading for heading in SHARED if heading in records]:
        links = ", ".join(f"[{heading.lower()}](#{heading.lower().replace(' ', '-')})" for heading in shared)
        parts.append(f"Also: {links}.")
    return "\n\n".join(parts)


def _help(command: Any) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", command.help or "")


def _context(command: Any) -> Any:
    return command.context_class(command, info_name=command.name)


def _records(command: Any) -> dict[str, list[tuple[str, str]]]:
    """Arguments and options with their help, by heading, --help itself left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    ctx = _context(command)
    for parameter in command.params:
        heading = getattr(parameter, "rich_help_panel", None) or "Options"
        if parameter.param_type_name == "argument":
            found.setdefault("Arguments", []).append((parameter.metavar or parameter.name, parameter.help or ""))
        elif (record := parameter.get_help_record(ctx)) is not None:
            found.setdefault(heading, []).append(record)
    return found


def _table(rows: list[tuple[str, str]], heading: str = "Option") -> str:
    lines = [f"| {heading} | |", "|---|---|"]
    for name, text in rows:
        lines.append(f"| `{_cell(name)}` | {_cell(re.sub(r' +', ' ', text))} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _exit_statuses() -> str:
    rows = [f"| {status} | {', '.join(names)} |" for status, names in exit_statuses().items()]
    return "\n".join(["| Exit status | |", "|---|---|", *rows])


def _errors() -> str:
    lines = [
        "| Error | Number | Guide | Symbol | SQLSTATE | Exit | Retry | Goes on | Meaning | What to do |",
        "|" + "---|" * 10,
    ]
    for kind in registry():
        if kind.__name__ not in ("CloneError", "LocalFault", "RemoteFault"):
            lines.append(_error(kind))
    return "\n".join(lines)


def _error(kind: type[CloneError]) -> str:
    meaning = (kind.__doc__ or "").split("\n")[0]
    yes = {True: "yes", False: "no"}
    cells = (
        kind.__name__, kind.number, kind.guide_number or "", kind.symbol, kind.sqlstate, kind.exit_status,
        yes[kind.retryable], yes[kind.resumable], meaning, kind.hint,
    )  # fmt: skip
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def main(folder: Path) -> None:
    """Rewrite the pages in ``folder``."""
    for name in PAGES:
        page = folder / name
        page.write_text(refresh(page.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
