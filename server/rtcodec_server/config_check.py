"""What settings are checked with. Looks nothing up: no names, no files."""

import ipaddress
from urllib.parse import urlsplit

from rtcodec.errors import ConfigError


def check(condition: bool, message: str) -> None:
    """Raise ConfigError with *message* unless *condition* holds."""
    if not condition:
        raise ConfigError(message)


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine and nothing else, by its name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # 127.example.org is anybody's


def is_http(url: str) -> bool:
    """Return whether *url* is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def is_origin(text: str) -> bool:
    """Return whether *text* is the origin of a web page, or `*` for all."""
    return text == "*" or (is_http(text) and text.count("/") == 2)
