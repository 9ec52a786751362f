"""A donor that is reached through ssh. The host is one word, ``ssh://user@host:port``, as rsync, borg and git write it;
what is cloned there is a directory, or a server as that host sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from innoclone.errors import UsageError
from innoclone.settings.dsn import SCHEME, parse_dsn, refuse_store
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.ssh import SshRoute, SshWay

__all__ = ["parse_via", "way_from", "way_of"]

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


def way_of(
    via: str, *, dsn: str | None, from_dir: str | None, program: str | None, say: Callable[[str], None]
) -> SshWay:
    """The way to what is cloned: ``from_dir``, or the server that ``dsn`` means on that host; without either the one
    that MySQL's programs there reach without being told. ``say`` is told what ssh says. Raises `UsageError`."""
    route = parse_via(via, program=program)
    if from_dir is None:
        if "password" in parse_dsn(dsn or SCHEME):
            raise UsageError(
                "a password in the DSN would have to be sent to the other host",
                hint="put it into ~/.my.cnf or a login path of the user there",
            )
        return SshWay(route, server=dsn or SCHEME, say=say)
    if dsn is not None:
        raise UsageError("the DSN and --from-dir name two donors", hint="leave one of them out")
    if not from_dir:
        raise UsageError("--from-dir is empty", hint="--from-dir DIRECTORY")
    refuse_store(from_dir, "--from-dir names a directory of the other host, not a store")
    return SshWay(route, directory=from_dir, say=say)


def way_from(
    via: str | None, donor: str | Endpoint | None, password: str | None, from_dir: str | None, program: str | None,
    *, say: Callable[[str], None],
) -> SshWay:  # fmt: skip
    """The same for a donor as functions are told it. Raises `UsageError`."""
    if via is None:
        raise UsageError("no donor is named", hint="name a server, or via='ssh://host' and what is there")
    if isinstance(donor, Endpoint) or password is not None:
        raise UsageError(
            "what is cloned through ssh is named by a DSN of the other host, without a password",
            hint="the password stands in an option file of the user there",
        )
    return way_of(via, dsn=donor, from_dir=from_dir, program=program, say=say)
