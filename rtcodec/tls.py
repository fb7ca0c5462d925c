"""
Contexts of TLS from PEM files: whom to trust, and who we are. Nothing here connects.
"""

import ssl
from pathlib import Path

from rtcodec.errors import ConfigError


def client_context(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """
    Return a context for connecting to servers, whose names are checked.

    Args:
        ca: Certificates of whom to trust instead of those that the system does.
        cert: Our certificate and its chain, for servers that ask for one.
        key: Its key, without a passphrase; both or none.

    Raises:
        ConfigError: If a file cannot be used, or one of the two is missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        load_trusted(context, ca)
    if (cert is None) != (key is None):
        raise ConfigError("a TLS certificate and its key: both or none of them")
    if cert is not None and key is not None:
        load_own(context, cert, key)
    return context


def load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """
    Show others a certificate.

    Raises:
        ConfigError: If the files cannot be read, or do not belong together.
    """
    for path in (cert, key):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise ConfigError(f"{cert} and {key}: {error.reason or 'no certificate and key'}") from None
    except OSError as error:
        raise ConfigError(f"{cert} and {key}: {error.strerror or error}") from error


def load_trusted(context: ssl.SSLContext, ca: Path) -> None:
    """
    Trust what certificates in a file have signed.

    Raises:
        ConfigError: If it cannot be read, or holds none.
    """
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{ca}: {error.reason or 'no certificates'}") from None
    except OSError as error:
        raise ConfigError(f"{ca}: {error.strerror or error}") from error


def _no_passphrase() -> str:
    raise ConfigError("the TLS key has a passphrase; nobody is here to type it")
