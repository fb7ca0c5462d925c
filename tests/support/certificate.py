"""Certificates for tests, made on the spot."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CertificateFiles = tuple[Path, Path]
"Of a certificate and of its key."


def write_certificate(
    folder: Path,
    name: str,
    *,
    passphrase: bytes | None = None,
    signer: CertificateFiles | None = None,
    is_authority: bool = False,
) -> CertificateFiles:
    """
    Write `cert.pem` and `key.pem` of 127.0.0.1.

    Args:
        folder: Where to; is made.
        name: Of whom it is.
        passphrase: Of the key.
        signer: An authority; None: signed by itself.
        is_authority: Whether it may sign others.
    """
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing = subject, key
    if signer is not None:
        issuer = x509.load_pem_x509_certificate(signer[0].read_bytes()).subject
        loaded = serialization.load_pem_private_key(signer[1].read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing = loaded
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
    )
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    certificate = builder.sign(signing, hashes.SHA256())
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    protection = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    return cert_file, key_file


class Certificates:
    """An authority, what it signed, and another authority with one of its own."""

    def __init__(self, folder: Path) -> None:
        authority = write_certificate(folder / "ca", "authority", is_authority=True)
        other = write_certificate(folder / "other_ca", "other", is_authority=True)
        self.ca, self.other_ca = authority[0], other[0]
        self.server = write_certificate(folder / "server", "server", signer=authority)
        self.client = write_certificate(folder / "client", "client", signer=authority)
        self.stranger = write_certificate(folder / "stranger", "stranger", signer=other)
