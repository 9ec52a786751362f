"""Accounts for the two sides of a login, without a connection between them."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from innoclone.errors import ProtocolError
from innoclone.wire.serverlogin import ServerLogin

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NONCE = bytes(range(65, 85))
PASSWORD = "geheim, naïvement"


class Accounts:
    """One account ``u`` with `PASSWORD`, one ``free`` without."""

    public_key = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def __init__(self, *, remembers: bool, trusted: str = ""):
        self.remembers, self.trusted = remembers, trusted

    def is_trusted(self, user):
        return user == self.trusted

    def has_empty_password(self, user):
        return user == "free"

    def remembered(self, user):
        twice = hashlib.sha256(hashlib.sha256(PASSWORD.encode()).digest()).digest()
        return twice if self.remembers and user == "u" else None

    def is_password(self, user, password):
        return user == "u" and password == PASSWORD.encode()

    def decrypt(self, data):
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303 - the plugin's
        try:
            return KEY.decrypt(data, oaep)
        except ValueError as error:
            raise ProtocolError("not ours") from error


def server(accounts, *, private=False, tls=True, **more):
    return ServerLogin(
        accounts, version="9.7.0", connection_id=1, nonce=NONCE, client_host="h", tls=tls, private=private, **more
    )
