"""Debian packages without installing them: downloaded by the machine's own apt from the mirror that it is configured
with, into private apt directories, and unpacked into a folder. Neither root nor the machine's own release matters.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NotFetched", "provide_packages"]

# Its package lists say which versions are the newest.
_SUITE = "unstable"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NotFetched(Exception):
    """Says why."""


def provide_packages(
    target: Path, packages: Sequence[str], *, unwanted: tuple[str, ...], report: Callable[[str], None]
) -> None:
    """Unpack packages and all that they depend on into ``target``, unless it exists; ``report`` is told each step.

    Left out are packages whose names begin with one of ``unwanted``. Raises `NotFetched`; then there is no ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock")):
        if not target.is_dir():  # the process that held the lock before us may have made it
            with tempfile.TemporaryDirectory(prefix=f"{target.name}.new-", dir=target.parent) as work:
                _download(Path(work), packages, unwanted, report)
                (Path(work) / "root").rename(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(work: Path, packages: Sequence[str], unwanted: tuple[str, ...], report: Callable[[str], None]) -> None:
    """Make ``work``/root with every library that the packages need."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NotFetched(f"no {tool} to fetch {packages[0]} with")
    apt = _private_apt(work)
    for mirror in _mirrors():
        report(f"reading the package lists of Debian {_SUITE}")
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        (work / "sources.list").write_text(f"deb {signed}{mirror} {_SUITE} main\n")
        if not (failure := _run([*apt, "-qq", "update"])):
            break
    else:
        raise NotFetched(f"no package mirror of this machine has Debian {_SUITE}: {failure}")
    listed = subprocess.run(
        [*apt, "--simulate", "--no-install-recommends", "install", *packages],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wanted = [name for name in re.findall(r"^Inst (\S+)", listed.stdout, re.MULTILINE) if not name.startswith(unwanted)]
    if listed.returncode or not wanted:
        raise NotFetched(f"{packages[0]} can't be had: {'; '.join(listed.stderr.strip().splitlines()[-3:])}")
    report(f"downloading {packages[0]} and what it needs")
    if failure := _run([*apt, "-qq", "download", *wanted], work / "archives"):
        raise NotFetched(f"{packages[0]} could not be downloaded: {failure}")
    archives = sorted((work / "archives").glob("*.deb"))
    report(f"unpacking {len(archives)} packages")
    for archive in archives:
        if failure := _run(["dpkg-deb", "-x", str(archive), str(work / "root")]):
            raise NotFetched(f"{archive.name} could not be unpacked: {failure}")


def _private_apt(work: Path) -> list[str]:
    """An apt-get that keeps the machine's proxies and keys, but reads and writes its state below ``work``.

    The status file is empty, so apt resolves every library down to libc; no hooks of the system run.
    """
    for folder in ("lists/partial", "archives", "root"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "apt.conf").write_text(
        f"""
Dir::State "{work}/";
Dir::State::lists "{work}/lists/";
Dir::State::status "{work}/status";
Dir::Cache "{work}/";
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
        raise NotFetched("this machine's apt has no Debian mirror")
    return list(dict.fromkeys(known))


def _run(command: list[str], folder: Path | None = None) -> str:
    """Run a program, in ``folder``; an empty string, or the last lines of what it complained of."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    if done.returncode == 0:
        return ""
    return "; ".join(done.stderr.strip().splitlines()[-3:]) or f"{command[0]} ended with status {done.returncode}"
