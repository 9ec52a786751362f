"""PREPARE, EXECUTE and DEALLOCATE PREPARE: prepared statements of clients that have only text to send."""

from __future__ import annotations

from innoclone.agent.faults import StatementError
from innoclone.agent.memory import PREPARED
from innoclone.agent.sql import Kind, is_query, parse_select, parse_statement, size_of, tokens_of
from innoclone.agent.sql import statements as st
from innoclone.agent.statements.context import SessionContext
from innoclone.agent.statements.literals import literal, with_literals
from innoclone.agent.statements.results import Answer, Done

__all__ = ["NamedStatements"]


class NamedStatements:
    """Those of one session, by name; a name means the same in any case."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._texts: dict[str, str] = {}

    def prepare(self, statement: st.PrepareText) -> Answer:
        """The statement that had the name is gone, also where the new one is wrong. Raises 1065, 1295, 1461."""
        name = statement.name.lower()
        self._forget(name)
        text = statement.text
        if statement.variable is not None:
            text = str(self._context.user_variable(statement.variable) or "")
        tokens = tokens_of(text, self._context.modes)
        if tokens[0].kind is Kind.END:
            raise StatementError(1065)
        marks = sum(token.is_symbol("?") for token in tokens)
        if is_query(tokens):
            parse_select(text, tokens, ["NULL"] * marks, self._context.modes)
        elif not marks and isinstance(parse_statement(text, tokens), st.PrepareText | st.ExecuteText | st.Deallocate):
            raise StatementError(1295)
        self._context.memory.put((PREPARED, name), size_of(text))
        self._texts[name] = text
        return Done(info="Statement prepared")

    def bound(self, statement: st.ExecuteText) -> tuple[str, list[str]]:
        """The statement's text with the values of user variables in it, and for a query as literals for its question
        marks. Raises errors 1210, 1243, 1295."""
        text = self._texts.get(statement.name.lower())
        if text is None:
            raise StatementError(1243, statement.name, "EXECUTE")
        modes = self._context.modes
        tokens = tokens_of(text, modes)
        places = [token.start for token in tokens if token.is_symbol("?")]
        if len(places) != len(statement.variables):
            raise StatementError(1210, "EXECUTE")
        literals = [literal(self._context.user_variable(name), modes) for name in statement.variables]
        if is_query(tokens):
            return text, literals
        text = with_literals(text, places, literals)
        if isinstance(parse_statement(text, tokens_of(text, modes)), st.PrepareText | st.ExecuteText | st.Deallocate):
            raise StatementError(1295)
        return text, []

    def deallocate(self, statement: st.Deallocate) -> Answer:
        """Raises error 1243."""
        if statement.name.lower() not in self._texts:
            raise StatementError(1243, statement.name, "DEALLOCATE PREPARE")
        self._forget(statement.name.lower())
        return Done()

    def clear(self) -> None:
        """Forget them all."""
        for name in list(self._texts):
            self._forget(name)

    def _forget(self, name: str) -> None:
        if self._texts.pop(name, None) is not None:
            self._context.memory.drop((PREPARED, name))
