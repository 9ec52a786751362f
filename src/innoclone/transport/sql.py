"""SQL on a server, through PyMySQL, with the same rules for TLS and the same errors as clone connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CR, ER
from pymysql.cursors import Cursor

from innoclone.errors import AccessDenied, CloneError, NetworkError, PrivilegeMissing, ProtocolError, SqlError, one_line
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sqlclient import SqlClient
from innoclone.transport.sqlsession import OWN_SERVER, READING, UNSETTABLE, statement
from innoclone.wire.refusals import AFTER_LOGIN, refusal

__all__ = ["LARGE", "LOST", "Sql", "own_server", "sql_error", "understood"]

LOST = "the SQL connection was lost before"
ER_CLIENT_INTERACTION_TIMEOUT = 4031
ER_VARIABLE_NOT_SETTABLE_IN_TRANSACTION = 1766
USUAL, LARGE = 1 << 30, 1 << 32  # bytes of memory that one result may take


def sql_error(error: pymysql.MySQLError) -> CloneError:
    """The error class for what a server answers to a statement, or for a connection that is lost."""
    number = error.args[0] & 0xFFFF if error.args and isinstance(error.args[0], int) else 0  # PyMySQL reads a sign
    message = str(error.args[1]) if len(error.args) > 1 else str(error)
    text = one_line(message)
    if number == ER.SPECIFIC_ACCESS_DENIED_ERROR:
        return PrivilegeMissing(text)
    if number == ER.ACCESS_DENIED_ERROR:
        return AccessDenied(text)
    if number in AFTER_LOGIN and (known := refusal(number, message)) is not None:
        return known
    if number in (CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, ER_CLIENT_INTERACTION_TIMEOUT):
        return NetworkError(text)
    if isinstance(error, pymysql.err.InterfaceError):  # (0, ""): used after it was lost
        return NetworkError(LOST)
    return SqlError(f"{number}: {text}", server_number=number)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pymysql.MySQLError as error:
        raise sql_error(error) from error


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """For code that reads ``what`` a server answered: values that nobody can read are a `ProtocolError`.

    A decorator, too."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ProtocolError(f"what the server says of {what} makes no sense: {type(error).__name__}") from error


def own_server(
    socket: Path, user: str = "root", password: str = "", database: str | None = None, *, autocommit: bool = True
) -> Connection[Cursor]:
    """A plain connection of PyMySQL to a server that we started, over a socket of our own; raises `pymysql.MySQLError`.

    Its session, too, doesn't depend on the options that the server was started with.
    """
    settings = OWN_SERVER if user == "root" else READING
    try:
        return pymysql.connect(
            unix_socket=str(socket), user=user, password=password, database=database, charset="utf8mb4",
            init_command=statement(settings), autocommit=autocommit,
        )  # fmt: skip
    except pymysql.MySQLError:
        raise
    except Exception as error:  # what PyMySQL makes of the answers of something else
        raise pymysql.err.OperationalError(CR.CR_SERVER_HANDSHAKE_ERR, f"{socket} is no server's: {error}") from error


class Sql:
    """One SQL connection, in autocommit mode, whose session is as `innoclone.transport.sqlsession` has it. Use it with
    ``with``."""

    def __init__(
        self, endpoint: Endpoint, *, read_timeout: float | None = None, several: bool = False, most: int = USUAL
    ) -> None:
        """Log in. ``read_timeout``: seconds to wait for an answer, None = for ever; the login has the endpoint's own.
        ``several`` allows several statements at once, for `results`; ``most``: bytes that one result may take."""
        self.connection = SqlClient(endpoint, several=several, most=most)
        try:
            self._settle()
        except BaseException:
            self.close()
            raise
        self.connection.wait(read_timeout)

    def _settle(self) -> None:
        """Make the session ours."""
        try:
            try:
                self.rows(statement(READING))
            except SqlError as error:
                if error.code != ER_VARIABLE_NOT_SETTABLE_IN_TRANSACTION:
                    raise
                self.rows("ROLLBACK AND NO CHAIN NO RELEASE")  # what an init_connect began
                self.rows(statement(READING))
        except CloneError as error:
            if error.code not in UNSETTABLE:
                raise
            for setting in READING:  # an older or foreign server
                try:
                    self.rows(statement((setting,)))
                except CloneError as refused:
                    if refused.code not in UNSETTABLE:
                        raise

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
        self.connection.shut()

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
