"""Our program with the OpenSSL that the private MySQL brings: both sides of a row then take TLS off with the same one.

Releases of OpenSSL differ in how fast they decrypt: AES-GCM by AVX-512 came with 3.1. The Python of a machine has the
machine's; the server that was unpacked for us brings its own, and its dynamic loader.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from innoclone.server.programs import Programs

__all__ = ["python_of", "version_of"]


def python_of(programs: Programs) -> tuple[str, ...] | None:
    """The command of this Python through the server's loader and with its libraries; None if the server has none of
    its own."""
    if len(programs.mysqld) < 3 or programs.mysqld[1] != "--library-path":
        return None
    loader, _, folders = programs.mysqld[:3]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        folders = f"{sysconfig.get_config_var('LIBDIR')}:{folders}"
    # The name that it is called by leads to the virtual environment, not the file that is loaded.
    return (loader, "--library-path", folders, "--argv0", sys.executable, str(Path(sys.executable).resolve()))


def version_of(python: tuple[str, ...]) -> str:
    """What OpenSSL a command of Python has. Raises CalledProcessError."""
    code = "import ssl; print(ssl.OPENSSL_VERSION)"
    return subprocess.run([*python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
