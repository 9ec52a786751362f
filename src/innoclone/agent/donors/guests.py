"""Recipients as the agent sees them: its accounts let them in, and its lists of connections have them."""

from __future__ import annotations

from dataclasses import replace

from innoclone.agent.accounts.accounts import Accounts
from innoclone.agent.accounts.caller import Caller
from innoclone.agent.accounts.credentials import HostCredentials
from innoclone.agent.connections import ClientKind
from innoclone.donor.conversation import Conversation

__all__ = ["AgentGuest", "GuestConnection"]

PRIVILEGE = "BACKUP_ADMIN"


class AgentGuest(HostCredentials):
    """A `Guest` of a donor, with the agent's accounts. Nobody is trusted for where he comes from: it is TCP."""

    caller: Caller | None = None
    """Who has logged in."""

    def admit(self, user: str) -> None:
        """The account that the login got is the connection's, whatever accounts are made later."""
        account = self.account(user, trusted=False)
        if account is not None:  # else it was dropped a moment ago
            self.caller = Caller(self.accounts, 0, self.host, user, account)

    @property
    def may_clone(self) -> bool:
        """Whether the account has BACKUP_ADMIN, now."""
        return self.caller is not None and self.caller.may(PRIVILEGE)


class GuestConnection:
    """A recipient's connection as the processlist and KILL have it."""

    kind = ClientKind.RECIPIENT
    info, schema, is_cloning = "", "", False

    def __init__(self, conversation: Conversation, guest: AgentGuest, accounts: Accounts) -> None:
        self.number = conversation.number
        self._conversation, self._guest = conversation, guest
        self._nobody = Caller(accounts, self.number, conversation.host)

    @property
    def caller(self) -> Caller:
        """Who takes the clone."""
        found = self._guest.caller
        return self._nobody if found is None else replace(found, connection=self.number)

    @property
    def command(self) -> str:
        """As a stock donor's processlist has it."""
        conversation = self._conversation
        if conversation.is_shut:  # its thread has not ended yet
            return "Killed"
        if conversation.in_clone:
            return "clone"
        return "Sleep" if conversation.logged_in else "Connect"

    @property
    def state(self) -> str:
        """As a stock donor's processlist has it."""
        return self._conversation.state

    @property
    def since(self) -> float:
        """When it began what it does."""
        return self._conversation.since

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent."""
        return self._conversation.traffic

    def kill(self, *, query_only: bool) -> None:
        """End the clone that it takes part in: the recipient is told 1317, as by a stock donor."""
        self._conversation.kill(query_only=query_only)

    def join(self, seconds: float) -> None:
        """Wait so long for its end, then break it off."""
        self._conversation.thread.join(seconds)
        self._conversation.shut()
