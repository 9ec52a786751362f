"""``innoclone version``."""

from __future__ import annotations

import sys

from innoclone.version import __version__

__all__ = ["version"]


def version() -> None:
    """Print the version."""
    sys.stdout.write(f"innoclone {__version__}\n")
