"""The tables that can be read, as live views, for one session."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from innoclone.agent.accounts.caller import Caller
from innoclone.agent.faults import StatementError
from innoclone.agent.services import Services
from innoclone.agent.sql import Column, Table, Value
from innoclone.agent.tables.clonerows import operation_rows, progress_rows, status_rows
from innoclone.agent.tables.columns import (
    CLONE_OPERATIONS,
    CLONE_PROGRESS,
    CLONE_RECIPIENTS,
    CLONE_SERVED,
    CLONE_STATUS,
    GLOBAL_VARIABLES,
    PLUGINS,
    SCHEMAS,
    row,
)
from innoclone.agent.tables.donorrows import recipient_rows, served_rows
from innoclone.agent.tables.empties import empty_tables
from innoclone.agent.tables.information import INFORMATION, Source, columns_of, information_rows, shown_name
from innoclone.agent.tables.status import status_values
from innoclone.agent.tables.variables import global_values, plugin_rows, variable_rows
from innoclone.agent.variables.kinds import Content
from innoclone.wire.results import ColumnType

__all__ = ["Catalog"]

PROCESSLIST = columns_of(
    "ID bigint unsigned, USER varchar(32), HOST varchar(255), DB varchar(64), COMMAND varchar(16), TIME bigint,"
    " STATE varchar(64), INFO longtext, EXECUTION_ENGINE char(9)"
)
SHORT_INFO = 100  # characters of a statement, without FULL


class Catalog:
    """Tables by name, for an account that may or may not read them."""

    def __init__(
        self, services: Services, caller: Caller, schema: str, session: Mapping[str, Content], zone: tzinfo | None
    ) -> None:
        """``schema`` is the one that USE chose, if any; ``session`` are the variables as the session has them, ``zone``
        is its time zone, None for the system's."""
        self._services, self._caller, self._schema, self._zone = services, caller, schema, zone
        self._information: dict[str, list[tuple[Value, ...]]] | None = None
        clones, variables = services.clones, services.variables
        self._tables: dict[tuple[str, str], Source] = {
            ("performance_schema", "clone_status"): (CLONE_STATUS, lambda: status_rows(clones)),
            ("performance_schema", "clone_progress"): (CLONE_PROGRESS, lambda: progress_rows(clones)),
            ("performance_schema", "clone_operations"): (CLONE_OPERATIONS, lambda: operation_rows(clones)),
            ("performance_schema", "clone_served"): (CLONE_SERVED, lambda: served_rows(services.donors)),
            ("performance_schema", "clone_recipients"): (CLONE_RECIPIENTS, lambda: recipient_rows(services.donors)),
            ("performance_schema", "global_variables"): (
                GLOBAL_VARIABLES, lambda: variable_rows(global_values(variables)),
            ),
            ("performance_schema", "session_variables"): (GLOBAL_VARIABLES, lambda: variable_rows(session)),
            ("performance_schema", "persisted_variables"): (
                GLOBAL_VARIABLES, lambda: variable_rows(variables.persisted()),
            ),
            ("performance_schema", "global_status"): (GLOBAL_VARIABLES, self.status),
            ("performance_schema", "session_status"): (GLOBAL_VARIABLES, self.status),
            ("performance_schema", "processlist"): (PROCESSLIST, self._processlist),
            ("information_schema", "plugins"): (PLUGINS, lambda: plugin_rows(variables)),
        }  # fmt: skip
        self._tables |= empty_tables()
        for name, columns in INFORMATION.items():
            self._tables["information_schema", name.lower()] = columns, functools.partial(self.information, name)

    def status(self) -> list[tuple[Value, ...]]:
        """SHOW STATUS."""
        tls = dict(zip(("Ssl_cipher", "Ssl_version"), self._caller.cipher, strict=True))
        return sorted((status_values(self._services) | tls).items())

    def processes(self, *, full: bool) -> list[tuple[Value, ...]]:
        """Rows of information_schema.processlist: the connections that the account may see."""
        everybody, mine = self._caller.may("PROCESS"), self._caller.account.name
        seen = [
            connection
            for connection in self._services.connections.all()
            if everybody or connection.caller.account.name == mine
        ]
        return [
            row(
                INFORMATION["PROCESSLIST"], ID=connection.number, USER=connection.caller.user,
                HOST=connection.caller.host, DB=connection.schema or None, COMMAND=connection.command,
                TIME=int(time.time() - connection.since), STATE=connection.state, INFO=info or None,
            )
            for connection in seen
            for info in [connection.info if full else connection.info[:SHORT_INFO]]
        ]  # fmt: skip

    def _processlist(self) -> list[tuple[Value, ...]]:
        return [(*values, "PRIMARY") for values in self.processes(full=True)]

    def information(self, name: str) -> list[tuple[Value, ...]]:
        """Rows of a table of information_schema; it has no tables that may not be read."""
        if name == "PROCESSLIST":
            return self.processes(full=True)
        if self._information is None:
            seen = {key: source for key, source in self._tables.items() if self._may_read(*key)}
            self._information = information_rows(seen, datetime.now() - timedelta(seconds=self._services.uptime))
        return self._information.get(name, [])

    def _may_read(self, schema: str, name: str) -> bool:
        return schema == "information_schema" or self._caller.may("SELECT", f"{schema}.{name}")

    def table(self, schema: str, name: str, alias: str) -> Table:
        """A table that may be read. Raises errors 1046, 1049, 1109, 1142, 1146."""
        schema = (schema or self._schema).lower()
        if not schema:
            raise StatementError(1046)
        if schema not in SCHEMAS:
            raise StatementError(1049, schema)
        if not self._may_read(schema, name.lower()):
            raise StatementError(1142, "SELECT", self._caller.account.user, self._caller.host, name)
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
    for given in rows:
        values = list(given)
        for at in places:
            if isinstance(moment := given[at], datetime):
                values[at] = moment.astimezone(zone).replace(tzinfo=None)
        found.append(tuple(values))
    return found
