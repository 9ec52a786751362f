"""Who sends a statement, and what he may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from innoclone.agent.accounts.accounts import EVERYWHERE, Account, Accounts
from innoclone.agent.accounts.credentials import ADMINISTRATOR
from innoclone.agent.faults import StatementError

__all__ = ["UNAUTHENTICATED", "Caller"]

NOBODY = Account("", "")
UNAUTHENTICATED = "unauthenticated user"  # as SHOW PROCESSLIST has it


@dataclass(frozen=True)
class Caller:
    """One connection's user. ``logged_in_as`` is the account as it was at the login."""

    accounts: Accounts = field(repr=False)
    connection: int  # its id
    host: str
    user: str = UNAUTHENTICATED
    logged_in_as: Account = NOBODY
    cipher: tuple[str, str] = ("", "")  # of TLS, and its version; empty without

    def __str__(self) -> str:
        """``user@host`` as the client came."""
        return f"{self.user}@{self.host}"

    @property
    def account(self) -> Account:
        """The account as it is now: what is revoked counts at once; of a dropped one nothing is left."""
        account = self.logged_in_as
        if account in (NOBODY, ADMINISTRATOR):
            return account
        return self.accounts.get(*account.name) or Account(*account.name)

    def may(self, privilege: str, level: str = EVERYWHERE) -> bool:
        """Whether the account has the privilege on ``level`` (``schema.table``), or on something that holds it."""
        return self.account.may(privilege, level)

    def require(self, *privileges: str, shown: str = "") -> None:
        """Raises error 1227 where the account has none of them; ``shown`` is what MySQL names then, if not these."""
        if not any(self.may(privilege) for privilege in privileges):
            raise StatementError(1227, shown or ", ".join(privileges))

    def refuse_stronger(self, accounts: Iterable[Account | None]) -> None:
        """Who lacks a privilege can't change an account that has it, as with SYSTEM_USER in MySQL. Error 1227."""
        mine = self.account
        for account in accounts:
            if account is None or account.name == mine.name:
                continue
            lacking = sorted({privilege for privilege, level in account.grants if not mine.may(privilege, level)})
            if lacking:
                raise StatementError(1227, ", ".join(lacking))
