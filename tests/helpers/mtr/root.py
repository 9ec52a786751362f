"""MySQL's test suite and what it needs, as a directory to change the root to: Debian's packages, unpacked.

Nothing is installed: what the packages' scripts would do is done here as far as the tests want it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from innoclone.server.debian import provide_packages
from innoclone.server.programs import cache_directory

PACKAGES = (
    "mysql-testsuite", "mysql-server-core", "mysql-client-core", "perl", "libjson-perl", "libdbi-perl", "procps",
    "netbase", "openssl", "bash", "coreutils", "dash", "sed", "grep", "diffutils", "findutils", "util-linux",
    "base-files", "base-passwd", "gzip", "tar", "hostname", "libc-bin", "debianutils", "mawk", "ncurses-base",
)  # fmt: skip
SUITE = Path("usr/lib/mysql-test")
PLUGINS = "usr/lib/mysql/plugin"
BUILD_THREADS = range(300, 360, 3)  # the suite's ports are 10000 + 10 * one of them, and the 29 that follow
PORTS = 30
NAMES = "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"


def provide_root(report: Callable[[str], None]) -> Path:
    """The directory, from the cache or made there (1.3 GB)."""
    root = cache_directory() / "mysql-testsuite"
    provide_packages(root, PACKAGES, unwanted=("@",), report=report)
    for name in ("passwd", "group"):
        if not (root / "etc" / name).exists():  # servers of another run may read it
            shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    (root / "etc/nsswitch.conf").write_text(NAMES)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    # Tests of keyrings put these aside and back, unless they end early.
    for name, text in (("usr/sbin/mysqld.my", '{"components": ""}'), (f"{PLUGINS}/component_keyring_file.cnf", "{}")):
        (root / name).write_text(text)
        (root / f"{name}.global_backup").unlink(missing_ok=True)
    _link(root / "usr/bin/awk", "mawk")
    for program in (root / SUITE / "bin").iterdir():
        _link(root / "usr/bin" / program.name, f"../lib/mysql-test/bin/{program.name}")
    return root


@contextlib.contextmanager
def own_ports() -> Iterator[int]:
    """The suite's number for ports that no other run has meanwhile. Two of its own choice may have the same: a run that
    ends unlocks a file and then removes it, and who locks it between has locked a file that nobody finds any more."""
    for thread in BUILD_THREADS:
        with (cache_directory() / f"mysql-testsuite.ports-{thread}").open("w") as file:
            if _locked(file.fileno()) and all(_is_free(10_000 + 10 * thread + one) for one in range(PORTS)):
                yield thread
                return
    raise SystemExit("mtr: no ports are free")


def _locked(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        return True
    return False


def _link(path: Path, target: str) -> None:
    if not os.path.lexists(path):
        path.symlink_to(target)


def inside(root: Path, work: Path, command: list[str]) -> list[str]:
    """``command`` in that root, with mounts that only it sees: ``work`` has the same path there, and its folders
    ``include`` and ``t`` take the place of the suite's of these names."""
    script = (
        'root=$1 work=$2; shift 2; mkdir -p "$root$work"; mount -t proc proc "$root/proc"'
        ' && mount --rbind /dev "$root/dev" && mount --bind "$work" "$root$work"'
        f' && mount --bind "$work/include" "$root/{SUITE}/suite/clone/include"'
        f' && mount --bind "$work/t" "$root/{SUITE}/suite/clone/t"'
        f' && exec chroot "$root" /bin/sh -c \'cd /{SUITE} && exec "$@"\' sh "$@"'
    )
    namespaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return [*namespaces, "sh", "-c", script, "sh", str(root), str(work), *command]
