"""
Carry a frame of latents as one VP8 key frame, for browsers, which let nothing else through.

    0     1                11         13      14        42
    +-----+----------------+----------+-------+---------+--------+--------+-----
    | dsc | VP8 header, 10 | delivery | flags | timing  | length | packet | ...    first payload
    +-----+----------------+----------+-------+---------+--------+--------+-----
    | dsc | what follows                                                           the others
    +-----+-------------------------------------------------------------------
     flags: version (2 bits, 01) K 0 0 0 0 0

A browser hands a page whole frames of codecs that it knows, as bytes, before it decodes them
(RTCRtpScriptTransform). What it looks at is the VP8 payload descriptor (RFC 7741 4.2) and the
header of a key frame (RFC 6386 9.1): with one on every frame it takes each for one that needs no
other, and waits for none. Delivery, timing and K mean what they do in `payload`; a length is 32
bits, big endian, and packets follow to the end. Bytes in, values out: no clock, no state.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import Corrupt, LocalProtocolError, Truncated, Unsupported
from rtcodec.packet.packetizer import CutFrame, CutPayload
from rtcodec.packet.payload import (
    DELIVERY_BYTES,
    MAX_PAYLOAD_BYTES,
    TIMING_BYTES,
    FrameTiming,
    read_timing,
    write_timing,
)

_START: Final = b"\x10"  # S: a partition begins, of index 0 # RFC 7741 4.2
_CONTINUED: Final = b"\x00"
_START_CODE: Final = b"\x9d\x01\x2a"  # RFC 6386 9.1
_SHOW_FRAME: Final = 0x10
_SIZE_MAX: Final = 0x3FFF
_PARTITION_MAX: Final = 0x7FFFF
_VERSION: Final = 1
_FLAG_KEYFRAME: Final = 0x20
_RESERVED: Final = 0x1F
_LENGTH: Final = struct.Struct("!L")
_VP8_BYTES: Final = 10
_FIXED_BYTES: Final = _VP8_BYTES + DELIVERY_BYTES + 1 + TIMING_BYTES


@dataclass(frozen=True, slots=True)
class CarriedFrame:
    """What came of one frame: all of it, or nothing would have come."""

    delivery: int
    "Frames sent to this receiver before this one, modulo 2**16."

    is_keyframe: bool
    "Whether a decoder may start at this frame."

    timing: FrameTiming
    packets: tuple[bytes, ...]
    "Bitstream packets in sending order, at least one, none empty."


def carry_frame(
    packets: Sequence[bytes], *, timing: FrameTiming, is_keyframe: bool, size: tuple[int, int]
) -> CutFrame:
    """
    Wrap and cut one frame for all its receivers.

    Args:
        packets: Bitstream packets of the frame, none of them empty.
        timing: Travels with it.
        is_keyframe: Whether a decoder of latents may start at this frame.
        size: Width and height in pixels, for the VP8 header; beyond 16383 it says that.

    Raises:
        LocalProtocolError: If there is no packet, or an empty one.
    """
    if not packets or not all(packets):
        raise LocalProtocolError("a frame needs packets, none of them empty")
    flags = _VERSION << 6 | _FLAG_KEYFRAME * is_keyframe
    body = b"".join(
        (
            bytes([flags]),
            write_timing(timing),
            *(part for packet in packets for part in (_LENGTH.pack(len(packet)), packet)),
        )
    )
    n_bytes = carried_bytes(packets)
    head = _START + _vp8_header(n_bytes - _VP8_BYTES, size)
    first_bytes = MAX_PAYLOAD_BYTES - len(head) - DELIVERY_BYTES
    full_bytes = MAX_PAYLOAD_BYTES - len(_CONTINUED)
    payloads = [CutPayload(head, body[:first_bytes])]
    for start in range(first_bytes, len(body), full_bytes):
        payloads.append(CutPayload(None, _CONTINUED + body[start : start + full_bytes]))
    return CutFrame(
        tuple(payloads),
        bitstream_bytes=sum(map(len, packets)),
        payload_bytes=n_bytes + len(payloads),
    )


def carried_bytes(packets: Sequence[bytes]) -> int:
    """Return what a browser gets for a frame of these packets, descriptors not counted."""
    return _FIXED_BYTES + sum(_LENGTH.size + len(packet) for packet in packets)


def read_carried(data: bytes) -> CarriedFrame:
    """
    Parse one frame as a browser puts it together from the payloads, descriptors taken off.

    Raises:
        Truncated: If *data* ends inside a header or a packet, or holds no packet.
        Unsupported: If it is a VP8 frame but not one of ours, or of a newer version.
        Corrupt: If a reserved bit is set or a packet is empty.
    """
    if len(data) < _FIXED_BYTES:
        raise Truncated("carried frame's header is incomplete", offset=len(data))
    if data[0] & 1 or data[3:6] != _START_CODE:
        raise Unsupported("not a VP8 key frame", offset=0)
    at = _VP8_BYTES
    delivery = int.from_bytes(data[at : at + DELIVERY_BYTES], "big")
    at += DELIVERY_BYTES
    flags = data[at]
    if flags >> 6 != _VERSION:
        raise Unsupported(f"carried frame's version {flags >> 6}", offset=at)
    if flags & _RESERVED:
        raise Corrupt(f"reserved flags set: {flags & _RESERVED:#04x}", offset=at)
    timing = read_timing(data, at + 1)
    packets = []
    at = _FIXED_BYTES
    while at < len(data):
        if len(data) < at + _LENGTH.size:
            raise Truncated("packet length is incomplete", offset=len(data))
        (n_bytes,) = _LENGTH.unpack_from(data, at)
        if n_bytes == 0:
            raise Corrupt("an empty packet", offset=at)
        at += _LENGTH.size
        if len(data) < at + n_bytes:
            raise Truncated(f"packet needs {n_bytes} bytes", offset=len(data))
        packets.append(data[at : at + n_bytes])
        at += n_bytes
    if not packets:
        raise Truncated("carried frame holds no packet", offset=len(data))
    return CarriedFrame(delivery, bool(flags & _FLAG_KEYFRAME), timing, tuple(packets))


def _vp8_header(partition_bytes: int, size: tuple[int, int]) -> bytes:
    tag = min(partition_bytes, _PARTITION_MAX) << 5 | _SHOW_FRAME  # key frame, version 0
    width, height = (min(side, _SIZE_MAX) for side in size)
    return tag.to_bytes(3, "little") + _START_CODE + struct.pack("<HH", width, height)
