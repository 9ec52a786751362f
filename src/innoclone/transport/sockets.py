"""Opening a socket to a server and putting TLS on it."""

from __future__ import annotations

import errno
import socket
import ssl
import struct

from innoclone.errors import ConnectFailed, TlsFailed, TooManyOpenFiles
from innoclone.transport.endpoint import Endpoint, SslMode

__all__ = ["open_socket", "set_timeout", "start_tls"]


def open_socket(endpoint: Endpoint, *, receive_buffer: int = 0) -> socket.socket:
    """A connected TCP or Unix socket, or what the endpoint's way connects; ``receive_buffer`` (bytes, 0 = the system's
    own) bounds what piles up unread.

    Raises `ConnectFailed`, or what the way does.
    """
    try:
        if endpoint.via is not None:
            sock = endpoint.via.connect()
            sock.settimeout(endpoint.connect_timeout)
            return sock
        if endpoint.socket is not None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(endpoint.connect_timeout)
                sock.connect(str(endpoint.socket))
            except OSError:
                sock.close()
                raise
            return sock
        return _connect_tcp(endpoint, receive_buffer)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise TooManyOpenFiles(f"can't connect to {endpoint.address}: {error.strerror}") from error
        raise ConnectFailed(f"can't connect to {endpoint.address}: {error.strerror or error}") from error
    except UnicodeError as error:  # from the idna codec: an empty or endless part of the name
        raise ConnectFailed(f"can't connect to {endpoint.address}: that is no host name") from error


def _connect_tcp(endpoint: Endpoint, receive_buffer: int) -> socket.socket:
    last: OSError | None = None
    for family, kind, proto, _, address in socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(endpoint.connect_timeout)
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock
    raise last or OSError("the name has no address")


def set_timeout(sock: socket.socket, seconds: float, write: float | None = None) -> None:
    """Make ``sock`` give up a read or write after ``seconds`` without progress; ``write``: another time for writes.

    A plain socket stays blocking and the kernel keeps the time (SO_RCVTIMEO), which saves a poll before every read; ssl
    needs Python's own timeout.
    """
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(seconds)
        return
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(seconds if write is None else write))


def _timeval(seconds: float) -> bytes:
    """A struct timeval; zero would mean no limit."""
    whole = int(seconds)
    return struct.pack("ll", whole, max(1, int((seconds - whole) * 1_000_000)))


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The context for the endpoint's mode. Raises `TlsFailed` for unreadable certificate files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = endpoint.ssl_mode is SslMode.VERIFY_IDENTITY
    verify = endpoint.ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY)
    if endpoint.is_private:  # its path says whose it is, and nobody can come between
        context.check_hostname = verify = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    try:
        if verify and endpoint.ssl_ca is None:
            context.load_default_certs()
        elif endpoint.ssl_ca is not None:
            context.load_verify_locations(endpoint.ssl_ca)
        if endpoint.ssl_cert is not None:
            context.load_cert_chain(endpoint.ssl_cert, endpoint.ssl_key)
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(f"can't load the certificate files: {error}") from error
    return context


def start_tls(sock: socket.socket, endpoint: Endpoint) -> ssl.SSLSocket:
    """TLS on a connected socket, verified as the endpoint's mode says. Raises `TlsFailed`."""
    context = tls_context(endpoint)
    try:
        return context.wrap_socket(sock, server_hostname=endpoint.host)
    except (ssl.SSLError, ssl.CertificateError, OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
        raise TlsFailed(f"TLS with {endpoint.address} failed: {reason}") from error
