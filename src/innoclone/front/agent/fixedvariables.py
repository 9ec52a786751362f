"""System variables that can't be set: about this agent, and what clients ask when they connect."""

from __future__ import annotations

import os
import socket as sockets
from datetime import datetime

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sessionvariables import SESSION_VARIABLES, default_values
from innoclone.front.agent.sql.budget import MOST_PREPARED
from innoclone.front.agent.sql.statements import Setting
from innoclone.front.agent.variables import Content
from innoclone.version import __version__

__all__ = ["OF_BOTH", "SERVER_VERSION", "check_fixed", "fixed_variables", "shown"]

SERVER_VERSION = f"9.7.0-innoclone-{__version__}"
COMMENT = "innoclone agent"
GLOBAL_OF_SESSION = ("max_allowed_packet", "net_buffer_length")  # that a session has, and can't set
SETTABLE_BY_SESSION = (
    "auto_increment_increment", "character_set_database", "character_set_filesystem", "character_set_server",
    "collation_database", "collation_server",
)  # fmt: skip
SETTABLE = (
    *GLOBAL_OF_SESSION, "init_connect", "max_connections", "max_prepared_stmt_count", "read_only", "server_id",
    "super_read_only",
)  # fmt: skip
OF_BOTH = frozenset((*SESSION_VARIABLES, *GLOBAL_OF_SESSION, *SETTABLE_BY_SESSION))
"""What has a session's value in a server; the others are global only."""


def shown(content: Content) -> str | None:
    """A variable's value as SHOW VARIABLES has it."""
    if isinstance(content, bool):
        return "ON" if content else "OFF"
    return None if content is None else str(content)


def fixed_variables(
    port: int, socket: str, folder: str, packet: int, connections: int, timeout: float
) -> dict[str, Content]:
    """Everything but the clone_* variables; of what sessions may set the global values. ``timeout`` is in seconds."""
    seconds = max(int(timeout), 1)
    return default_values() | {
        "auto_increment_increment": 1, "character_set_database": "utf8mb4", "character_set_filesystem": "binary",
        "character_set_server": "utf8mb4", "character_set_system": "utf8mb3",
        "collation_database": "utf8mb4_0900_ai_ci", "collation_server": "utf8mb4_0900_ai_ci", "datadir": folder,
        "hostname": sockets.gethostname(), "init_connect": "", "interactive_timeout": seconds, "license": "MIT",
        "log_bin": False, "lower_case_file_system": False, "lower_case_table_names": 0, "max_allowed_packet": packet,
        "max_connections": connections, "max_prepared_stmt_count": MOST_PREPARED, "net_buffer_length": 16384,
        "performance_schema": True, "port": port, "protocol_version": 10, "read_only": False, "server_id": 0,
        "socket": socket, "super_read_only": False, "system_time_zone": datetime.now().astimezone().tzname() or "",
        "version": SERVER_VERSION, "version_comment": COMMENT, "version_compile_machine": os.uname().machine,
        "version_compile_os": "Linux", "wait_timeout": seconds,
    }  # fmt: skip


def check_fixed(setting: Setting, value: Content) -> None:
    """SET of a variable that can't be set: nothing if it is its value already, where a server could set it.

    Raises errors 1229, 1232, 1235, 1238, 1621.
    """
    name = setting.name
    if name not in SETTABLE and name not in SETTABLE_BY_SESSION:
        raise StatementError(1238, name, "read only")
    if name == "net_buffer_length" and not isinstance(setting.value, int) and not setting.is_default:
        raise StatementError(1232, name)
    if setting.scope == "session" and name in GLOBAL_OF_SESSION:
        raise StatementError(1621, name)
    if setting.scope == "session" and name not in SETTABLE_BY_SESSION:
        raise StatementError(1229, name)
    given = setting.value.lower() if isinstance(setting.value, str) else setting.value
    same = {value, str(shown(value)).lower(), str(int(value)) if isinstance(value, bool) else value}
    if not setting.is_default and given not in same:
        raise StatementError(1235, f"SET {setting.scope.upper()} {name}")
