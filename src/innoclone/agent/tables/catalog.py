"""The tables that can be read, as live views; and what a session knows of itself: functions and variables."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING

from innoclone.agent.accounts.accounts import Account
from innoclone.agent.faults import StatementError
from innoclone.agent.sql.expressions import Env, Expr, constant, derived
from innoclone.agent.sql.scope import Settings, Table
from innoclone.agent.sql.types import (
    BIGINT,
    BOOL,
    DATE,
    NOT_FIXED,
    UNSIGNED,
    Column,
    SqlType,
    Value,
    datetime_type,
    time_type,
    varchar,
)
from innoclone.agent.sql.values import to_text
from innoclone.agent.tables.columns import CLONE_PROGRESS, CLONE_STATUS, GLOBAL_VARIABLES, PLUGINS, SCHEMAS
from innoclone.agent.tables.counters import status_values
from innoclone.agent.tables.empties import empty_tables
from innoclone.agent.tables.information import INFORMATION, Source, columns_of, information_rows, shown_name
from innoclone.agent.variables.fixed import OF_BOTH, SERVER_VERSION, shown
from innoclone.agent.variables.globals import Content, Variables
from innoclone.agent.variables.session import OF_A_SESSION
from innoclone.wire.results import ColumnType

if TYPE_CHECKING:
    from innoclone.agent.daemon import Agent

__all__ = [
    "Catalog",
    "SelectSession",
    "global_values",
    "kept",
    "plugin_rows",
]

OF_A_VARIABLE = 21845  # characters of @@name
PROCESSLIST = columns_of(
    "ID bigint unsigned, USER varchar(32), HOST varchar(255), DB varchar(64), COMMAND varchar(16), TIME bigint,"
    " STATE varchar(64), INFO longtext, EXECUTION_ENGINE char(9)"
)
IDENTITY = 288  # characters of USER()


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

    def __init__(
        self, agent: Agent, account: Account, host: str, schema: str, session: Mapping[str, Content],
        zone: tzinfo | None = None, cipher: tuple[str, str] = ("", ""),
    ) -> None:  # fmt: skip
        """``schema`` is the one that USE chose, if any; ``session`` are the variables as the session has them, ``zone``
        is its time zone, None for the system's, ``cipher`` its TLS cipher and version, empty without TLS."""
        self._agent, self._account, self._host, self._schema, self._zone = agent, account, host, schema, zone
        self._cipher = cipher
        self._information: dict[str, list[tuple[Value, ...]]] | None = None
        clones, variables = agent.clones, agent.variables
        self._tables: dict[tuple[str, str], Source] = {
            ("performance_schema", "clone_status"): (CLONE_STATUS, clones.status_rows),
            ("performance_schema", "clone_progress"): (CLONE_PROGRESS, clones.progress_rows),
            ("performance_schema", "global_variables"): (GLOBAL_VARIABLES, lambda: _listed(global_values(variables))),
            ("performance_schema", "session_variables"): (GLOBAL_VARIABLES, lambda: _listed(session)),
            ("performance_schema", "persisted_variables"): (GLOBAL_VARIABLES, lambda: _listed(variables.persisted())),
            ("performance_schema", "global_status"): (GLOBAL_VARIABLES, self.status),
            ("performance_schema", "session_status"): (GLOBAL_VARIABLES, self.status),
            ("performance_schema", "processlist"): (PROCESSLIST, self._processlist),
            ("information_schema", "plugins"): (PLUGINS, lambda: plugin_rows(variables)),
        }
        self._tables |= empty_tables()
        for name, columns in INFORMATION.items():
            self._tables["information_schema", name.lower()] = columns, functools.partial(self.information, name)

    def status(self) -> list[tuple[Value, ...]]:
        """SHOW STATUS."""
        tls = dict(zip(("Ssl_cipher", "Ssl_version"), self._cipher, strict=True))
        return sorted((status_values(self._agent) | tls).items())

    def processes(self, *, long: bool) -> list[tuple[Value, ...]]:
        """The connections that the account may see."""
        everybody = self._account.may("PROCESS")
        return [
            session.process_row(long=long)
            for session in self._agent.sessions()
            if everybody or session.execution.account.name == self._account.name
        ]

    def _processlist(self) -> list[tuple[Value, ...]]:
        return [(*row, "PRIMARY") for row in self.processes(long=True)]

    def information(self, name: str) -> list[tuple[Value, ...]]:
        """Rows of a table of information_schema; it has no tables that may not be read."""
        if name == "PROCESSLIST":
            return self.processes(long=True)
        if self._information is None:
            seen = {key: source for key, source in self._tables.items() if self._may_read(*key)}
            self._information = information_rows(seen, datetime.now() - timedelta(seconds=self._agent.uptime))
        return self._information.get(name, [])

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
        columns, rows = found
        return Table(
            alias, schema, shown_name(schema, name.lower()), columns, lambda: _zoned(columns, rows(), self._zone)
        )

    def names(self, schema: str) -> list[str]:
        """The tables of a schema that may be read."""
        schema = schema.lower()
        seen = (name for where, name in self._tables if where == schema and self._may_read(where, name))
        return sorted(shown_name(schema, name) for name in seen)


def _zoned(
    columns: Sequence[Column], rows: Sequence[tuple[Value, ...]], zone: tzinfo | None
) -> Sequence[tuple[Value, ...]]:
    """With TIMESTAMPs of the session's time zone instead of the system's."""
    places = [at for at, column in enumerate(columns) if column.type.kind is ColumnType.TIMESTAMP]
    if zone is None or not places:
        return rows
    found = []
    for row in rows:
        values = list(row)
        for at in places:
            if isinstance(moment := row[at], datetime):
                values[at] = moment.astimezone(zone).replace(tzinfo=None)
        found.append(tuple(values))
    return found


def global_values(variables: Variables) -> dict[str, Content]:
    """Everything that SHOW GLOBAL VARIABLES shows, by name."""
    return {name: value for name, value in variables.all().items() if name not in OF_A_SESSION}


def _listed(values: Mapping[str, Content]) -> list[tuple[Value, ...]]:
    return [(name, shown(value)) for name, value in sorted(values.items())]


class SelectSession:
    """What a SELECT asks about its session. NOW() is the same in all of a statement."""

    def __init__(
        self, variables: Variables, account: Account, user: str, number: int, schema: str,
        session: Mapping[str, Content], mine: Mapping[str, tuple[SqlType, Value]], found: int, settings: Settings,
        keep: Callable[[str, SqlType, Value], None],
    ) -> None:  # fmt: skip
        """``user`` is ``name@host`` as the client logged in, ``session`` the session's own variables, ``mine`` the
        user's, ``@x``, by name in lower case, which ``keep`` sets; ``found`` the number of rows of the last SELECT."""
        self._variables, self._session, self._mine = variables, session, mine
        self.settings, self._keep = settings, keep
        self._texts: dict[str, str | None] = {
            "USER": user, "SESSION_USER": user, "SYSTEM_USER": user, "CURRENT_USER": str(account),
            "DATABASE": schema or None, "SCHEMA": schema or None, "VERSION": SERVER_VERSION, "CURRENT_ROLE": "NONE",
        }  # fmt: skip
        self._number, self.schema, self._found = number, schema, found
        self._now = datetime.now().astimezone(settings.zone)

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
        if scope in ("session", "local") and bare not in OF_BOTH:
            raise StatementError(1238, bare, "GLOBAL")
        if scope == "global" and bare in OF_A_SESSION:
            raise StatementError(1238, bare, "SESSION")
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
            self._keep(name.lower(), value.type, given)
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
