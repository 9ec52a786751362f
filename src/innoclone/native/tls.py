"""OpenSSL's functions for a connection that Python's ssl module has made, so that many records are read in one call.

``SSLSocket.recv_into`` gives one record of 16 KiB a call and takes the GIL twice for it. Nothing public leads from an
SSLSocket to OpenSSL's SSL. So it is taken out of the object, whose beginning (Modules/_ssl.c, PySSLSocket: a weak
reference to the socket, the SSL, the context) is the same from Python 3.11 to 3.14, and used only if everything agrees:
both neighbours are the very objects that Python names, the functions are those of the one OpenSSL that is loaded, and
the SSL knows the socket's descriptor, context and protocol. Else there is no `Session`, and Python reads as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import ssl
import sys
import weakref
from functools import cache

__all__ = ["Functions", "Session", "session_of"]

READ_AHEAD = 128 << 10  # bytes: of 16 KiB a record
TRIED = ((3, 11), (3, 14))  # versions of Python whose PySSLSocket is known
_pointer, _int, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p


class Functions(ctypes.Structure):
    """``struct tls`` of native.h."""

    _fields_ = [(name, _pointer) for name in ("read", "write", "get_error", "clear_errors", "last_error")]


class OpenSsl:
    """The OpenSSL that the ssl module uses. Raises OSError or AttributeError where it isn't surely that one."""

    def __init__(self) -> None:
        import _ssl

        # With the dependencies of the module that is loaded, and only those.
        self.library = ctypes.CDLL(_ssl.__file__, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        if self.function("OpenSSL_version_num", ctypes.c_ulong)() != ssl.OPENSSL_VERSION_NUMBER:
            raise OSError("another version of OpenSSL")
        with contextlib.suppress(AttributeError):  # one in the way of all modules: theirs may be that
            if _address(ctypes.CDLL(None).SSL_read) != _address(self.library.SSL_read):
                raise OSError("two versions of OpenSSL")
        names = ("SSL_read", "SSL_write", "SSL_get_error", "ERR_clear_error", "ERR_peek_last_error")
        self.functions = Functions(*(_address(self.library[name]) for name in names))
        self.get_fd = self.function("SSL_get_fd", _int, _pointer)
        self.get_context = self.function("SSL_get_SSL_CTX", _pointer, _pointer)
        self.get_version = self.function("SSL_get_version", _text, _pointer)
        self.reason = self.function("ERR_reason_error_string", _text, ctypes.c_ulong)
        self.set_read_ahead = self.function("SSL_set_read_ahead", None, _pointer, _int)
        self.set_buffer_size = self.function("SSL_set_default_read_buffer_len", None, _pointer, ctypes.c_size_t)
        self.free_buffers = self.function("SSL_free_buffers", _int, _pointer)
        self.has_pending = self.function("SSL_has_pending", _int, _pointer)

    def function(self, name: str, result: type | None, *arguments: type) -> ctypes._NamedFuncPointer:
        """One of its functions."""
        found = self.library[name]
        found.restype, found.argtypes = result, arguments
        return found


class Session:
    """The SSL of a connection. It is there as long as this object is."""

    def __init__(self, openssl: OpenSsl, owner: object, address: int) -> None:
        self.functions = openssl.functions
        self.address = address
        self._owner = owner  # which frees the SSL when it goes
        self._openssl = openssl

    def read_ahead(self) -> None:
        """From now on OpenSSL takes many records off the socket at once, not each one's header and the rest of it: what
        it holds is not seen by who looks at the socket.

        A buffer of another size is made when there is none, so the one that is there is let go first (SSL_free_buffers;
        where something is in it, and from OpenSSL 3.2 on, it keeps its size, and one record is read at once).
        """
        self._openssl.set_read_ahead(self.address, 1)
        self._openssl.set_buffer_size(self.address, READ_AHEAD)
        self._openssl.free_buffers(self.address)

    def holds_bytes(self) -> bool:
        """Whether OpenSSL has taken something off the socket that nobody has read yet."""
        return bool(self._openssl.has_pending(self.address))

    def error(self, number: int) -> ssl.SSLError:
        """What Python would raise for an error of OpenSSL's."""
        text = self._openssl.reason(number)
        reason = text.decode("ascii", "replace").upper().replace(" ", "_") if text else f"error {number:x}"
        ended = "UNEXPECTED_EOF" in reason
        error = (ssl.SSLEOFError if ended else ssl.SSLError)(
            ssl.SSL_ERROR_EOF if ended else ssl.SSL_ERROR_SSL, f"[SSL: {reason}]"
        )
        error.reason = reason
        return error


def session_of(sock: ssl.SSLSocket) -> Session | None:
    """The session of a socket whose handshake is done; None where anything isn't as expected."""
    openssl = _openssl()
    owner = getattr(sock, "_sslobj", None)
    if openssl is None or owner is None:
        return None
    found = _inside(owner, 3)
    if found is None:
        return None
    reference, address, context = found
    if reference not in map(id, weakref.getweakrefs(sock)) or context != id(owner.context) or not address:
        return None
    session_context = _inside(owner.context, 1)
    agrees = (
        session_context is not None
        and openssl.get_fd(address) == sock.fileno()
        and openssl.get_context(address) == session_context[0]
        and openssl.get_version(address) == (sock.version() or "").encode()
    )
    return Session(openssl, owner, address) if agrees else None


@cache
def _openssl() -> OpenSsl | None:
    if sys.implementation.name != "cpython" or not TRIED[0] <= sys.version_info[:2] <= TRIED[1]:
        return None
    if not ssl.OPENSSL_VERSION.startswith("OpenSSL "):
        return None
    try:
        return OpenSsl()
    except (OSError, AttributeError, ImportError):
        return None


def _inside(thing: object, words: int) -> list[int] | None:
    """The first words behind the header of an object, if it is as large."""
    begin, size = object.__basicsize__, ctypes.sizeof(_pointer)
    if type(thing).__basicsize__ < begin + words * size:
        return None
    return [word or 0 for word in (_pointer * words).from_address(id(thing) + begin)]


def _address(function: object) -> int:
    return ctypes.cast(function, _pointer).value or 0  # type: ignore[arg-type]
