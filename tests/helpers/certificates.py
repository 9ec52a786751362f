"""Certificates made for a test."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

__all__ = ["make_certificates"]

Issued = tuple[rsa.RSAPrivateKey, x509.Certificate]


def make_certificates(folder: Path) -> Path:
    """``folder`` with a CA, a certificate of it for localhost, 127.0.0.1 and ::1, one for another name, and another CA.

    Each is NAME.pem with its NAME.key: ca, other-ca, server, elsewhere.
    """
    ca = _make("innoclone test CA", None)
    _save(folder / "ca", *ca)
    _save(folder / "other-ca", *_make("another CA", None))
    _save(folder / "server", *_make("localhost", ca, ["localhost"], ["127.0.0.1", "::1"]))
    _save(folder / "elsewhere", *_make("db.example", ca, ["db.example"]))
    return folder


def _make(
    name: str, issuer: Issued | None, hosts: list[str] | None = None, addresses: list[str] | None = None
) -> Issued:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts or ()]
    names += [x509.IPAddress(ip_address(address)) for address in addresses or ()]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def _save(path: Path, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
    path.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    path.with_suffix(".key").write_bytes(key.private_bytes(*encoding))
