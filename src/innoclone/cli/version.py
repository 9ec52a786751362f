"""``innoclone version``."""

from __future__ import annotations

import sys

from innoclone.native.library import describe
from innoclone.version import __version__

__all__ = ["version"]


def version() -> None:
    """Print the version, and whether the native core is in use."""
    sys.stdout.write(f"innoclone {__version__}\n{describe()}\n")
