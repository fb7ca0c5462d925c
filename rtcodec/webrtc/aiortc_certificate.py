"""
DTLS with peers whose certificate is RSA: GStreamer's webrtcbin, and whoever else never changed.

aiortc offers and takes ciphers for ECDSA certificates alone. As the client of a handshake, which
the answering side is, it then offers no cipher that an RSA server could use, and the connection
fails. RFC 8827 6.5 asks for ECDSA with P-256 and leaves others to be taken.
"""

from typing import Any, Final

from aiortc.rtcdtlstransport import RTCCertificate

_KEY_KINDS: Final = ("ECDSA", "RSA")
_CIPHERS: Final = ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")

CIPHERS: Final = ":".join(f"ECDHE-{kind}-{cipher}" for kind in _KEY_KINDS for cipher in _CIPHERS)
"Of OpenSSL; aiortc's own first, and the same for RSA. All of them forward secret."

stock_create_ssl_context = RTCCertificate._create_ssl_context


def create_ssl_context(self: RTCCertificate, srtp_profiles: list[Any]) -> Any:
    """Do what aiortc does, and take RSA certificates as well."""
    context = stock_create_ssl_context(self, srtp_profiles)
    context.set_cipher_list(CIPHERS.encode())
    return context
