"""A host to be reached through ssh, in one word: ``ssh://user@host:port``, as rsync, borg and git write it."""

from __future__ import annotations

import re
from dataclasses import replace

from innoclone.errors import UsageError
from innoclone.transport.ssh import SshRoute

__all__ = ["parse_via"]

HINT = "write ssh://host, ssh://user@host or ssh://user@host:port"
_FORM = re.compile(r"ssh://(?:([^@/]*)@)?(\[[^\]/]*\]|[^:@/\[\]]*)(?::([0-9]*))?/?", re.IGNORECASE)
# What a name may have: nothing that is an option to ssh, or that a shell would read where ssh's configuration has one
# (ProxyCommand with %h or %r).
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+\\-]*")


def parse_via(text: str, *, program: str | None = None) -> SshRoute:
    """The route that a word names; ``program`` is innoclone over there. Raises `UsageError`."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"--via {text} is not understood", hint=HINT)
    user, host, port = found[1], found[2], found[3]
    if user is not None and not _USER.fullmatch(user):
        raise UsageError(f"{user!r} can't be the name of a user on another host", hint=HINT)
    if not _HOST.fullmatch(host.strip("[]")):
        raise UsageError(f"{host!r} can't be a host's name", hint=HINT)
    if port is not None and not (port and 1 <= int(port) <= 65535):
        raise UsageError(f"{port or 'nothing'} is no port", hint=HINT)
    route = SshRoute(host.strip("[]"), user, int(port) if port else None)
    if program is None:
        return route
    if not program or program.startswith("-") or "\0" in program or "\n" in program:
        raise UsageError(f"{program!r} can't be a program's name", hint="--remote-innoclone takes a path or a name")
    return replace(route, program=program)
