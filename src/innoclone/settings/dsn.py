"""A server named in one word: ``mysql://user:password@host:port?ssl-mode=VERIFY_CA``.

The forms are those of the manual's "Connecting Using URI-Like Connection Strings" where they make sense for a server
as a whole: no schema, and the Unix socket as ``mysql://user@/path``, ``mysql://user@(/path)`` or ``?socket=/path``.
Everything may be percent-encoded. Messages never repeat the text, because it may hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from innoclone.errors import UsageError

__all__ = ["INTO_STORE", "is_dsn", "parse_dsn", "refuse_store"]

SCHEME = "mysql://"
OUT_OF_STORE = "innoclone restore URL DIRECTORY makes a directory of a snapshot, on any host that reaches the store"
INTO_STORE = "innoclone backup puts a clone or a server into a store, innoclone restore makes a directory of a snapshot"
PARAMETERS = (
    "socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "connect-timeout", "protocol", "server-public-key-path",
    "get-server-public-key",
)  # fmt: skip

HINT = "write mysql://user@host:port, and percent-encode special characters (%40 for @, %2F for /)"


def is_dsn(word: str) -> bool:
    """Whether ``word`` is meant as a DSN rather than as a directory."""
    return re.match(r"[a-z][a-z0-9+.-]*://", word, re.IGNORECASE) is not None


def refuse_store(text: str, reason: str, *, hint: str = OUT_OF_STORE) -> None:
    """Raise UsageError for ``reason`` where the user names a store."""
    if "://" not in text or text[: len(SCHEME)].lower() == SCHEME:
        return
    from innoclone.store.address import is_address

    if is_address(text):
        raise UsageError(reason, hint=hint)


def parse_dsn(text: str) -> dict[str, str]:
    """The options that a DSN stands for, under their option names (host, port, ssl-mode, ...).

    Raises UsageError.
    """
    if text[: len(SCHEME)].lower() != SCHEME:
        refuse_store(text, "a donor is a server, not a store")
        raise UsageError("a DSN must start with mysql://", hint=HINT)
    address, _, query = text[len(SCHEME) :].partition("?")
    options: dict[str, str] = {}
    login, has_login, place = address.rpartition("@")
    if has_login:
        user, has_password, password = login.partition(":")
        if "/" in login:
            raise UsageError("user or password in the DSN holds a bare /", hint=HINT)
        if user:
            options["user"] = _decode(user)
        if has_password:
            options["password"] = _decode(password)
    options |= _place(place)
    for name, value in _parameters(query).items():
        if name in options:
            raise UsageError(f"the DSN names its {name} twice", hint=HINT)
        options[name] = value
    if "socket" in options and options.get("host", "localhost") != "localhost":
        raise UsageError("the DSN names a host and a socket", hint="a Unix socket belongs to localhost")
    return options


def _place(place: str) -> dict[str, str]:
    """Host and port, or the socket."""
    if place.startswith("(") and place.endswith(")"):
        return {"socket": _decode(place[1:-1])}
    if place.startswith("/") and len(place) > 1:
        return {"socket": _decode(place)}
    found = re.fullmatch(r"(\[[^\]]*\]|[^:/\[\]]*)(?::([0-9]*))?(/?)", place)
    if found is None:
        if re.match(r"(\[[^\]]*\]|[^:/\[\]]*)(?::[0-9]*)?/", place):
            raise UsageError("the DSN names a schema", hint="a clone is of the whole server: leave it out")
        raise UsageError("host and port of the DSN can't be read", hint=f"{HINT}; IPv6 addresses in brackets")
    options: dict[str, str] = {}
    if found[1]:
        host = _decode(found[1].strip("[]"))
        options["socket" if host.startswith("/") else "host"] = host
    if found[2]:
        options["port"] = found[2]
    return options


def _parameters(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, has_value, value = item.partition("=")
        name = _decode(name).lower().replace("_", "-")
        if name not in PARAMETERS:
            raise UsageError("unknown parameter in the DSN", hint=f"known are {', '.join(PARAMETERS)}")
        if not has_value or not value:
            raise UsageError(f"parameter {name} of the DSN has no value", hint=HINT)
        if name in options:
            raise UsageError(f"the DSN names its {name} twice", hint=HINT)
        if value.startswith("(") and value.endswith(")"):
            value = value[1:-1]
        options[name] = _decode(value)
    return options


def _decode(text: str) -> str:
    """Undo percent-encoding; what can't be part of a name or password in the protocol is refused."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise UsageError("a % in the DSN is not followed by two hexadecimal digits", hint="write it as %25")
    decoded = unquote(text, errors="surrogateescape")
    if "\0" in decoded:
        raise UsageError("the DSN holds a NUL byte", hint=HINT)
    return decoded
