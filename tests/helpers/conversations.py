"""The recorded conversation of a real donor and a recipient, read packet by packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber, StateDescriptor
from innoclone.wire.handshake import AuthMoreData, Greeting, HandshakeResponse, Ok
from innoclone.wire.rpc import (
    COM_CLONE,
    Complete,
    Config,
    DataDescription,
    Execute,
    Init,
    ResponseCode,
    parse_command,
    parse_response,
)
from recorder import Packet

COM_QUIT = 1


@dataclass(frozen=True)
class Message:
    """A packet and what it was parsed to; no message for those that the wire layer leaves to others."""

    packet: Packet
    kind: str
    message: Any = None


def read(packets: list[Packet]) -> Iterator[Message]:
    """Parse a conversation; what a packet can be depends on what came before on its connection."""
    before: dict[int, list[Message]] = {}
    for packet in packets:
        history = before.setdefault(packet.connection, [])
        message = _donor(packet, history) if packet.from_donor else _recipient(packet, history)
        history.append(message)
        yield message


def _entered(history: list[Message]) -> bool:
    return any(message.kind == "COM_CLONE" for message in history)


def _donor(packet: Packet, history: list[Message]) -> Message:
    payload = packet.payload
    if not history:
        return Message(packet, "Greeting", Greeting.parse(payload))
    if payload[0] == 0 and (not _entered(history) or history[-1].kind == "COM_CLONE"):
        return Message(packet, "Ok", Ok.parse(payload))
    if not _entered(history):
        return Message(packet, "AuthMoreData", AuthMoreData.parse(payload))
    if payload[0] == ResponseCode.DATA:
        return Message(packet, "DATA")
    response = parse_response(payload)
    return Message(packet, _name(response), response)


def _recipient(packet: Packet, history: list[Message]) -> Message:
    payload = packet.payload
    if len(history) == 1:
        return Message(packet, "HandshakeResponse", HandshakeResponse.parse(payload))
    if not any(message.kind == "Ok" for message in history):
        return Message(packet, "request for the public key" if payload == b"\x02" else "encrypted password")
    if not _entered(history):
        assert payload == bytes([COM_CLONE])
        return Message(packet, "COM_CLONE")
    if history[-1].kind == "Complete" and payload == bytes([COM_QUIT]):
        return Message(packet, "COM_QUIT")
    command = parse_command(payload)
    return Message(packet, type(command).__name__, command)


def _name(response: object) -> str:
    """A kind as fine as the protocol's own distinctions: which descriptor, of which stage, with which flags."""
    if isinstance(response, Config):
        return f"{response.code.name} {response.key}"
    if not isinstance(response, DataDescription):
        return type(response).__name__
    descriptor = response.descriptor
    details = [type(descriptor).__name__]
    if isinstance(stage := getattr(descriptor, "stage", None), StageNumber):
        details.append(stage.name)
    if isinstance(descriptor, StateDescriptor):
        details.append("keep-alive" if descriptor.is_keepalive else "START" if descriptor.is_start else "END")
    if isinstance(descriptor, FileMetadata):
        details += sorted(flag.name or "" for flag in FileFlag if flag in descriptor.flags)
    return " ".join(details)


def executions(messages: list[Message]) -> Iterator[tuple[bool, list[Any]]]:
    """For each data connection: whether it is the master's, and all descriptors up to COMPLETE, in order."""
    for connection in sorted({message.packet.connection for message in messages}):
        own = [message for message in messages if message.packet.connection == connection]
        starts = [number for number, message in enumerate(own) if isinstance(message.message, Execute)]
        if not starts:
            continue
        after = own[starts[0] + 1 :]
        end = next(number for number, message in enumerate(after) if isinstance(message.message, Complete))
        descriptors = [message.message.descriptor for message in after[:end] if message.kind != "DATA"]
        yield any(isinstance(message.message, Init) for message in own), descriptors
