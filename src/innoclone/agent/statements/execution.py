"""Executing the statements of one session: each checks its privilege, then does what it says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from innoclone.agent.accounts.accounts import Account
from innoclone.agent.faults import StatementError
from innoclone.agent.sql import (
    BIGINT,
    DOUBLE,
    Kind,
    SqlType,
    Value,
    is_query,
    masked,
    parse_statement,
    text_of,
    tokens_of,
    varchar,
)
from innoclone.agent.sql import statements as st
from innoclone.agent.statements import users
from innoclone.agent.statements.context import SessionContext
from innoclone.agent.statements.log import logged
from innoclone.agent.statements.named import NamedStatements
from innoclone.agent.statements.results import Answer, Done
from innoclone.agent.statements.shows import show
from innoclone.agent.variables.fixed import check_fixed
from innoclone.agent.variables.kinds import Note
from innoclone.agent.variables.session import OF_A_SESSION, SESSION_VARIABLES

__all__ = ["Execution"]

ADMIN = "SUPER or SYSTEM_VARIABLES_ADMIN"
SESSION_ADMIN = "SUPER, SYSTEM_VARIABLES_ADMIN or SESSION_VARIABLES_ADMIN"
LIBRARY = "mysql_clone.so"
_COUNTED: dict[type[object], str] = {
    st.SetVariables: "Com_set_option", st.SetNames: "Com_set_option", st.Kill: "Com_kill", st.CloneLocal: "Com_clone",
    st.CloneInstance: "Com_clone",
}  # fmt: skip


class Execution:
    """The statements of one session. Its state is in `context`."""

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self._services = context.services
        self._named = NamedStatements(context)

    def log_in(self, user: str, account: Account, schema: str, cipher: tuple[str, str]) -> None:
        """A session as new. Raises errors 1044, 1049."""
        self._named.clear()
        self.context.log_in(user, account, cipher)
        if schema:
            self.context.use(schema)

    def reset(self) -> None:
        """COM_RESET_CONNECTION."""
        self._named.clear()
        self.context.reset()

    def close(self) -> None:
        """Nothing of the session is kept."""
        self._named.clear()
        self.context.clear()

    def execute(self, text: str, arguments: Sequence[str] = ()) -> Answer:
        """One statement; ``arguments`` are literals for a query's question marks. Raises a `CloneError`."""
        context = self.context
        tokens = tokens_of(text, context.modes)
        if tokens[0].kind is Kind.END or tokens[0].is_symbol(";"):
            raise StatementError(1065)
        statement = None if is_query(tokens) else parse_statement(text, tokens)
        counted = "Com_select" if statement is None else _COUNTED.get(type(statement), "Com_others")
        self._services.counters.add(counted)
        with logged(str(context.caller), masked(text, context.modes), statement):
            answer = context.select(text, tokens, arguments) if statement is None else self._run(statement)
        if not answer.keeps_notes:
            wanted = context.variables.values["sql_notes"]
            context.notes = [note for note in answer.notes if wanted or note[0] != "Note"]
        return answer

    def _run(self, statement: st.Statement) -> Answer:
        caller, context = self.context.caller, self.context
        match statement:
            case st.CloneLocal() | st.CloneInstance() | st.CloneStop():
                return self._clone(statement)
            case st.SetVariables() | st.SetNames() | st.ResetPersist():
                return self._change_variables(statement)
            case st.Show():
                return show(context, statement)
            case st.PrepareText() | st.ExecuteText() | st.Deallocate():
                return self._prepared(statement)
            case st.FlushLogs() | st.FlushOther():
                caller.require("RELOAD")
                if isinstance(statement, st.FlushLogs):
                    self._services.clones.flush()
                return Done()
            case st.Kill():
                return self._kill(statement)
            case st.Use():
                context.use(statement.schema)
                return Done()
            case st.Begin():
                return Done()
            case st.InstallPlugin():
                return self._install(statement)
            case st.UninstallPlugin():
                return self._uninstall(statement)
            case st.ShowGrants():
                return users.show_grants(self._services.accounts, caller, statement)
        return users.change(self._services.accounts, caller, statement)

    def _prepared(self, statement: st.PrepareText | st.ExecuteText | st.Deallocate) -> Answer:
        match statement:
            case st.PrepareText():
                return self._named.prepare(statement)
            case st.ExecuteText():
                return self.execute(*self._named.bound(statement))
            case st.Deallocate():
                return self._named.deallocate(statement)

    def _clone(self, statement: st.CloneLocal | st.CloneInstance | st.CloneStop) -> Answer:
        caller, clones = self.context.caller, self._services.clones
        if isinstance(statement, st.CloneStop):
            caller.require("BACKUP_ADMIN", "CLONE_ADMIN")
            return Done(notes=[] if clones.stop() else [("Note", 1105, "no clone is running")])
        if not self._services.variables.installed:
            raise StatementError(1524, "clone")
        in_place = isinstance(statement, st.CloneInstance) and statement.directory is None
        caller.require("CLONE_ADMIN" if in_place else "BACKUP_ADMIN")
        self.context.is_cloning = True
        try:
            notes = clones.run(statement, caller.connection, self.context.interrupted)
        finally:
            self.context.is_cloning = False
        return Done(notes=[("Note", 1105, note) for note in notes])

    # ---- plugins -------------------------------------------------------------------------------------------

    def _install(self, statement: st.InstallPlugin) -> Answer:
        caller, variables = self.context.caller, self._services.variables
        if not caller.may("INSERT", "mysql.plugin"):
            raise StatementError(1142, "INSERT", caller.account.user, caller.host, "plugin")
        if statement.name.lower() != "clone" or statement.library != LIBRARY:
            raise StatementError(1126, statement.library, "the agent has the plugin clone of mysql_clone.so only")
        was_there = variables.installed
        if not variables.install(there=True):
            raise StatementError(1125, statement.name)
        return Done(notes=[("Note", 1105, "the clone plugin is part of the agent")] if was_there else [])

    def _uninstall(self, statement: st.UninstallPlugin) -> Answer:
        caller, variables = self.context.caller, self._services.variables
        if not caller.may("DELETE", "mysql.plugin"):
            raise StatementError(1142, "DELETE", caller.account.user, caller.host, "plugin")
        if statement.name.lower() != "clone" or not variables.installed:
            raise StatementError(1305, "PLUGIN", statement.name)
        variables.install(there=False)
        return Done()

    # ---- SET -----------------------------------------------------------------------------------------------

    def _change_variables(self, statement: st.SetVariables | st.SetNames | st.ResetPersist) -> Answer:
        match statement:
            case st.SetVariables():
                return self._set(statement)
            case st.SetNames():
                changed, notes = self.context.variables.read_names(statement)
                self.context.variables.values |= changed
                return Done(notes=notes)
            case st.ResetPersist():
                self.context.caller.require("SYSTEM_VARIABLES_ADMIN", shown=ADMIN)
                return Done(notes=self._services.variables.reset(statement))

    def _set(self, statement: st.SetVariables) -> Answer:
        """All or nothing: what can be wrong is looked at first. User variables are seen by what is behind them."""
        notes: list[Note] = []
        changes: list[Callable[[], None]] = []
        for setting in statement.settings:
            if setting.scope == "user":
                changes.append(functools.partial(self._set_user_variable, setting))
                continue
            change, more = self._checked(setting)
            notes += more
            if change is not None:
                changes.append(change)
        for change in changes:
            change()
        return Done(notes=notes)

    def _checked(self, given: st.Setting) -> tuple[Callable[[], None] | None, list[Note]]:
        """What sets one system variable, None where it has the value already, and notes. Raises MySQL's errors."""
        session, variables = self.context.variables, self._services.variables
        setting = given if given.expression is None else _with_value(given, self.context.evaluate(given)[1])
        name = setting.name
        if setting.scope == "session" and name in SESSION_VARIABLES:
            if name in OF_A_SESSION:
                self.context.caller.require("SYSTEM_VARIABLES_ADMIN", shown=SESSION_ADMIN)
            changed, notes = session.read(setting)
            return functools.partial(session.values.update, changed), notes
        if setting.scope != "session" and variables.knows(name):
            self.context.caller.require("SYSTEM_VARIABLES_ADMIN", shown=ADMIN)
        if name in SESSION_VARIABLES:
            return None, session.read_global(setting)
        if name in variables.fixed:
            return None, check_fixed(setting, variables.fixed[name])
        value, notes = variables.read(setting)
        return functools.partial(variables.set, setting, value), notes

    def _set_user_variable(self, setting: st.Setting) -> None:
        given = _type_of(setting.value), setting.value
        found = given if setting.expression is None else self.context.evaluate(setting)
        self.context.set_user_variable(setting.name, *found)

    # ---- KILL ----------------------------------------------------------------------------------------------

    def _kill(self, statement: st.Kill) -> Answer:
        caller = self.context.caller
        other = self._services.connections.get(statement.number)
        if other is None:
            raise StatementError(1094, statement.number)
        if other.caller.account.name != caller.account.name:
            if not caller.may("CONNECTION_ADMIN"):
                raise StatementError(1095, statement.number)
            caller.refuse_stronger([other.caller.account])
        other.kill(query_only=statement.query_only)
        if other.number == caller.connection:
            raise StatementError(1317)
        return Done()


def _type_of(value: Value) -> SqlType:
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
