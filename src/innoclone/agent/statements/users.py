"""CREATE, ALTER, DROP USER, GRANT, REVOKE, SHOW GRANTS: the agent's accounts by statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from innoclone.agent.accounts.accounts import EVERYWHERE, GRANT_OPTION, Account, PasswordHash
from innoclone.agent.accounts.credentials import ADMINISTRATOR
from innoclone.agent.faults import StatementError
from innoclone.agent.sql import statements as st
from innoclone.agent.sql.grammar import PRIVILEGES
from innoclone.agent.sql.types import Column, varchar
from innoclone.agent.statements.results import Answer, Done, table
from innoclone.agent.variables.globals import Note

if TYPE_CHECKING:
    from innoclone.agent.statements.execution import Execution

__all__ = ["change", "refuse_stronger", "show_grants"]

DYNAMIC = ("BACKUP_ADMIN", "CLONE_ADMIN", "CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN")
ONLY_EVERYWHERE = (*DYNAMIC, "CREATE USER", "PROCESS", "RELOAD")


def change(by: Execution, statement: st.Statement) -> Answer:
    """Execute a statement about accounts. Raises a `StatementError`, a file error."""
    match statement:
        case st.CreateUser():
            return _create(by, statement)
        case st.AlterUser():
            return _alter(by, statement)
        case st.DropUser():
            return _drop(by, statement)
        case st.Grant() | st.Revoke():
            return _grant(by, statement)
    raise StatementError(1235, type(statement).__name__)


def _known(by: Execution, name: st.AccountName) -> Account | None:
    return (
        ADMINISTRATOR if (name.user, name.host) == ADMINISTRATOR.name else by.agent.accounts.get(name.user, name.host)
    )


def _failed(what: str, names: Sequence[st.AccountName], why: str) -> StatementError:
    return StatementError(1396, what, f"{','.join(map(str, names))} ({why})")


def _hash(password: str | None) -> PasswordHash | None:
    return PasswordHash.of(password.encode("utf-8", "surrogateescape")) if password else None


def refuse_stronger(by: Execution, accounts: Iterable[Account | None]) -> None:
    """Who lacks a privilege can't change an account that has it, as with SYSTEM_USER in MySQL. Raises error 1227."""
    mine = by.account
    for account in accounts:
        if account is None or account.name == mine.name:
            continue
        lacking = sorted({privilege for privilege, level in account.grants if not mine.may(privilege, level)})
        if lacking:
            raise StatementError(1227, ", ".join(lacking))


def _create(by: Execution, statement: st.CreateUser) -> Answer:
    by.require("CREATE USER")
    there = [spec.name for spec in statement.users if _known(by, spec.name) is not None]
    if there and not statement.if_not_exists:
        raise _failed("CREATE USER", there, "User account already exists")
    new = [spec for spec in statement.users if spec.name not in there]
    by.agent.accounts.put(*(Account(spec.name.user, spec.name.host, _hash(spec.password)) for spec in new))
    notes: list[Note] = [("Note", 3163, f"Authorization ID {name} already exists.") for name in there]
    return Done(notes=notes)


def _alter(by: Execution, statement: st.AlterUser) -> Answer:
    if any((spec.name.user, spec.name.host) != by.account.name for spec in statement.users):
        by.require("CREATE USER")
    found = [(spec, by.agent.accounts.get(spec.name.user, spec.name.host)) for spec in statement.users]
    missing = [spec.name for spec, account in found if account is None]
    if missing and not statement.if_exists:
        raise _failed("ALTER USER", missing, "User account does not exist")
    refuse_stronger(by, (account for _, account in found))
    changed = [
        replace(account, password=_hash(spec.password))
        for spec, account in found
        if account is not None and spec.password is not None
    ]
    by.agent.accounts.put(*changed)
    return Done(notes=[("Note", 3162, f"Authorization ID {name} does not exist.") for name in missing])


def _drop(by: Execution, statement: st.DropUser) -> Answer:
    by.require("CREATE USER")
    found = [by.agent.accounts.get(name.user, name.host) for name in statement.names]
    missing = [name for name, account in zip(statement.names, found, strict=True) if account is None]
    if missing and not statement.if_exists:
        raise _failed("DROP USER", missing, "User account does not exist")
    refuse_stronger(by, found)
    by.agent.accounts.remove(*(account for account in found if account is not None))
    return Done(notes=[("Note", 3162, f"Authorization ID {name} does not exist.") for name in missing])


def _grant(by: Execution, statement: st.Grant | st.Revoke) -> Answer:
    level = statement.level
    privileges = set(statement.privileges) - {"USAGE"}
    if "ALL" in privileges:
        privileges = set(PRIVILEGES) if level == EVERYWHERE else {"SELECT", "INSERT", "DELETE"}
    for privilege in sorted(privileges):
        if level != EVERYWHERE and privilege in DYNAMIC:
            raise StatementError(3619, privilege)
        if level != EVERYWHERE and privilege in ONLY_EVERYWHERE:
            raise StatementError(1221, "DB GRANT", "GLOBAL PRIVILEGES")
    if not by.account.may(GRANT_OPTION) or not all(by.account.may(one, level) for one in privileges - {GRANT_OPTION}):
        raise StatementError(1227, "GRANT OPTION")
    accounts = []
    for name in statement.names:
        account = by.agent.accounts.get(name.user, name.host)
        if account is None:
            if isinstance(statement, st.Grant):
                raise StatementError(1410)
            raise StatementError(1141, name.user, name.host)
        accounts.append(account)
    refuse_stronger(by, accounts)
    what = {(privilege, level) for privilege in privileges - {GRANT_OPTION}}
    if GRANT_OPTION in privileges or (isinstance(statement, st.Grant) and statement.grant_option):
        what.add((GRANT_OPTION, EVERYWHERE))
    if isinstance(statement, st.Grant):
        by.agent.accounts.put(*(replace(account, grants=account.grants | what) for account in accounts))
    else:
        by.agent.accounts.put(*(replace(account, grants=account.grants - what) for account in accounts))
    return Done()


def show_grants(by: Execution, statement: st.ShowGrants) -> Answer:
    """SHOW GRANTS; of others only for those who may create accounts."""
    name = statement.account
    account: Account | None = by.account
    if name is not None and (name.user, name.host) != by.account.name:
        if not by.account.may("CREATE USER"):
            raise StatementError(1142, "SELECT", by.account.user, by.host, "user")
        account = _known(by, name)
    if account is None:
        raise StatementError(1141, *((name.user, name.host) if name else by.account.name))
    return table([Column(f"Grants for {account}", varchar(1024))], [(line,) for line in _grants(account)])


def _grants(account: Account) -> list[str]:
    """As a server writes them: static privileges, the dynamic ones, then those of schemas and tables."""
    to = f"TO `{account.user}`@`{account.host}`"
    option = " WITH GRANT OPTION" if account.may(GRANT_OPTION) else ""
    by_level: dict[str, set[str]] = {EVERYWHERE: set()}
    for privilege, level in account.grants:
        by_level.setdefault(level, set()).add(privilege)
    everywhere = by_level.pop(EVERYWHERE) - {GRANT_OPTION}
    static = ", ".join(sorted(everywhere - set(DYNAMIC))) or "USAGE"
    lines = [f"GRANT {static} ON *.* {to}{option}"]
    if dynamic := sorted(everywhere & set(DYNAMIC)):
        lines.append(f"GRANT {','.join(dynamic)} ON *.* {to}{option}")
    for level, privileges in sorted(by_level.items()):
        schema, _, name = level.partition(".")
        where = f"`{schema}`.{'*' if name == '*' else f'`{name}`'}"
        lines.append(f"GRANT {', '.join(sorted(privileges))} ON {where} {to}")
    return lines
