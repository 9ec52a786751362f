"""CREATE, ALTER, DROP USER, GRANT, REVOKE, SHOW GRANTS: the agent's accounts by statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from innoclone.agent.accounts.accounts import EVERYWHERE, GRANT_OPTION, Account, Accounts, PasswordHash
from innoclone.agent.accounts.caller import Caller
from innoclone.agent.accounts.credentials import ADMINISTRATOR
from innoclone.agent.faults import StatementError
from innoclone.agent.sql import PRIVILEGES, Column, varchar
from innoclone.agent.sql import statements as st
from innoclone.agent.statements.results import Answer, Done, table
from innoclone.agent.variables.kinds import Note

__all__ = ["change", "show_grants"]

DYNAMIC = ("BACKUP_ADMIN", "CLONE_ADMIN", "CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN")
ONLY_EVERYWHERE = (*DYNAMIC, "CREATE USER", "PROCESS", "RELOAD")


def change(accounts: Accounts, by: Caller, statement: st.Statement) -> Answer:
    """Execute a statement about accounts. Raises a `StatementError`, a file error."""
    match statement:
        case st.CreateUser():
            return _create(accounts, by, statement)
        case st.AlterUser():
            return _alter(accounts, by, statement)
        case st.DropUser():
            return _drop(accounts, by, statement)
        case st.Grant() | st.Revoke():
            return _grant(accounts, by, statement)
    raise StatementError(1235, type(statement).__name__)


def _known(accounts: Accounts, name: st.AccountName) -> Account | None:
    return ADMINISTRATOR if (name.user, name.host) == ADMINISTRATOR.name else accounts.get(name.user, name.host)


def _failed(what: str, names: Sequence[st.AccountName], why: str) -> StatementError:
    return StatementError(1396, what, f"{','.join(map(str, names))} ({why})")


def _hash(password: str | None) -> PasswordHash | None:
    return PasswordHash.of(password.encode("utf-8", "surrogateescape")) if password else None


def _create(accounts: Accounts, by: Caller, statement: st.CreateUser) -> Answer:
    by.require("CREATE USER")
    there = [spec.name for spec in statement.users if _known(accounts, spec.name) is not None]
    if there and not statement.if_not_exists:
        raise _failed("CREATE USER", there, "User account already exists")
    new = [spec for spec in statement.users if spec.name not in there]
    accounts.put(*(Account(spec.name.user, spec.name.host, _hash(spec.password)) for spec in new))
    notes: list[Note] = [("Note", 3163, f"Authorization ID {name} already exists.") for name in there]
    return Done(notes=notes)


def _alter(accounts: Accounts, by: Caller, statement: st.AlterUser) -> Answer:
    if any((spec.name.user, spec.name.host) != by.account.name for spec in statement.users):
        by.require("CREATE USER")
    found = [(spec, accounts.get(spec.name.user, spec.name.host)) for spec in statement.users]
    missing = [spec.name for spec, account in found if account is None]
    if missing and not statement.if_exists:
        raise _failed("ALTER USER", missing, "User account does not exist")
    by.refuse_stronger((account for _, account in found))
    changed = [
        replace(account, password=_hash(spec.password))
        for spec, account in found
        if account is not None and spec.password is not None
    ]
    accounts.put(*changed)
    return Done(notes=[("Note", 3162, f"Authorization ID {name} does not exist.") for name in missing])


def _drop(accounts: Accounts, by: Caller, statement: st.DropUser) -> Answer:
    by.require("CREATE USER")
    found = [accounts.get(name.user, name.host) for name in statement.names]
    missing = [name for name, account in zip(statement.names, found, strict=True) if account is None]
    if missing and not statement.if_exists:
        raise _failed("DROP USER", missing, "User account does not exist")
    by.refuse_stronger(found)
    accounts.remove(*(account for account in found if account is not None))
    return Done(notes=[("Note", 3162, f"Authorization ID {name} does not exist.") for name in missing])


def _grant(accounts: Accounts, by: Caller, statement: st.Grant | st.Revoke) -> Answer:
    level = statement.level
    privileges = set(statement.privileges) - {"USAGE"}
    if "ALL" in privileges:
        privileges = set(PRIVILEGES) if level == EVERYWHERE else {"SELECT", "INSERT", "DELETE"}
    for privilege in sorted(privileges):
        if level != EVERYWHERE and privilege in DYNAMIC:
            raise StatementError(3619, privilege)
        if level != EVERYWHERE and privilege in ONLY_EVERYWHERE:
            raise StatementError(1221, "DB GRANT", "GLOBAL PRIVILEGES")
    if not by.may(GRANT_OPTION) or not all(by.may(one, level) for one in privileges - {GRANT_OPTION}):
        raise StatementError(1227, "GRANT OPTION")
    changed = []
    for name in statement.names:
        account = accounts.get(name.user, name.host)
        if account is None:
            if isinstance(statement, st.Grant):
                raise StatementError(1410)
            raise StatementError(1141, name.user, name.host)
        changed.append(account)
    by.refuse_stronger(changed)
    what = {(privilege, level) for privilege in privileges - {GRANT_OPTION}}
    if GRANT_OPTION in privileges or (isinstance(statement, st.Grant) and statement.grant_option):
        what.add((GRANT_OPTION, EVERYWHERE))
    if isinstance(statement, st.Grant):
        accounts.put(*(replace(account, grants=account.grants | what) for account in changed))
    else:
        accounts.put(*(replace(account, grants=account.grants - what) for account in changed))
    return Done()


def show_grants(accounts: Accounts, by: Caller, statement: st.ShowGrants) -> Answer:
    """SHOW GRANTS; of others only for those who may create accounts."""
    name = statement.account
    account: Account | None = by.account
    if name is not None and (name.user, name.host) != by.account.name:
        if not by.may("CREATE USER"):
            raise StatementError(1142, "SELECT", by.account.user, by.host, "user")
        account = _known(accounts, name)
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
