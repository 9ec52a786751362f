"""Attacks of a peer that innoclone connects to: it wants the password, or our files, and answers as it likes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from attacks.target import Attack, Breach, Counts, Stop, Target
from hostile_sql import PASSWORD, HostileSql, Login, good_login, switching

__all__ = ["PEERS"]

COMMANDS = (["check"], ["clone", "{folder}/c"], ["local", "{folder}/l"])


def peer(login: Login) -> Attack:
    """Every command in turn, without TLS and with a password, against such a server."""

    def attack(_: Target, stop: Stop) -> str:
        counts = Counts()
        with tempfile.TemporaryDirectory() as folder, HostileSql(login=login) as server:
            while not stop.is_set():
                for words in COMMANDS:
                    done = _run([word.format(folder=folder) for word in words], server.endpoint().port, Path(folder))
                    counts[f"status {done.returncode}"] += 1
                    if done.returncode == 0 or "bug in innoclone" in done.stderr or "Traceback" in done.stderr:
                        raise Breach(done.stderr[-300:])
                    if any(PASSWORD.encode() in packet for packet in server.heard):
                        raise Breach("the password was told")
        return str(counts)

    return attack


def _run(words: list[str], port: int, folder: Path) -> subprocess.CompletedProcess[str]:
    where = ["--host=127.0.0.1", f"--port={port}", "--user=u", f"--password={PASSWORD}", "--ssl-mode=disabled"]
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        [sys.executable, "-m", "innoclone", words[0], *where, *words[1:]],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip


PEERS: dict[str, Attack] = {
    "a donor that wants a clear password": peer(switching("mysql_clear_password")),
    "a donor that wants a dialog": peer(switching("dialog", b"\x01\x02Password: ")),
    "a donor that answers nothing right": peer(good_login),
}
