"""Versions of MySQL servers, as they are sent and as numbers that can be compared."""

from __future__ import annotations

import re

from innoclone.errors import ProtocolError, VersionUnsupported

__all__ = ["check_version", "version_number"]

FIRST_VERSION = 80017  # the clone plugin's first release


def version_number(text: str) -> int:
    """``9.7.4-debug`` as 90704. Raises `ProtocolError`."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{1,3})(?!\d)[!-~]{0,80}", text)
    if match is None:
        raise ProtocolError(f"server version {text[:40]!r} is not a version")
    major, minor, patch = (int(part) for part in match.groups())
    return major * 10000 + minor * 100 + patch


def check_version(text: str) -> int:
    """The version as a number, if it can be cloned. Raises `VersionUnsupported`."""
    if "MariaDB" in text:
        raise VersionUnsupported(f"the server is {text}", hint="use mariadb-backup for MariaDB")
    number = version_number(text)
    if number < FIRST_VERSION:
        raise VersionUnsupported(f"the donor is {text}, the clone plugin exists since 8.0.17")
    return number
