"""SQL on a server, through PyMySQL, with the same rules for TLS and the same errors as clone connections."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import pymysql
from pymysql.constants import CLIENT, CR, ER
from pymysql.cursors import Cursor

from innoclone.errors import (
    AccessDenied,
    CloneError,
    ConnectFailed,
    NetworkError,
    PrivilegeMissing,
    ProtocolError,
    SqlError,
    TlsFailed,
    tamed,
)
from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.transport.sockets import tls_context

__all__ = ["LOST", "Sql", "sql_error"]

LOST = "the SQL connection was lost before"


def sql_error(error: pymysql.MySQLError) -> CloneError:
    """The error class for what PyMySQL raised."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = tamed(str(error.args[1]) if len(error.args) > 1 else str(error))
    if number == ER.ACCESS_DENIED_ERROR:
        return AccessDenied(text)
    if number in (1698, 1862, 3118, 3955):  # no password allowed, expired, locked
        return AccessDenied(f"{number}: {text}")
    if number == ER.SPECIFIC_ACCESS_DENIED_ERROR:
        return PrivilegeMissing(text)
    if number == CR.CR_SSL_CONNECTION_ERROR:
        return TlsFailed(text)
    if number in (CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST):
        return NetworkError(text)
    if isinstance(error, pymysql.err.InterfaceError):  # (0, ""): used after it was lost
        return NetworkError(LOST)
    if isinstance(getattr(error, "original_exception", None), ssl.SSLError):
        return TlsFailed(text)
    if number in (CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_UNKNOWN_HOST):
        return ConnectFailed(text)
    return SqlError(f"{number}: {text}", server_number=number)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What PyMySQL raises becomes a `CloneError`, also where it fails to understand a damaged answer."""
    try:
        yield
    except pymysql.MySQLError as error:
        raise sql_error(error) from error
    except (AssertionError, LookupError, ValueError, struct.error) as error:
        raise ProtocolError(f"the answer to an SQL statement is damaged: {type(error).__name__}") from error


class Sql:
    """One SQL connection, in autocommit mode. Use it with ``with``."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        read_timeout: float | None = None,
        streaming: bool = False,
        several: bool = False,
    ) -> None:
        """Log in. ``read_timeout``: seconds to wait for an answer, None = for ever; the login has the endpoint's own.
        ``streaming`` fetches rows as they come instead of holding a whole result in memory; ``several`` allows several
        statements at once, for `results`."""
        options: dict[str, Any] = {"ssl_disabled": True}
        if endpoint.socket is None and endpoint.ssl_mode is not SslMode.DISABLED:
            # PyMySQL takes a context as "required"; without any TLS option it prefers TLS, unverified.
            options = {} if endpoint.ssl_mode is SslMode.PREFERRED else {"ssl": tls_context(endpoint)}
        if endpoint.socket is not None:
            options["unix_socket"] = str(endpoint.socket)
        seconds = max(1, round(endpoint.connect_timeout))
        try:
            self.connection = pymysql.connect(
                host=endpoint.host, port=endpoint.port, user=endpoint.user, password=endpoint.password,
                connect_timeout=seconds, read_timeout=seconds, autocommit=True,
                charset="utf8mb4", cursorclass=pymysql.cursors.SSCursor if streaming else Cursor,
                client_flag=CLIENT.MULTI_STATEMENTS if several else 0, **options,
            )  # fmt: skip
        except pymysql.MySQLError as error:
            raise sql_error(error) from error
        self.connection._read_timeout = read_timeout  # type: ignore[attr-defined]  # PyMySQL has one for both

    def rows(self, statement: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement. Raises `SqlError` or another `CloneError`."""
        with _translated(), self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return list(cursor.fetchall())

    def value(self, statement: str, arguments: tuple[object, ...] = ()) -> Any:
        """First column of the first row, None without rows."""
        rows = self.rows(statement, arguments)
        return rows[0][0] if rows else None

    def results(self, statements: str) -> list[list[tuple[Any, ...]]]:
        """The rows of several statements that are sent at once, separated by ``;``; needs ``several``."""
        found = []
        with _translated(), self.connection.cursor() as cursor:
            cursor.execute(statements)
            found.append(list(cursor.fetchall()))
            while cursor.nextset():
                found.append(list(cursor.fetchall()))
        return found

    def shut(self) -> None:
        """From another thread: make the statement that runs fail."""
        sock = getattr(self.connection, "_sock", None)  # PyMySQL has no public way
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        if self.connection.open:
            self.connection.close()

    def __enter__(self) -> Sql:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()
