"""``serve`` of a snapshot is hurt, while a recipient waits for it and takes it.

The recipient ends as with any donor that is lost: with a documented error, and with nothing that can be booted; from
the next `serve` it takes the whole, which is exact. What was restored for it goes.
"""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from faults.attempt import Broken
from faults.realstores import RealStores
from faults.rounds import Round
from faults.storework import Done, Job, Process
from innoclone.commands.storeoptions import StoreAccess
from servers import PASSWORD

__all__ = ["Served"]


class Served(RealStores):
    """At a call of the store, or at any moment."""

    name = "serve"
    calls = 10
    takes = 5.0

    def job(self, round_: Round, access: StoreAccess, scratch: Path) -> Job:
        """Until a recipient has taken it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return Job("serve", access, {"scratch": scratch, "port": port, "password": PASSWORD})

    def run(self, round_: Round, job: Job) -> Done:
        """With a recipient, as soon as it may come."""
        return self._with_recipient(round_, job, None)

    def killed(self, round_: Round, job: Job, after: float) -> Done:
        """While a recipient waits, or takes it."""
        return self._with_recipient(round_, job, after)

    def judge_last(self, round_: Round, job: Job, done: Done) -> None:
        """What its recipient has is the donor's data."""
        super().judge_last(round_, job, done)
        if done.result != 1 or not round_.is_complete():
            raise Broken(f"{done.result} have taken it")
        round_.assert_exact()

    def look(self, round_: Round, access: StoreAccess, *, done: bool) -> None:
        """Nothing has happened to the snapshot."""
        if len(listed := self.listed(access)) != 1:
            raise Broken(f"listed: {listed}")
        if not round_.is_complete():
            round_.assert_refused()
        else:
            round_.counts["taken"] += 1
            shutil.rmtree(round_.target)

    def _with_recipient(self, round_: Round, job: Job, kill_after: float | None) -> Done:
        """``kill_after`` so many seconds."""
        began = time.monotonic()
        dsn = f"mysql://clone@127.0.0.1:{job.arguments['port']}"
        with Process(job, self._environment) as process, ExitStack() as stack:
            recipient = None
            if process.wait_ready(kill_after):
                recipient = stack.enter_context(round_.start(["--retry-for=0"], dsn=dsn))
            if kill_after is not None:
                time.sleep(max(0.0, kill_after - (time.monotonic() - began)))
                process.kill()
            if recipient is not None:
                round_.end(recipient)
            return process.end()
