"""
A window for aiortc's data channels that fills a thin way without filling the queues before it.

aiortc's own grows until something is lost: hundreds of milliseconds of whatever queue there is,
which everything asked for later waits behind, and then a second until it is sent again. Here
delay is what makes it smaller, as in RFC 6817: when a round trip takes longer than the shortest
one by more than a target, something waits.
"""

from typing import Final

from aiortc.rtcsctptransport import USERDATA_MAX_LENGTH, RTCSctpTransport

from rtcodec.webrtc.clock import monotonic_us

TARGET_S: Final = 0.025
"Queueing that is aimed at, at least; else half of the shortest round trip."

FIRST_BYTES: Final = 10 * USERDATA_MAX_LENGTH  # RFC 6928
"At the start; aiortc begins with 3 chunks."

LEAST_BYTES: Final = 4 * USERDATA_MAX_LENGTH
MOST_BYTES: Final = 384 * 1024
"""Below what peers say that they take (aiortc: 1 MiB) and what a channel lets be unacknowledged;
60 Mb/s at a round trip of 50 ms."""


class DelayWindow:
    """Keeps the congestion window of one SCTP association near what the way carries."""

    def __init__(self, sctp: RTCSctpTransport) -> None:
        """Take over; `release` gives it back."""
        self._sctp = sctp
        self._update_rto = sctp._update_rto
        self._shortest_s: float | None = None
        self._wait_until_us = 0
        sctp._cwnd = max(sctp._cwnd, FIRST_BYTES)
        sctp._update_rto = self._heed  # type: ignore[method-assign, assignment]

    @property
    def round_trip_s(self) -> float | None:
        """The shortest round trip so far, or None before the first."""
        return self._shortest_s

    @property
    def is_half_full(self) -> bool:
        """Whether half of what the way carries is under way; more of it may have to queue."""
        return 2 * self._sctp._flight_size >= self._sctp._cwnd

    async def push(self) -> None:
        """Send what the window lets out of a long message: aiortc stops after four chunks."""
        sctp = self._sctp
        for _ in range(MOST_BYTES // LEAST_BYTES):
            if not sctp._outbound_queue or sctp._flight_size >= sctp._cwnd:
                return
            await sctp._transmit()

    def release(self) -> None:
        """Let aiortc alone again."""
        vars(self._sctp).pop("_update_rto", None)

    def _heed(self, round_trip_s: float) -> None:
        self._update_rto(round_trip_s)
        if round_trip_s <= 0:  # aiortc measures by a clock that can be set
            return
        shortest_s = min(self._shortest_s or round_trip_s, round_trip_s)
        self._shortest_s = shortest_s
        sctp, now_us = self._sctp, monotonic_us()
        allowed_s = shortest_s + max(TARGET_S, shortest_s / 2)
        if round_trip_s > allowed_s and now_us >= self._wait_until_us:
            self._wait_until_us = now_us + round(round_trip_s * 1e6)  # until it can show
            sctp._cwnd = max(LEAST_BYTES, int(sctp._cwnd * allowed_s / round_trip_s))
            sctp._ssthresh = sctp._cwnd
        sctp._cwnd = min(sctp._cwnd, MOST_BYTES)
