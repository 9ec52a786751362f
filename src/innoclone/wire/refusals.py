"""What a server says that lets nobody in, or not this account: the error for it, and what to do.

One place for all connections, whether it comes during the login or with the first statement. Numbers are those of
mysqld_ername.h.
"""

from __future__ import annotations

from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    CloneError,
    ConnectFailed,
    ConnectionLimit,
    NotMySQL,
    TlsFailed,
    one_line,
)

__all__ = ["AFTER_LOGIN", "refusal"]

_ACCOUNT = {
    1044: "",
    1698: "the account takes no password here: it may be for the server's own host only (auth_socket)",
    1820: "the password has expired: log in with mysql and ALTER USER USER() IDENTIFIED BY a new one",
    1862: "the password has expired: log in with mysql and ALTER USER USER() IDENTIFIED BY a new one",
    3118: "on the server: ALTER USER ... ACCOUNT UNLOCK",
    3955: "too many failed logins (FAILED_LOGIN_ATTEMPTS): wait, or on the server ALTER USER ... ACCOUNT UNLOCK",
}
_PLUGIN = {
    1251: AuthPluginUnsupported.hint,
    1524: "the plugin of this account is not loaded on the server: load it there, or use an account with"
    " caching_sha2_password",
    2059: AuthPluginUnsupported.hint,
}
_CONNECTION = {
    1053: "the server shuts down: wait until it is up again",
    1129: "on the server: TRUNCATE TABLE performance_schema.host_cache, and look why logins from here broke off",
    1130: "no account may log in from this host: on the server make one whose host part fits this address",
    1152: "the server ended the login: read its error log",
    1184: "the server ended the login, as it does when its init_connect fails: read its error log",
    3032: "the server is in offline mode: SET GLOBAL offline_mode = OFF there, or use an account with CONNECTION_ADMIN",
    3168: "the server is starting or shutting down: wait until it is up",
}
_LIMIT = {
    1040: "the server has no connection left (max_connections): end some, or raise the limit there",
    1203: "the account has no connection left (max_user_connections), and two at a time are needed: end some, or raise"
    " the limit",
    1226: "raise the account's limit (ALTER USER ... WITH MAX_USER_CONNECTIONS, MAX_CONNECTIONS_PER_HOUR,"
    " MAX_QUERIES_PER_HOUR), or use one without; two connections at a time are needed",
}
_NO_PROTOCOL = (1043, 1156, 1158)
AFTER_LOGIN = frozenset((1053, 1184, 1226, 1820, 3032, 3168))
"""Those that a server may also answer to a command of an account that it let in."""


def refusal(number: int, message: str, *, encrypted: bool = True, certificate: bool = True) -> CloneError | None:
    """The error for a number that says that nobody, or not this account, comes in; None for any other number.

    ``encrypted`` and ``certificate``: whether the connection has TLS and we have shown a certificate, since a server
    doesn't say that it wanted them.
    """
    said = one_line(message)
    text = f"{number}: {said}"
    if number == AccessDenied.number:
        return AccessDenied(said, hint=_why_denied(encrypted, certificate))
    if number in _ACCOUNT:
        return AccessDenied(text, hint=_ACCOUNT[number] or None)
    if number in _PLUGIN:
        return AuthPluginUnsupported(text, hint=_PLUGIN[number])
    if number == 3159:  # ER_SECURE_TRANSPORT_REQUIRED
        return TlsFailed(text, hint="the account or server requires TLS: use --ssl-mode=REQUIRED")
    if number in _LIMIT:
        return ConnectionLimit(f"the server refused the connection: {text}", server_number=number, hint=_LIMIT[number])
    if number in _CONNECTION:
        return ConnectFailed(f"the server refused the connection: {text}", hint=_CONNECTION[number])
    if number in _NO_PROTOCOL:
        return NotMySQL(f"the handshake failed: {text}")
    return None


def _why_denied(encrypted: bool, certificate: bool) -> str | None:
    """What else 1045 can mean, None where nothing."""
    if not encrypted:
        return f"{AccessDenied.hint}; one that demands TLS is refused like this too: then use --ssl-mode=REQUIRED"
    if not certificate:
        return f"{AccessDenied.hint}; one that demands a certificate (REQUIRE X509) needs --ssl-cert and --ssl-key"
    return None
