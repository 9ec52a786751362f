"""innoclone.transport.sql when the connection or what comes over it is broken."""

from __future__ import annotations

import io

import pytest

from innoclone.errors import NetworkError, ProtocolError
from innoclone.server.mysqld import Server
from innoclone.transport.sql import Sql
from servers import endpoint_of


def test_a_lost_connection(donor: Server) -> None:
    """A network error with its hint, at once and at every later statement."""
    with Sql(endpoint_of(donor)) as sql:
        sql.shut()
        for _ in range(2):
            with pytest.raises(NetworkError):
                sql.rows("SELECT 1")


def test_a_damaged_answer(donor: Server) -> None:
    with Sql(endpoint_of(donor)) as sql:
        sql.connection._rfile = io.BytesIO(b"\1\0\0\1\1" + b"\2\0\0\2\x40x")  # one column; its name is cut short
        with pytest.raises(ProtocolError, match="damaged"):
            sql.rows("SELECT 1")
