"""
Number the packets of a transport and find out what became of them.

    send(size) -> number --> header extension --> network --> receiver
    acknowledge(feedback) <-----------------------------------+

Sans-I/O: time is an argument.
"""

from dataclasses import dataclass

from rtcodec.packet.transport_feedback import (
    REFERENCE_BITS,
    REFERENCE_TICKS,
    TICK_US,
    TransportFeedback,
)
from rtcodec.timebase import unwrap

_USUAL_BACK = 1 << 14  # from the last packet sent to those that feedback speaks of, at most thrice


@dataclass(frozen=True, slots=True)
class PacketResult:
    """What became of one packet."""

    sent_us: int
    size_bytes: int
    arrived_us: int | None
    "By the receiver's clock, whose origin is unknown; None if it is lost, as far as is known."


class SentPackets:
    """The packets that a sender has put on a transport; only the newest are remembered."""

    def __init__(self, *, capacity: int = 8192) -> None:
        """
        Args:
            capacity: Packets remembered.
        """
        self._capacity = capacity
        self._next = 0
        self._sent: dict[int, tuple[int, int]] = {}  # number -> (sent_us, size), not yet arrived
        self._reported = -1  # the highest that a feedback spoke of
        self._reference = 0

    def send(self, size_bytes: int, *, now_us: int) -> int:
        """Note a packet that leaves now; return its number, 16 bits."""
        number = self._next
        self._next += 1
        self._sent[number] = (now_us, size_bytes)
        if len(self._sent) > self._capacity:
            del self._sent[next(iter(self._sent))]
        return number & 0xFFFF

    def acknowledge(self, feedback: TransportFeedback) -> list[PacketResult]:
        """
        Return what a feedback says that is new, in the order of sending.

        A packet counts as lost the first time it is reported so, and as arrived when a later
        feedback says so after all.
        """
        self._reference = unwrap(feedback.reference, near=self._reference, bits=REFERENCE_BITS)
        base = unwrap(feedback.base_seq, near=self._next - _USUAL_BACK, bits=16)
        origin = self._reference * REFERENCE_TICKS
        results = []
        for number, ticks in enumerate(feedback.arrivals, base):
            sent = self._sent.get(number)
            if sent is None or (ticks is None and number <= self._reported):
                continue
            if ticks is None:
                results.append(PacketResult(*sent, None))
            else:
                del self._sent[number]
                results.append(PacketResult(*sent, (origin + ticks) * TICK_US))
        last = min(base + len(feedback.arrivals), self._next) - 1
        self._reported = max(self._reported, last)
        return results
