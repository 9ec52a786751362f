"""The stored clones that the agent serves, each by a donor with a port of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial

from innoclone.agent.accounts.accounts import Accounts
from innoclone.agent.accounts.credentials import LoginKeys
from innoclone.agent.connections import Connections
from innoclone.agent.donors.guests import AgentGuest, GuestConnection
from innoclone.agent.donors.snapshots import ServedSnapshot
from innoclone.agent.settings import AgentSettings
from innoclone.commands.serving import Attendant, record_taking
from innoclone.donor.account import Entrance
from innoclone.donor.clones import DonorOptions
from innoclone.donor.conversation import Conversation
from innoclone.donor.live import find_live
from innoclone.donor.offer import Source
from innoclone.donor.service import Donor, Observer
from innoclone.donor.shelf import Shelf, leads_to
from innoclone.donor.stored import look
from innoclone.donor.takings import Taking
from innoclone.errors import CloneError, one_line
from innoclone.records.limits import Limits
from innoclone.settings.servetable import ServedClone
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.failedlogins import FailedLogins

__all__ = ["Donors", "ServedDonor"]

log = logging.getLogger("innoclone.donor")
LOCAL = "127.0.0.1"  # where an agent without TCP serves, unless told otherwise
END_WITHIN = 20.0  # seconds for a donor to end in order


class ServedDonor(Observer):
    """One of them."""

    def __init__(
        self, served: ServedClone, settings: AgentSettings, keys: LoginKeys, accounts: Accounts,
        failed_logins: FailedLogins, connections: Connections,
    ) -> None:  # fmt: skip
        """It listens, and lets nobody in before `start`. Raises `ConnectFailed`."""
        self.served, self.outcomes = served, Counter[str]()
        self._accounts, self._connections = accounts, connections
        wanted = served.snapshot
        self._snapshot = held = (
            None if wanted is None
            else ServedSnapshot(served.name, wanted, self._look, renew=served.renewed_after)
        )  # fmt: skip
        find = partial(_find, served, settings.running) if held is None else held.source
        self.shelf = Shelf(served.source, find, lambda: leads_to(served.directory) if held is None else held.leads_to)
        secure = served.require_secure_transport
        options = DonorOptions(
            account=None, folder=settings.folder, bind_address=served.bind_address or settings.bind_address or LOCAL,
            port=served.port, max_connections=served.max_connections, reconnect_timeout=served.reconnect_timeout,
            require_secure_transport=settings.require_secure_transport if secure is None else secure,
            name=served.name, returns=True,
        )  # fmt: skip
        entrance = Entrance(
            lambda host: AgentGuest(accounts, keys.passwords, keys.key, host, None), keys.tls, failed_logins,
            settings.block_time,
        )  # fmt: skip
        limits = Limits(data=served.max_data_bandwidth, network=served.max_network_bandwidth)
        reads = Limits(data=served.max_donor_read)
        self.donor = Donor(self.shelf, options, limits, reads, entrance=entrance, observer=self)
        self._attendant = Attendant(self.donor, lambda _: self.shelf.put_back(lambda: self.donor.taken))
        self._thread = threading.Thread(target=self._serve, name=f"innoclone-donor-{served.name}", daemon=True)

    # ---- what the donor tells ------------------------------------------------------------------------------

    def next_number(self) -> int:
        """Ids are those of the agent's connections, for KILL."""
        return self._connections.next_number()

    def connected(self, conversation: Conversation) -> None:
        """One more in the processlist."""
        guest = conversation.guest
        assert isinstance(guest, AgentGuest), "they are made here"
        self._connections.add(GuestConnection(conversation, guest, self._accounts))

    def disconnected(self, conversation: Conversation) -> None:
        """One less."""
        self._connections.remove(conversation.number)

    def ended(self, taking: Taking) -> None:
        """Into the history."""
        self.outcomes[taking.state] += 1
        record_taking(taking, self.served.source)

    # ---- life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve, in threads of its own. What can't be served now may be there when somebody comes."""
        self._thread.start()
        if self._snapshot is not None:
            self._snapshot.start()  # it looks when it is there
        else:
            threading.Thread(target=self._look, name="innoclone-look", daemon=True).start()

    def _serve(self) -> None:
        with self._attendant:
            self.donor.serve()
        self.shelf.close()

    def _look(self) -> None:
        name, source = self.served.name, self.served.source
        try:
            version = self.shelf.description.version
        except CloneError as error:
            log.warning("%s: %s can't be served now: %s", name, source, one_line(error.message))
            return
        except Exception:
            log.exception("%s: unexpected", name)
            return
        log.info("%s: serving %s, MySQL %s, on port %d", name, source, version, self.donor.port)

    def stop(self) -> None:
        """Begin to end."""
        self.donor.stop()

    def join(self) -> None:
        """Wait for the end; of one that never began, close what listens."""
        if self._thread.ident is not None:
            self._thread.join(END_WITHIN)
        else:
            self.donor.close()
        if self._snapshot is not None:
            self._snapshot.stop()  # nobody reads of it any more


def _find(served: ServedClone, running: Endpoint | None) -> Source:
    """Raises why it can't be served now."""
    if served.directory is not None:
        return look(served.directory, served.keyring, served.places)
    assert running is not None, "the settings see to that"
    return find_live(running, served.datadir)


class Donors:
    """All of them."""

    def __init__(
        self, settings: AgentSettings, keys: LoginKeys, accounts: Accounts, failed_logins: FailedLogins,
        connections: Connections,
    ) -> None:  # fmt: skip
        """All listen. Raises `ConnectFailed`, and then none does."""
        self._all: list[ServedDonor] = []
        try:
            for served in settings.serve:
                self._all.append(ServedDonor(served, settings, keys, accounts, failed_logins, connections))
        except BaseException:
            self.stop()
            raise

    def __iter__(self) -> Iterator[ServedDonor]:
        """In the order of the file."""
        return iter(self._all)

    def start(self) -> None:
        """Let recipients in."""
        for one in self._all:
            one.start()

    def stop(self) -> None:
        """End them: recipients are not told, they come back to the next agent."""
        for one in self._all:
            with contextlib.suppress(OSError):
                one.stop()
        for one in self._all:
            one.join()
