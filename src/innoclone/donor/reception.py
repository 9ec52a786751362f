"""A recipient's login: who it is, how its connection travels from then on, and when it has tried too often."""

from __future__ import annotations

import logging

from innoclone.donor.answers import refusal
from innoclone.donor.channel import Channel
from innoclone.donor.clones import Services
from innoclone.donor.takings import Recipient
from innoclone.errors import one_line
from innoclone.transport.failedlogins import LoginAttempt, peer_of
from innoclone.transport.served import nonce
from innoclone.wire.handshake import Capability, Ok
from innoclone.wire.serverlogin import ServerLogin

__all__ = ["LOGIN_WITHIN", "Reception"]

log = logging.getLogger("innoclone.donor")
LOGIN_WITHIN = 10.0  # seconds
LOGIN_PACKET = 1 << 16  # bytes
STOCK_PLUGIN = "libmysql"  # the client library that a server's clone plugin uses, in its connection attributes


class Reception:
    """One connection's."""

    def __init__(self, services: Services, channel: Channel, number: int) -> None:
        self.guest = services.entrance.guest(channel.peer_host)
        self.makes_new_files = False
        """Whether it is a server's plugin, which has nothing where it copies to."""
        self._user = self._compression = ""
        self._services, self._channel, self._number = services, channel, number
        self._attempt = LoginAttempt(services.entrance.failed_logins, peer_of(channel.peer_host, channel.peer_uid))

    @property
    def recipient(self) -> Recipient:
        """Who it is, as far as it has said so."""
        channel = self._channel
        return Recipient(channel.peer_host, one_line(self._user), channel.is_tls, self._compression)

    def log_in(self) -> bool:
        """Whether it went well. Raises `NetworkError`, what a packet that makes no sense does."""
        services, channel = self._services, self._channel
        channel.set_deadline(LOGIN_WITHIN)
        channel.most = LOGIN_PACKET
        login = ServerLogin(
            self.guest, version=services.source.version, connection_id=self._number, nonce=nonce(),
            client_host=channel.peer_host, tls=True, tls_required=services.options.require_secure_transport,
            more=Capability.COMPRESS | Capability.ZSTD,
        )  # fmt: skip
        channel.write([login.greeting.serialize()])
        logged_in = False
        try:
            logged_in = self._exchange(login)
        finally:
            if not logged_in and self._attempt.failed(login.user):
                prefix, seconds = services.options.prefix, services.entrance.block_time
                host = channel.peer_host
                log.warning("%s%s failed to log in too often and must wait for %g s", prefix, host, seconds)
        if not logged_in:
            return False
        self._attempt.succeeded(login.user)
        self._user = login.user
        self.guest.admit(login.user)
        channel.write([Ok().serialize()])
        if login.capabilities & Capability.COMPRESS:
            self._compression = "zlib"
            channel.compress("zlib", 0)
        elif login.capabilities & Capability.ZSTD:
            self._compression = "zstd"
            channel.compress("zstd", login.zstd_level if 1 <= login.zstd_level <= 22 else 0)
        self.makes_new_files = login.attributes.get("_client_name") == STOCK_PLUGIN
        return True

    def _exchange(self, login: ServerLogin) -> bool:
        """Packets to and fro until the login has ended; whether it went well."""
        channel = self._channel
        while True:
            payload = channel.read()
            if payload is None:
                return False
            if login.is_guess(payload) and not self._attempt.begin(LOGIN_WITHIN / 2):
                channel.write([refusal(1129, channel.peer_host)])
                return False
            step = login.receive(payload)
            if step.payload is not None:
                channel.write([step.payload])
            if step.refused:
                prefix, user = self._services.options.prefix, one_line(login.user)
                where = f"connection {self._number} from {channel.peer_host}"
                log.warning("%s%s: login as '%s' refused", prefix, where, user)
                return False
            if step.start_tls:
                channel.start_tls(self._services.entrance.tls)
                login.tls_started()
            if step.logged_in:
                return True
