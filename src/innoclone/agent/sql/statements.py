"""Statements other than SELECT: a class for each. Passwords don't show in any representation of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Statement:
    """What a statement says; each kind of it is a frozen dataclass."""

    def __init_subclass__(cls) -> None:
        """Make it one."""
        dataclass(frozen=True)(cls)


class CloneLocal(Statement):
    """CLONE LOCAL DATA DIRECTORY."""

    directory: str


class CloneInstance(Statement):
    """CLONE INSTANCE FROM. ``ssl``: REQUIRE SSL, REQUIRE NO SSL, or None for neither."""

    user: str
    host: str
    port: int
    password: str = field(repr=False)
    directory: str | None = None
    ssl: bool | None = None


class CloneStop(Statement):
    """CLONE INSTANCE STOP."""


class InstallPlugin(Statement):
    """INSTALL PLUGIN name SONAME file."""

    name: str
    library: str


class UninstallPlugin(Statement):
    """UNINSTALL PLUGIN name."""

    name: str


@dataclass(frozen=True)
class Setting:
    """One of SET's assignments, of text for a string or a bare word too, or of None for NULL."""

    scope: str  # global, persist, persist_only, session, or user for @name
    name: str
    value: str | int | float | None
    is_default: bool = False
    is_number_with_point: bool = False
    expression: str | None = None  # the value's text, where it must be evaluated first


class SetVariables(Statement):
    """SET."""

    settings: tuple[Setting, ...]


class SetNames(Statement):
    """SET NAMES, or SET CHARACTER SET if not ``of_connection``; None for DEFAULT, or for no collation."""

    charset: str | None
    collation: str | None = None
    of_connection: bool = True


@dataclass(frozen=True)
class Filter:
    """LIKE or WHERE of a SHOW; ``where`` is the expression's text."""

    like: str | None = None
    where: str | None = None


class Show(Statement):
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


class ShowGrants(Statement):
    """SHOW GRANTS; None for oneself."""

    account: AccountName | None


class FlushLogs(Statement):
    """FLUSH LOGS."""


class FlushOther(Statement):
    """FLUSH PRIVILEGES and others of no effect."""


class Kill(Statement):
    """KILL [CONNECTION | QUERY] id."""

    number: int
    query_only: bool = False


class ResetPersist(Statement):
    """RESET PERSIST, of one variable or of all."""

    name: str | None
    if_exists: bool = False


class PrepareText(Statement):
    """PREPARE name FROM a text, or a user variable that has it."""

    name: str
    text: str = field(default="", repr=False)
    variable: str | None = None


class ExecuteText(Statement):
    """EXECUTE name USING user variables."""

    name: str
    variables: tuple[str, ...] = ()


class Deallocate(Statement):
    """DEALLOCATE or DROP PREPARE name."""

    name: str


class Use(Statement):
    """USE schema."""

    schema: str


class Begin(Statement):
    """BEGIN, COMMIT, ROLLBACK: there are no transactions to speak of."""


@dataclass(frozen=True)
class UserSpec:
    """An account and its password, if one is given."""

    name: AccountName
    password: str | None = field(default=None, repr=False)


class CreateUser(Statement):
    """CREATE USER."""

    users: tuple[UserSpec, ...]
    if_not_exists: bool = False


class AlterUser(Statement):
    """ALTER USER."""

    users: tuple[UserSpec, ...]
    if_exists: bool = False


class DropUser(Statement):
    """DROP USER."""

    names: tuple[AccountName, ...]
    if_exists: bool = False


class Grant(Statement):
    """GRANT privileges ON level TO accounts."""

    privileges: tuple[str, ...]
    level: str
    names: tuple[AccountName, ...]
    grant_option: bool = False


class Revoke(Statement):
    """REVOKE privileges ON level FROM accounts."""

    privileges: tuple[str, ...]
    level: str
    names: tuple[AccountName, ...]
