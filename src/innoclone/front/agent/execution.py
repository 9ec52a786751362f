"""Executing the statements of one session: each checks its privilege, then does what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from innoclone.front.agent import users
from innoclone.front.agent.answers import Answer, Done, Rows, table
from innoclone.front.agent.catalog import Catalog, SelectSession, plugin_rows, shown
from innoclone.front.agent.credentials import ADMINISTRATOR
from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql import statements as st
from innoclone.front.agent.sql.grammar import parse_statement
from innoclone.front.agent.sql.lexer import Kind, tokens_of
from innoclone.front.agent.sql.parsing import is_query, parse_select
from innoclone.front.agent.sql.queries import run_select
from innoclone.front.agent.sql.scope import Table
from innoclone.front.agent.sql.types import BIGINT, INT, Column, SqlType, Value, varchar
from innoclone.front.agent.sql.values import is_like
from innoclone.front.agent.tables import SCHEMAS
from innoclone.front.agent.variables import CLONE_VARIABLES, Content, Note
from innoclone.ops.accounts import Account

if TYPE_CHECKING:
    from innoclone.front.agent.service import Agent

__all__ = ["Execution"]

LIBRARY = "mysql_clone.so"
NAME, VALUE = varchar(64, column=True), varchar(1024, column=True)
NOBODY = Account("", "")
SESSION_VARIABLES = (
    "autocommit", "character_set_client", "character_set_connection", "character_set_results", "collation_connection",
    "foreign_key_checks", "group_concat_max_len", "interactive_timeout", "lock_wait_timeout", "max_execution_time",
    "net_read_timeout", "net_write_timeout", "session_track_gtids", "session_track_schema", "sql_auto_is_null",
    "sql_log_bin", "sql_mode", "sql_notes", "sql_quote_show_create", "sql_safe_updates", "sql_select_limit",
    "sql_warnings", "time_zone", "transaction_isolation", "transaction_read_only", "tx_isolation", "unique_checks",
    "wait_timeout",
)  # fmt: skip


class Execution:
    """One session's state as far as statements see it. ``number`` is the connection's id."""

    def __init__(self, agent: Agent, number: int, host: str) -> None:
        """Nobody is logged in yet; `log_in` says who."""
        self.agent, self.number, self.host = agent, number, host
        self._account = NOBODY
        self.user = ""
        self.schema = ""
        self.notes: list[Note] = []
        self.interrupted = threading.Event()  # set by KILL; a new one for each statement
        self._session: dict[str, Content] = {}
        self._mine: dict[str, tuple[SqlType, Value]] = {}  # user variables

    def log_in(self, user: str, account: Account, schema: str) -> None:
        """A session as new. Raises errors 1044, 1049."""
        self.user, self._account = user, account
        self.reset()
        self.schema = ""
        if schema:
            self.use(schema)

    def reset(self) -> None:
        """COM_RESET_CONNECTION."""
        self._session, self._mine = {}, {}
        self.notes = []

    @property
    def account(self) -> Account:
        """The account as it is now: what is revoked counts at once; of a dropped one nothing is left."""
        account = self._account
        if account in (NOBODY, ADMINISTRATOR):
            return account
        return self.agent.accounts.get(*account.name) or Account(*account.name)

    @property
    def shown_user(self) -> str:
        """``user@host`` as the client came."""
        return f"{self.user}@{self.host}"

    def use(self, schema: str) -> None:
        """Raises error 1049."""
        if schema.lower() not in SCHEMAS:
            raise StatementError(1049, schema)
        self.schema = schema.lower()

    def execute(self, text: str) -> Answer:
        """One statement. Raises a `CloneError`."""
        self.interrupted = threading.Event()
        tokens = tokens_of(text)
        if tokens[0].kind is Kind.END or tokens[0].is_symbol(";"):
            raise StatementError(1065)
        select = is_query(tokens)
        statement = None if select else parse_statement(text, tokens)
        answer = self._select(text) if statement is None else self._run(statement)
        if not answer.keeps_notes:
            self.notes = answer.notes
        return answer

    def require(self, *privileges: str, words: str = "") -> None:
        """Raises error 1227 where the account has none of them; ``words`` are MySQL's for them, if others."""
        if not any(self.account.may(privilege) for privilege in privileges):
            raise StatementError(1227, words or ", ".join(privileges))

    def check(self) -> None:
        """Raises error 1317 once the statement was killed."""
        if self.interrupted.is_set():
            raise StatementError(1317)

    # ---- SELECT --------------------------------------------------------------------------------------------

    def catalog(self) -> Catalog:
        """The tables as this session may see them."""
        return Catalog(self.agent.clones, self.agent.variables, self.account, self.host, self.schema)

    def _select_session(self) -> SelectSession:
        return SelectSession(
            self.agent.variables, self.account, self.shown_user, self.number, self.schema, self._session, self._mine
        )

    def _select(self, text: str) -> Rows:
        result = run_select(
            parse_select(text, tokens_of(text)), self._select_session(), self.catalog(), check=self.check
        )
        notes: list[Note] = [("Warning", number, message) for number, message in result.warnings]
        return Rows(result.columns, result.types, result.rows, notes)

    def _filtered(self, columns: Sequence[Column], rows: Sequence[tuple[Value, ...]], wanted: st.Filter) -> Rows:
        """A SHOW with LIKE (on its first column) or WHERE, which is a SELECT over what it shows."""
        if wanted.like is not None:
            rows = [row for row in rows if is_like(str(row[0]), wanted.like)]
        if wanted.where is None:
            return table(columns, rows)
        text = f"SELECT * FROM shown WHERE {wanted.where}"  # noqa: S608 - read by our own parser, over what is shown
        result = run_select(
            parse_select(text, tokens_of(text)), self._select_session(), _Shown(columns, rows), check=self.check
        )
        return table(columns, result.rows)

    # ---- the others ----------------------------------------------------------------------------------------

    def _run(self, statement: st.Statement) -> Answer:
        match statement:
            case st.CloneLocal() | st.CloneInstance():
                return self._clone(statement)
            case st.CloneStop():
                self.require("BACKUP_ADMIN", "CLONE_ADMIN")
                running = self.agent.clones.stop()
                return Done(notes=[] if running else [("Note", 1105, "no clone is running")])
            case st.SetVariables():
                return self._set(statement)
            case st.SetNames() | st.Begin():
                return Done()
            case st.Show():
                return self._show(statement)
            case st.ShowGrants():
                return users.show_grants(self, statement)
            case st.FlushLogs():
                self.require("RELOAD")
                self.agent.clones.flush()
                return Done()
            case st.FlushOther():
                self.require("RELOAD")
                return Done()
            case st.Kill():
                return self._kill(statement)
            case st.Use():
                self.use(statement.schema)
                return Done()
            case st.InstallPlugin() | st.UninstallPlugin():
                return self._plugin(statement)
        return users.change(self, statement)

    def _clone(self, statement: st.CloneLocal | st.CloneInstance) -> Answer:
        if not self.agent.variables.installed:
            raise StatementError(1524, "clone")
        in_place = isinstance(statement, st.CloneInstance) and statement.directory is None
        self.require("CLONE_ADMIN" if in_place else "BACKUP_ADMIN")
        notes = self.agent.clones.run(statement, self.number, self.interrupted)
        return Done(notes=[("Note", 1105, note) for note in notes])

    def _plugin(self, statement: st.InstallPlugin | st.UninstallPlugin) -> Answer:
        variables = self.agent.variables
        if isinstance(statement, st.InstallPlugin):
            if not self.account.may("INSERT", "mysql.plugin"):
                raise StatementError(1142, "INSERT", self.account.user, self.host, "plugin")
            if statement.name.lower() != "clone" or statement.library != LIBRARY:
                raise StatementError(1126, statement.library, "the agent has the plugin clone of mysql_clone.so only")
            if variables.installed:
                raise StatementError(1125, statement.name)
            variables.install(there=True)
            return Done()
        if not self.account.may("DELETE", "mysql.plugin"):
            raise StatementError(1142, "DELETE", self.account.user, self.host, "plugin")
        if statement.name.lower() != "clone" or not variables.installed:
            raise StatementError(1305, "PLUGIN", statement.name)
        variables.install(there=False)
        return Done()

    def _set(self, statement: st.SetVariables) -> Answer:
        notes: list[Note] = []
        for setting in statement.settings:
            if setting.scope == "user":
                raise StatementError(1235, "user variables")
            if setting.scope == "session" and setting.name in SESSION_VARIABLES:
                self._session[setting.name] = _session_value(setting)
                continue
            if setting.name in CLONE_VARIABLES and setting.scope != "session":
                self.require("SYSTEM_VARIABLES_ADMIN", words="SUPER or SYSTEM_VARIABLES_ADMIN")
            notes += self.agent.variables.set(setting)
        return Done(notes=notes)

    def _kill(self, statement: st.Kill) -> Answer:
        other = self.agent.session(statement.number)
        if other is None:
            raise StatementError(1094, statement.number)
        if other.execution.account.name != self.account.name and not self.account.may("CONNECTION_ADMIN"):
            raise StatementError(1095, statement.number)
        other.kill(query_only=statement.query_only)
        if other.execution is self:
            raise StatementError(1317)
        return Done()

    # ---- SHOW ----------------------------------------------------------------------------------------------

    def _show(self, statement: st.Show) -> Answer:
        what = statement.what.removeprefix("GLOBAL ").removeprefix("SESSION ").removeprefix("FULL ")
        shows: dict[str, Callable[[st.Show], Answer]] = {
            "VARIABLES": self._show_variables, "PLUGINS": self._show_plugins, "PROCESSLIST": self._show_processlist,
            "DATABASES": self._show_databases, "TABLES": self._show_tables, "WARNINGS": self._show_warnings,
            "ERRORS": self._show_warnings, "STATUS": self._show_status, "MASTER STATUS": self._show_position,
            "BINARY LOG STATUS": self._show_position,
        }  # fmt: skip
        if what not in shows:
            raise StatementError(1235, f"SHOW {what}")
        return shows[what](statement)

    def _show_variables(self, statement: st.Show) -> Answer:
        values = self.agent.variables.all()
        if not statement.what.startswith("GLOBAL"):
            values = values | self._session
        rows = [(name, shown(value) or "") for name, value in sorted(values.items())]
        return self._filtered([Column("Variable_name", NAME), Column("Value", VALUE)], rows, statement.filter)

    def _show_status(self, statement: st.Show) -> Answer:
        rows = [("Threads_connected", str(self.agent.connected)), ("Uptime", str(self.agent.uptime))]
        return self._filtered([Column("Variable_name", NAME), Column("Value", VALUE)], rows, statement.filter)

    def _show_plugins(self, statement: st.Show) -> Answer:
        names = ("Name", "Status", "Type", "Library", "License")
        rows = [(row[0], row[2], row[3], row[5], row[9]) for row in plugin_rows(self.agent.variables)]
        return table([Column(name, NAME) for name in names], rows)

    def _show_processlist(self, statement: st.Show) -> Answer:
        names = ("User", "Host", "db", "Command")
        columns = [Column("Id", BIGINT), *(Column(name, varchar(64)) for name in names), Column("Time", INT)]
        columns += [Column("State", varchar(30)), Column("Info", varchar(100))]
        everybody = self.account.may("PROCESS")
        long = statement.what.startswith("FULL")
        rows = [
            session.process_row(long=long)
            for session in self.agent.sessions()
            if everybody or session.execution.account.name == self.account.name
        ]
        return table(columns, rows)

    def _show_databases(self, statement: st.Show) -> Answer:
        return self._filtered([Column("Database", NAME)], [(name,) for name in SCHEMAS], statement.filter)

    def _show_tables(self, statement: st.Show) -> Answer:
        schema = (statement.schema or self.schema).lower()
        if not schema:
            raise StatementError(1046)
        if schema not in SCHEMAS:
            raise StatementError(1049, schema)
        names = self.catalog().names(schema)
        if statement.what.startswith("FULL"):
            columns = [Column(f"Tables_in_{schema}", NAME), Column("Table_type", NAME)]
            return self._filtered(columns, [(name, "BASE TABLE") for name in names], statement.filter)
        return self._filtered([Column(f"Tables_in_{schema}", NAME)], [(name,) for name in names], statement.filter)

    def _show_warnings(self, statement: st.Show) -> Answer:
        columns = [Column("Level", varchar(7)), Column("Code", INT), Column("Message", varchar(512))]
        errors_only = statement.what == "ERRORS"
        rows = [note for note in self.notes if not errors_only or note[0] == "Error"]
        return table(columns, rows, keeps_notes=True)

    def _show_position(self, statement: st.Show) -> Answer:
        names = ("File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB", "Executed_Gtid_Set")
        position = self.agent.clones.position()
        columns = [Column(name, BIGINT if name == "Position" else varchar(255)) for name in names]
        return table(columns, [] if position is None else [(position[0], position[1], "", "", position[2])])


class _Shown:
    """What a SHOW shows, as the only table."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[tuple[Value, ...]]) -> None:
        self._columns, self._rows = columns, rows

    def table(self, schema: str, name: str, alias: str) -> Table:
        """The table."""
        if schema or name != "shown":
            raise StatementError(1235, "a subquery in SHOW")
        return Table(alias, "", name, self._columns, lambda: self._rows)


def _session_value(setting: st.Setting) -> Content:
    if isinstance(setting.value, float):
        raise StatementError(1232, setting.name)
    if isinstance(setting.value, str) and setting.value.upper() in ("ON", "OFF"):
        return setting.value.upper() == "ON"
    return setting.value
