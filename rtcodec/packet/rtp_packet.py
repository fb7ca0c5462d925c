"""
Read one RTP packet that was received, and take the header off a VP8 payload.

    0            12         12 + 4 n    + 4          + 4 words
    +------------+----------+-----------+------------+---------+-----------+
    | RTP header | n CSRCs  | profile,  | extensions | payload | padding   |
    |            |          | words     |            |         |           |
    +------------+----------+-----------+------------+---------+-----------+

Of the extensions only what the receive path uses is read: when the packet was sent, and its number
on the transport. Bytes in, values out: no SRTP, no sockets, no clock.
"""

import struct
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import Corrupt, Truncated

_HEADER: Final = struct.Struct("!BBHLL")
_EXTENSION_HEADER: Final = struct.Struct("!HH")
_VERSION: Final = 2
_PADDING: Final = 1 << 5
_EXTENSION: Final = 1 << 4
_ONE_BYTE_PROFILE: Final = 0xBEDE  # RFC 8285 4.2
_TWO_BYTE_PROFILE: Final = 0x1000  # RFC 8285 4.3, the lowest bits are free
_SEND_TIME_BYTES: Final = 3
_NUMBER_BYTES: Final = 2


@dataclass(slots=True)
class RtpPacket:
    """One packet as it came."""

    payload_type: int
    marker: bool
    sequence_number: int
    "16 bits."

    timestamp: int
    "32 bits."

    ssrc: int
    payload: bytes
    "Without padding."

    padding_bytes: int = 0
    send_time: int | None = None
    "When it was sent, 6.18 fixed point seconds; None if it does not say. # abs-send-time"

    number: int | None = None
    "Among all packets of its transport, 16 bits; None if it has none. # transport-wide-cc"


def read_rtp(
    data: bytes, *, send_time_id: int | None = None, number_id: int | None = None
) -> RtpPacket:
    """
    Parse one packet.

    Args:
        data: All of it, decrypted.
        send_time_id: What the stream calls the extension that says when a packet was sent, 1 to
            255; None if it has none.
        number_id: The same of the number.

    Raises:
        Truncated: If *data* ends early.
        Corrupt: If it is of another version, or its padding is longer than what it pads.
    """
    if len(data) < _HEADER.size:
        raise Truncated("RTP header is incomplete", offset=len(data))
    first, second, seq, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != _VERSION:
        raise Corrupt(f"RTP version {first >> 6}", offset=0)
    start = _HEADER.size + 4 * (first & 0x0F)
    send_time = number = None
    if first & _EXTENSION:
        end = start + _EXTENSION_HEADER.size
        if len(data) < end:
            raise Truncated("RTP extension header is incomplete", offset=len(data))
        profile, n_words = _EXTENSION_HEADER.unpack_from(data, start)
        start = end + 4 * n_words
        if len(data) < start:
            raise Truncated("RTP extensions are incomplete", offset=len(data))
        send_time, number = _read_extensions(data, end, start, profile, send_time_id, number_id)
    elif len(data) < start:
        raise Truncated("RTP contributing sources are incomplete", offset=len(data))
    padding_bytes = data[-1] if first & _PADDING else 0
    end = len(data) - padding_bytes
    if first & _PADDING and not (padding_bytes and start <= end):
        raise Corrupt(f"RTP padding of {padding_bytes} bytes", offset=len(data) - 1)
    return RtpPacket(
        second & 0x7F,
        second > 0x7F,
        seq,
        timestamp,
        ssrc,
        data[start:end],
        padding_bytes,
        send_time,
        number,
    )


def _read_extensions(
    data: bytes,
    at: int,
    end: int,
    profile: int,
    send_time_id: int | None,
    number_id: int | None,
) -> tuple[int | None, int | None]:
    """Return time and number; an extension that is cut short, or of another size, is not one."""
    is_long = profile & 0xFFF0 == _TWO_BYTE_PROFILE
    send_time = number = None
    if not is_long and profile != _ONE_BYTE_PROFILE:
        return None, None
    while at < end:
        head = data[at]
        at += 1
        if not head:
            continue  # padding
        if is_long:
            if at == end:
                break
            name, size = head, data[at]
            at += 1
        else:
            name, size = head >> 4, (head & 0x0F) + 1
        if at + size > end:
            break
        if name == number_id and size == _NUMBER_BYTES:
            number = data[at] << 8 | data[at + 1]
        elif name == send_time_id and size == _SEND_TIME_BYTES:
            send_time = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
        at += size
    return send_time, number


def read_vp8_payload(payload: bytes) -> bytes:
    """
    Return the part of a frame that an RTP payload of VP8 holds. # RFC 7741 4.2

    Raises:
        Truncated: If the payload ends within its descriptor.
    """
    if payload and payload[0] < 0x80:
        return payload[1:]
    if len(payload) < 2:
        raise Truncated("VP8 descriptor is incomplete", offset=len(payload))
    extended = payload[1]
    start = 2
    if extended & 0x80:  # I: a picture number of one byte or two
        if len(payload) == start:
            raise Truncated("VP8 picture number is missing", offset=start)
        start += 2 if payload[start] & 0x80 else 1
    if extended & 0x40:  # L: TL0PICIDX
        start += 1
    if extended & 0x30:  # T, K: layer and key frame index share a byte
        start += 1
    if len(payload) < start:
        raise Truncated("VP8 descriptor is incomplete", offset=len(payload))
    return payload[start:]
