"""Self-signed certificates, and those of a private authority, made for one test."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(
    directory: Path,
    name: str,
    *,
    start: dt.datetime,
    end: dt.datetime,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None,
) -> tuple[Path, Path]:
    """Write a certificate for ``name`` (and ``address``) and its key; return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.IPAddress(address)] if address else [x509.DNSName(name)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@dataclass(frozen=True)
class Chain:
    """Certificates as small private authorities make them, without key identifiers and key usage; all are files."""

    root: Path
    intermediate: Path
    server: Path
    """The server's own, and the intermediate behind it."""
    key: Path


def make_chain(directory: Path, name: str, address: ipaddress.IPv4Address | None = None) -> Chain:
    """Make an authority, one below it, and by that one a certificate for ``name`` and ``address``."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("root", "intermediate", name)]
    alternatives: list[x509.GeneralName] = [x509.DNSName(name), *([x509.IPAddress(address)] if address else [])]
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    made = []
    for i, subject in enumerate(names):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(names[max(i - 1, 0)])
            .public_key(keys[i].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )
        if i < 2:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        signed = builder.sign(keys[max(i - 1, 0)], hashes.SHA256())
        made.append(signed.public_bytes(serialization.Encoding.PEM))
    chain = Chain(*(directory / f"{name}-{part}.pem" for part in ("root", "intermediate", "server", "key")))
    chain.root.write_bytes(made[0])
    chain.intermediate.write_bytes(made[1])
    chain.server.write_bytes(made[2] + made[1])
    chain.key.write_bytes(
        keys[2].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain
