"""The command ``innoclone``; each command has a module of its own."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the program; nothing is imported before."""
    from innoclone.front.cli.app import main as run

    run()
