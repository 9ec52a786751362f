"""Compiles the native library (src/innoclone/native) whenever innoclone is built or installed.

With the machine's C compiler, $CC or cc, else with the PyPI package ziglang, which is one. Where neither works,
innoclone is installed without the library and does in Python what that would do. By hand: ``python hatch_build.py``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src" / "innoclone" / "native"
NAME = "libinnoclone.so"
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"]
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
ZIG = "ziglang>=0.13"
TARGET = "INNOCLONE_BUILD_TARGET"
"""Names one of `WHEELS` to build for; then the build fails where the library can't be compiled."""
# Zig's name of a machine and C library -> the wheel's.
WHEELS = {
    f"{machine}-linux-{libc}": f"{tag}_{machine}"
    for machine in ("x86_64", "aarch64")
    for libc, tag in (("gnu.2.17", "manylinux_2_17"), ("musl", "musllinux_1_1"))
}


class NativeHook(BuildHookInterface[Any]):
    """What hatchling calls."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """A compiler, where the machine has none."""
        return [] if machine_compiler() and not os.environ.get(TARGET) else [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile and add the library to the wheel; in place for an editable installation."""
        if self.target_name != "wheel":
            return
        target = os.environ.get(TARGET, "")
        in_place = version == "editable"
        library = (SOURCES if in_place else Path(self.directory) / "native" / (target or "own")) / NAME
        library.parent.mkdir(parents=True, exist_ok=True)
        try:
            compile_library(library, target)
        except (OSError, subprocess.CalledProcessError) as error:
            if target:
                raise
            library.unlink(missing_ok=True)
            self.app.display_warning(f"innoclone: no native library, all is done in Python: {error}")
            return
        build_data["pure_python"] = False
        tag = WHEELS[target] if target else sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{tag}"
        if not in_place:
            build_data["force_include"][str(library)] = f"innoclone/native/{NAME}"


def machine_compiler() -> list[str] | None:
    """$CC, or the compiler called cc, gcc or clang."""
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        return named
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def compiler_for(target: str) -> list[str]:
    """The command that compiles for ``target``, for this machine if that is empty. Raises OSError."""
    own = machine_compiler()
    if own and not target:
        return own
    if find_spec("ziglang") is None:
        raise OSError("there is no C compiler (cc), and no ziglang either")
    if not target:
        libc = "musl" if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "") else "gnu.2.17"
        target = f"{platform.machine()}-linux-{libc}"
    return [sys.executable, "-m", "ziglang", "cc", "-target", target, "-s"]


def compile_library(library: Path, target: str = "", flags: list[str] = FLAGS) -> None:
    """Compile all of `SOURCES` into ``library``. Raises OSError, or CalledProcessError."""
    waiting = library.with_suffix(".new")  # a library that is in use is replaced, not written to
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    subprocess.run([*compiler_for(target), *flags, "-o", str(waiting), *sources], check=True)
    waiting.replace(library)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path, nargs="?", default=SOURCES / NAME)
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined behaviour sanitizers")
    options = parser.parse_args()
    compile_library(options.library.absolute(), flags=FLAGS + SANITIZE if options.sanitize else FLAGS)
