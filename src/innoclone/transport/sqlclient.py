"""PyMySQL's connection with our login, and with limits to what a server may answer.

PyMySQL would tell a password to whoever asks for it (mysql_clear_password), gathers answers of any size in memory, and
fails at damaged ones with whatever exception comes of it. Here the login is ours (`innoclone.transport.login`), an
answer costs a bounded amount of memory, and what can't be understood is a `ProtocolError`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

from innoclone.errors import AnswerTooLarge, CloneError, NetworkError, ProtocolError
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.transport.login import cipher_of, log_in
from innoclone.transport.sockets import open_socket, start_tls
from innoclone.wire.handshake import Capability
from innoclone.wire.packets import HEADER, PacketHeader

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

    _Connection = Connection[Cursor]
else:
    _Connection = Connection

__all__ = ["SqlClient"]

LONGEST_LOGIN_PACKET = 1 << 16  # bytes; greetings, keys and errors are far below
LONGEST_PACKET = 1 << 26  # bytes of one row or error message: a server's own default for max_allowed_packet
MOST_COLUMNS = 4096  # of a table or a result (manual, "Limits on Table Column Count")
MOST_RESULTS = 64  # of one call; ours have up to five statements
ROW, VALUE = 128, 64  # bytes that a row and a value take in memory besides what was sent
COLUMN = 16  # values that a column's description is worth
LOCAL_FILE, ERROR = 0xFB, 0xFF  # what an answer starts with that asks for a file, or that is an error


class _Channel:
    """The socket during the login; nothing is read ahead."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.sock = open_socket(endpoint)

    def read_packet_numbered(self) -> tuple[int, bytes]:
        header = PacketHeader.parse(self._exactly(HEADER))
        if header.length > LONGEST_LOGIN_PACKET:
            raise ProtocolError(f"a packet of {header.length} bytes during the login")
        return header.sequence, self._exactly(header.length)

    def write_bytes(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise self._broken(error) from error

    def begin_tls(self) -> None:
        self.sock = start_tls(self.sock, self._endpoint)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except OSError as error:
                raise self._broken(error) from error
            if not piece:
                raise NetworkError(f"{self._endpoint.address} closed the connection")
            data += piece
        return bytes(data)

    def _broken(self, error: OSError) -> CloneError:
        if isinstance(error, TimeoutError):
            return NetworkError(f"{self._endpoint.address} sent nothing for {self._endpoint.connect_timeout:g} s")
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return NetworkError(f"{self._endpoint.address} closed the connection")
        return NetworkError(f"connection to {self._endpoint.address} broke: {error.strerror or error}")


class SqlClient(_Connection):
    """A logged-in connection. Statements raise `pymysql.MySQLError` for what the server says and for a lost
    connection, `ProtocolError` or `AnswerTooLarge` for what no honest server says."""

    def __init__(self, endpoint: Endpoint, *, several: bool, most: int) -> None:
        """``several``: allow several statements in one call; ``most``: bytes of memory that one result may take.

        Raises what a login raises, see `innoclone.transport.login.log_in`.
        """
        super().__init__(charset="utf8mb4", ssl_disabled=True, defer_connect=True)
        self._endpoint, self._most = endpoint, most
        self._left = most  # bytes that the rest of the answer may take
        self._width = self._results = 0
        self._beginning = False  # the next packet is an answer's first
        self.cipher = ""
        more = Capability.MULTI_RESULTS | (Capability.MULTI_STATEMENTS if several else Capability(0))
        channel = _Channel(endpoint)
        try:
            login = log_in(channel, endpoint, Compression(), more=more)
        except BaseException:
            channel.sock.close()
            raise
        assert login.greeting is not None, "log_in sees to that"
        self.server_version = login.greeting.version
        self.server_status = login.greeting.status
        self.cipher = cipher_of(channel.sock)
        self._sock: Any = channel.sock
        self._rfile: Any = channel.sock.makefile("rb")
        self._next_seq_id = 0
        self.wait(endpoint.connect_timeout)
        self._write_timeout = endpoint.connect_timeout

    def wait(self, seconds: float | None) -> None:
        """From now on wait so long for each piece of an answer; None = for ever."""
        self._read_timeout = self._current_timeout = seconds
        self._sock.settimeout(seconds)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        super()._execute_command(command, sql)  # type: ignore[misc]  # the stubs lack it
        self._results = 0

    def _read_query_result(self, unbuffered: bool = False) -> int:
        """One result. PyMySQL's way through it fails with any exception when the bytes are not what it expects."""
        self._left, self._width, self._beginning = self._most, 0, True
        self._results += 1
        try:
            if self._results > MOST_RESULTS:
                raise ProtocolError("an SQL statement is answered without end")
            rows: int = super()._read_query_result(unbuffered)  # type: ignore[misc]
            return rows
        except pymysql.MySQLError:
            raise
        except CloneError:
            self._drop()
            raise
        except Exception as error:
            self._drop()
            raise ProtocolError(f"the answer to an SQL statement is damaged: {type(error).__name__}") from error

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        if self._current_timeout != self._read_timeout:
            self.wait(self._read_timeout)
        values = self._width
        if packet_type is FieldDescriptorPacket:
            self._width += 1
            values = COLUMN
            if self._width > MOST_COLUMNS:
                raise ProtocolError(f"a result of more than {MOST_COLUMNS} columns")
        payload = self._payload(ROW + VALUE * values)
        if self._beginning and payload[:1] == bytes([LOCAL_FILE]):
            raise ProtocolError("the server asks for a file of this host (LOAD DATA LOCAL), which nobody told it to")
        self._beginning = False
        packet = packet_type(payload, self.encoding)
        if packet.is_error_packet():
            packet.raise_for_error()
        return packet

    def _payload(self, more: int) -> bytes:
        """The next packet; it takes ``more`` bytes of memory than it has."""
        pieces: list[bytes] = []
        whole = 0
        last = False
        while not last:
            header = PacketHeader.parse(self._bytes(HEADER))
            whole += header.length
            self._left -= header.length + (0 if pieces else more)
            if self._left < 0 or whole > LONGEST_PACKET:
                what = (
                    f"more than {self._most} bytes" if self._left < 0 else f"a row of more than {LONGEST_PACKET} bytes"
                )
                raise AnswerTooLarge(f"{self._endpoint.address} answers an SQL statement with {what}")
            piece = self._bytes(header.length)
            if header.sequence != self._next_seq_id:
                self._out_of_order(header, piece)
            self._next_seq_id = (self._next_seq_id + 1) % 256
            pieces.append(piece)
            last = not header.is_continued
        return b"".join(pieces)

    def _bytes(self, count: int) -> bytes:
        try:
            data: bytes = self._rfile.read(count)
        except OSError as error:
            raise self._lost(f"Lost connection to MySQL server during query ({error})") from error
        if len(data) < count:
            raise self._lost("Lost connection to MySQL server during query")
        return data

    def _lost(self, text: str) -> pymysql.err.OperationalError:
        self._drop()
        return pymysql.err.OperationalError(CR.CR_SERVER_LOST, text)

    def _drop(self) -> None:
        """Close without a word."""
        for closing in (self._rfile, self._sock):
            with contextlib.suppress(OSError, AttributeError):  # None where it is closed
                closing.close()
        self._rfile = self._sock = None

    def _out_of_order(self, header: PacketHeader, piece: bytes) -> None:
        """A server that ends a connection says why before it is asked anything (4031, 1053, ...)."""
        if header.sequence == 0 and piece[:1] == bytes([ERROR]):
            MysqlPacket(piece, self.encoding).raise_for_error()
        raise ProtocolError(f"packet {header.sequence} of an answer comes as {self._next_seq_id}")

    def shut(self) -> None:
        """From another thread: make the statement that runs fail."""
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
