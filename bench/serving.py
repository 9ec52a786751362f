"""``innoclone serve`` for a benchmark: a process whose port and CPU time are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from innoclone.sandbox.server import ACCOUNT

__all__ = ["Serving", "serving"]


@dataclass(frozen=True)
class Serving:
    """One that listens; it takes the account `ACCOUNT`."""

    pid: int
    port: int


@contextmanager
def serving(what: Sequence[str], password: str) -> Iterator[Serving]:
    """Serve ``what``, a directory or the options of a running server, on a free port until the end of the block."""
    command = [sys.executable, "-m", "innoclone", "serve", "--no-defaults", "--json", f"--user={ACCOUNT}", "--port=0"]
    child = subprocess.Popen(
        [*command, *what], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"MYSQL_PWD": password}
    )
    try:
        assert child.stdout is not None
        events = map(json.loads, child.stdout)
        found = next((event for event in events if event["event"] in ("listening", "error")), None)
        if found is None or found["event"] == "error":
            raise SystemExit(f"innoclone serve {' '.join(what)} failed: {found}")
        # What it says later is read, too: else it would wait, with its recipients, for room in the pipe.
        Thread(target=deque, args=(child.stdout, 0), daemon=True).start()
        yield Serving(child.pid, found["port"])
    finally:
        child.terminate()
        child.wait()
