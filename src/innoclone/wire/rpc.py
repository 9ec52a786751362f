"""Clone commands and responses: one frozen dataclass per message, both directions. Little-endian.

Source: the server's plugin/clone (clone_client.cc, clone_server.cc: names and layouts), checked against a 9.7 donor.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import ClassVar

from innoclone.dataclass import dataclass
from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, string, text, u32le
from innoclone.wire.descriptors import Descriptor, Locator, StateDescriptor, parse_descriptor

__all__ = [
    "COM_CLONE", "INNODB", "NO_BACKUP_LOCK", "Ack", "Attach", "Collation", "Command", "CommandCode", "Complete",
    "Config", "DataDescription", "Execute", "Exit", "Failure", "Init", "Locators", "Parameter", "Plugin",
    "ProtocolVersion", "Reinit", "Response", "ResponseCode", "parse_command", "parse_response",
]  # fmt: skip

COM_CLONE = 0x20  # command byte of the classic protocol that enters clone mode (my_command.h)
INNODB = 12  # legacy_db_type DB_TYPE_INNODB
NO_BACKUP_LOCK = 0x80000000  # bit 31 of the DDL timeout: let DDL run during the clone
MAX_ENGINES = 16


class ProtocolVersion(enum.IntEnum):
    """Clone protocol versions (clone_protocol_service: CLONE_PROTOCOL_VERSION_V1...)."""

    V1 = 0x0100
    V2 = 0x0101
    V3 = 0x0102
    V4 = 0x0103


class CommandCode(enum.IntEnum):
    """First byte of a command."""

    INIT = 1
    ATTACH = 2
    REINIT = 3
    EXECUTE = 4
    ACK = 5
    EXIT = 6


class ResponseCode(enum.IntEnum):
    """First byte of a response."""

    LOCS = 1
    DATA_DESC = 2
    DATA = 3
    PLUGIN = 4
    CONFIG = 5
    COLLATION = 6
    PLUGIN_V2 = 7
    CONFIG_V3 = 8
    CONFIG_V4 = 9
    COMPLETE = 99
    ERROR = 100


def _read_locators(reader: Reader) -> tuple[Locator, ...]:
    return tuple(locator for locator, _ in _padded_locators(reader))


def _padded_locators(reader: Reader) -> list[tuple[Locator, bytes]]:
    """Each with what is behind the length in its own header, but for zeros at the end."""
    found = []
    while reader.left:
        engine = reader.u8("storage engine")
        data = reader.take(reader.u32le("locator length"), "locator")
        if engine != INNODB:
            raise ProtocolError(
                f"storage engine {engine}: only InnoDB ({INNODB}) can be cloned",
                hint="the donor has another engine that takes part in clones: use its own tools",
            )
        locator = Locator.parse(data)
        found.append((locator, data[len(locator.serialize()) :].rstrip(b"\0")))
        if len(found) > MAX_ENGINES:
            raise ProtocolError(f"more than {MAX_ENGINES} locators")
    return found


def _locator_entry(locator: Locator, padded_to: int = 0, padding: bytes = b"") -> bytes:
    data = locator.serialize() + padding
    data += bytes(max(0, padded_to - len(data)))
    return bytes([INNODB]) + u32le(len(data)) + data


# ---- commands ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Start:
    """Common payload of INIT, ATTACH and REINIT. ``ddl_timeout`` is in seconds; see `NO_BACKUP_LOCK`."""

    version: int
    ddl_timeout: int
    block_ddl: bool
    locators: tuple[Locator, ...]

    @classmethod
    def _fields(cls, reader: Reader) -> tuple[int, int, bool, tuple[Locator, ...]]:
        version, timeout = reader.u32le("protocol version"), reader.u32le("DDL timeout")
        return version, timeout & ~NO_BACKUP_LOCK, not timeout & NO_BACKUP_LOCK, _read_locators(reader)

    def _payload(self, padded_to: int, padding: bytes = b"") -> bytes:
        timeout = self.ddl_timeout | (0 if self.block_ddl else NO_BACKUP_LOCK)
        entries = b"".join(_locator_entry(locator, padded_to, padding) for locator in self.locators)
        return u32le(self.version) + u32le(timeout) + entries


@dataclass(frozen=True)
class Init(_Start):
    """COM_INIT: start a clone and negotiate versions. ``padding`` is behind its locator, where a stock donor looks at
    nothing; it doesn't end with a zero."""

    padding: bytes = b""

    PADDED: ClassVar[int] = 128  # a stock recipient pads its version locator to this length

    @classmethod
    def parse(cls, reader: Reader) -> Init:
        """From what follows the command byte."""
        version, timeout = reader.u32le("protocol version"), reader.u32le("DDL timeout")
        found = _padded_locators(reader)
        padding = found[0][1] if found else b""
        locators = tuple(locator for locator, _ in found)
        return cls(version, timeout & ~NO_BACKUP_LOCK, not timeout & NO_BACKUP_LOCK, locators, padding)

    def serialize(self) -> bytes:
        """Command byte and payload."""
        return bytes([CommandCode.INIT]) + self._payload(self.PADDED, self.padding)


class Attach(_Start):
    """COM_ATTACH: join a running clone as a worker."""

    @classmethod
    def parse(cls, reader: Reader) -> Attach:
        """From what follows the command byte."""
        return cls(*cls._fields(reader))

    def serialize(self) -> bytes:
        """Command byte and payload."""
        return bytes([CommandCode.ATTACH]) + self._payload(0)


class Reinit(_Start):
    """COM_REINIT: go on with a clone after a network failure; its locator carries a `ChunkInfo`."""

    @classmethod
    def parse(cls, reader: Reader) -> Reinit:
        """From what follows the command byte."""
        return cls(*cls._fields(reader))

    def serialize(self) -> bytes:
        """Command byte and payload."""
        return bytes([CommandCode.REINIT]) + self._payload(0)


@dataclass(frozen=True)
class Execute:
    """COM_EXECUTE: stream the clone on this connection until it is done."""

    @classmethod
    def parse(cls, reader: Reader) -> Execute:
        """From what follows the command byte."""
        reader.end()
        return cls()

    def serialize(self) -> bytes:
        """Command byte."""
        return bytes([CommandCode.EXECUTE])


@dataclass(frozen=True)
class Ack:
    """COM_ACK: a stage is done here (``state`` with flag ACK), or a local error (``error`` and no state)."""

    error: int
    locator: Locator
    state: StateDescriptor | None

    @classmethod
    def parse(cls, reader: Reader) -> Ack:
        """From what follows the command byte."""
        error, engine = reader.i32le("error"), reader.u8("storage engine")
        if engine != INNODB:
            raise ProtocolError(f"storage engine {engine} in COM_ACK")
        locator = Locator.parse(reader.take(reader.u32le("locator length"), "locator"))
        data = reader.take(reader.u32le("descriptor length"), "descriptor")
        reader.end()
        return cls(error, locator, StateDescriptor.parse(data) if data else None)

    def serialize(self) -> bytes:
        """Command byte and payload."""
        data = self.state.serialize() if self.state is not None else b""
        error = self.error.to_bytes(4, "little", signed=True)
        return bytes([CommandCode.ACK]) + error + _locator_entry(self.locator) + u32le(len(data)) + data


@dataclass(frozen=True)
class Exit:
    """COM_EXIT: leave clone mode."""

    @classmethod
    def parse(cls, reader: Reader) -> Exit:
        """From what follows the command byte."""
        reader.end()
        return cls()

    def serialize(self) -> bytes:
        """Command byte."""
        return bytes([CommandCode.EXIT])


Command = Init | Attach | Reinit | Execute | Ack | Exit

_COMMANDS: dict[int, Callable[[Reader], Command]] = {
    CommandCode.INIT: Init.parse,
    CommandCode.ATTACH: Attach.parse,
    CommandCode.REINIT: Reinit.parse,
    CommandCode.EXECUTE: Execute.parse,
    CommandCode.ACK: Ack.parse,
    CommandCode.EXIT: Exit.parse,
}


def parse_command(payload: bytes) -> Command:
    """A whole command packet. Raises `ProtocolError`."""
    reader = Reader(payload, "clone command")
    code = reader.u8("command byte")
    parser = _COMMANDS.get(code)
    if parser is None:
        raise ProtocolError(f"clone command {code} is unknown")
    return parser(reader)


# ---- responses ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Locators:
    """LOCS: the negotiated version and the clone's locators."""

    version: int
    locators: tuple[Locator, ...]

    @classmethod
    def parse(cls, reader: Reader) -> Locators:
        """From what follows the response byte."""
        return cls(reader.u32le("protocol version"), _read_locators(reader))

    def serialize(self) -> bytes:
        """Response byte and payload."""
        entries = b"".join(_locator_entry(locator) for locator in self.locators)
        return bytes([ResponseCode.LOCS]) + u32le(self.version) + entries


@dataclass(frozen=True)
class DataDescription:
    """DATA_DESC: a descriptor; one of kind DATA is followed by a DATA response with the bytes."""

    descriptor: Descriptor
    locator_index: int = 0

    @classmethod
    def parse(cls, reader: Reader) -> DataDescription:
        """From what follows the response byte."""
        engine, index = reader.u8("storage engine"), reader.u8("locator index")
        if engine != INNODB or index != 0:
            raise ProtocolError(f"descriptor of storage engine {engine}, locator {index}")
        return cls(parse_descriptor(reader.rest()), index)

    def serialize(self) -> bytes:
        """Response byte and payload."""
        return bytes([ResponseCode.DATA_DESC, INNODB, self.locator_index]) + self.descriptor.serialize()


@dataclass(frozen=True)
class Plugin:
    """PLUGIN or PLUGIN_V2: an active plugin of the donor; ``library`` is None in the first form, "" if built in."""

    name: str
    library: str | None = None

    @classmethod
    def parse_v1(cls, reader: Reader) -> Plugin:
        """From what follows PLUGIN."""
        return cls(reader.string("plugin name"))

    @classmethod
    def parse_v2(cls, reader: Reader) -> Plugin:
        """From what follows PLUGIN_V2."""
        return cls(reader.string("plugin name"), reader.string("plugin library"))

    def serialize(self) -> bytes:
        """Response byte and payload."""
        if self.library is None:
            return bytes([ResponseCode.PLUGIN]) + string(self.name)
        return bytes([ResponseCode.PLUGIN_V2]) + string(self.name) + string(self.library)


@dataclass(frozen=True)
class Collation:
    """COLLATION: one that the donor's dictionary knows."""

    name: str

    @classmethod
    def parse(cls, reader: Reader) -> Collation:
        """From what follows the response byte."""
        return cls(reader.string("collation"))

    def serialize(self) -> bytes:
        """Response byte and payload."""
        return bytes([ResponseCode.COLLATION]) + string(self.name)


@dataclass(frozen=True)
class Config:
    """CONFIG, CONFIG_V3 or CONFIG_V4 (``code`` says which): a setting of the donor."""

    key: str
    value: str
    code: ResponseCode = ResponseCode.CONFIG

    def serialize(self) -> bytes:
        """Response byte and payload."""
        return bytes([self.code]) + string(self.key) + string(self.value)

    @property
    def json(self) -> dict[str, object]:
        """The object in a CONFIG_V4. Raises `ProtocolError` if it isn't one."""
        try:
            value = json.loads(self.value)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("CONFIG_V4: the value is not JSON") from error
        if not isinstance(value, dict):
            raise ProtocolError("CONFIG_V4: the value is not a JSON object")
        return value


@dataclass(frozen=True)
class Complete:
    """COMPLETE: the command is done."""

    def serialize(self) -> bytes:
        """Response byte."""
        return bytes([ResponseCode.COMPLETE])


@dataclass(frozen=True)
class Failure:
    """ERROR: the command failed at the donor; clone mode is over on this connection."""

    number: int
    message: str

    @classmethod
    def parse(cls, reader: Reader) -> Failure:
        """From what follows the response byte."""
        number = reader.i32le("error number")
        return cls(number, reader.rest().decode("utf-8", "replace"))

    def serialize(self) -> bytes:
        """Response byte and payload."""
        return bytes([ResponseCode.ERROR]) + self.number.to_bytes(4, "little", signed=True) + self.message.encode()


Parameter = Plugin | Collation | Config
Response = Locators | DataDescription | Parameter | Complete | Failure


def _config(code: ResponseCode) -> Callable[[Reader], Config]:
    return lambda reader: Config(reader.string("configuration key"), reader.string("configuration value"), code)


_RESPONSES: dict[int, Callable[[Reader], Response]] = {
    ResponseCode.LOCS: Locators.parse,
    ResponseCode.DATA_DESC: DataDescription.parse,
    ResponseCode.PLUGIN: Plugin.parse_v1,
    ResponseCode.PLUGIN_V2: Plugin.parse_v2,
    ResponseCode.CONFIG: _config(ResponseCode.CONFIG),
    ResponseCode.CONFIG_V3: _config(ResponseCode.CONFIG_V3),
    ResponseCode.CONFIG_V4: _config(ResponseCode.CONFIG_V4),
    ResponseCode.COLLATION: Collation.parse,
    ResponseCode.COMPLETE: lambda reader: Complete(),
    ResponseCode.ERROR: Failure.parse,
}


_DESCRIPTOR = bytes([ResponseCode.DATA_DESC, INNODB, 0])  # how most responses begin, each block's among them


def parse_response(payload: bytes) -> Response:
    """A whole response packet other than DATA, whose bytes go past this layer. Raises `ProtocolError`."""
    if payload.startswith(_DESCRIPTOR):
        return DataDescription(parse_descriptor(payload[len(_DESCRIPTOR) :]))
    reader = Reader(payload, "clone response")
    code = reader.u8("response byte")
    parser = _RESPONSES.get(code)
    if parser is None:
        shown = text(bytes([code]), "code") if 32 <= code < 127 else ""
        raise ProtocolError(f"clone response {code} {shown!r} is unknown or not allowed here")
    return parser(reader)
