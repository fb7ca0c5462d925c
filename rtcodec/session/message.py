"""
Read what comes in by HTTP beside SDP: room names and trickled candidates.

Bounded, and with one exception type: whatever is wrong is the peer's fault.
"""

import re
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import RemoteProtocolError

MAX_FRAGMENT_BYTES: Final = 16 * 1024
MAX_CANDIDATES: Final = 32

_ROOM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LINE: Final = re.compile(r"[a-z]=[^\x00-\x1f]*")


def check_room_name(name: str) -> str:
    """
    Return *name* if it can be a room: 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter or digit.

    Raises:
        RemoteProtocolError: If it cannot.
    """
    if not _ROOM.fullmatch(name):
        raise RemoteProtocolError(
            "a room name is 1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        )
    return name


@dataclass(frozen=True, slots=True)
class Candidate:
    """One trickled ICE candidate."""

    mid: str | None
    "Of the m= section it belongs to; None if the fragment names none."

    text: str
    "What follows `a=candidate:`."


@dataclass(frozen=True, slots=True)
class IceFragment:
    """A `trickle-ice-sdpfrag` document. # RFC 8840 4.4"""

    ufrag: str | None
    "User fragment of the sender; another one than before asks for an ICE restart."

    candidates: tuple[Candidate, ...]
    is_complete: bool
    "Whether no candidate follows."


def read_ice_fragment(text: str) -> IceFragment:
    """
    Read the body of a PATCH.

    Raises:
        RemoteProtocolError: If it is not a fragment, or holds more than 32 candidates.
    """
    if len(text) > MAX_FRAGMENT_BYTES:
        raise RemoteProtocolError(f"the fragment is longer than {MAX_FRAGMENT_BYTES} bytes")
    ufrag = None
    mid = None
    candidates = []
    is_complete = False
    lines = [line.rstrip("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if not _LINE.fullmatch(line):
            raise RemoteProtocolError(f"line {number} of the fragment is malformed")
        if line.startswith("m="):
            mid = None
        elif line.startswith("a=mid:"):
            mid = line[6:]
        elif line.startswith("a=ice-ufrag:"):
            ufrag = line[12:]
        elif line.startswith("a=candidate:"):
            candidates.append(Candidate(mid, line[12:]))
        elif line == "a=end-of-candidates":
            is_complete = True
    if ufrag is None and not candidates and not is_complete:
        raise RemoteProtocolError("the fragment holds neither credentials nor candidates")
    if len(candidates) > MAX_CANDIDATES:
        raise RemoteProtocolError(f"the fragment holds more than {MAX_CANDIDATES} candidates")
    return IceFragment(ufrag, tuple(candidates), is_complete)
