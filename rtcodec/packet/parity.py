"""
Rebuild a lost payload from the others of its frame and their exclusive or.

    0       1       2        3            5         7            9
    +-------+-------+--------+------------+---------+------------+----------------------+
    | 0x80  | group | groups | first seq  |  count  | lengths,   | payloads, each padded |
    |       |       |        | of frame   |         | xor        | with zeros, xor       |
    +-------+-------+--------+------------+---------+------------+----------------------+

A frame's payloads are dealt out to `groups`, the i-th to group i modulo groups, so that losses in a
row fall into different ones; each group stands one loss. The first byte is no version of a payload
of ours (`payload`), so that the two cannot be mistaken for each other. All fields are big endian.
Bytes in, values out: no clock, no sockets.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from rtcodec.errors import Corrupt, Truncated, Unsupported
from rtcodec.packet.payload import MAX_PAYLOAD_BYTES

MARK: Final = 0x80
MAX_GROUPS: Final = 64
MAX_MEMBERS: Final = 64
"Payloads of a group; a frame of more than 4096 is not protected."

MEDIA_PART: Final = 2 / 3
"Of what is sent while parities are, where frames are of two or three payloads."

_PAYLOADS: Final = 4  # to a parity
_LEAST_LOSS: Final = 0.03
_LEAST_RTT_US: Final = 100_000  # four fifths of the patience of receivers, and what feedback waits
_HOLD_US: Final = 5_000_000
_HEADER: Final = struct.Struct("!BBBHHH")
_REMEMBERED: Final = 512  # payloads
_WAITING: Final = 64  # parities


@dataclass(frozen=True, slots=True)
class Parity:
    """What is known of one group of a frame's payloads."""

    group: int
    groups: int
    first_seq: int
    "RTP sequence number of the frame's first payload, 16 bits."

    count: int
    "Payloads of the frame."

    lengths: int
    "Exclusive or of their lengths."

    data: bytes
    "Exclusive or of them, as long as the longest."

    @property
    def seqs(self) -> Iterator[int]:
        """The sequence numbers of the group."""
        for index in range(self.group, self.count, self.groups):
            yield self.first_seq + index & 0xFFFF


def make_parities(payloads: Sequence[bytes], first_seq: int, groups: int) -> list[Parity]:
    """
    Return the parities of one frame.

    Args:
        payloads: In sending order.
        first_seq: RTP sequence number of the first, 16 bits.
        groups: Losses that it can stand, 1 to 64, at most as many as payloads.
    """
    made = []
    for group in range(groups):
        members = payloads[group::groups]
        size = max(map(len, members))
        both = reduce(xor, (_number(payload, size) for payload in members))
        lengths = reduce(xor, map(len, members))
        data = both.to_bytes(size, "big")
        made.append(Parity(group, groups, first_seq, len(payloads), lengths, data))
    return made


def write_parity(parity: Parity) -> bytes:
    """Lay a parity out as an RTP payload."""
    head = _HEADER.pack(
        MARK, parity.group, parity.groups, parity.first_seq, parity.count, parity.lengths
    )
    return head + parity.data


def read_parity(data: bytes) -> Parity:
    """
    Parse exactly one parity.

    Raises:
        Unsupported: If it is another payload.
        Truncated: If *data* ends early.
        Corrupt: If a field is out of range.
    """
    if not data or data[0] != MARK:
        raise Unsupported("a payload that is no parity", offset=0)
    if len(data) <= _HEADER.size:
        raise Truncated("parity without data", offset=len(data))
    _, group, groups, first_seq, count, lengths = _HEADER.unpack_from(data)
    is_group = 1 <= groups <= min(MAX_GROUPS, count) and group < groups
    if not is_group or count > MAX_MEMBERS * groups:
        raise Corrupt(f"group {group} of {groups} of {count} payloads", offset=1)
    if len(data) > _HEADER.size + MAX_PAYLOAD_BYTES:
        raise Corrupt(f"{len(data)} bytes of parity", offset=_HEADER.size)
    return Parity(group, groups, first_seq, count, lengths, data[_HEADER.size :])


class ParityPolicy:
    """
    Decides when parities are sent: where loss is seen, and a retransmission would come too late.

    One for every four payloads takes half of an ordinary frame again, so nothing else is worth it.
    """

    def __init__(self) -> None:
        self._until_us: int | None = None

    def groups(self, n_payloads: int, *, loss: float, rtt_us: int | None, now_us: int) -> int:
        """
        Return how many parities a frame gets.

        Args:
            n_payloads: Of the frame.
            loss: Share of packets lost lately.
            rtt_us: Round trip, None if not known.
            now_us: Increasing.
        """
        if loss >= _LEAST_LOSS and rtt_us is not None and rtt_us >= _LEAST_RTT_US:
            self._until_us = now_us + _HOLD_US
        if not self.is_active(now_us=now_us) or n_payloads > MAX_GROUPS * MAX_MEMBERS:
            return 0
        return min(-(-n_payloads // _PAYLOADS), MAX_GROUPS)

    def is_active(self, *, now_us: int) -> bool:
        """Return whether frames get any now."""
        return self._until_us is not None and now_us < self._until_us


class ParityBuffer:
    """Remembers the newest payloads and parities of a stream, and rebuilds what it can."""

    def __init__(self) -> None:
        self._payloads: OrderedDict[int, bytes] = OrderedDict()
        self._waiting: OrderedDict[tuple[int, int], Parity] = OrderedDict()

    def add_payload(self, seq: int, payload: bytes) -> tuple[int, bytes] | None:
        """Take a payload in; return (sequence number, payload) of one that it completes."""
        self._payloads[seq] = payload
        if len(self._payloads) > _REMEMBERED:
            self._payloads.popitem(last=False)
        for key, parity in reversed(self._waiting.items()):
            index = (seq - parity.first_seq) & 0xFFFF
            if index < parity.count and index % parity.groups == parity.group:
                return self._rebuild(key, parity)
        return None

    def add_parity(self, parity: Parity) -> tuple[int, bytes] | None:
        """Take a parity in; return (sequence number, payload) of one that it completes."""
        key = (parity.first_seq, parity.group)
        self._waiting[key] = parity
        if len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
        return self._rebuild(key, parity)

    def _rebuild(self, key: tuple[int, int], parity: Parity) -> tuple[int, bytes] | None:
        missing = [seq for seq in parity.seqs if seq not in self._payloads]
        if len(missing) > 1:
            return None
        del self._waiting[key]
        if not missing:
            return None
        others = [self._payloads[seq] for seq in parity.seqs if seq != missing[0]]
        size = len(parity.data)
        length = reduce(xor, map(len, others), parity.lengths)
        if length > size or any(len(payload) > size for payload in others):
            return None  # not of these payloads, whatever it says
        both = reduce(xor, (_number(p, size) for p in others), int.from_bytes(parity.data, "big"))
        payload = both.to_bytes(size, "big")[:length]
        self._payloads[missing[0]] = payload
        return missing[0], payload


def _number(payload: bytes, size: int) -> int:
    """Return a payload, padded with zeros at its end, as a number."""
    return int.from_bytes(payload, "big") << 8 * (size - len(payload))
