"""One session as its statements see it: who sends them, its variables, and how a SELECT is run for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import replace

from innoclone.agent.accounts.accounts import Account
from innoclone.agent.accounts.caller import Caller
from innoclone.agent.faults import StatementError
from innoclone.agent.memory import Kept
from innoclone.agent.services import Services
from innoclone.agent.sql import (
    Budget,
    Modes,
    SqlType,
    Token,
    Value,
    current,
    parse_select,
    run_select,
    size_of,
    tokens_of,
)
from innoclone.agent.sql import statements as st
from innoclone.agent.statements.results import Rows
from innoclone.agent.tables.catalog import Catalog
from innoclone.agent.tables.columns import SCHEMAS
from innoclone.agent.tables.selectsession import SelectSession, stored
from innoclone.agent.tables.variables import global_values
from innoclone.agent.variables.kinds import Content, Note
from innoclone.agent.variables.session import SessionVariables

__all__ = ["SessionContext"]

_TIME_HINT = re.compile(r"MAX_EXECUTION_TIME\s*\(\s*(\d{1,10})\s*\)", re.IGNORECASE)  # in a comment behind SELECT


class SessionContext:
    """Changed by the session's own thread only; others look at it, and set `interrupted`."""

    def __init__(self, services: Services, caller: Caller) -> None:
        """Nobody is logged in yet; `log_in` says who."""
        self.services, self.caller = services, caller
        self.schema = ""
        self.notes: list[Note] = []
        self.interrupted = threading.Event()  # set by KILL; a new one for each command
        self.variables = SessionVariables(services.variables.fixed)
        self.memory = Kept(services.pool)  # what the session holds from one statement to the next
        self.is_cloning = False
        self._user_variables: dict[str, tuple[SqlType, Value]] = {}
        self._found_rows = 0  # of the last SELECT

    def log_in(self, user: str, account: Account, cipher: tuple[str, str]) -> None:
        """From now on that is the caller, of a session as new."""
        self.caller = replace(self.caller, user=user, logged_in_as=account, cipher=cipher)
        self.schema = ""
        self.reset()

    def reset(self) -> None:
        """COM_RESET_CONNECTION."""
        self.variables.reset()
        self.clear()
        self.notes = []

    def clear(self) -> None:
        """Give back all memory that the session holds."""
        self._user_variables = {}
        self.memory.clear()

    def begin(self) -> Budget:
        """A budget for the next command."""
        self.interrupted = threading.Event()
        return Budget(self.services.pool, self.interrupted)

    @property
    def modes(self) -> Modes:
        """Of sql_mode."""
        return self.variables.modes

    def use(self, schema: str) -> None:
        """Raises error 1049."""
        if schema.lower() not in SCHEMAS:
            raise StatementError(1049, schema)
        self.schema = schema.lower()

    # ---- variables -----------------------------------------------------------------------------------------

    def system_variables(self, *, of_session: bool) -> dict[str, Content]:
        """All system variables as SHOW has them, the session's own values before the global ones."""
        if of_session:
            return dict(sorted((self.services.variables.all() | self.variables.values).items()))
        return global_values(self.services.variables)

    def user_variable(self, name: str) -> Value:
        """The value of ``@name``."""
        return self._user_variables[name.lower()][1] if name.lower() in self._user_variables else None

    def set_user_variable(self, name: str, kind: SqlType, value: Value) -> None:
        """Set ``@name``. Raises error 3170."""
        name, found = name.lower(), stored(kind, value)
        self.memory.put(("@", name), size_of(name) + (size_of(found[1]) if isinstance(found[1], str) else 0))
        self._user_variables[name] = found

    # ---- SELECT --------------------------------------------------------------------------------------------

    def catalog(self) -> Catalog:
        """The tables as this session may see them."""
        return Catalog(
            self.services, self.caller, self.schema, self.system_variables(of_session=True),
            self.variables.settings.zone,
        )  # fmt: skip

    def select_session(self, *, limited: bool = False) -> SelectSession:
        """What a SELECT may ask about this session; ``limited`` by sql_select_limit."""
        settings = self.variables.settings
        return SelectSession(
            caller=self.caller,
            schema=self.schema,
            global_variables=self.services.variables,
            session_variables=self.variables.values,
            user_variables=self._user_variables,
            assign_user_variable=self.set_user_variable,
            found_rows=self._found_rows,
            settings=settings if limited else replace(settings, limit=None),
        )

    def select(self, text: str, tokens: list[Token], arguments: Sequence[str]) -> Rows:
        """SELECT; ``arguments`` are literals for its question marks. Raises a `StatementError`."""
        budget = current()
        if budget is not None:
            hint = _TIME_HINT.search(text, tokens[0].end, tokens[1].start)
            seconds = self.variables.seconds if hint is None else int(hint[1]) / 1000 or None
            budget.within(seconds, self.variables.most_rows)
        tree = parse_select(text, tokens, arguments, self.modes)
        result = run_select(tree, self.select_session(limited=True), self.catalog())
        self._found_rows = len(result.rows)
        notes: list[Note] = [("Warning", number, message) for number, message in result.warnings]
        return Rows(result.columns, result.types, result.rows, notes)

    def evaluate(self, setting: st.Setting) -> tuple[SqlType, Value]:
        """The value of one assignment of SET. Raises error 1241 for more than one."""
        text = f"SELECT {setting.expression}"
        tree = parse_select(text, tokens_of(text, self.modes), modes=self.modes)
        result = run_select(tree, self.select_session(), self.catalog())
        if len(result.types) != 1 or len(result.rows) != 1:
            raise StatementError(1241, 1)
        return result.types[0], result.rows[0][0]
