"""``innoclone diff``: what differs between two clones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.cli.storeargs import StoreArgs
from innoclone.report.output import Output

if TYPE_CHECKING:
    from innoclone.commands.storediff import Place

__all__ = ["diff"]


@expand
def diff(
    old: Annotated[str, typer.Argument(metavar="CLONE1", help="The older clone, or a store's URL[@SNAPSHOT].")],
    new: Annotated[str, typer.Argument(metavar="CLONE2", help="The newer one.")],
    *,
    equal: Annotated[bool, typer.Option("--all", help="Also list tablespaces without a difference.")] = False,
    store: StoreArgs,
    output: OutputArgs,
) -> None:
    """Say which tablespaces, and how many of their pages, differ between two clones.

    Of snapshots in a store only the hashes and what differs is read.
    """
    from innoclone.commands.storediff import diff_places
    from innoclone.store.address import is_address

    out = output.open()
    out.without_library()
    if not any(is_address(text) for text in (old, new)):
        store.refuse()
    names = {_place(text, store, out): text for text in (old, new)}
    places = [_place(text, store, out) for text in (old, new)]
    found, with_redo = diff_places(*places)
    for place in with_redo:
        when = "never started (innoclone boot)" if isinstance(place, Path) else "stored without having been started"
        out.warn(f"{names[place]} was {when}: what is only in its redo is not compared")
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


def _place(text: str, store: StoreArgs, out: Output) -> Place:
    from innoclone.commands.storediff import StoredPlace
    from innoclone.store.address import is_address, split_snapshot

    if not is_address(text):
        return Path(text).absolute()
    address, snapshot = split_snapshot(text)
    return StoredPlace(store.access(address, out), snapshot)
