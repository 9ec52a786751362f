"""The tables that can be read, as live views; and what a session knows of itself: functions and variables."""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from innoclone.front.agent.clones import Clones
from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.expressions import Env, Expr, constant, derived
from innoclone.front.agent.sql.scope import Table
from innoclone.front.agent.sql.types import (
    BIGINT,
    DATE,
    NOT_FIXED,
    Column,
    SqlType,
    Value,
    datetime_type,
    time_type,
    varchar,
)
from innoclone.front.agent.sql.values import to_text
from innoclone.front.agent.tables import CLONE_PROGRESS, CLONE_STATUS, GLOBAL_VARIABLES, PLUGINS, SCHEMAS
from innoclone.front.agent.variables import Content, Variables
from innoclone.ops.accounts import Account
from innoclone.version import __version__
from innoclone.wire.results import ColumnType

__all__ = ["SERVER_VERSION", "Catalog", "SelectSession", "fixed_variables", "plugin_rows", "shown"]

SERVER_VERSION = f"9.7.0-innoclone-{__version__}"
COMMENT = "innoclone agent"
Source = tuple[Sequence[Column], Callable[[], Sequence[tuple[Value, ...]]]]
IDENTITY = varchar(288)


def shown(content: Content) -> str | None:
    """A variable's value as SHOW VARIABLES has it."""
    if isinstance(content, bool):
        return "ON" if content else "OFF"
    return None if content is None else str(content)


def fixed_variables(port: int, socket: str, folder: str, packet: int, connections: int) -> dict[str, Content]:
    """Variables that can't be set: about this agent, and what clients ask when they connect."""
    sets = ("client", "connection", "database", "filesystem", "results", "server", "system")
    found: dict[str, Content] = {f"character_set_{name}": "utf8mb4" for name in sets}
    return found | {
        "autocommit": True, "auto_increment_increment": 1, "collation_connection": "utf8mb4_0900_ai_ci",
        "collation_database": "utf8mb4_0900_ai_ci", "collation_server": "utf8mb4_0900_ai_ci", "datadir": folder,
        "hostname": sockets.gethostname(), "init_connect": "", "interactive_timeout": 28800, "license": "MIT",
        "lower_case_table_names": 0, "max_allowed_packet": packet, "max_connections": connections,
        "net_buffer_length": 16384, "net_write_timeout": 60, "performance_schema": True, "port": port,
        "protocol_version": 10, "read_only": False, "socket": socket, "sql_mode": "ONLY_FULL_GROUP_BY",
        "system_time_zone": datetime.now().astimezone().tzname() or "", "time_zone": "SYSTEM",
        "transaction_isolation": "REPEATABLE-READ", "transaction_read_only": False, "version": SERVER_VERSION,
        "version_comment": COMMENT, "version_compile_machine": os.uname().machine, "version_compile_os": "Linux",
        "wait_timeout": 28800,
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

    def __init__(self, clones: Clones, variables: Variables, account: Account, host: str, schema: str) -> None:
        """``schema`` is the one that USE chose, if any."""
        self._account, self._host, self._schema = account, host, schema
        self._tables: dict[tuple[str, str], Source] = {
            ("performance_schema", "clone_status"): (CLONE_STATUS, clones.status_rows),
            ("performance_schema", "clone_progress"): (CLONE_PROGRESS, clones.progress_rows),
            ("performance_schema", "global_variables"): (
                GLOBAL_VARIABLES, lambda: [(name, shown(value)) for name, value in variables.all().items()],
            ),
            ("information_schema", "plugins"): (PLUGINS, lambda: plugin_rows(variables)),
        }  # fmt: skip

    def table(self, schema: str, name: str, alias: str) -> Table:
        """A table that may be read. Raises errors 1046, 1049, 1109, 1142, 1146."""
        schema = (schema or self._schema).lower()
        if not schema:
            raise StatementError(1046)
        if schema not in SCHEMAS:
            raise StatementError(1049, schema)
        if schema == "performance_schema" and not self._account.may("SELECT", f"{schema}.{name.lower()}"):
            raise StatementError(1142, "SELECT", self._account.user, self._host, name)
        found = self._tables.get((schema, name.lower()))
        if found is None and schema == "information_schema":
            raise StatementError(1109, name.upper(), schema)
        if found is None:
            raise StatementError(1146, schema, name)
        shown_name = name.upper() if schema == "information_schema" else name.lower()
        return Table(alias, schema, shown_name, found[0], found[1])

    def names(self, schema: str) -> list[str]:
        """The tables of a schema."""
        return sorted(name for where, name in self._tables if where == schema.lower())


class SelectSession:
    """What a SELECT asks about its session. NOW() is the same in all of a statement."""

    def __init__(
        self, variables: Variables, account: Account, user: str, number: int, schema: str,
        session: dict[str, Content], mine: dict[str, tuple[SqlType, Value]],
    ) -> None:  # fmt: skip
        """``user`` is ``name@host`` as the client logged in, ``session`` the session's own variables, ``mine`` the
        user's, ``@x``, by name in lower case."""
        self._variables, self._session, self._mine = variables, session, mine
        self._texts: dict[str, str | None] = {
            "USER": user, "SESSION_USER": user, "SYSTEM_USER": user, "CURRENT_USER": str(account),
            "DATABASE": schema or None, "SCHEMA": schema or None, "VERSION": SERVER_VERSION, "CURRENT_ROLE": "NONE",
        }  # fmt: skip
        self._number, self.schema = number, schema
        self._now = datetime.now().astimezone()

    def function(self, name: str, decimals: int) -> Expr | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""
        if name in self._texts:
            return constant(IDENTITY, self._texts[name])
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
        if name in ("CURDATE", "CURRENT_DATE"):
            return constant(DATE, here.date())
        if name in ("CURTIME", "CURRENT_TIME"):
            return constant(time_type(), timedelta(hours=here.hour, minutes=here.minute, seconds=here.second))
        if name in ("LAST_INSERT_ID", "FOUND_ROWS", "ROW_COUNT"):
            return constant(BIGINT, 0)
        return None

    def variable(self, name: str) -> Expr:
        """``@@name``. Raises error 1193."""
        scope, _, bare = name.rpartition(".")
        if bare in self._session and scope not in ("global", "persist"):
            return _constant(self._session[bare])
        everything = self._variables.all()
        if bare not in everything:
            raise StatementError(1193, bare)
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
    if isinstance(content, bool | int):
        return constant(BIGINT, int(content))
    kind: SqlType = varchar(max(len(content or ""), 1))
    return constant(kind, content)
