"""``innoclone diff``: what differs between two clones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand

__all__ = ["diff"]


@expand
def diff(
    old: Annotated[Path, typer.Argument(metavar="DIR1", help="The older clone.")],
    new: Annotated[Path, typer.Argument(metavar="DIR2", help="The newer one.")],
    *,
    equal: Annotated[bool, typer.Option("--all", help="Also list tablespaces without a difference.")] = False,
    output: OutputArgs,
) -> None:
    """Say which tablespaces, and how many of their pages, differ between two clones."""
    from innoclone.commands.diff import diff as run
    from innoclone.commands.diff import has_unapplied_redo

    out = output.open()
    out.without_library()
    for directory in (old, new):
        if has_unapplied_redo(directory.absolute()):
            out.warn(f"{directory} was never started: what is only in its redo is not compared (innoclone boot)")
    found = run(old.absolute(), new.absolute())
    shown = [row for row in found if equal or row.kind != "equal"]
    width = max((len(row.name) for row in shown), default=0)
    for row in shown:
        was = f"  was {row.old_name}" if row.kind == "renamed" else ""
        out.data(f"{row.kind:<8} {row.name:<{width}}  {row.differing} of {row.pages} pages{was}")
    differing, pages = sum(row.differing for row in found), sum(row.pages for row in found)
    out.message(f"{differing} of {pages} pages differ, in {len([row for row in found if row.differing])} tablespaces")
    out.result({
        "pages": pages,
        "differing": differing,
        "tablespaces": [
            {"name": row.name, "kind": row.kind, "pages": row.pages, "differing": row.differing} for row in shown
        ],
    })  # fmt: skip
    out.completed()
