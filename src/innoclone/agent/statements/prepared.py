"""Prepared statements: kept as text, executed with the bound values written into it as literals."""

from __future__ import annotations

from dataclasses import dataclass, field

from innoclone.agent.faults import StatementError
from innoclone.agent.memory import PREPARED
from innoclone.agent.sql import Kind, is_query, parse_statement, size_of, text_literal, tokens_of
from innoclone.agent.statements.execution import Execution
from innoclone.agent.statements.literals import decimal_literal, literal, with_literals
from innoclone.agent.statements.results import Answer, Rows
from innoclone.errors import CloneError
from innoclone.wire import commands as com
from innoclone.wire.binary import Value, parse_parameters
from innoclone.wire.results import ColumnDefinition, ColumnType, Eof, PrepareOk

__all__ = ["Prepared"]

LONG = "long data"
BYTES_OF_A_PLACE = 100  # of a question mark
NUMERIC = (ColumnType.DECIMAL, ColumnType.NEWDECIMAL)


@dataclass
class _Statement:
    text: str
    places: list[int]  # of the question marks
    types: tuple[tuple[ColumnType, bool], ...] = ()
    long: dict[int, bytearray] = field(default_factory=dict)
    failed: StatementError | None = None  # what its long data came to; said when it is executed


class Prepared:
    """The prepared statements of one connection."""

    def __init__(self, execution: Execution) -> None:
        """They are executed there."""
        self._execution, self._context = execution, execution.context
        self._statements: dict[int, _Statement] = {}
        self._last = 0

    def clear(self) -> None:
        """Forget them all."""
        for number in list(self._statements):
            self.close(number)

    def text(self, number: int) -> str:
        """A statement's text, empty for one that isn't there."""
        return self._statements[number].text if number in self._statements else ""

    def close(self, number: int) -> None:
        """Forget one."""
        if self._statements.pop(number, None) is not None:
            self._context.memory.drop((PREPARED, number))
            self._context.memory.drop((LONG, number))

    def reset(self, number: int) -> None:
        """Forget its long data. Raises error 1243."""
        self._get(number, "mysqld_stmt_reset").long.clear()
        self._context.memory.drop((LONG, number))

    def _get(self, number: int, what: str) -> _Statement:
        if number not in self._statements:
            raise StatementError(1243, number, what)
        return self._statements[number]

    def prepare(self, text: str) -> list[bytes]:
        """The answer to COM_STMT_PREPARE. A SELECT's columns are found by running it with NULLs."""
        tokens = tokens_of(text, self._context.modes)
        if tokens[0].kind is Kind.END:
            raise StatementError(1065)
        statement = _Statement(text, [token.start for token in tokens if token.is_symbol("?")])
        columns: list[ColumnDefinition] = []
        if is_query(tokens) or (tokens[0].is_word("SHOW") and not statement.places):
            answer = self._execution.execute(text, ["NULL"] * len(statement.places))
            columns = answer.columns if isinstance(answer, Rows) else []
        elif not statement.places:
            parse_statement(text, tokens)
        self._context.memory.put((PREPARED, self._last + 1), size_of(text) + BYTES_OF_A_PLACE * len(statement.places))
        self._last += 1
        self._statements[self._last] = statement
        count = len(statement.places)
        parameter = ColumnDefinition("?", ColumnType.VAR_STRING)
        found = [PrepareOk(self._last, len(columns), count).serialize()]
        if count:
            found += [*[parameter.serialize()] * count, Eof().serialize()]
        if columns:
            found += [*(column.serialize() for column in columns), Eof().serialize()]
        return found

    def long_data(self, command: com.StmtSendLongData, most: int) -> None:
        """A piece of a parameter; what is too much is dropped, and said when the statement is executed."""
        statement = self._statements.get(command.number)
        if statement is None or command.parameter >= len(statement.places):
            return
        size = sum(map(len, statement.long.values())) + len(command.data)
        try:
            if size > most:
                raise StatementError(1153)
            self._context.memory.put((LONG, command.number), size)
        except StatementError as error:
            statement.failed = error
        else:
            statement.long.setdefault(command.parameter, bytearray()).extend(command.data)

    def execute(self, command: com.StmtExecute) -> Answer:
        """COM_STMT_EXECUTE; a cursor that is asked for is not opened, the rows come at once, as the protocol allows."""
        statement = self._get(command.number, "mysqld_stmt_execute")
        failed, statement.failed = statement.failed, None
        if failed is not None:
            self.reset(command.number)
            raise failed
        given = parse_parameters(command.parameters, len(statement.places), statement.types, frozenset(statement.long))
        statement.types = given.types
        literals = [
            self._literal(bytes(statement.long[at]) if at in statement.long else value, kind)
            for at, (value, (kind, _)) in enumerate(zip(given.values, given.types, strict=True))
        ]
        statement.long.clear()
        self._context.memory.drop((LONG, command.number))
        try:
            if is_query(tokens_of(statement.text, self._context.modes)):
                return self._execution.execute(statement.text, literals)
            return self._execution.execute(with_literals(statement.text, statement.places, literals))
        except UnicodeError as error:
            raise CloneError(str(error)) from error

    def _literal(self, value: Value, kind: ColumnType) -> str:
        if not isinstance(value, bytes):
            return literal(value, self._context.modes)
        text = value.decode("utf-8", "surrogateescape")
        return decimal_literal(text) if kind in NUMERIC else text_literal(text, self._context.modes)
