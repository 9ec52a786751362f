"""MySQL's own programs that read and write option files, and a login file that one of them wrote."""

from __future__ import annotations

import base64
import os
import pty
from pathlib import Path

import pytest

# Written by mysql_config_editor 9.7.4; the passwords are in tests/settings/test_option_files.py.
LOGIN_FILE = base64.b64decode(
    "AAAAAAAJAx0JEREdCxkXFxMEAA8BDgoYEAAAAD63JB/Zcw/wbSMdGAYN1BoQAAAAUv406Ybp1ZjRRnuVmdt3kCAAAAAtHQBCGLOC"
    "viKjKszjyyoxO5HDZPuaF0uSgKt3/44p+RAAAADPZFvI3hbo0RRul1KYAAY3IAAAAEmt8WaYfsQgAgfVHWX74RLvRvkXTd4tUhc9"
    "AMFwDdoqIAAAACmq0ibQV/5g48JrvqcvkW1V+oO72QBL33Wi63vFf1inEAAAALTaJO+LtEF3mK9gnq7K5EcgAAAAwMtILf5wvwyH"
    "w2gfNDq9gQG9HX77ET2/oRrRA+NpFgIQAAAA1+qVw7NaaAM8m9OHOspKsg=="
)

PASSWORD = "pa\"ss#w\\o'rd €"


@pytest.fixture(scope="module")
def program(programs):
    """MySQL's own programs by name, as the beginnings of argument lists."""
    mysql = programs.mysql
    assert mysql is not None
    return lambda name: [*mysql[:-1], str(Path(mysql[-1]).with_name(name))]


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def type_password(command: list[str], login_file: Path, password: str) -> None:
    """Run a program that asks for a password on its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "MYSQL_TEST_LOGIN_FILE": str(login_file)})  # noqa: S606
    seen = b""
    while b"password:" not in seen:
        seen += os.read(terminal, 100)
    os.write(terminal, password.encode() + b"\n")
    try:
        while os.read(terminal, 100):
            pass
    except OSError:  # that is how a terminal's end looks
        pass
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
