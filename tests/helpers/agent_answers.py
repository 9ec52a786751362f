"""What an agent or a server answers to a statement, to be compared."""

from __future__ import annotations

from typing import Any

import pymysql
from pymysql.connections import Connection

OURS = (
    "clone_boot", "clone_discard_changes", "clone_error_numbering", "clone_get_server_public_key",
    "clone_incremental", "clone_keep_old_data", "clone_resume_on_start", "clone_server_public_key_path",
    "clone_status_history",
)  # fmt: skip


def answer(connection: Connection[Any], statement: str) -> Any:
    """What comes of a statement: its error, or its warnings and rows."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except pymysql.Error as error:
            return error.args
        rows = cursor.fetchall()
        cursor.execute("SHOW WARNINGS")
        return cursor.fetchall(), rows
