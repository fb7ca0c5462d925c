"""
Read and write one RTP payload of codec X-RTC-LATENT, version 1.

    0       1          3         5         7                35
    +-------+----------+---------+---------+-----------------+----------+
    | flags | delivery |  index  |  count  | timing (if T)   |   data   |
    +-------+----------+---------+---------+-----------------+----------+
     flags: version (2 bits, 01) T S E K 0 0

    timing, 28 bytes, in payload 0 of a frame only:
    pts u32 | received_us u64 | capture age u32 | six stages u16

All fields are big endian. Index and count say where the payload stands in its
frame, so one payload of a frame is enough to know how many are missing. S and
E mark the first and last fragment of a bitstream packet. K marks a frame that
a decoder may start at. Delivery counts the frames sent to this receiver.
Bytes in, values out: no clock, no state.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from rtcodec.errors import Corrupt, Truncated, Unsupported

MAX_PAYLOAD_BYTES: Final = 1200
"Largest RTP payload: with RTP, SRTP, UDP and IPv6 headers under 1280 bytes. # RFC 8200 5"

_VERSION: Final = 1
_FLAG_TIMING: Final = 0x20
_FLAG_START: Final = 0x10
_FLAG_END: Final = 0x08
_FLAG_KEYFRAME: Final = 0x04
_RESERVED: Final = 0x03

_HEADER: Final = struct.Struct("!BHHH")
_TIMING: Final = struct.Struct("!LQL6H")

HEADER_BYTES: Final = _HEADER.size
TIMING_BYTES: Final = _TIMING.size
DELIVERY_BYTES: Final = 2
"The delivery number, after the flags: all that differs between receivers of a frame."

MAX_PACKET_BYTES: Final = MAX_PAYLOAD_BYTES - HEADER_BYTES - TIMING_BYTES
"A bitstream packet of at most this many bytes always fits into one payload."

STAGE_UNIT_US: Final = 50
"Stages travel in this unit, rounded; 65535 of them (3.3 s) stand for any longer time."

_STAGE_MAX: Final = 0xFFFF
_AGE_UNKNOWN: Final = 0xFFFFFFFF


class FrameTiming(NamedTuple):
    """When a frame was taken and how long the relay worked on it."""

    pts: int
    "Presentation time of the publisher's frame in 90 kHz ticks, modulo 2**32."

    received_us: int
    "When the first packet of the frame reached the relay, Unix time in microseconds."

    capture_us: int | None = None
    "When the publisher took the frame, Unix time in microseconds; None if not known."

    receive_us: int = 0
    "From the first packet to the whole frame, microseconds."

    decode_us: int = 0
    "From the whole frame to its planes, microseconds."

    queue_us: int = 0
    "From the planes to the engine's batch, microseconds."

    batch_us: int = 0
    "From the batch being chosen to its start, microseconds."

    engine_us: int = 0
    "From the start of the networks to the symbols, microseconds."

    entropy_us: int = 0
    "From the symbols to the bytes, microseconds."

    @property
    def stages_us(self) -> tuple[int, int, int, int, int, int]:
        """Receive, decode, queue, batch, engine and entropy, microseconds."""
        return (
            self.receive_us,
            self.decode_us,
            self.queue_us,
            self.batch_us,
            self.engine_us,
            self.entropy_us,
        )

    @property
    def coded_us(self) -> int:
        """When the bytes were ready in the relay, Unix time in microseconds."""
        return self.received_us + sum(self.stages_us)


@dataclass(frozen=True, slots=True)
class Payload:
    """One RTP payload: a bitstream packet or a fragment of one."""

    delivery: int
    "Frames sent to this receiver before this one, modulo 2**16."

    index: int
    "Place of this payload in its frame, 0 to count - 1."

    count: int
    "Payloads of the frame, 1 to 65535."

    starts_packet: bool
    "Whether a bitstream packet begins here."

    ends_packet: bool
    "Whether a bitstream packet ends here."

    is_keyframe: bool
    "Whether a decoder may start at this frame."

    data: bytes
    "Bytes of the bitstream packet, at least one."

    timing: FrameTiming | None = None
    "Only in payload 0."


def write_payload(payload: Payload) -> bytes:
    """Lay *payload* out as bytes; times are rounded to their units."""
    flags = _VERSION << 6
    flags |= _FLAG_TIMING * (payload.timing is not None)
    flags |= _FLAG_START * payload.starts_packet
    flags |= _FLAG_END * payload.ends_packet
    flags |= _FLAG_KEYFRAME * payload.is_keyframe
    header = _HEADER.pack(flags, payload.delivery, payload.index, payload.count)
    if payload.timing is None:
        return header + payload.data
    return header + write_timing(payload.timing) + payload.data


def read_payload(data: bytes) -> Payload:
    """
    Parse exactly one RTP payload.

    Raises:
        Truncated: If *data* ends inside the header or holds no data.
        Unsupported: If the version is not 1.
        Corrupt: If a reserved bit is set, the index is not below the count, or
            timing comes with a payload that is not the first.
    """
    if len(data) < HEADER_BYTES:
        raise Truncated("payload header is incomplete", offset=len(data))
    flags, delivery, index, count = _HEADER.unpack_from(data)
    if flags >> 6 != _VERSION:
        raise Unsupported(f"payload version {flags >> 6}", offset=0)
    if flags & _RESERVED:
        raise Corrupt(f"reserved flags set: {flags & _RESERVED:#04x}", offset=0)
    if index >= count:
        raise Corrupt(f"payload {index} of {count}", offset=3)
    timing = None
    start = HEADER_BYTES
    if flags & _FLAG_TIMING:
        if index:
            raise Corrupt(f"timing in payload {index}", offset=0)
        start += TIMING_BYTES
        if len(data) < start:
            raise Truncated("payload timing is incomplete", offset=len(data))
        timing = read_timing(data, HEADER_BYTES)
    if len(data) == start:
        raise Truncated("payload holds no data", offset=start)
    return Payload(
        delivery=delivery,
        index=index,
        count=count,
        starts_packet=bool(flags & _FLAG_START),
        ends_packet=bool(flags & _FLAG_END),
        is_keyframe=bool(flags & _FLAG_KEYFRAME),
        data=data[start:],
        timing=timing,
    )


def write_timing(timing: FrameTiming) -> bytes:
    """Lay *timing* out as 28 bytes; times are rounded to their units."""
    age_us = _AGE_UNKNOWN
    if timing.capture_us is not None:
        age_us = min(max(timing.received_us - timing.capture_us, 0), _AGE_UNKNOWN - 1)
    stages = (
        min((max(us, 0) + STAGE_UNIT_US // 2) // STAGE_UNIT_US, _STAGE_MAX)
        for us in timing.stages_us
    )
    return _TIMING.pack(timing.pts & 0xFFFFFFFF, timing.received_us, age_us, *stages)


def read_timing(data: bytes, start: int) -> FrameTiming:
    """Read the 28 bytes at *start*, which are there."""
    pts, received_us, age_us, *stages = _TIMING.unpack_from(data, start)
    capture_us = None if age_us == _AGE_UNKNOWN else received_us - age_us
    return FrameTiming(pts, received_us, capture_us, *(units * STAGE_UNIT_US for units in stages))
