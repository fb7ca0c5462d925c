"""
Who asks for a room's latents on whose behalf: names of relays in a header of POST.

A relay that finds its own name there would get its own stream back, and refuses.
"""

import re
from collections.abc import Sequence
from typing import Final

from rtcodec.errors import ProtocolError, RemoteProtocolError

VIA_HEADER: Final = "RTC-Via"
MAX_HOPS: Final = 8
"Relays in a row."

_NAME: Final = re.compile(r"[0-9a-f]{16}")


class LoopRefused(ProtocolError):
    """A relay asks for what would come back to it, or is one too many in a row."""


def read_via(text: str | None) -> tuple[str, ...]:
    """
    Read the header.

    Raises:
        RemoteProtocolError: If it is malformed.
        LoopRefused: If it names too many relays.
    """
    if not text:
        return ()
    if len(text) > 1024:
        raise RemoteProtocolError(f"{VIA_HEADER} is too long")
    names = tuple(part.strip() for part in text.split(","))
    if not all(map(_NAME.fullmatch, names)):
        raise RemoteProtocolError(f"{VIA_HEADER} is malformed")
    if len(names) > MAX_HOPS:
        raise LoopRefused(f"more than {MAX_HOPS} relays in a row")
    return names


def write_via(names: Sequence[str]) -> str:
    """Return the header that `read_via` reads."""
    return ", ".join(names)


def check_via(via: Sequence[str], own: str) -> None:
    """
    Check that a relay's stream does not come back to it.

    Raises:
        LoopRefused: If it would.
    """
    if own in via:
        raise LoopRefused("this relay would get its own stream back")
