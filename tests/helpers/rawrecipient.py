"""A recipient's connection by hand: it says what it is told to say, whatever that is."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.handshake import Capability, Greeting
from innoclone.wire.rpc import Ack, Init, ProtocolVersion, ResponseCode, parse_response
from rawclient import Packets, response_to
from serving import PASSWORD, USER

__all__ = ["COM_CLONE", "COM_QUERY", "COM_QUIT", "PATIENCE", "Client"]

PATIENCE = 5.0
COM_CLONE, COM_QUERY, COM_QUIT = b"\x20", b"\x03", b"\x01"


class Client(Packets):
    """A connection that is logged in, and in clone mode unless that is not wished."""

    def __init__(self, port: int, *, login: bool = True, clone: bool = True, password: str = PASSWORD) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port), PATIENCE))
        greeting = Greeting.parse(self.read()[1])
        self.greeting = replace(greeting, capabilities=greeting.capabilities & ~(Capability.COMPRESS | Capability.ZSTD))
        self.last = b""
        if login:
            self.send(response_to(self.greeting, USER, password), 1)
            _, self.last = self.read()
            if self.last == b"\x01\x03":
                _, self.last = self.read()
        if login and clone and self.last[:1] == b"\0":
            self.send(COM_CLONE, 0)
            assert self.read()[1][:1] == b"\0"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, command: bytes) -> list[bytes]:
        """A clone command, and what comes up to COMPLETE or ERROR; shorter where the donor hangs up."""
        found: list[bytes] = []
        with contextlib.suppress(EOFError, ConnectionError):
            self.send(command, 0)
            while not found or found[-1][0] not in (ResponseCode.COMPLETE, ResponseCode.ERROR):
                found.append(self.read()[1])
        return found

    def begin(self) -> Locator:
        """COM_INIT; the clone's locator."""
        answers = self.ask(Init(ProtocolVersion.V4, 300, False, (Locator(),)).serialize())
        return next(one for one in map(parse_response, answers[-2:-1])).locators[0]  # type: ignore[union-attr]

    def acknowledge(self, locator: Locator, stage: StageNumber) -> None:
        """COM_ACK, as an auxiliary connection says it."""
        answer = self.ask(Ack(0, locator, StateDescriptor(stage)).serialize())
        assert answer[-1][0] == ResponseCode.COMPLETE
