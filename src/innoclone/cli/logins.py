"""Which login in the option files belongs to which server, for a command that talks to two of them.

MySQL's programs use a password from an option file for whatever server the command line names. With two servers that
would send one's password to the other. So here each file, each login path and the environment is a *login* of its own:
host, port, socket, user and password in it count only for the server that it names.

A login that names no server belongs to the one whose user it names. Otherwise it is for the server that MySQL's
programs reach without a name; or, where it was chosen in this very command, for the only server there is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from innoclone.settings import login_path
from innoclone.settings.option_files import Setting
from innoclone.settings.options import USUAL_SOCKETS, VARIABLES, Sources
from innoclone.transport.endpoint import DEFAULT_PORT, LOOPBACK

__all__ = ["Login", "chosen_login", "logins_of", "only_for"]

PLACE = ("host", "port", "socket")
LOGIN = (*PLACE, "protocol", "user", "password", "skip-password")
ENVIRONMENT = "the environment"
_DEFAULT = ("default",)  # the server that is meant where none is named


@dataclass(frozen=True)
class Login:
    """What one place says: ``origin`` is a file, with a login path's name, or the environment."""

    origin: str
    options: Mapping[str, str]
    chosen: bool  # named in this very command, or put into its environment

    @property
    def names_server(self) -> bool:
        """Whether it says where its server is."""
        return any(self.options.get(option) for option in PLACE)

    @property
    def has_password(self) -> bool:
        """Whether there is a password in it."""
        return bool(self.options.get("password"))

    def fits(self, named: Mapping[str, str | None], *, alone: bool) -> bool:
        """Whether it is for the server with these options; ``alone``: no other server is talked to."""
        user, other = self.options.get("user"), named.get("user")
        if user and other and user != other:
            return False
        place, theirs = _place(self.options), _place(named)
        if self.names_server:
            # localhost may mean any socket: it is the file that says which.
            return place == theirs or (theirs == _DEFAULT and place[0] == "socket")
        return bool(user and other) or theirs == _DEFAULT or (self.chosen and alone)


def logins_of(sources: Sources, *, named: str | None = None, files: tuple[Path | None, ...] = ()) -> list[Login]:
    """The logins in ``sources``. Chosen are the login path ``named`` and those of ``files``."""
    environ = os.environ if sources.environ is None else sources.environ
    found: dict[str, dict[str, str]] = {}
    for origin, option, value in _pieces(sources, environ):
        found.setdefault(origin, {})[option] = value
    chosen = {str(path) for path in files if path} | {ENVIRONMENT}
    if named and (file := login_path.login_file(environ)):
        chosen.add(f"{file} [{named}]")
    return [Login(origin, options, origin in chosen) for origin, options in found.items()]


def chosen_login(logins: list[Login]) -> Login | None:
    """The last one that was chosen and says where its server is."""
    return next((each for each in reversed(logins) if each.chosen and each.names_server), None)


def only_for(
    sources: Sources, logins: list[Login], named: Mapping[str, str | None], *, alone: bool
) -> tuple[Sources, set[str]]:
    """``sources`` without the logins of other servers than that with these options; the origins of those left out."""
    out = {each.origin for each in logins if not each.fits(named, alone=alone)}
    environ = os.environ if sources.environ is None else sources.environ
    settings = [each for each in sources.settings if each.key not in LOGIN or _origin(each, environ) not in out]
    if ENVIRONMENT in out:
        environ = {name: value for name, value in environ.items() if name not in VARIABLES}
    return replace(sources, settings=settings, environ=environ), out


def _pieces(sources: Sources, environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for variable, option in VARIABLES.items():
        if value := environ.get(variable):
            yield ENVIRONMENT, option, value
    for setting in sources.settings:
        if setting.key in LOGIN:
            yield _origin(setting, environ), setting.key, setting.value or ""


def _origin(setting: Setting, environ: Mapping[str, str]) -> str:
    """The file; in the login path file each group is another login."""
    file = setting.origin.rpartition(":")[0]
    return f"{file} [{setting.group}]" if file == str(login_path.login_file(environ)) else file


def _place(options: Mapping[str, str | None]) -> tuple[object, ...]:
    """Something to compare servers by."""
    host, port, socket = ((options.get(name) or "").lower() if name == "host" else options.get(name) for name in PLACE)
    if socket and (host or "localhost") == "localhost":
        return _DEFAULT if Path(socket) in USUAL_SOCKETS else ("socket", socket)
    if not host or host in LOOPBACK:
        return _DEFAULT if not port and host in ("", "localhost") else ("loopback", str(port or DEFAULT_PORT))
    return (host, str(port or DEFAULT_PORT))
