"""The version that clients see."""

from innoclone.version import __version__

__all__ = ["SERVER_VERSION"]

SERVER_VERSION = f"9.7.0-innoclone-{__version__}"
