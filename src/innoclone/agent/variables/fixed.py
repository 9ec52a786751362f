"""System variables that can't be set: about this agent, and what clients ask when they connect."""

from __future__ import annotations

import os
import socket as sockets
import uuid
from datetime import datetime

from innoclone.agent.faults import StatementError
from innoclone.agent.memory import MOST_PREPARED
from innoclone.agent.sql.statements import Setting
from innoclone.agent.variables.kinds import LARGEST, Choice, Content, Note, Number
from innoclone.agent.variables.session import SESSION_VARIABLES, Charset, Collation, Definition, default_values
from innoclone.agent.variables.version import SERVER_VERSION

__all__ = ["OF_BOTH", "check_fixed", "fixed_variables", "shown"]

COMMENT = "innoclone agent"
DEPRECATED_FORMAT = "'@@binlog_format' is deprecated and will be removed in a future release."
GLOBAL_OF_SESSION = {"max_allowed_packet": Number(1, 0, LARGEST), "net_buffer_length": Number(1, 0, LARGEST)}
"""That a session has, and can't set."""

SETTABLE_BY_SESSION: dict[str, Definition] = {
    "auto_increment_increment": Number(1, 1, 65535),
    "binlog_format": Choice("ROW", ("MIXED", "STATEMENT", "ROW"), numbered=True), "character_set_database": Charset(),
    "character_set_filesystem": Charset("binary"), "character_set_server": Charset(), "collation_database": Collation(),
    "collation_server": Collation(),
}  # fmt: skip
SETTABLE = (
    *GLOBAL_OF_SESSION, "enforce_gtid_consistency", "event_scheduler", "general_log", "gtid_mode", "gtid_purged",
    "slow_query_log", "init_connect", "max_connections", "max_prepared_stmt_count", "read_only", "server_id",
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
        "binlog_format": "ROW", "enforce_gtid_consistency": "OFF", "gtid_executed": "", "gtid_mode": "OFF",
        "gtid_purged": "", "innodb_page_size": 16384,
        "server_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"innoclone://{sockets.gethostname()}{folder}")),
        "general_log": False, "slow_query_log": False, "event_scheduler": "OFF",
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


def check_fixed(setting: Setting, value: Content) -> list[Note]:
    """SET of a variable that can't be set: nothing but its notes if it is its value already, where a server could.

    Raises errors 1229, 1235, 1238, 1621, and those of a wrong value.
    """
    name, of_session = setting.name, setting.scope == "session"
    kind = SETTABLE_BY_SESSION.get(name) or GLOBAL_OF_SESSION.get(name)
    if kind is None and name not in SETTABLE:
        raise StatementError(1238, name, "read only")
    given: Content | float = value if setting.is_default else setting.value
    notes: list[Note] = []
    if kind is not None and not setting.is_default and given != kind.default:
        given, notes = kind.read(name, setting)
    if of_session and name in GLOBAL_OF_SESSION:
        raise StatementError(1621, name)
    if of_session and name not in SETTABLE_BY_SESSION:
        raise StatementError(1229, name)
    given = given.lower() if isinstance(given, str) else given
    if given not in (value, str(shown(value)).lower(), str(int(value)) if isinstance(value, bool) else value):
        raise StatementError(1235, f"SET {setting.scope.upper()} {name}")
    if name == "binlog_format":
        return [*notes, ("Warning", 1287, DEPRECATED_FORMAT)]
    deprecated = f"Updating '{name}' is deprecated. It will be made read-only in a future release."
    return [*notes, ("Warning", 1681, deprecated)] if name.endswith("_database") else notes
