"""What a SELECT asks about its session: functions such as USER() and NOW(), and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from decimal import Decimal

from innoclone.agent.accounts.caller import Caller
from innoclone.agent.faults import StatementError
from innoclone.agent.sql import (
    BIGINT,
    BOOL,
    DATE,
    NOT_FIXED,
    UNSIGNED,
    Settings,
    SqlType,
    Value,
    datetime_type,
    time_type,
    to_text,
    varchar,
)
from innoclone.agent.variables.fixed import OF_BOTH
from innoclone.agent.variables.globals import Variables
from innoclone.agent.variables.kinds import Content
from innoclone.agent.variables.session import OF_A_SESSION
from innoclone.agent.variables.version import SERVER_VERSION
from innoclone.wire.results import ColumnType

__all__ = ["SelectSession", "stored"]

VARIABLE_LENGTH = 21845  # characters of @@name
IDENTITY_LENGTH = 288  # characters of USER()
TIMESTAMPS = ("NOW", "SYSDATE", "LOCALTIME", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "UTC_TIMESTAMP")
DATES = ("CURDATE", "CURRENT_DATE", "UTC_DATE")
TIMES = ("CURTIME", "CURRENT_TIME", "UTC_TIME")
Typed = tuple[SqlType, Value]
_UNSET = SqlType(ColumnType.MEDIUM_BLOB, 0, NOT_FIXED)


@dataclass(kw_only=True)
class SelectSession:
    """Made for each statement: NOW() is the same in all of it."""

    caller: Caller
    schema: str
    global_variables: Variables
    session_variables: Mapping[str, Content]
    user_variables: Mapping[str, tuple[SqlType, Value]]  # by name in lower case
    assign_user_variable: Callable[[str, SqlType, Value], None]
    found_rows: int  # of the last SELECT
    settings: Settings
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def function(self, name: str, decimals: int) -> Typed | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""
        return self._text(name) or self._number(name) or self._moment(name, decimals)

    def _text(self, name: str) -> Typed | None:
        if name in ("USER", "SESSION_USER", "SYSTEM_USER"):
            return (varchar(IDENTITY_LENGTH), str(self.caller))
        if name == "CURRENT_USER":
            return (varchar(IDENTITY_LENGTH), str(self.caller.account))
        if name == "CURRENT_ROLE":
            return (varchar(IDENTITY_LENGTH), "NONE")
        if name in ("DATABASE", "SCHEMA"):
            return (varchar(64), self.schema or None)
        return (varchar(len(SERVER_VERSION)), SERVER_VERSION) if name == "VERSION" else None

    def _number(self, name: str) -> Typed | None:
        numbers = {
            "CONNECTION_ID": self.caller.connection, "LAST_INSERT_ID": 0, "ROW_COUNT": -1, "FOUND_ROWS": self.found_rows
        }  # fmt: skip
        return (BIGINT, numbers[name]) if name in numbers else None

    def _moment(self, name: str, decimals: int) -> Typed | None:
        """NOW(), CURDATE(), CURTIME() and their like."""
        if name not in TIMESTAMPS + DATES + TIMES:
            return None
        now = self.now.astimezone(UTC if name.startswith("UTC_") else self.settings.zone).replace(tzinfo=None)
        if name in DATES:
            return (DATE, now.date())
        step = 10 ** (6 - decimals)
        cut = now.replace(microsecond=now.microsecond // step * step)
        if name in TIMESTAMPS:
            return (datetime_type(decimals), cut)
        kind = replace(time_type(decimals), length=8 + (decimals + 1 if decimals else 0))
        return (kind, cut - datetime.combine(cut.date(), time()))

    def variable(self, name: str) -> Typed:
        """``@@name``. Raises error 1193."""
        scope, _, bare = name.rpartition(".")
        if bare in self.session_variables and scope not in ("global", "persist"):
            return _typed(self.session_variables[bare])
        everything = self.global_variables.all()
        if bare not in everything:
            raise StatementError(1193, bare)
        if scope in ("session", "local") and bare not in OF_BOTH:
            raise StatementError(1238, bare, "GLOBAL")
        if scope == "global" and bare in OF_A_SESSION:
            raise StatementError(1238, bare, "SESSION")
        return _typed(everything[bare])

    def user_variable(self, name: str) -> Typed:
        """``@name``; NULL before it is set."""
        return self.user_variables.get(name.lower(), (_UNSET, None))

    def assign(self, name: str, kind: SqlType, value: Value) -> None:
        """``@name := value``."""
        self.assign_user_variable(name, kind, value)


def stored(kind: SqlType, value: Value) -> tuple[SqlType, Value]:
    """What a user variable has of a value: a number as it is, everything else as text."""
    if isinstance(value, bool | int | float | Decimal):
        return kind, value
    return SqlType(ColumnType.MEDIUM_BLOB, 0xFFFFFF // 4, NOT_FIXED), to_text(value, kind)


def _typed(content: Content) -> Typed:
    if isinstance(content, bool):
        return (BOOL, int(content))
    return (UNSIGNED, content) if isinstance(content, int) else (varchar(VARIABLE_LENGTH), content)
