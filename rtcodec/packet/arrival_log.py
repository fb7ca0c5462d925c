"""
Note when packets of a transport arrive, and say so to their sender now and then.

Sans-I/O: time is an argument, a deadline is a property.
"""

from rtcodec.packet.transport_feedback import (
    DELTA_MAX,
    REFERENCE_BITS,
    REFERENCE_TICKS,
    TICK_US,
    TransportFeedback,
)
from rtcodec.timebase import unwrap

_MAX_STATUSES = 400  # in one feedback: under 1200 bytes
_REMEMBERED = 2048  # packets; also the largest gap that is reported packet by packet


class ArrivalLog:
    """
    What a receiver knows of the packets of one transport.

    Every packet is reported once, in the order of their numbers; one that comes after a later
    one was reported is reported again with all between.
    """

    def __init__(self, *, interval_us: int = 100_000) -> None:
        """
        Args:
            interval_us: From a packet to the feedback that tells of it, at most.
        """
        self._interval_us = interval_us
        self._arrived_us: dict[int, int] = {}
        self._high: int | None = None  # sequence numbers from here on do not wrap
        self._next = 0  # the first that no feedback has spoken of
        self._first_new: int | None = None
        self._due_us: int | None = None
        self._number = 0

    @property
    def deadline_us(self) -> int | None:
        """When `take_due` next has feedback, or None."""
        return self._due_us

    def receive(self, seq: int, *, now_us: int) -> None:
        """Note a packet by its 16-bit number; one that came before changes nothing."""
        if self._high is None:
            self._high = self._next = seq
        number = unwrap(seq, near=self._high, bits=16)
        if abs(number - self._high) > _REMEMBERED:
            self._arrived_us.clear()  # another sender, or a long silence
            self._high = self._next = number
            self._first_new = None
        if number in self._arrived_us or number <= self._high - _REMEMBERED:
            return
        self._arrived_us[number] = now_us
        self._high = max(self._high, number)
        if self._first_new is None or number < self._first_new:
            self._first_new = number
        if self._due_us is None:
            self._due_us = now_us + self._interval_us

    def take_due(self, *, now_us: int, ahead_us: int = 0) -> list[TransportFeedback]:
        """
        Return the feedback to send now: none, one, or more where one does not hold it all.

        Args:
            now_us: Increasing.
            ahead_us: How much before its time it may be taken.
        """
        if self._due_us is None or now_us < self._due_us - ahead_us:
            return []
        self._due_us = None
        assert self._high is not None
        assert self._first_new is not None
        start = min(self._first_new, self._next)
        made = []
        while start <= self._high:
            feedback = self._feedback_from(start)
            if feedback is None:
                start += _MAX_STATUSES  # none of so many arrived, and feedback cannot say that
                continue
            made.append(feedback)
            start += len(feedback.arrivals)
        self._next = self._high + 1
        self._first_new = None
        self._forget()
        return made

    def _feedback_from(self, start: int) -> TransportFeedback | None:
        """Speak of the packets from *start* on, as many as one feedback can."""
        assert self._high is not None
        reference = 0
        arrivals: list[int | None] = []
        last: int | None = None
        for number in range(start, min(start + _MAX_STATUSES, self._high + 1)):
            arrived_us = self._arrived_us.get(number)
            if arrived_us is None:
                arrivals.append(None)
                continue
            ticks = arrived_us // TICK_US
            if last is None:
                reference = ticks // REFERENCE_TICKS
                last = reference * REFERENCE_TICKS
            if abs(ticks - last) > DELTA_MAX:
                break
            arrivals.append(ticks - reference * REFERENCE_TICKS)
            last = ticks
        if last is None:
            return None
        self._number += 1
        return TransportFeedback(
            base_seq=start & 0xFFFF,
            number=(self._number - 1) & 0xFF,
            reference=reference & ((1 << REFERENCE_BITS) - 1),
            arrivals=tuple(arrivals),
        )

    def _forget(self) -> None:
        for number in sorted(self._arrived_us)[:-_REMEMBERED]:
            del self._arrived_us[number]
