"""Commands of the classic protocol, what a client asks once it is logged in: one frozen dataclass each.

Source: MySQL's protocol documentation ("Command Phase"), my_command.h for the numbers. Neither CLIENT_QUERY_ATTRIBUTES
nor CLIENT_MULTI_STATEMENTS is assumed: who offers them must read more than is read here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, u16le, u32le
from innoclone.wire.handshake import UTF8MB4_0900_AI_CI

__all__ = [
    "ChangeUser", "Command", "CommandNumber", "Debug", "FieldList", "InitDb", "Ping", "ProcessKill", "Query", "Quit",
    "ResetConnection", "SetOption", "Statistics", "StmtClose", "StmtExecute", "StmtFetch", "StmtPrepare", "StmtReset",
    "StmtSendLongData", "UnknownCommand", "parse",
]  # fmt: skip


class CommandNumber(enum.IntEnum):
    """First byte of a command (enum_server_command)."""

    QUIT = 0x01
    INIT_DB = 0x02
    QUERY = 0x03
    FIELD_LIST = 0x04
    STATISTICS = 0x09
    PROCESS_KILL = 0x0C
    DEBUG = 0x0D
    PING = 0x0E
    CHANGE_USER = 0x11
    STMT_PREPARE = 0x16
    STMT_EXECUTE = 0x17
    STMT_SEND_LONG_DATA = 0x18
    STMT_CLOSE = 0x19
    STMT_RESET = 0x1A
    SET_OPTION = 0x1B
    STMT_FETCH = 0x1C
    RESET_CONNECTION = 0x1F


class UnknownCommand(ProtocolError):
    """A command that is not read here; a server answers it with its own error 1047 and goes on."""


def _utf8(data: bytes) -> str:
    """Text of a client; bytes that are not utf-8 come through as they are and fail where they are understood."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _Bare:
    """A command of one byte; what follows is ignored, as the server does."""

    @classmethod
    def parse(cls, body: bytes) -> _Bare:
        """From what follows the command byte."""
        return cls()

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([_NUMBERS[type(self)]])


class Quit(_Bare):
    """COM_QUIT: the client goes."""


class Statistics(_Bare):
    """COM_STATISTICS: a line of text for people."""


class Debug(_Bare):
    """COM_DEBUG."""


class Ping(_Bare):
    """COM_PING."""


class ResetConnection(_Bare):
    """COM_RESET_CONNECTION: the session as new, without logging in again."""


@dataclass(frozen=True)
class _Text:
    """A command with text to the end of the packet."""

    text: str

    @classmethod
    def parse(cls, body: bytes) -> _Text:
        """From what follows the command byte."""
        return cls(_utf8(body))

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([_NUMBERS[type(self)]]) + _bytes(self.text)


class InitDb(_Text):
    """COM_INIT_DB: USE."""


class Query(_Text):
    """COM_QUERY: a statement."""


class StmtPrepare(_Text):
    """COM_STMT_PREPARE: a statement with question marks."""


@dataclass(frozen=True)
class FieldList:
    """COM_FIELD_LIST: the columns of a table, which `mysql` asks for when it completes names."""

    table: str
    wildcard: str = ""

    @classmethod
    def parse(cls, body: bytes) -> FieldList:
        """From what follows the command byte."""
        reader = Reader(body, "COM_FIELD_LIST")
        return cls(_utf8(reader.until_nul("table")), _utf8(reader.rest()))

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([CommandNumber.FIELD_LIST]) + _bytes(self.table) + b"\0" + _bytes(self.wildcard)


@dataclass(frozen=True)
class _Numbered:
    """A command with a number: of a connection or of a prepared statement."""

    number: int

    @classmethod
    def parse(cls, body: bytes) -> _Numbered:
        """From what follows the command byte."""
        return cls(Reader(body, cls.__name__).u32le("number"))

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([_NUMBERS[type(self)]]) + u32le(self.number)


class ProcessKill(_Numbered):
    """COM_PROCESS_KILL: KILL."""


class StmtClose(_Numbered):
    """COM_STMT_CLOSE; it has no answer."""


class StmtReset(_Numbered):
    """COM_STMT_RESET: forget long data and cursor."""


@dataclass(frozen=True)
class SetOption:
    """COM_SET_OPTION: 0 allows several statements in a query, 1 does not."""

    option: int

    @classmethod
    def parse(cls, body: bytes) -> SetOption:
        """From what follows the command byte."""
        return cls(Reader(body, "COM_SET_OPTION").u16le("option"))

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([CommandNumber.SET_OPTION]) + u16le(self.option)


@dataclass(frozen=True)
class StmtFetch:
    """COM_STMT_FETCH: rows of a cursor."""

    number: int
    rows: int

    @classmethod
    def parse(cls, body: bytes) -> StmtFetch:
        """From what follows the command byte."""
        reader = Reader(body, "COM_STMT_FETCH")
        return cls(reader.u32le("statement"), reader.u32le("rows"))

    def serialize(self) -> bytes:
        """To a packet."""
        return bytes([CommandNumber.STMT_FETCH]) + u32le(self.number) + u32le(self.rows)


@dataclass(frozen=True)
class StmtSendLongData:
    """COM_STMT_SEND_LONG_DATA: a piece of a parameter; it has no answer."""

    number: int
    parameter: int
    data: bytes

    @classmethod
    def parse(cls, body: bytes) -> StmtSendLongData:
        """From what follows the command byte."""
        reader = Reader(body, "COM_STMT_SEND_LONG_DATA")
        return cls(reader.u32le("statement"), reader.u16le("parameter"), reader.rest())

    def serialize(self) -> bytes:
        """To a packet."""
        head = bytes([CommandNumber.STMT_SEND_LONG_DATA]) + u32le(self.number)
        return head + u16le(self.parameter) + self.data


@dataclass(frozen=True)
class StmtExecute:
    """COM_STMT_EXECUTE. ``parameters`` is read with `innoclone.wire.binary.parse_parameters`, which must be told how
    many there are."""

    number: int
    cursor: int  # 0 none, 1 read only
    parameters: bytes

    @classmethod
    def parse(cls, body: bytes) -> StmtExecute:
        """From what follows the command byte."""
        reader = Reader(body, "COM_STMT_EXECUTE")
        number, cursor = reader.u32le("statement"), reader.u8("cursor")
        reader.take(4, "iterations")
        return cls(number, cursor, reader.rest())

    def serialize(self) -> bytes:
        """To a packet."""
        head = bytes([CommandNumber.STMT_EXECUTE]) + u32le(self.number)
        return head + bytes([self.cursor]) + u32le(1) + self.parameters


@dataclass(frozen=True)
class ChangeUser:
    """COM_CHANGE_USER: log in again on the same connection. Connection attributes are read over."""

    user: str
    auth: bytes
    database: str = ""
    plugin: str = ""

    @classmethod
    def parse(cls, body: bytes) -> ChangeUser:
        """From what follows the command byte."""
        reader = Reader(body, "COM_CHANGE_USER")
        user = reader.until_nul("user").decode("utf-8", "replace")
        auth = reader.take(reader.u8("auth length"), "auth data")
        database = reader.until_nul("database").decode("utf-8", "replace") if reader.left else ""
        if reader.left:
            reader.take(2, "collation")
        plugin = reader.until_nul("plugin").decode("latin-1") if reader.left else ""
        return cls(user, auth, database, plugin)

    def serialize(self) -> bytes:
        """To a packet."""
        return b"".join((
            bytes([CommandNumber.CHANGE_USER]), self.user.encode(), b"\0", bytes([len(self.auth)]), self.auth,
            self.database.encode(), b"\0", u16le(UTF8MB4_0900_AI_CI), self.plugin.encode("latin-1"), b"\0",
        ))  # fmt: skip


Command = (
    Quit | Statistics | Debug | Ping | ResetConnection | InitDb | Query | StmtPrepare | FieldList | ProcessKill
    | StmtClose | StmtReset | SetOption | StmtFetch | StmtSendLongData | StmtExecute | ChangeUser
)  # fmt: skip

_NUMBERS: dict[type, CommandNumber] = {
    Quit: CommandNumber.QUIT,
    InitDb: CommandNumber.INIT_DB,
    Query: CommandNumber.QUERY,
    FieldList: CommandNumber.FIELD_LIST,
    Statistics: CommandNumber.STATISTICS,
    ProcessKill: CommandNumber.PROCESS_KILL,
    Debug: CommandNumber.DEBUG,
    Ping: CommandNumber.PING,
    ChangeUser: CommandNumber.CHANGE_USER,
    StmtPrepare: CommandNumber.STMT_PREPARE,
    StmtExecute: CommandNumber.STMT_EXECUTE,
    StmtSendLongData: CommandNumber.STMT_SEND_LONG_DATA,
    StmtClose: CommandNumber.STMT_CLOSE,
    StmtReset: CommandNumber.STMT_RESET,
    SetOption: CommandNumber.SET_OPTION,
    StmtFetch: CommandNumber.STMT_FETCH,
    ResetConnection: CommandNumber.RESET_CONNECTION,
}
_PARSERS: dict[int, Callable[[bytes], Command]] = {
    number: kind.parse  # type: ignore[attr-defined]  # every one of them has it
    for kind, number in _NUMBERS.items()
}


def parse(payload: bytes) -> Command:
    """A command from a packet. Raises `UnknownCommand`, and `ProtocolError` for one that is cut short."""
    if not payload:
        raise UnknownCommand("a command of no bytes")
    if payload[0] not in _PARSERS:
        raise UnknownCommand(f"command {payload[0]:#04x}")
    return _PARSERS[payload[0]](payload[1:])
