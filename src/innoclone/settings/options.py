"""From what the user typed, the option files and the environment to an `Endpoint`, the way MySQL's programs do it.

Precedence, lowest first: MYSQL_* variables, option files, login path, DSN, options on the command line (manual,
"Specifying Program Options"). Groups read: [client] and [innoclone], in the order of the files.

Differences from MySQL's own clients, all on purpose:

* ``--ssl-mode`` is REQUIRED unless named, because a clone contains everything. As in MySQL, a CA file without a mode
  means VERIFY_CA. Over a Unix socket the default is DISABLED: what stays inside the kernel needs no TLS.
* ``localhost`` means the Unix socket when one was named or one is at a usual place; with a port on the command line
  or in the DSN it means TCP (MySQL would ignore the port without a word).
* A socket on the command line wins over a host in an option file.
* An option of [client] that innoclone doesn't know is ignored: it is for the other programs.
* A file or login path that was named and can't be used is an error (see `option_files`); MySQL's clients go on without
  a login path that isn't there.
"""

from __future__ import annotations

import getpass
import os
import pwd
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from innoclone.dataclass import dataclass
from innoclone.errors import UsageError
from innoclone.settings import login_path
from innoclone.settings.dsn import parse_dsn
from innoclone.settings.option_files import Files, Setting, home_of, read, settings_of, standard_files
from innoclone.transport.endpoint import DEFAULT_PORT, Endpoint, SslMode

__all__ = ["CONNECTION_OPTIONS", "GROUPS", "SWITCHES", "ConnectionKeywords", "Sources", "find_settings", "resolve"]

GROUPS = ("client", "innoclone")

CONNECTION_OPTIONS = (
    "host", "port", "user", "password", "socket", "protocol",
    "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "connect-timeout", "server-public-key-path", "get-server-public-key",
)  # fmt: skip

SWITCHES = ("get-server-public-key",)  # of them: what needs no value


class ConnectionKeywords(TypedDict, total=False):
    """The same as keywords, values as they are typed on a command line; ``password`` is left to the caller."""

    host: str
    port: str
    user: str
    socket: str
    protocol: str
    ssl_mode: str
    ssl_ca: str
    ssl_cert: str
    ssl_key: str
    connect_timeout: str
    server_public_key_path: str
    get_server_public_key: bool


# Manual, "Environment Variables"; MYSQL_HOST is read by the mysql client alone, and by us.
VARIABLES = {
    "MYSQL_HOST": "host", "MYSQL_TCP_PORT": "port", "MYSQL_UNIX_PORT": "socket", "MYSQL_PWD": "password",
}  # fmt: skip

# MySQL's own default, then those of the Debian and the RPM packages.
USUAL_SOCKETS = (
    Path("/tmp/mysql.sock"),  # noqa: S108 - the server's choice, not ours
    Path("/run/mysqld/mysqld.sock"),
    Path("/var/lib/mysql/mysql.sock"),
)

VERIFYING = (SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY)

VISIBLE_TO_ALL = (
    "a password on the command line can be seen by every user of this machine; "
    "use --login-path, an option file, or -p alone to be asked"
)
VISIBLE_VARIABLE = "the password in MYSQL_PWD can be seen by other processes; use --login-path or an option file"


class Given(NamedTuple):
    """A value and how it got here: ``source`` is environment, file, dsn or typed."""

    value: str | None
    source: str
    origin: str

    @property
    def direct(self) -> bool:
        """Whether it was named in this very command."""
        return self.source in ("dsn", "typed")


@dataclass(frozen=True)
class Sources:
    """All that is known before the command line: the option files' settings, login path last, and the environment."""

    settings: Sequence[Setting] = ()
    environ: Mapping[str, str] | None = None


def find_settings(
    files: Files, *, login: str | None = None, environ: Mapping[str, str] | None = None, warn: Callable[[str], None]
) -> Sources:
    """Read the option files and the login path (``login`` names one besides [client]). Raises UsageError."""
    env = os.environ if environ is None else environ
    found: list[Setting] = []
    for path, named in standard_files(home_of(env), files):
        found += settings_of(read(path, named=named, warn=warn), GROUPS)
    login_file = login_path.login_file(env)
    if login_file is not None:
        entries = login_path.read(login_file, named=login is not None, warn=warn)
        if login is not None and not any(settings_of(entries, (login,))):
            raise UsageError(f"there is no login path {login} in {login_file}", hint="mysql_config_editor print --all")
        found += settings_of(entries, (*GROUPS, login) if login else GROUPS)
    elif login is not None:
        raise UsageError("there is no home directory to look for login paths in", hint="set HOME")
    return Sources(found, env)


def resolve(
    typed: Mapping[str, str | None],
    sources: Sources,
    *,
    dsn: str | None = None,
    role: str = "",
    warn: Callable[[str], None],
    ask: Callable[[str], str] | None = None,
) -> Endpoint:
    """The server that the user means. ``typed`` has the options of `CONNECTION_OPTIONS` that were on the command line;
    a password of None is asked for with ``ask``, by default on the terminal. ``role`` says which of several servers
    that is for. Raises UsageError.
    """
    given = _merge(typed, sources, dsn)
    socket = _socket(given)
    mode = _ssl_mode(given, socket)
    paths = {name: _path(given, f"ssl-{name}") for name in ("ca", "cert", "key")}
    if mode in VERIFYING and paths["ca"] is None:
        raise UsageError(
            f"--ssl-mode={mode.value} needs a CA certificate",
            hint="name it with --ssl-ca (the server's own is ca.pem in its data directory)",
        )
    if "ssl-mode" in given and mode not in VERIFYING and paths["ca"] is not None and mode is not SslMode.DISABLED:
        warn(f"--ssl-ca is not used to verify the server with --ssl-mode={mode.value}")
    if (paths["cert"] is None) != (paths["key"] is None):
        raise UsageError("--ssl-cert and --ssl-key go together", hint="name both or none")
    host = (_text(given, "host") if socket is None else "") or "localhost"
    user = _text(given, "user") or default_user()
    shown = f"{role} {user}@{socket or host}".lstrip()
    return Endpoint(
        host=host,
        port=_number(given, "port", 65535) or DEFAULT_PORT,
        user=user,
        password=_password(given, shown, warn, ask or ask_on_terminal),
        socket=socket,
        ssl_mode=mode,
        ssl_ca=paths["ca"],
        ssl_cert=paths["cert"],
        ssl_key=paths["key"],
        connect_timeout=float(_number(given, "connect-timeout", 31536000) or Endpoint.connect_timeout),
        server_public_key_path=_path(given, "server-public-key-path"),
        get_server_public_key=_switch(given, "get-server-public-key"),
    )


def ask_on_terminal(prompt: str) -> str:
    """Read a password without showing it. Raises UsageError where there is no terminal: nothing may echo it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError):
            raise UsageError(
                "there is no terminal to ask for the password on", hint="use --login-path or an option file"
            ) from None


def default_user() -> str:
    """Who one is to MySQL without ``--user``: root for the superuser, else the login name (sql-common/client.cc)."""
    if os.geteuid() == 0:
        return "root"
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.environ.get("USER", "")


def _merge(typed: Mapping[str, str | None], sources: Sources, dsn: str | None) -> dict[str, Given]:
    """Later sources replace earlier ones, option by option."""
    given: dict[str, Given] = {}
    for variable, option in VARIABLES.items():
        if value := (sources.environ or {}).get(variable):
            given[option] = Given(value, "environment", variable)
    for setting in sources.settings:
        if setting.key == "skip-password":
            given["password"] = Given("", "file", setting.origin)
        elif setting.key.removeprefix("skip-") in SWITCHES:
            given[setting.key.removeprefix("skip-")] = Given(_switched(setting), "file", setting.origin)
        elif setting.key in CONNECTION_OPTIONS:
            given[setting.key] = Given(setting.value, "file", setting.origin)
    for option, value in (parse_dsn(dsn) if dsn is not None else {}).items():
        given[option] = Given(value, "dsn", "the DSN")
    for option, text in typed.items():
        given[option] = Given(text, "typed", f"--{option}")
    return given


def _text(given: Mapping[str, Given], option: str) -> str:
    """The option's value, empty if it was not given."""
    found = given.get(option)
    if found is None:
        return ""
    if found.value is None:
        raise UsageError(f"option {option} needs a value at {found.origin}")
    return found.value


def _path(given: Mapping[str, Given], option: str) -> Path | None:
    text = _text(given, option)
    return Path(os.path.expanduser(text)) if text else None  # noqa: PTH111 - which leaves an unknown ~user as it is


def _switched(setting: Setting) -> str:
    """The value of a switch in an option file: ``name``, ``name=VALUE`` or ``skip-name``."""
    if setting.key.startswith("skip-"):
        return "0"
    return "1" if setting.value is None else setting.value


def _switch(given: Mapping[str, Given], option: str) -> bool:
    value = _text(given, option).lower()
    if value not in ("", "1", "0", "on", "off", "true", "false"):
        raise UsageError(f"{option} must be ON or OFF, at {given[option].origin}")
    return value in ("1", "on", "true")


def _number(given: Mapping[str, Given], option: str, largest: int) -> int:
    """A whole number; 0, as in MySQL, stands for the default."""
    text = _text(given, option)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) > largest:
        raise UsageError(f"{option} must be a number from 0 to {largest}, at {given[option].origin}")
    return int(text)


def _socket(given: Mapping[str, Given]) -> Path | None:
    """The Unix socket to use, None for TCP (see the top of this file)."""
    socket = _path(given, "socket")
    protocol = _text(given, "protocol").upper()
    host = _text(given, "host") or "localhost"
    if protocol not in ("", "TCP", "SOCKET"):
        raise UsageError(f"unknown protocol at {given['protocol'].origin}", hint="known are TCP and SOCKET")
    if protocol == "TCP":
        return None
    named = socket is not None and given["socket"].direct
    if (named or protocol == "SOCKET") and host != "localhost" and given["host"].direct:
        raise UsageError("a host and a Unix socket were named", hint="a Unix socket belongs to localhost")
    remote = host != "localhost" or ("port" in given and given["port"].direct)
    if remote and not named and protocol != "SOCKET":
        return None
    if socket is not None:
        return socket
    usual = next((path for path in USUAL_SOCKETS if path.is_socket()), None)
    if usual is None and protocol == "SOCKET":
        raise UsageError("no Unix socket was named and none is at a usual place", hint="name one with --socket")
    return usual


def _ssl_mode(given: Mapping[str, Given], socket: Path | None) -> SslMode:
    name = _text(given, "ssl-mode").upper()
    if name:
        try:
            return SslMode(name)
        except ValueError:
            known = ", ".join(mode.value for mode in SslMode)
            raise UsageError(f"unknown ssl-mode at {given['ssl-mode'].origin}", hint=f"known are {known}") from None
    if "ssl-ca" in given:
        return SslMode.VERIFY_CA  # include/sslopt-case.h
    return SslMode.DISABLED if socket is not None else SslMode.REQUIRED


def _password(given: Mapping[str, Given], shown: str, warn: Callable[[str], None], ask: Callable[[str], str]) -> str:
    found = given.get("password")
    if found is None:
        return ""
    if found.value is None:
        return ask(f"Enter password for {shown}: ")
    if found.direct and found.value:
        warn(VISIBLE_TO_ALL)
    elif found.source == "environment":
        warn(VISIBLE_VARIABLE)
    return found.value
