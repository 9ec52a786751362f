"""Statements other than SELECT: a class for each, and the parser that makes them of words.

The grammar is MySQL's (manual, "SQL Statements"), as far as the agent has the statement, plus CLONE INSTANCE STOP.
Passwords don't show in any representation of a statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CloneLocal:
    """CLONE LOCAL DATA DIRECTORY."""

    directory: str


@dataclass(frozen=True)
class CloneInstance:
    """CLONE INSTANCE FROM. ``ssl``: REQUIRE SSL, REQUIRE NO SSL, or None for neither."""

    user: str
    host: str
    port: int
    password: str = field(repr=False)
    directory: str | None = None
    ssl: bool | None = None


@dataclass(frozen=True)
class CloneStop:
    """CLONE INSTANCE STOP."""


@dataclass(frozen=True)
class InstallPlugin:
    """INSTALL PLUGIN name SONAME file."""

    name: str
    library: str


@dataclass(frozen=True)
class UninstallPlugin:
    """UNINSTALL PLUGIN name."""

    name: str


@dataclass(frozen=True)
class Setting:
    """One of SET's assignments. ``scope`` is global, persist, persist_only, session, or user for ``@name``.

    ``value`` is text for a string or a bare word, int or float for a number, None for NULL; `is_default` for DEFAULT.
    """

    scope: str
    name: str
    value: str | int | float | None
    is_default: bool = False
    is_number_with_point: bool = False
    expression: str | None = None  # the value's text, where it must be evaluated first


@dataclass(frozen=True)
class SetVariables:
    """SET."""

    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class SetNames:
    """SET NAMES, or SET CHARACTER SET if not ``of_connection``; None for DEFAULT, or for no collation."""

    charset: str | None
    collation: str | None = None
    of_connection: bool = True


@dataclass(frozen=True)
class Filter:
    """LIKE or WHERE of a SHOW; ``where`` is the expression's text."""

    like: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class Show:
    """SHOW of something without details: ``what`` in capitals, as in ``PLUGINS`` or ``GLOBAL VARIABLES``."""

    what: str
    filter: Filter = Filter()
    schema: str | None = None
    name: str | None = None  # of a table or an engine


@dataclass(frozen=True)
class AccountName:
    """``'user'@'host'``."""

    user: str
    host: str = "%"

    def __str__(self) -> str:
        """As error messages show it."""
        return f"'{self.user}'@'{self.host}'"


@dataclass(frozen=True)
class ShowGrants:
    """SHOW GRANTS; None for oneself."""

    account: AccountName | None


@dataclass(frozen=True)
class FlushLogs:
    """FLUSH LOGS."""


@dataclass(frozen=True)
class FlushOther:
    """FLUSH PRIVILEGES and others of no effect."""


@dataclass(frozen=True)
class Kill:
    """KILL [CONNECTION | QUERY] id."""

    number: int
    query_only: bool = False


@dataclass(frozen=True)
class ResetPersist:
    """RESET PERSIST, of one variable or of all."""

    name: str | None
    if_exists: bool = False


@dataclass(frozen=True)
class PrepareText:
    """PREPARE name FROM a text, or a user variable that has it."""

    name: str
    text: str = field(default="", repr=False)
    variable: str | None = None


@dataclass(frozen=True)
class ExecuteText:
    """EXECUTE name USING user variables."""

    name: str
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deallocate:
    """DEALLOCATE or DROP PREPARE name."""

    name: str


@dataclass(frozen=True)
class Use:
    """USE schema."""

    schema: str


@dataclass(frozen=True)
class Begin:
    """BEGIN, COMMIT, ROLLBACK: there are no transactions to speak of."""


@dataclass(frozen=True)
class UserSpec:
    """An account and its password, if one is given."""

    name: AccountName
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class CreateUser:
    """CREATE USER."""

    users: tuple[UserSpec, ...]
    if_not_exists: bool = False


@dataclass(frozen=True)
class AlterUser:
    """ALTER USER."""

    users: tuple[UserSpec, ...]
    if_exists: bool = False


@dataclass(frozen=True)
class DropUser:
    """DROP USER."""

    names: tuple[AccountName, ...]
    if_exists: bool = False


@dataclass(frozen=True)
class Grant:
    """GRANT privileges ON level TO accounts."""

    privileges: tuple[str, ...]
    level: str
    names: tuple[AccountName, ...]
    grant_option: bool = False


@dataclass(frozen=True)
class Revoke:
    """REVOKE privileges ON level FROM accounts."""

    privileges: tuple[str, ...]
    level: str
    names: tuple[AccountName, ...]


Statement = (
    CloneLocal | CloneInstance | CloneStop | InstallPlugin | UninstallPlugin | SetVariables | SetNames | Show
    | ShowGrants | PrepareText | ExecuteText | Deallocate | ResetPersist | FlushLogs | FlushOther | Kill
    | Use | Begin | CreateUser | AlterUser | DropUser | Grant | Revoke
)  # fmt: skip
