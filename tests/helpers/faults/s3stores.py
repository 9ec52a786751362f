"""The same over HTTP: the command that is hurt talks to a server of S3, behind a proxy that hurts its requests.

The server keeps objects as files, so all that is looked at afterwards is seen from the folder, past it.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future
from dataclasses import replace

from faults.rounds import Round
from faults.s3proxy import FOR_GOOD, KILLS, ONCE, HttpFault, S3Proxy
from faults.stores import StorePlay, Stores
from faults.storework import Done, Job, Process
from faults.world import World
from innoclone.commands.storeoptions import StoreAccess
from stores import S3Server

__all__ = ["S3Stores"]

STARTS = 60.0  # seconds that a process may take to be there


class S3Stores(Stores):
    """Each round's folder is a bucket."""

    name = "s3"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        command = [sys.executable, "-m", "localbucket", "--port", "{port}", str(world.folder)]
        self._server = S3Server(command).__enter__()
        self.proxy = S3Proxy(self._server.port).__enter__()

    def close(self) -> None:
        """End the server."""
        self.proxy.__exit__(None, None, None)
        self._server.__exit__(None, None, None)

    def play(self, round_: Round, kind: str) -> None:
        """As on a folder."""
        encrypted = round_.dice.random() < 0.7
        _S3Play(self, round_, kind, self.new_store(round_.folder / "store", encrypted=encrypted)).run()

    def over_http(self, access: StoreAccess) -> StoreAccess:
        """The same store through the proxy."""
        options = {**self._server.options, "aws_endpoint": f"http://127.0.0.1:{self.proxy.port}"}
        path = access.address.removeprefix(f"file://{self.world.folder}/")
        return replace(access, address=f"s3://{path}", options=tuple(options.items()))


class _S3Play(StorePlay):
    """One round."""

    scenario: S3Stores
    harmless = ("not reached", "killed at a moment", *ONCE)

    def hurt_job(self, job: Job) -> Job:
        """Over HTTP."""
        self.scenario.proxy.arm(None, lambda: None)
        return replace(job, access=self.scenario.over_http(job.access))

    def strike(self, job: Job) -> tuple[str, Done]:
        """A fault at one of its requests."""
        kind = self.dice.choice((*ONCE, *FOR_GOOD, *KILLS))
        hurt, room = self.hurt_job(job), self.spare_calls(job)
        victim: Future[Process] = Future()
        self.scenario.proxy.arm(HttpFault(kind, self.dice.randint(1, room)), lambda: victim.result(STARTS).kill())
        with self.scenario.start(hurt) as process:
            victim.set_result(process)
            done = process.end()
        return kind, replace(done, reached=self.scenario.proxy.reached)
