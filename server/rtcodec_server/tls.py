"""The certificate of https: checked at the start, read again when told."""

import ssl
from pathlib import Path
from typing import Self

from rtcodec.tls import load_own
from rtcodec_server.config import ServerConfig


class Tls:
    """A context whose certificate can be replaced while it is in use."""

    def __init__(self, cert: Path, key: Path) -> None:
        """
        Args:
            cert: PEM file of the certificate and its chain.
            key: PEM file of its key, without a passphrase.

        Raises:
            ConfigError: If they cannot be read, or do not belong together.
        """
        self._cert, self._key = cert, key
        self.context = _load(cert, key)

    @classmethod
    def of(cls, config: ServerConfig) -> Self | None:
        """Return what the settings name; None without https."""
        if config.tls_cert is None or config.tls_key is None:
            return None
        return cls(config.tls_cert, config.tls_key)

    def reload(self) -> None:
        """
        Read the files again; new connections get what is in them.

        Raises:
            ConfigError: If they cannot be used; the old certificate stays.
        """
        _load(self._cert, self._key)
        self.context.load_cert_chain(self._cert, self._key)


def _load(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_own(context, cert, key)
    return context
