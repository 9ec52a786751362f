"""Executing the statements of one session: each checks its privilege, then does what it says."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from innoclone.agent.accounts.accounts import Account
from innoclone.agent.accounts.credentials import ADMINISTRATOR
from innoclone.agent.faults import StatementError
from innoclone.agent.sql import statements as st
from innoclone.agent.sql.budget import Budget, Kept, current, size_of
from innoclone.agent.sql.grammar import parse_statement
from innoclone.agent.sql.lexer import Kind, Modes, Token, tokens_of
from innoclone.agent.sql.masking import masked
from innoclone.agent.sql.parsing import is_query, parse_select
from innoclone.agent.sql.queries import run_select
from innoclone.agent.sql.types import BIGINT, DOUBLE, SqlType, Value, text_of, varchar
from innoclone.agent.statements import users
from innoclone.agent.statements.diary import noted
from innoclone.agent.statements.named import NamedStatements
from innoclone.agent.statements.results import Answer, Done, Rows
from innoclone.agent.statements.shows import show
from innoclone.agent.tables.catalog import Catalog, SelectSession, global_values, kept
from innoclone.agent.tables.columns import SCHEMAS
from innoclone.agent.variables.fixed import check_fixed
from innoclone.agent.variables.globals import Content, Note
from innoclone.agent.variables.session import OF_A_SESSION, SESSION_VARIABLES, SessionVariables

if TYPE_CHECKING:
    from innoclone.agent.daemon import Agent

__all__ = ["Execution"]

SESSION_ADMIN = "SUPER, SYSTEM_VARIABLES_ADMIN or SESSION_VARIABLES_ADMIN"
LIBRARY = "mysql_clone.so"
_COUNTED: dict[type[object], str] = {
    st.SetVariables: "Com_set_option", st.SetNames: "Com_set_option", st.Kill: "Com_kill", st.CloneLocal: "Com_clone",
    st.CloneInstance: "Com_clone",
}  # fmt: skip
_HINT = re.compile(r"MAX_EXECUTION_TIME\s*\(\s*(\d{1,10})\s*\)", re.IGNORECASE)  # in a comment behind SELECT
NOBODY = Account("", "")


class Execution:
    """One session's state as far as statements see it. ``number`` is the connection's id."""

    def __init__(self, agent: Agent, number: int, host: str) -> None:
        """Nobody is logged in yet; `log_in` says who."""
        self.agent, self.number, self.host = agent, number, host
        self._account = NOBODY
        self.user = ""
        self.schema = ""
        self.notes: list[Note] = []
        self.interrupted = threading.Event()  # set by KILL; a new one for each command
        self.session = SessionVariables(agent.variables.fixed)
        self.kept = Kept(agent.pool)
        self.is_cloning = False
        self.cipher = ("", "")  # of TLS, and its version
        self._mine: dict[str, tuple[SqlType, Value]] = {}  # user variables
        self._found = 0  # rows of the last SELECT
        self._named = NamedStatements(self)

    def log_in(self, user: str, account: Account, schema: str) -> None:
        """A session as new. Raises errors 1044, 1049."""
        self.user, self._account = user, account
        self.reset()
        self.schema = ""
        if schema:
            self.use(schema)

    def reset(self) -> None:
        """COM_RESET_CONNECTION."""
        self.session.reset()
        self.close()
        self.notes = []

    def close(self) -> None:
        """Nothing of the session is kept."""
        self._mine = {}
        self._named.clear()
        self.kept.clear()

    def begin(self) -> Budget:
        """A budget for the next command."""
        self.interrupted = threading.Event()
        return Budget(self.agent.pool, self.interrupted)

    @property
    def modes(self) -> Modes:
        """Of sql_mode."""
        return self.session.modes

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

    def execute(self, text: str, arguments: Sequence[str] = ()) -> Answer:
        """One statement; ``arguments`` are literals for a query's question marks. Raises a `CloneError`."""
        tokens = tokens_of(text, self.modes)
        if tokens[0].kind is Kind.END or tokens[0].is_symbol(";"):
            raise StatementError(1065)
        select = is_query(tokens)
        statement = None if select else parse_statement(text, tokens)
        self.agent.counters.add("Com_select" if statement is None else _COUNTED.get(type(statement), "Com_others"))
        with noted(self.shown_user, masked(text, self.modes), statement):
            answer = self._select(text, tokens, arguments) if statement is None else self._run(statement)
        if not answer.keeps_notes:
            self.notes = [note for note in answer.notes if self.session.values["sql_notes"] or note[0] != "Note"]
        return answer

    def user_value(self, name: str) -> Value:
        """The value of ``@name``."""
        return self._mine[name.lower()][1] if name.lower() in self._mine else None

    def require(self, *privileges: str, words: str = "") -> None:
        """Raises error 1227 where the account has none of them; ``words`` are MySQL's for them, if others."""
        if not any(self.account.may(privilege) for privilege in privileges):
            raise StatementError(1227, words or ", ".join(privileges))

    # ---- SELECT --------------------------------------------------------------------------------------------

    def catalog(self) -> Catalog:
        """The tables as this session may see them."""
        return Catalog(
            self.agent, self.account, self.host, self.schema, self.variables(of_session=True),
            self.session.settings.zone, self.cipher,
        )  # fmt: skip

    def variables(self, *, of_session: bool) -> dict[str, Content]:
        """All system variables as SHOW has them, the session's own values before the global ones."""
        if of_session:
            return dict(sorted((self.agent.variables.all() | self.session.values).items()))
        return global_values(self.agent.variables)

    def select_session(self, *, limited: bool = False) -> SelectSession:
        """What a SELECT may ask about this session; ``limited`` by sql_select_limit."""
        settings = self.session.settings
        return SelectSession(
            self.agent.variables,
            self.account,
            self.shown_user,
            self.number,
            self.schema,
            self.session.values,
            self._mine,
            self._found,
            settings if limited else replace(settings, limit=None),
            self.keep_mine,
        )

    def _select(self, text: str, tokens: list[Token], arguments: Sequence[str]) -> Rows:
        budget = current()
        if budget is not None:
            hint = _HINT.search(text, tokens[0].end, tokens[1].start)
            seconds = self.session.seconds if hint is None else int(hint[1]) / 1000 or None
            budget.within(seconds, self.session.most_rows)
        tree = parse_select(text, tokens, arguments, self.modes)
        result = run_select(tree, self.select_session(limited=True), self.catalog())
        self._found = len(result.rows)
        notes: list[Note] = [("Warning", number, message) for number, message in result.warnings]
        return Rows(result.columns, result.types, result.rows, notes)

    def _evaluated(self, setting: st.Setting) -> tuple[SqlType, Value]:
        """The value of one assignment of SET. Raises error 1241 for more than one."""
        text = f"SELECT {setting.expression}"
        tree = parse_select(text, tokens_of(text, self.modes), modes=self.modes)
        result = run_select(tree, self.select_session(), self.catalog())
        if len(result.types) != 1 or len(result.rows) != 1:
            raise StatementError(1241, 1)
        return result.types[0], result.rows[0][0]

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
            case st.SetNames():
                changed, notes = self.session.read_names(statement)
                self.session.values |= changed
                return Done(notes=notes)
            case st.Begin():
                return Done()
            case st.Show():
                return show(self, statement)
            case st.PrepareText():
                return self._named.prepare(statement)
            case st.ExecuteText():
                return self._named.execute(statement)
            case st.Deallocate():
                return self._named.deallocate(statement)
            case st.ResetPersist():
                self.require("SYSTEM_VARIABLES_ADMIN", words="SUPER or SYSTEM_VARIABLES_ADMIN")
                return Done(notes=self.agent.variables.reset(statement))
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
        self.is_cloning = True
        try:
            notes = self.agent.clones.run(statement, self.number, self.interrupted)
        finally:
            self.is_cloning = False
        return Done(notes=[("Note", 1105, note) for note in notes])

    def _plugin(self, statement: st.InstallPlugin | st.UninstallPlugin) -> Answer:
        variables = self.agent.variables
        if isinstance(statement, st.InstallPlugin):
            if not self.account.may("INSERT", "mysql.plugin"):
                raise StatementError(1142, "INSERT", self.account.user, self.host, "plugin")
            if statement.name.lower() != "clone" or statement.library != LIBRARY:
                raise StatementError(1126, statement.library, "the agent has the plugin clone of mysql_clone.so only")
            was_there = variables.installed
            if not variables.install(there=True):
                raise StatementError(1125, statement.name)
            return Done(notes=[("Note", 1105, "the clone plugin is part of the agent")] if was_there else [])
        if not self.account.may("DELETE", "mysql.plugin"):
            raise StatementError(1142, "DELETE", self.account.user, self.host, "plugin")
        if statement.name.lower() != "clone" or not variables.installed:
            raise StatementError(1305, "PLUGIN", statement.name)
        variables.install(there=False)
        return Done()

    def _set(self, statement: st.SetVariables) -> Answer:
        """All or nothing: what can be wrong is looked at first. User variables are seen by what is behind them."""
        notes: list[Note] = []
        changes: list[Callable[[], None]] = []
        for given in statement.settings:
            if given.scope == "user":
                changes.append(functools.partial(self._set_mine, given))
                continue
            setting = given if given.expression is None else _with_value(given, self._evaluated(given)[1])
            if setting.scope == "session" and setting.name in SESSION_VARIABLES:
                if setting.name in OF_A_SESSION:
                    self.require("SYSTEM_VARIABLES_ADMIN", words=SESSION_ADMIN)
                changed, more = self.session.read(setting)
                notes += more
                changes.append(functools.partial(self.session.values.update, changed))
                continue
            if setting.scope != "session" and self.agent.variables.knows(setting.name):
                self.require("SYSTEM_VARIABLES_ADMIN", words="SUPER or SYSTEM_VARIABLES_ADMIN")
            if setting.name in SESSION_VARIABLES:
                notes += self.session.read_global(setting)
                continue
            if setting.name in self.agent.variables.fixed:
                notes += check_fixed(setting, self.agent.variables.fixed[setting.name])
                continue
            value, more = self.agent.variables.read(setting)
            notes += more
            changes.append(functools.partial(self.agent.variables.set, setting, value))
        for change in changes:
            change()
        return Done(notes=notes)

    def _set_mine(self, setting: st.Setting) -> None:
        found = (_kind(setting.value), setting.value) if setting.expression is None else self._evaluated(setting)
        self.keep_mine(setting.name.lower(), *found)

    def keep_mine(self, name: str, kind: SqlType, value: Value) -> None:
        """Set ``@name``, in lower case. Raises error 3170."""
        found = kept(kind, value)
        self.kept.put(("@", name), size_of(name) + (size_of(found[1]) if isinstance(found[1], str) else 0))
        self._mine[name] = found

    def _kill(self, statement: st.Kill) -> Answer:
        other = self.agent.session(statement.number)
        if other is None:
            raise StatementError(1094, statement.number)
        if other.execution.account.name != self.account.name:
            if not self.account.may("CONNECTION_ADMIN"):
                raise StatementError(1095, statement.number)
            users.refuse_stronger(self, [other.execution.account])
        other.kill(query_only=statement.query_only)
        if other.execution is self:
            raise StatementError(1317)
        return Done()


def _kind(value: Value) -> SqlType:
    """Of a value that SET gives to a user variable."""
    if isinstance(value, int):
        return BIGINT
    return DOUBLE if isinstance(value, float) else varchar(len(str(value or "")))


def _with_value(setting: st.Setting, value: Value) -> st.Setting:
    """With what its expression gave."""
    number = isinstance(value, float | Decimal)
    plain = float(value) if isinstance(value, Decimal) and setting.scope != "user" else value
    if not isinstance(plain, str | int | float | Decimal | None):
        plain = text_of(plain, varchar(0))
    return replace(setting, value=plain, is_number_with_point=number)  # type: ignore[arg-type]
