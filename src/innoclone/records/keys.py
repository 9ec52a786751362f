"""A key, certificate and RSA key of our own for those that log in here, made once and kept in a folder.

The certificate is self-signed: clients get encryption without setup; those that want to know whom they talk to are
given certificates of their own CA (``--ssl-cert``, ``--ssl-key``). The RSA key is what caching_sha2_password sends
passwords under where there is no TLS.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from innoclone.errors import FileError, ProtocolError
from innoclone.files.replacefile import replace_file
from innoclone.files.system import file_error

__all__ = ["PasswordKey", "own_certificate"]

CERTIFICATE, KEY, PASSWORD_KEY = "server-cert.pem", "server-key.pem", "password-key.pem"
BITS = 2048
VALID = timedelta(days=3650)  # as the certificates that a MySQL server makes for itself


def own_certificate(folder: Path, name: str = "innoclone agent") -> tuple[Path, Path]:
    """Certificate and key file in ``folder``, made for ``name`` where they are missing. Raises a file error."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not (certificate.exists() and key.exists()):
        private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        host = socket.gethostname()
        built = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + VALID)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in {host, "localhost"}]), critical=False)
            .sign(private, hashes.SHA256())
        )  # fmt: skip
        replace_file(key, _pem(private))
        replace_file(certificate, built.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate, key


class PasswordKey:
    """The RSA key pair for passwords."""

    def __init__(self, folder: Path) -> None:
        """Read it from ``folder``, or make it. Raises a file error."""
        path = folder / PASSWORD_KEY
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
            replace_file(path, _pem(private))
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        except ValueError as error:
            raise FileError(f"{path} is damaged", hint="remove it: a new one is made") from error
        if not isinstance(private, rsa.RSAPrivateKey):
            raise FileError(f"{path} holds no RSA key", hint="remove it: a new one is made")
        self._private = private
        self.public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def decrypt(self, data: bytes) -> bytes:
        """What a client encrypted. Raises `ProtocolError`."""
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303
        try:
            return self._private.decrypt(data, oaep)
        except ValueError as error:
            raise ProtocolError("that was not encrypted with our key") from error


def _pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
