"""``clone_valid_donor_list``: what it may hold, and which donors are on it.

As in the clone plugin (tried with 9.7.4): names are compared without regard to case, ports by their number, and a name
is never looked up. Addresses of IPv6, which the plugin refuses, stand in brackets and are compared as addresses.
"""

from __future__ import annotations

import ipaddress
import re

from innoclone.agent.faults import StatementError

__all__ = ["check_list", "is_listed"]

FORMAT_HINT = 'Invalid Format. Please enter "<hostname1>:<port1>,..."\' with no extra space'
ENTRY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,]+):(\d+)", re.ASCII)


def check_list(text: str) -> None:
    """``host:port`` with commas between, and no blanks. Raises error 3869."""
    for entry in text.split(","):
        if not ENTRY.fullmatch(entry):
            raise StatementError(3869, FORMAT_HINT)


def is_listed(host: str, port: int, text: str) -> bool:
    """Whether a donor is on the list."""
    entries = [found for entry in text.split(",") if (found := ENTRY.fullmatch(entry)) is not None]
    return any(int(entry[2]) == port and _is_same(entry[1], host) for entry in entries)


def _is_same(entry: str, host: str) -> bool:
    if not entry.startswith("["):
        return entry.lower() == host.lower()
    try:
        return ipaddress.IPv6Address(entry[1:-1]) == ipaddress.IPv6Address(host)
    except ValueError:
        return False
