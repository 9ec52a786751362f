"""The tables that can be read, as live views; and what a session knows of itself: functions and variables."""

from __future__ import annotations

import functools
import os
import socket as sockets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.information import INFORMATION, Source, information_rows
from innoclone.front.agent.sql.expressions import Env, Expr, constant, derived
from innoclone.front.agent.sql.scope import Table
from innoclone.front.agent.sql.types import (
    BIGINT,
    BOOL,
    DATE,
    NOT_FIXED,
    UNSIGNED,
    SqlType,
    Value,
    datetime_type,
    time_type,
    varchar,
)
from innoclone.front.agent.sql.values import to_text
from innoclone.front.agent.tables import CLONE_PROGRESS, CLONE_STATUS, GLOBAL_VARIABLES, PLUGINS, SCHEMAS
from innoclone.front.agent.variables import CLONE_VARIABLES, Content, Variables
from innoclone.ops.accounts import Account
from innoclone.version import __version__
from innoclone.wire.results import ColumnType

if TYPE_CHECKING:
    from innoclone.front.agent.service import Agent

__all__ = [
    "SERVER_VERSION",
    "SESSION_VARIABLES",
    "Catalog",
    "SelectSession",
    "fixed_variables",
    "kept",
    "plugin_rows",
    "shown",
]

SERVER_VERSION = f"9.7.0-innoclone-{__version__}"
COMMENT = "innoclone agent"
OF_A_VARIABLE = 21845  # characters of @@name
IDENTITY = 288  # characters of USER()
SESSION_VARIABLES: dict[str, Content] = {
    "autocommit": True, "character_set_client": "utf8mb4", "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4", "collation_connection": "utf8mb4_0900_ai_ci", "foreign_key_checks": True,
    "group_concat_max_len": 1024, "interactive_timeout": 28800, "lock_wait_timeout": 31536000, "max_execution_time": 0,
    "net_read_timeout": 30, "net_write_timeout": 60, "session_track_gtids": "OFF", "session_track_schema": True,
    "sql_auto_is_null": False, "sql_log_bin": True, "sql_mode": "ONLY_FULL_GROUP_BY", "sql_notes": True,
    "sql_quote_show_create": True, "sql_safe_updates": False, "sql_select_limit": 18446744073709551615,
    "sql_warnings": False, "time_zone": "SYSTEM", "transaction_isolation": "REPEATABLE-READ",
    "transaction_read_only": False, "unique_checks": True, "wait_timeout": 28800,
}  # fmt: skip
"""What clients set for themselves when they connect, with a server's defaults; kept, and without effect."""


def shown(content: Content) -> str | None:
    """A variable's value as SHOW VARIABLES has it."""
    if isinstance(content, bool):
        return "ON" if content else "OFF"
    return None if content is None else str(content)


def fixed_variables(port: int, socket: str, folder: str, packet: int, connections: int) -> dict[str, Content]:
    """Variables that can't be set: about this agent, and what clients ask when they connect."""
    sets = ("database", "filesystem", "server", "system")
    found: dict[str, Content] = SESSION_VARIABLES | {f"character_set_{name}": "utf8mb4" for name in sets}
    return found | {
        "auto_increment_increment": 1, "collation_database": "utf8mb4_0900_ai_ci",
        "collation_server": "utf8mb4_0900_ai_ci", "datadir": folder, "hostname": sockets.gethostname(),
        "init_connect": "", "license": "MIT", "log_bin": False, "lower_case_file_system": False,
        "lower_case_table_names": 0, "max_allowed_packet": packet, "max_connections": connections,
        "net_buffer_length": 16384, "performance_schema": True, "port": port, "protocol_version": 10,
        "read_only": False, "server_id": 0, "socket": socket, "super_read_only": False,
        "system_time_zone": datetime.now().astimezone().tzname() or "", "version": SERVER_VERSION,
        "version_comment": COMMENT, "version_compile_machine": os.uname().machine, "version_compile_os": "Linux",
    }  # fmt: skip


def plugin_rows(variables: Variables) -> list[tuple[Value, ...]]:
    """Rows of information_schema.plugins."""
    common = ("ACTIVE", "AUTHENTICATION", "2.1", None, None, "innoclone", "authentication by password", "MIT", "FORCE")
    rows: list[tuple[Value, ...]] = [("caching_sha2_password", "1.0", *common)]
    if variables.installed:
        rows.append(
            ("clone", "1.0", "ACTIVE", "CLONE", "1.0", "mysql_clone.so", "1.11", "innoclone", "CLONE", "MIT", "ON")
        )
    return rows


class Catalog:
    """Tables by name, for an account that may or may not read them."""

    def __init__(self, agent: Agent, account: Account, host: str, schema: str, session: Mapping[str, Content]) -> None:
        """``schema`` is the one that USE chose, if any; ``session`` are the variables as the session has them."""
        self._agent, self._account, self._host, self._schema = agent, account, host, schema
        clones, variables = agent.clones, agent.variables
        self._tables: dict[tuple[str, str], Source] = {
            ("performance_schema", "clone_status"): (CLONE_STATUS, clones.status_rows),
            ("performance_schema", "clone_progress"): (CLONE_PROGRESS, clones.progress_rows),
            ("performance_schema", "global_variables"): (GLOBAL_VARIABLES, lambda: _listed(variables.all())),
            ("performance_schema", "session_variables"): (GLOBAL_VARIABLES, lambda: _listed(session)),
            ("performance_schema", "persisted_variables"): (GLOBAL_VARIABLES, lambda: _listed(variables.persisted())),
            ("performance_schema", "global_status"): (GLOBAL_VARIABLES, self.status),
            ("performance_schema", "session_status"): (GLOBAL_VARIABLES, self.status),
            ("information_schema", "plugins"): (PLUGINS, lambda: plugin_rows(variables)),
        }
        for name, columns in INFORMATION.items():
            self._tables["information_schema", name.lower()] = columns, functools.partial(self.information, name)

    def status(self) -> list[tuple[Value, ...]]:
        """SHOW STATUS."""
        return [("Threads_connected", str(self._agent.connected)), ("Uptime", str(self._agent.uptime))]

    def processes(self, *, long: bool) -> list[tuple[Value, ...]]:
        """The connections that the account may see."""
        everybody = self._account.may("PROCESS")
        return [
            session.process_row(long=long)
            for session in self._agent.sessions()
            if everybody or session.execution.account.name == self._account.name
        ]

    def information(self, name: str) -> list[tuple[Value, ...]]:
        """Rows of a table of information_schema; it has no tables that may not be read."""
        if name == "PROCESSLIST":
            return self.processes(long=True)
        seen = {key: source for key, source in self._tables.items() if self._may_read(*key)}
        return information_rows(seen, datetime.now() - timedelta(seconds=self._agent.uptime)).get(name, [])

    def _may_read(self, schema: str, name: str) -> bool:
        return schema == "information_schema" or self._account.may("SELECT", f"{schema}.{name}")

    def table(self, schema: str, name: str, alias: str) -> Table:
        """A table that may be read. Raises errors 1046, 1049, 1109, 1142, 1146."""
        schema = (schema or self._schema).lower()
        if not schema:
            raise StatementError(1046)
        if schema not in SCHEMAS:
            raise StatementError(1049, schema)
        if not self._may_read(schema, name.lower()):
            raise StatementError(1142, "SELECT", self._account.user, self._host, name)
        found = self._tables.get((schema, name.lower()))
        if found is None and schema == "information_schema":
            raise StatementError(1109, name.upper(), schema)
        if found is None:
            raise StatementError(1146, schema, name)
        shown_name = name.upper() if schema == "information_schema" else name.lower()
        return Table(alias, schema, shown_name, found[0], found[1])

    def names(self, schema: str) -> list[str]:
        """The tables of a schema that may be read."""
        return sorted(name for where, name in self._tables if where == schema.lower() and self._may_read(where, name))


def _listed(values: Mapping[str, Content]) -> list[tuple[Value, ...]]:
    return [(name, shown(value)) for name, value in sorted(values.items())]


class SelectSession:
    """What a SELECT asks about its session. NOW() is the same in all of a statement."""

    def __init__(
        self, variables: Variables, account: Account, user: str, number: int, schema: str,
        session: dict[str, Content], mine: dict[str, tuple[SqlType, Value]], found: int,
    ) -> None:  # fmt: skip
        """``user`` is ``name@host`` as the client logged in, ``session`` the session's own variables, ``mine`` the
        user's, ``@x``, by name in lower case, ``found`` the number of rows of the last SELECT."""
        self._variables, self._session, self._mine = variables, session, mine
        self._texts: dict[str, str | None] = {
            "USER": user, "SESSION_USER": user, "SYSTEM_USER": user, "CURRENT_USER": str(account),
            "DATABASE": schema or None, "SCHEMA": schema or None, "VERSION": SERVER_VERSION, "CURRENT_ROLE": "NONE",
        }  # fmt: skip
        self._number, self.schema, self._found = number, schema, found
        self._now = datetime.now().astimezone()

    def function(self, name: str, decimals: int) -> Expr | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""
        if name in self._texts:
            text = self._texts[name]
            sizes = {"DATABASE": 64, "SCHEMA": 64, "VERSION": len(SERVER_VERSION)}
            return constant(varchar(sizes.get(name, IDENTITY)), text)
        if name == "UUID":
            return derived(varchar(36), lambda _: str(uuid.uuid1()), [])
        if name == "CONNECTION_ID":
            return constant(BIGINT, self._number)
        here = self._now.replace(tzinfo=None)
        moments = {"NOW": here, "SYSDATE": here, "LOCALTIME": here, "CURRENT_TIMESTAMP": here, "LOCALTIMESTAMP": here}
        moments["UTC_TIMESTAMP"] = self._now.astimezone(UTC).replace(tzinfo=None)
        if name in moments:
            moment = moments[name]
            step = 10 ** (6 - decimals)
            cut = moment.replace(microsecond=moment.microsecond // step * step)
            return constant(datetime_type(decimals), cut)
        there = moments["UTC_TIMESTAMP"]
        dates = {"CURDATE": here, "CURRENT_DATE": here, "UTC_DATE": there}
        if name in dates:
            return constant(DATE, dates[name].date())
        times = {"CURTIME": here, "CURRENT_TIME": here, "UTC_TIME": there}
        if name in times:
            cut = times[name].replace(
                microsecond=times[name].microsecond // 10 ** (6 - decimals) * 10 ** (6 - decimals)
            )
            size = replace(time_type(decimals), length=8 + (decimals + 1 if decimals else 0))
            return constant(size, cut - datetime.combine(cut.date(), time()))
        counts = {"LAST_INSERT_ID": 0, "ROW_COUNT": -1, "FOUND_ROWS": self._found}
        if name in counts:
            return constant(BIGINT, counts[name])
        return None

    def variable(self, name: str) -> Expr:
        """``@@name``. Raises error 1193."""
        scope, _, bare = name.rpartition(".")
        if bare in self._session and scope not in ("global", "persist"):
            return _constant(self._session[bare])
        everything = self._variables.all()
        if bare not in everything:
            raise StatementError(1193, bare)
        if scope in ("session", "local") and bare in CLONE_VARIABLES:
            raise StatementError(1238, bare, "GLOBAL")
        return _constant(everything[bare])

    def user_variable(self, name: str) -> Expr:
        """``@name``; NULL before it is set."""
        name = name.lower()
        kind = self._mine[name][0] if name in self._mine else _UNSET
        return Expr(kind, lambda _: self._mine.get(name, (kind, None))[1])

    def assign(self, name: str, value: Expr) -> Expr:
        """``@name := value``."""

        def assigned(env: Env) -> Value:
            given = value.value(env)
            self._mine[name.lower()] = kept(value.type, given)
            return given

        return derived(value.type, assigned, (value,))


_UNSET = SqlType(ColumnType.MEDIUM_BLOB, 0, NOT_FIXED)


def kept(kind: SqlType, value: Value) -> tuple[SqlType, Value]:
    """What a user variable has of a value: a number as it is, everything else as text."""
    if isinstance(value, bool | int | float | Decimal):
        return kind, value
    return SqlType(ColumnType.MEDIUM_BLOB, 0xFFFFFF // 4, NOT_FIXED), to_text(value, kind)


def _constant(content: Content) -> Expr:
    if isinstance(content, bool):
        return constant(BOOL, int(content))
    return constant(UNSIGNED, content) if isinstance(content, int) else constant(varchar(OF_A_VARIABLE), content)
