"""Records the terminal sessions that README and the guides show: ``python docs/make_sessions.py [PAGE]...``.

Needs root: it runs in namespaces of its own (unshare(1)), in which ``/srv``, ``/home/dba`` and ``/etc/innoclone`` are
folders of a temporary one, the host is ``backup1``, and a private MySQL server with some hundred MB is
``db1.example.com:3306``. Its account
``backup`` is in ``/home/dba/donor.cnf``. Nothing of the real machine is changed, and what a page leaves running ends.

In a page, ``<!-- recorded -->`` stands before a ``console`` block whose commands (``$ ...``) are run, one shell for
the whole page, in a terminal of 110 columns; what the terminal shows in the end takes the place of what the block
has. Where that had a line ``...``, as many lines stay before and after it as there were. ``<!-- run: COMMANDS -->``
is run and not shown, ``donor`` in it is ``innoclone sandbox`` for the donor ``db1``; what is shown meanwhile belongs
to a command before it that ends with ``&``. A command that fails must have been shown with an ``ERROR``; else nothing
is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from make_picture import COLOURS, screen

from innoclone.server.programs import provide_programs

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NAMESPACES = ("--mount", "--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
ROWS, COLUMNS = 50, 110
SIZE = os.environ.get("SIZE", "300M")  # of the donor
BLOCK = re.compile(r"<!-- recorded -->\n```console\n(?P<shown>.*?)```|<!-- run:\s(?P<hidden>.*?)-->", re.DOTALL)
# Written by the shell before and after each command; what is between belongs to it.
BEGIN, END = "\x1e{}\x1e", re.compile(r"\x1e=(\d+)\x1e")
FOLDERS = ("srv", "home/dba", "etc/innoclone")
# The machine's own /home and /srv are hidden, and what is written to its /etc lies beside it.
PREPARE = """
ip link set lo up
hostname backup1
mkdir {work}/home {work}/srv {work}/etc {work}/etc.work
mount --bind {work}/home /home
mount --bind {work}/srv /srv
mount -t overlay overlay -o lowerdir=/etc,upperdir={work}/etc,workdir={work}/etc.work /etc
mkdir /home/dba /etc/innoclone
printf '127.0.0.1 localhost db1.example.com backup1\\n' > /etc/hosts
"""
ACCOUNTS = """
CREATE USER 'backup'@'%' IDENTIFIED BY 'Ahkoo4ai' REQUIRE SSL;
GRANT BACKUP_ADMIN, SELECT, PROCESS, REPLICATION SLAVE ON *.* TO 'backup'@'%';
"""
OPTION_FILE = "[client]\nhost = db1.example.com\nuser = {}\npassword = {}\n"


def commands(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, with their continuation lines, and what each shows."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif found:
            found[-1][1].append(line)
    return found


def trimmed(lines: list[str], old: list[str]) -> list[str]:
    """``lines``, with ``...`` where ``old`` had it: as many lines stay before it and after it as were there."""
    if "..." not in old:
        return lines
    head = old.index("...")
    tail = len(old) - head - 1
    return [*lines[:head], "...", *(lines[-tail:] if tail else [])]


def script(page: str) -> str:
    """What the shell runs for a page."""
    lines, number = ["set +m", 'donor() { XDG_STATE_HOME=$DONOR_STATE innoclone sandbox "$@"; }'], 0
    for found in BLOCK.finditer(page):
        for command in [found["hidden"]] if found["hidden"] else [text for text, _ in commands(found["shown"])]:
            begin = BEGIN.format(number if found["shown"] else "-")
            lines += [f"printf '{begin}'", command, "printf '\\x1e=%d\\x1e' $?"]
            number += bool(found["shown"])
    return "\n".join(lines)


def recorded(page: str, output: str) -> str:
    """``page`` with what the terminal got (``output``) in its blocks. Raises ValueError where a command failed."""
    shown = _by_command(output)
    number = 0

    def block(found: re.Match[str]) -> str:
        nonlocal number
        if found["hidden"]:
            return found[0]
        lines = []
        for command, old in commands(found["shown"]):
            new = _lines(shown[number] if command.endswith("&") else END.split(shown[number])[0])
            if old and any("ERROR" in line for line in new) != any("ERROR" in line for line in old):
                raise ValueError("\n".join([f"{command} ended otherwise than before:", *new]))
            lines += [f"$ {command}", *trimmed(new, old)]
            number += 1
        return "<!-- recorded -->\n```console\n" + "\n".join(lines) + "\n```"

    return BLOCK.sub(block, page)


def _by_command(output: str) -> list[str]:
    """What came from the begin of each shown command to that of the next; in the first END is what it showed itself."""
    found: list[str] = []
    for piece in re.split(r"\x1e(?=(?:\d+|-)\x1e)", output)[1:]:
        name, _, rest = piece.partition("\x1e")
        ended = END.search(rest)
        if ended is None or (int(ended[1]) and (name == "-" or "ERROR" not in rest)):
            raise ValueError("\n".join([f"command {name} failed:", *_lines(rest)]))
        if name == "-" and found:
            found[-1] += rest
        elif name != "-":
            found.append(rest)
    return found


def _lines(output: str) -> list[str]:
    """What a terminal shows of it in the end, without colours."""
    lines = [COLOURS.sub("", line).rstrip() for line in screen(END.sub("", output))]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def terminal(text: str, environment: dict[str, str]) -> str:
    """What a shell in a terminal shows that runs ``text``."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = ["bash", "--norc", "-c", text]
    output = b""
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=environment["HOME"],
        start_new_session=True,
    ):
        os.close(theirs)
        while data := _read(ours):
            output += data
    return output.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: nobody is at the other end any more
        return b""


def _provide_client(path: Path) -> None:
    """Make MySQL's client runnable under its name, wherever it is."""
    client = provide_programs(print).mysql
    assert client is not None
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.join(client)} "$@"\n')
    path.chmod(0o755)


def _end_servers() -> None:
    """End what a page left running on its clones; nobody else's processes are in this namespace."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"/srv/" in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def inside(work: Path, pages: list[Path]) -> None:
    """In the namespaces: prepare them and the donor, record the pages, take the donor down.

    A page that can't be recorded stays as it is; the others are recorded all the same.
    """
    if os.getpid() != 1:  # of a namespace of its own, as `main` makes it: what follows mounts, kills and removes
        sys.exit("not in a namespace of its own")
    subprocess.run(["bash", "-ec", PREPARE.format(work=work)], check=True)
    cache = os.environ.get("XDG_CACHE_HOME", f"{os.environ['HOME']}/.cache")
    environment = {
        "HOME": "/home/dba", "PATH": f"{work}/bin:{ROOT}/.venv/bin:{os.environ['PATH']}", "TERM": "xterm-256color",
        "XDG_CACHE_HOME": cache, "TMPDIR": str(work), "COLUMNS": str(COLUMNS), "LANG": "C.UTF-8",
    }  # fmt: skip
    donor = environment | {"XDG_STATE_HOME": str(work / "donor")}
    _provide_client(work / "bin" / "mysql")
    failed: list[str] = []
    outside = "--option=--innodb-directories=/home/fast"  # for tables that a page puts there
    start = ["innoclone", "sandbox", "start", "db1", "--port=3306", f"--size={SIZE}", outside, "--quiet"]
    subprocess.run(start, env=donor, check=True)
    try:
        subprocess.run(["innoclone", "sandbox", "shell", "db1"], env=donor, check=True, input=ACCOUNTS, text=True)
        for page in pages:
            _end_servers()
            for folder in FOLDERS:
                _empty(Path("/", folder))
            option_file = Path("/home/dba/donor.cnf")
            option_file.write_text(OPTION_FILE.format("backup", "Ahkoo4ai"))
            option_file.chmod(0o600)
            before = page.read_text()
            output = terminal(script(before), environment | {"DONOR_STATE": donor["XDG_STATE_HOME"], "DOCS": str(DOCS)})
            try:
                page.write_text(recorded(before, output))
                print(page)
            except ValueError as error:
                failed.append(f"{page}: {error}")
    finally:
        stop = ["innoclone", "sandbox", "stop", "db1", "--remove", "--quiet"]
        subprocess.run(stop, env=donor, check=False)
    if failed:
        sys.exit("\n".join(["not recorded:", *failed]))


def main() -> None:
    """Go into namespaces of our own; there record the pages that were named, else all that have sessions."""
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
        return
    every = [path for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))) if BLOCK.search(path.read_text())]
    pages = [Path(name).resolve() for name in sys.argv[1:]] or every
    with tempfile.TemporaryDirectory(prefix="sessions-") as work:
        again = [sys.executable, str(Path(__file__).resolve()), "--inside", work, *map(str, pages)]
        sys.exit(subprocess.run(["unshare", *NAMESPACES, *again], check=False).returncode)


if __name__ == "__main__":
    main()
