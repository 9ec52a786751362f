"""Where MySQL's own programs are: on this machine, or a private copy in the user's cache folder.

The private copy is Debian's MySQL (`engine.debian`). Its programs run through the unpacked dynamic loader, so the
system's libraries aren't needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from innoclone import errors
from innoclone.dataclass import dataclass
from innoclone.server.debian import NotFetched, provide_packages

_PACKAGES = ("mysql-server-core", "mysql-client-core")
# mysqldumpslow and the like want perl; nothing that we start does.
_UNWANTED = ("perl", "libperl")
# Packages put mysqld here, and it is not on everybody's PATH.
_USUAL_FOLDER = "/usr/sbin"


@dataclass(frozen=True)
class Programs:
    """MySQL's programs as the beginnings of argument lists; a client that is not there is None."""

    version: str
    """mysqld's version without the packager's suffix, as in ``9.7.4``."""
    mysqld: tuple[str, ...]
    server_options: tuple[str, ...] = ()
    """What this mysqld must be told to find its own messages, character sets and plugins."""
    mysql: tuple[str, ...] | None = None
    mysqldump: tuple[str, ...] | None = None
    mysqladmin: tuple[str, ...] | None = None
    mysqlbinlog: tuple[str, ...] | None = None
    innochecksum: tuple[str, ...] | None = None


_CLIENTS = ("mysql", "mysqldump", "mysqladmin", "mysqlbinlog", "innochecksum")


def cache_directory() -> Path:
    """``innoclone`` in the user's cache folder ($XDG_CACHE_HOME or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "innoclone"


def find_programs(mysqld: Path | None = None) -> Programs:
    """The given mysqld, else the one on PATH, else the private copy; `errors.ServerNotFound` if there is none."""
    if mysqld is not None:
        return _installed(mysqld)
    found = shutil.which("mysqld", path=os.pathsep.join([os.environ.get("PATH", os.defpath), _USUAL_FOLDER]))
    if found:
        try:
            return _installed(Path(found))
        except errors.ServerNotFound:
            pass  # MariaDB calls its server mysqld too
    private = cache_directory() / "mysql"
    if private.is_dir():
        return _unpacked(private)
    raise errors.ServerNotFound(f"no mysqld on PATH and none in {private}")


def provide_programs(report: Callable[[str], None]) -> Programs:
    """Like `find_programs`, but download the private copy where nothing is found; ``report`` is told each step."""
    try:
        return find_programs()
    except errors.ServerNotFound:
        pass
    private = cache_directory() / "mysql"
    try:
        provide_packages(private, _PACKAGES, unwanted=_UNWANTED, report=report)
    except NotFetched as error:
        raise errors.ServerNotFound(
            f"no mysqld on PATH, and none could be fetched: {error}", hint="install MySQL, so that mysqld is on PATH"
        ) from error
    return _unpacked(private)


def _installed(mysqld: Path) -> Programs:
    path = mysqld.absolute()
    version = _version((str(path),))
    folders = [path.parent, path.parent.parent / "bin"]
    where = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    clients = {name: (found,) for name in _CLIENTS if (found := shutil.which(name, path=where))}
    return Programs(version=version, mysqld=(str(path),), **clients)


def _unpacked(root: Path) -> Programs:
    """The private copy below ``root``, run through its own dynamic loader (ld.so(8), --library-path)."""
    usr = root.absolute() / "usr"
    loaders = sorted(usr.glob("lib/*-linux-gnu*/ld-linux*.so.*"))
    if not loaders:
        raise errors.ServerNotFound(f"{root} is not a whole copy of MySQL", hint=f"remove {root} and try again")
    prefix = (str(loaders[0]), "--library-path", str(loaders[0].parent))
    mysqld = (*prefix, str(usr / "sbin" / "mysqld"))
    clients = {name: (*prefix, str(usr / "bin" / name)) for name in _CLIENTS if (usr / "bin" / name).exists()}
    options = (
        f"--basedir={usr}",
        f"--plugin-dir={usr / 'lib' / 'mysql' / 'plugin'}",
        f"--lc-messages-dir={usr / 'share' / 'mysql'}",
        f"--character-sets-dir={usr / 'share' / 'mysql' / 'charsets'}",
    )
    return Programs(version=_version(mysqld), mysqld=mysqld, server_options=options, **clients)


def _version(mysqld: tuple[str, ...]) -> str:
    try:
        done = subprocess.run([*mysqld, "--no-defaults", "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise errors.ServerNotFound(f"{mysqld[-1]} can't be started: {error.strerror}") from error
    match = re.search(r"Ver (\d+\.\d+\.\d+)", done.stdout)
    said = (done.stdout + done.stderr).strip()
    if done.returncode or not match or "MariaDB" in done.stdout:
        raise errors.ServerNotFound(f"{mysqld[-1]} is not a MySQL server: {said or 'it says nothing of itself'}")
    return match[1]
