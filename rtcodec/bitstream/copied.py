"""
What a packet says of copied parts, in front of everything else (spec 4.8).

    size (varint) | which parts are copies, and of what | z and latents
"""

from rtcodec.bitstream.cursor import Cursor, write_varint
from rtcodec.errors import Truncated

MAX_BYTES = (1 << 24) - 1


def write_copied(payload: bytes) -> bytes:
    """Return the front of a packet's payload, from what `write_copies` returned."""
    return write_varint(len(payload)) + payload


def read_copied(payload: bytes) -> tuple[bytes, bytes]:
    """
    Split a packet's payload into what says the copies, and what follows.

    Raises:
        Truncated: If the first is not whole.
        Corrupt: If its size is malformed.
    """
    cursor = Cursor(payload)
    size = cursor.varint("copied", limit=MAX_BYTES)
    end = cursor.offset + size
    if end > len(payload):
        raise Truncated(f"copies of {size} bytes", offset=len(payload))
    return payload[cursor.offset : end], payload[end:]
