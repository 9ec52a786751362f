"""What a query can speak of: tables, and what a session knows of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol

from innoclone.agent.sql.expressions import Expr
from innoclone.agent.sql.lexer import Modes
from innoclone.agent.sql.types import Column, Value

__all__ = ["Session", "Settings", "Table"]


@dataclass(frozen=True)
class Settings:
    """What variables of a session change about its statements."""

    modes: Modes = frozenset(("ONLY_FULL_GROUP_BY", "ERROR_FOR_DIVISION_BY_ZERO"))  # sql_mode
    zone: tzinfo | None = None  # time_zone; None is the system's
    concat_length: int = 1024  # group_concat_max_len, bytes
    limit: int | None = None  # sql_select_limit


class Session(Protocol):
    """What a statement may ask about its session."""

    schema: str  # the default one, or empty
    settings: Settings

    def function(self, name: str, decimals: int) -> Expr | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""

    def variable(self, name: str) -> Expr:
        """``@@name``, with its scope if one was given. Raises error 1193."""

    def user_variable(self, name: str) -> Expr:
        """``@name``."""

    def assign(self, name: str, value: Expr) -> Expr:
        """``@name := value``."""


@dataclass(frozen=True)
class Table:
    """A table of the FROM clause, under the name that the statement gives it."""

    alias: str
    schema: str
    name: str
    columns: Sequence[Column]
    rows: Callable[[], Sequence[tuple[Value, ...]]]
