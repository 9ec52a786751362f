"""The variables that a client sets for its own session: what may be set, and what it changes.

Kinds, ranges, warnings and errors are a 9.7 server's. What has an effect on the agent's answers has it; where the agent
hasn't what a server has, setting it to anything else than its value is error 1235.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone, tzinfo

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import NO_BACKSLASH_ESCAPES, Settings
from innoclone.agent.sql.statements import SetNames, Setting
from innoclone.agent.variables.kinds import LARGEST, Choice, Content, Note, Number, Switch, whole
from innoclone.wire.results import ServerStatus

__all__ = [
    "OF_A_SESSION",
    "SESSION_VARIABLES",
    "Charset",
    "Collation",
    "Definition",
    "SessionVariables",
    "default_values",
]

LARGEST_TIMEOUT = 31536000
MILLISECONDS = 1000
COLLATIONS = {
    "utf8mb4": ("utf8mb4_0900_ai_ci", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci"),
    "utf8mb3": ("utf8mb3_general_ci", "utf8mb3_unicode_ci", "utf8mb3_unicode_520_ci"),
}
"""Character sets that are spoken, and their collations that literals may have: the first one is the default."""

FOREIGN = (
    "armscii8", "ascii", "big5", "binary", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "cp932",
    "dec8", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "geostd8", "greek", "hebrew", "hp8", "keybcs2", "koi8r",
    "koi8u", "latin1", "latin2", "latin5", "latin7", "macce", "macroman", "sjis", "swe7", "tis620", "ucs2", "ujis",
    "utf16", "utf16le", "utf32",
)  # fmt: skip
MOST_COLLATIONS = 324  # their numbers are below
NO_CLIENTS = ("ucs2", "utf16", "utf16le", "utf32")  # nobody can send a statement in these
UTF8_NOTE = (
    "'utf8' is currently an alias for the character set UTF8MB3, but will be an alias for UTF8MB4 in a future release."
    " Please consider using UTF8MB4 in order to be unambiguous."
)
MB3_NOTE = "'utf8mb3' is deprecated and will be removed in a future release. Please use utf8mb4 instead"
UTF8MB3_NOTE = (
    "'{}' is a collation of the deprecated character set UTF8MB3. Please consider using UTF8MB4 with an appropriate"
    " collation instead."
)
STRICTNESS_NOTE = (
    "'NO_ZERO_DATE', 'NO_ZERO_IN_DATE' and 'ERROR_FOR_DIVISION_BY_ZERO' sql modes should be used with strict mode. They"
    " will be merged with strict mode in a future release."
)
MODES = (
    "REAL_AS_FLOAT", "PIPES_AS_CONCAT", "ANSI_QUOTES", "IGNORE_SPACE", "", "ONLY_FULL_GROUP_BY",
    "NO_UNSIGNED_SUBTRACTION", "NO_DIR_IN_CREATE", *[""] * 10, "ANSI", "NO_AUTO_VALUE_ON_ZERO", "NO_BACKSLASH_ESCAPES",
    "STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "NO_ZERO_IN_DATE", "NO_ZERO_DATE", "ALLOW_INVALID_DATES",
    "ERROR_FOR_DIVISION_BY_ZERO", "TRADITIONAL", "", "HIGH_NOT_PRECEDENCE", "NO_ENGINE_SUBSTITUTION",
    "PAD_CHAR_TO_FULL_LENGTH", "TIME_TRUNCATE_FRACTIONAL",
)  # fmt: skip
"""By their bits; "" where there was one in earlier versions."""

WITH_DATES = {"NO_ZERO_IN_DATE", "NO_ZERO_DATE", "ERROR_FOR_DIVISION_BY_ZERO"}
STRICT = {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"}
MEANT = {
    "ANSI": {"REAL_AS_FLOAT", "PIPES_AS_CONCAT", "ANSI_QUOTES", "IGNORE_SPACE", "ONLY_FULL_GROUP_BY"},
    "TRADITIONAL": {*WITH_DATES, *STRICT, "NO_ENGINE_SUBSTITUTION"},
}
NOT_HONOURED = {
    "NO_UNSIGNED_SUBTRACTION", "ALLOW_INVALID_DATES", "HIGH_NOT_PRECEDENCE", "PAD_CHAR_TO_FULL_LENGTH",
    "TIME_TRUNCATE_FRACTIONAL",
}  # fmt: skip
DEFAULT_MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)
_OFFSET = re.compile(r"([+-])(\d{1,6}):(\d{1,2})")


def _words(name: str, setting: Setting) -> str:
    """A text. Raises error 1231 for NULL, 1232 for a number."""
    whole(name, setting)
    if setting.value is None:
        raise StatementError(1231, name, "NULL")
    if not isinstance(setting.value, str):
        raise StatementError(1232, name)
    return setting.value


@dataclass(frozen=True)
class Mode:
    """sql_mode."""

    default: str = DEFAULT_MODE

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises errors 1231, 1232, 1235, 3899."""
        whole(name, setting)
        chosen = self._numbered(name, setting) if isinstance(setting.value, int) else self._named(name, setting)
        chosen = chosen.union(*(MEANT.get(mode, set()) for mode in chosen))
        if missing := sorted(chosen & NOT_HONOURED):
            raise StatementError(1235, f"sql_mode {missing[0]}")
        is_right = not chosen & (STRICT | WITH_DATES) or (chosen & STRICT and chosen >= WITH_DATES)
        notes: list[Note] = [] if is_right else [("Warning", 3135, STRICTNESS_NOTE)]
        return ",".join(mode for mode in MODES if mode in chosen), notes

    def _named(self, name: str, setting: Setting) -> set[str]:
        found = set()
        for word in _words(name, setting).rstrip(" ").split(","):
            if word and (word.upper() not in MODES):
                raise StatementError(1231, name, word)
            found.add(word.upper())
        return found - {""}

    def _numbered(self, name: str, setting: Setting) -> set[str]:
        number = int(setting.value or 0)
        if not 0 <= number < 1 << len(MODES):
            raise StatementError(1231, name, number)
        bits = [bit for bit in range(len(MODES)) if number >> bit & 1]
        if unknown := sum(1 << bit for bit in bits if not MODES[bit]):
            raise StatementError(3899, f"0x{unknown:08x}")
        return {MODES[bit] for bit in bits}


@dataclass(frozen=True)
class Zone:
    """time_zone: SYSTEM or an offset; names need tables, which a new server has not either."""

    default: str = "SYSTEM"

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises errors 1231, 1232, 1298."""
        given = _words(name, setting)
        if given.upper() == "SYSTEM":
            return "SYSTEM", []
        minutes = _minutes(given)
        if minutes is None:
            raise StatementError(1298, given)
        hours, rest = divmod(abs(minutes), 60)
        return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}", []


def _minutes(text: str) -> int | None:
    found = _OFFSET.fullmatch(text)
    if found is None or int(found[3]) > 59:
        return None
    size = (int(found[2]) * 60 + int(found[3])) * (-1 if found[1] == "-" else 1)
    return size if -14 * 60 < size <= 14 * 60 else None


def _by_number(unknown: int, name: str, number: int) -> StatementError:
    return (
        StatementError(1235, f"{name} by number") if 0 < number < MOST_COLLATIONS else StatementError(unknown, number)
    )


@dataclass(frozen=True)
class Charset:
    """A character set that is spoken."""

    default: str = "utf8mb4"
    null: bool = False  # whether NULL is one: results as they are
    of_client: bool = False

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises errors 1115, 1231, 1232, 1235."""
        whole(name, setting)
        if setting.value is None and self.null:
            return None, []
        if isinstance(setting.value, int):  # the number of a collation
            raise _by_number(1115, name, setting.value)
        given = _words(name, setting)
        if self.of_client and given.lower() in NO_CLIENTS:
            raise StatementError(1231, name, given)
        notes: dict[str, list[Note]] = {
            "utf8": [("Warning", 3719, UTF8_NOTE)],
            "utf8mb3": [("Warning", 1287, MB3_NOTE)],
        }
        return charset(given), notes.get(given.lower(), [])


def charset(given: str) -> str:
    """The name of a character set that is spoken. Raises errors 1115, 1235."""
    name = "utf8mb3" if given.lower() == "utf8" else given.lower()
    if name in FOREIGN:
        raise StatementError(1235, f"character set {name}")
    if name not in COLLATIONS:
        raise StatementError(1115, given)
    return name


@dataclass(frozen=True)
class Collation:
    """collation_connection."""

    default: str = "utf8mb4_0900_ai_ci"

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises errors 1231, 1232, 1235, 1273."""
        whole(name, setting)
        if isinstance(setting.value, int):
            raise _by_number(1273, name, setting.value)
        found = collation(_words(name, setting))
        return found, [("Warning", 3778, UTF8MB3_NOTE.format(found))] if found.startswith("utf8mb3") else []


def collation(given: str) -> str:
    """A collation whose comparisons are ours. Raises errors 1235, 1273."""
    name, of = given.lower(), given.lower().partition("_")
    if any(name in names for names in COLLATIONS.values()):
        return name
    raise (
        StatementError(1235, f"collation {name}")
        if of[2] and (of[0] in COLLATIONS or of[0] in FOREIGN)
        else (StatementError(1273, given))
    )


Definition = Switch | Number | Choice | Mode | Zone | Charset | Collation
_ON, _OFF = Switch(True), Switch(False)
SESSION_VARIABLES: dict[str, Definition] = {
    # of effect
    "character_set_client": Charset(of_client=True), "character_set_connection": Charset(),
    "character_set_results": Charset(null=True), "collation_connection": Collation(),
    "group_concat_max_len": Number(1024, 4, LARGEST), "max_execution_time": Number(0, 0, LARGEST),
    "max_join_size": Number(LARGEST, 1, LARGEST), "net_read_timeout": Number(30, 1, LARGEST_TIMEOUT),
    "net_write_timeout": Number(60, 1, LARGEST_TIMEOUT), "sql_big_selects": _ON, "sql_mode": Mode(), "sql_notes": _ON,
    "sql_quote_show_create": _ON, "sql_select_limit": Number(LARGEST, 0, LARGEST), "time_zone": Zone(),
    "wait_timeout": Number(28800, 1, LARGEST_TIMEOUT), "autocommit": _ON,
    # about what the agent has not: rows that change, locks, transactions, replication
    "foreign_key_checks": _ON, "information_schema_stats_expiry": Number(86400, 0, LARGEST_TIMEOUT),
    "innodb_lock_wait_timeout": Number(50, 1, 1073741824), "interactive_timeout": Number(28800, 1, LARGEST_TIMEOUT),
    "lock_wait_timeout": Number(31536000, 1, LARGEST_TIMEOUT),
    "session_track_gtids": Choice("OFF", ("OFF", "OWN_GTID", "ALL_GTIDS"), numbered=True),
    "session_track_schema": _ON, "sql_auto_is_null": _OFF, "sql_log_bin": _ON, "sql_safe_updates": _OFF,
    "sql_warnings": _OFF,
    "transaction_isolation": Choice(
        "REPEATABLE-READ", ("READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"), numbered=True),
    "transaction_read_only": _OFF, "unique_checks": _ON,
}  # fmt: skip
OF_A_SESSION = ("sql_log_bin",)  # that have no global value


def default_values() -> dict[str, Content]:
    """A session's as it begins."""
    return {name: kind.default for name, kind in SESSION_VARIABLES.items()}


class SessionVariables:
    """One session's values."""

    def __init__(self, begin: Mapping[str, Content]) -> None:
        """``begin`` are the global values, which a session begins with and DEFAULT means."""
        self._begin = {name: begin[name] for name in SESSION_VARIABLES}
        self.values: dict[str, Content] = dict(self._begin)

    def reset(self) -> None:
        """As they were at the begin."""
        self.values = dict(self._begin)

    def number(self, name: str) -> int:
        """A number's or a switch's value."""
        return int(self.values[name] or 0)

    def begin_number(self, name: str) -> int:
        """A number as it was at the begin."""
        return int(self._begin[name] or 0)

    def read(self, setting: Setting) -> tuple[dict[str, Content], list[Note]]:
        """The values that SET would change, none of which is set yet. Raises MySQL's errors."""
        name = setting.name
        kind = SESSION_VARIABLES[name]
        value, notes = (self._begin[name], []) if setting.is_default else kind.read(name, setting)
        if isinstance(kind, Number) and notes and "STRICT_ALL_TABLES" in self.modes:
            raise StatementError(1231, name, setting.value)
        changes: dict[str, Content] = {name: value}
        if name == "character_set_connection":
            changes["collation_connection"] = COLLATIONS[str(value)][0]
        elif name == "collation_connection":
            changes["character_set_connection"] = str(value).partition("_")[0]
        elif name == "max_join_size":
            changes["sql_big_selects"] = value == LARGEST
        return changes, notes

    def read_global(self, setting: Setting) -> list[Note]:
        """SET GLOBAL to what the value is already. Raises error 1235 for any other value, 1228, and MySQL's errors."""
        name = setting.name
        if name in OF_A_SESSION:
            raise StatementError(1228, name)
        if setting.scope != "global":
            raise StatementError(1235, f"SET {setting.scope.upper()} {name}")
        kind = SESSION_VARIABLES[name]
        value, notes = (kind.default, []) if setting.is_default else kind.read(name, setting)
        if value != self._begin[name]:
            raise StatementError(1235, f"SET GLOBAL {name}")
        return notes

    def read_names(self, names: SetNames) -> tuple[dict[str, Content], list[Note]]:
        """SET NAMES and SET CHARACTER SET. Raises errors 1115, 1235, 1253, 1273."""
        notes: list[Note] = []
        if names.charset is None:
            chosen = "utf8mb4"
        else:
            found, notes = SESSION_VARIABLES["character_set_client"].read(
                "character_set_client", Setting("session", "character_set_client", names.charset)
            )
            chosen = str(found)
        changes: dict[str, Content] = {"character_set_client": chosen, "character_set_results": chosen}
        if not names.of_connection:
            return changes | {
                "character_set_connection": "utf8mb4",
                "collation_connection": COLLATIONS["utf8mb4"][0],
            }, []
        wanted = COLLATIONS[chosen][0]
        if names.collation is not None:
            of = names.collation.lower().partition("_")[0]
            if of != chosen and (of in COLLATIONS or of in FOREIGN):
                raise StatementError(1253, names.collation, chosen)
            wanted = collation(names.collation)
        return changes | {"character_set_connection": chosen, "collation_connection": wanted}, notes

    # ---- what they change ----------------------------------------------------------------------------------

    @property
    def modes(self) -> frozenset[str]:
        """Of sql_mode."""
        return frozenset(str(self.values["sql_mode"]).split(","))

    @property
    def settings(self) -> Settings:
        """For reading and evaluating statements."""
        limit = self.number("sql_select_limit")
        return Settings(
            self.modes, zone_of(str(self.values["time_zone"])), self.number("group_concat_max_len"),
            None if limit == LARGEST else limit,
        )  # fmt: skip

    @property
    def most_rows(self) -> int:
        """That a SELECT may look at."""
        return LARGEST if self.values["sql_big_selects"] else self.number("max_join_size")

    @property
    def seconds(self) -> float | None:
        """For a SELECT; None without a limit."""
        return self.number("max_execution_time") / MILLISECONDS or None

    @property
    def status(self) -> ServerStatus:
        """The flags that go with every answer."""
        found = ServerStatus.AUTOCOMMIT if self.values["autocommit"] else ServerStatus(0)
        return found | (ServerStatus.NO_BACKSLASH_ESCAPES if NO_BACKSLASH_ESCAPES in self.modes else 0)


def zone_of(name: str) -> tzinfo | None:
    """Of a value of time_zone; None for SYSTEM."""
    minutes = _minutes(name)
    return None if minutes is None else timezone(timedelta(minutes=minutes))
