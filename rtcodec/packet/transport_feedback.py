"""
Which packets of a transport arrived, and when: read and write one transport-wide feedback.

    0            2            4                 7        8
    +------------+------------+-----------------+--------+-----------------+-----------------+
    |   base     |   count    |    reference    | number | statuses, u16   | deltas, u8 or   |
    | sequence   | of packets | 64 ms units     |        | chunks          | i16 of 250 us   |
    +------------+------------+-----------------+--------+-----------------+-----------------+

The control information of RTCP type 205, format 15
(draft-holmer-rmcat-transport-wide-cc-extensions-01), which answers the 16-bit counter that senders
put into a header extension of every packet of a transport. A chunk is a run of one status, or 14
statuses of one bit, or 7 of two. All fields are big endian. Bytes in, values out.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import Corrupt, Truncated

TICK_US: Final = 250
"Arrivals travel in this unit."

REFERENCE_TICKS: Final = 256
"Ticks of one unit of the reference time, 64 ms."

REFERENCE_BITS: Final = 24
MAX_STATUSES: Final = 8192
"More packets in one feedback are refused: at 500 a second they are 16 s."

DELTA_MIN: Final = -(1 << 15)
DELTA_MAX: Final = (1 << 15) - 1

_HEADER: Final = struct.Struct("!HHL")  # the reference time and the number share the long
_CHUNK: Final = struct.Struct("!H")
_LARGE_DELTA: Final = struct.Struct("!h")
_LOST, _SMALL, _LARGE, _RESERVED = range(4)
_VECTOR: Final = 0x8000
_TWO_BITS: Final = 0x4000
_RUN_MAX: Final = (1 << 13) - 1
_PADDING_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """What became of some packets in a row."""

    base_seq: int
    "Of the first packet, 16 bits."

    number: int
    "Feedbacks sent before this one, modulo 256."

    reference: int
    "Time that arrivals count from, in units of 64 ms of the receiver's clock, modulo 2**24."

    arrivals: tuple[int | None, ...]
    """Of each packet the ticks of 250 us from the reference to its arrival, None if it did not
    arrive; at least one and at most 8192, at least one of them arrived. From one arrival to the
    next, and from the reference to the first, it is at most 8.19 s, either way."""

    def __post_init__(self) -> None:
        """Check the limits; ValueError if one is broken."""
        if not 0 <= self.base_seq <= 0xFFFF or not 0 <= self.number <= 0xFF:
            raise ValueError(f"packet {self.base_seq} or feedback {self.number} is too large")
        if not 0 <= self.reference < 1 << REFERENCE_BITS:
            raise ValueError(f"time {self.reference} is not within 24 bits")
        if not 1 <= len(self.arrivals) <= MAX_STATUSES:
            raise ValueError(f"{len(self.arrivals)} packets in one feedback")
        deltas = list(_deltas(self.arrivals))
        if not deltas or not DELTA_MIN <= min(deltas) <= max(deltas) <= DELTA_MAX:
            raise ValueError("nothing arrived, or arrivals are too far apart")


def write_transport_feedback(feedback: TransportFeedback) -> bytes:
    """Lay a feedback out as control information, padded with zeros to whole words."""
    deltas = list(_deltas(feedback.arrivals))
    arrived = iter(deltas)
    statuses = [
        _LOST if ticks is None else _SMALL if 0 <= next(arrived) <= 0xFF else _LARGE
        for ticks in feedback.arrivals
    ]
    wire = bytearray(
        _HEADER.pack(feedback.base_seq, len(statuses), feedback.reference << 8 | feedback.number)
    )
    for chunk in _chunks(statuses):
        wire += _CHUNK.pack(chunk)
    for delta in deltas:
        wire += bytes((delta,)) if 0 <= delta <= 0xFF else _LARGE_DELTA.pack(delta)
    return bytes(wire) + bytes(-len(wire) % 4)


def read_transport_feedback(data: bytes) -> TransportFeedback:
    """
    Parse exactly one feedback.

    Raises:
        Truncated: If *data* ends early.
        Corrupt: If it is of no packet or of too many, nothing arrived, a status is reserved, or
            more is left over than padding.
    """
    if len(data) < _HEADER.size:
        raise Truncated("feedback header is incomplete", offset=len(data))
    base_seq, count, reference = _HEADER.unpack_from(data)
    if not 1 <= count <= MAX_STATUSES:
        raise Corrupt(f"feedback of {count} packets", offset=2)
    statuses, offset = _read_statuses(data, count)
    arrivals, offset = _read_arrivals(data, offset, statuses)
    if len(data) - offset > _PADDING_MAX:
        raise Corrupt(f"{len(data) - offset} bytes after the feedback", offset=offset)
    if all(ticks is None for ticks in arrivals):
        raise Corrupt("feedback of packets none of which arrived", offset=_HEADER.size)
    return TransportFeedback(base_seq, reference & 0xFF, reference >> 8, tuple(arrivals))


def _deltas(arrivals: tuple[int | None, ...]) -> Iterator[int]:
    last = 0
    for ticks in arrivals:
        if ticks is not None:
            yield ticks - last
            last = ticks


def _chunks(statuses: list[int]) -> Iterator[int]:
    start = 0
    while start < len(statuses):
        first = statuses[start]
        end = start
        while end < len(statuses) and statuses[end] == first and end - start < _RUN_MAX:
            end += 1
        ahead = statuses[start : start + 14]
        if end - start >= 14 or end == len(statuses):
            yield first << 13 | end - start
            start = end
        elif _LARGE not in ahead:
            yield _VECTOR | _pack(ahead, 14, 1)
            start += 14
        else:
            yield _VECTOR | _TWO_BITS | _pack(ahead[:7], 7, 2)
            start += 7


def _pack(statuses: list[int], n_places: int, n_bits: int) -> int:
    packed = 0
    for place in range(n_places):
        packed = packed << n_bits | (statuses[place] if place < len(statuses) else 0)
    return packed


def _read_statuses(data: bytes, count: int) -> tuple[list[int], int]:
    statuses: list[int] = []
    offset = _HEADER.size
    while len(statuses) < count:
        if len(data) < offset + _CHUNK.size:
            raise Truncated("feedback ends within its statuses", offset=len(data))
        (chunk,) = _CHUNK.unpack_from(data, offset)
        room = count - len(statuses)
        if not chunk & _VECTOR:
            run = chunk & _RUN_MAX
            if not run:
                raise Corrupt("feedback with a run of no packets", offset=offset)
            statuses += [chunk >> 13] * min(run, room)
        elif chunk & _TWO_BITS:
            statuses += [chunk >> shift & 3 for shift in range(12, -1, -2)][:room]
        else:
            statuses += [chunk >> shift & 1 for shift in range(13, -1, -1)][:room]
        offset += _CHUNK.size
    if _RESERVED in statuses:
        raise Corrupt("feedback with a reserved status", offset=_HEADER.size)
    return statuses, offset


def _read_arrivals(data: bytes, offset: int, statuses: list[int]) -> tuple[list[int | None], int]:
    arrivals: list[int | None] = []
    ticks = 0
    for status in statuses:
        if status == _LOST:
            arrivals.append(None)
            continue
        if len(data) < offset + status:  # a small delta takes one byte, a large one two
            raise Truncated("feedback ends within its arrivals", offset=len(data))
        ticks += data[offset] if status == _SMALL else _LARGE_DELTA.unpack_from(data, offset)[0]
        offset += status
        arrivals.append(ticks)
    return arrivals, offset
