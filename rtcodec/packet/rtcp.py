"""
Take a compound of RTCP packets apart, and write feedback.

    0        1        2                 4
    +--------+--------+-----------------+----------------- - - -
    | 2,P,fmt|  type  |  words - 1      |  body
    +--------+--------+-----------------+----------------- - - -

What is in a body is read by others. Bytes in, values out.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from rtcodec.errors import Corrupt, Truncated

TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206
APPLICATION_FORMAT: Final = 15
"Of payload feedback: REMB, and what we say of frames. # RFC 4585 6.4"

TRANSPORT_WIDE_FORMAT: Final = 15
"Of transport feedback: which packets arrived, and when."

_HEADER: Final = struct.Struct("!BBH")
_SSRCS: Final = struct.Struct("!LL")  # of whoever speaks, of the stream it speaks of
_SSRCS_BYTES: Final = _SSRCS.size
_FEEDBACK_TYPES: Final = (TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK)
_VERSION: Final = 2
_PADDING: Final = 1 << 5


class RtcpPacket(NamedTuple):
    """One packet of a compound."""

    type: int
    fmt: int
    "Format of feedback, or how many reports or sources there are: 0 to 31."

    body: bytes
    "Without header and padding."

    data: bytes
    "All of it."

    @property
    def is_feedback(self) -> bool:
        """Whether it is feedback, and long enough to say of which stream."""
        return self.type in _FEEDBACK_TYPES and len(self.body) >= _SSRCS_BYTES

    @property
    def media_ssrc(self) -> int:
        """The stream that feedback speaks of."""
        return int.from_bytes(self.body[4:_SSRCS_BYTES], "big")

    @property
    def control(self) -> bytes:
        """What feedback says."""
        return self.body[_SSRCS_BYTES:]


def read_rtcp(data: bytes) -> Iterator[RtcpPacket]:
    """
    Yield the packets of a compound, in order.

    Raises:
        Truncated: If *data* ends within one.
        Corrupt: If one is of another version, or its padding is longer than it is.
    """
    start = 0
    while start < len(data):
        if len(data) < start + _HEADER.size:
            raise Truncated("RTCP header is incomplete", offset=len(data))
        first, kind, n_words = _HEADER.unpack_from(data, start)
        if first >> 6 != _VERSION:
            raise Corrupt(f"RTCP version {first >> 6}", offset=start)
        end = start + _HEADER.size + 4 * n_words
        if end > len(data):
            raise Truncated(f"RTCP packet of {end - start} bytes", offset=len(data))
        n_padding = data[end - 1] if first & _PADDING else 0
        body = data[start + _HEADER.size : end - n_padding]
        if first & _PADDING and not 0 < n_padding <= 4 * n_words:
            raise Corrupt(f"RTCP padding of {n_padding} bytes", offset=end - 1)
        yield RtcpPacket(kind, first & 0x1F, body, data[start:end])
        start = end


def write_feedback(kind: int, fmt: int, *, ssrc: int, media_ssrc: int, control: bytes) -> bytes:
    """
    Lay feedback out as one packet.

    Args:
        kind: `TRANSPORT_FEEDBACK` or `PAYLOAD_FEEDBACK`.
        fmt: Format, 0 to 31.
        ssrc: Of whoever says it.
        media_ssrc: Of the stream that it speaks of.
        control: What it says, whole words.
    """
    n_words = (_SSRCS_BYTES + len(control)) // 4
    head = _HEADER.pack(_VERSION << 6 | fmt, kind, n_words)
    return head + _SSRCS.pack(ssrc, media_ssrc) + control
