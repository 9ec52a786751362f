"""Where MySQL's own programs are: on this machine, or a private copy in the user's cache folder.

The private copy is Debian's MySQL (unstable suite), downloaded by the machine's own apt from the mirror that it is
configured with, into private apt directories, and unpacked without being installed. Its programs run through the
unpacked dynamic loader, so neither the system's libraries nor root are needed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from innoclone import errors

# Names only; the suite's package lists say which versions are the newest.
_PACKAGES = ("mysql-server-core", "mysql-client-core")
_SUITE = "unstable"
# mysqldumpslow and the like want perl; nothing that we start does.
_UNWANTED = ("perl", "libperl")
# Packages put mysqld here, and it is not on everybody's PATH.
_USUAL_FOLDER = "/usr/sbin"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


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
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "mysql.lock"):
        target = cache / "mysql"
        if not target.is_dir():  # the process that held the lock before us may have made it
            with tempfile.TemporaryDirectory(prefix="mysql.new-", dir=cache) as work:
                _download(Path(work), report)
                (Path(work) / "root").rename(target)
    return _unpacked(target)


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
    if done.returncode or not match or "MariaDB" in done.stdout:
        raise errors.ServerNotFound(f"{mysqld[-1]} is not a MySQL server: {(done.stdout + done.stderr).strip()}")
    return match[1]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- downloading -------------------------------------------------------------------------------------------


def _download(work: Path, report: Callable[[str], None]) -> None:
    """Make ``work``/root, an unpacked MySQL with every library that it needs."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise _not_fetched(f"no mysqld on PATH, and no {tool} to fetch one with")
    apt = _private_apt(work)
    for mirror in _mirrors():
        report(f"reading the package lists of Debian {_SUITE}")
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        (work / "sources.list").write_text(f"deb {signed}{mirror} {_SUITE} main\n")
        if not (failure := _run([*apt, "-qq", "update"])):
            break
    else:
        raise _not_fetched(f"no package mirror of this machine has Debian {_SUITE}: {failure}")
    report("downloading MySQL and its libraries")
    install = [*apt, "-qq", "--yes", "--no-install-recommends", "--download-only", "install", *_PACKAGES]
    if failure := _run(install):
        raise _not_fetched(f"MySQL could not be downloaded: {failure}")
    packages = [p for p in sorted((work / "archives").glob("*.deb")) if not p.name.startswith(_UNWANTED)]
    report(f"unpacking {len(packages)} packages")
    for package in packages:
        if failure := _run(["dpkg-deb", "-x", str(package), str(work / "root")]):
            raise _not_fetched(f"{package.name} could not be unpacked: {failure}")


def _not_fetched(message: str) -> errors.ServerNotFound:
    return errors.ServerNotFound(message, hint="install MySQL, so that mysqld is on PATH")


def _private_apt(work: Path) -> list[str]:
    """An apt-get that keeps the machine's proxies and keys, but reads and writes its state below ``work``.

    The status file is empty, so apt resolves every library down to libc; no hooks of the system run.
    """
    for folder in ("lists/partial", "archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "apt.conf").write_text(
        f"""
Dir::State "{work}/";
Dir::State::lists "{work}/lists/";
Dir::State::status "{work}/status";
Dir::Cache "{work}/";
Dir::Cache::archives "{work}/archives/";
Dir::Cache::pkgcache "{work}/pkgcache.bin";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{work}/";
APT::Default-Release "";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
"""
    )
    return ["apt-get", f"--config-file={work / 'apt.conf'}"]


def _mirrors() -> list[str]:
    """The Debian mirrors of the machine's apt configuration; known by their Release files, or, where no lists were
    fetched yet, every mirror but those for security updates."""
    ask = ["apt-get", "indextargets"]
    known = subprocess.run(
        [*ask, "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    if not known:
        listed = subprocess.run(
            [*ask, "--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages"],
            capture_output=True, text=True, check=False,
        ).stdout.split()  # fmt: skip
        known = [uri for uri in listed if "security" not in uri]
    if not known:
        raise _not_fetched("no mysqld on PATH, and this machine's apt has no Debian mirror to fetch one from")
    return list(dict.fromkeys(known))


def _run(command: list[str]) -> str:
    """Run a program; an empty string, or the last lines of what it complained of."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode == 0:
        return ""
    return "; ".join(done.stderr.strip().splitlines()[-3:]) or f"{command[0]} ended with status {done.returncode}"
