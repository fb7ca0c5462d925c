"""
Decide whether a packet that was asked for is sent again.

Requests are cheap and answers are not: where a way is full, every answer makes more packets late,
which are asked for in turn. So answers take at most a part of what the stream itself sends, and one
that may still be on its way is not given again. Time is an argument.
"""

from typing import Final

MEDIA_PART: Final = 0.5
"Of the bytes sent for the first time: enough for a way that loses three of ten packets."

_BURST_BYTES: Final = 32_000  # after a while without requests
_LEAST_PAUSE_US: Final = 10_000
_REMEMBERED: Final = 512


class RetransmitGate:
    """What one stream may send again."""

    def __init__(self) -> None:
        self.n_refused = 0
        "Requests that were not answered."
        self._credit_bytes = float(_BURST_BYTES)
        self._answered_us: dict[int, int] = {}

    def note_sent(self, size_bytes: int) -> None:
        """Note bytes that were sent for the first time."""
        self._credit_bytes = min(self._credit_bytes + MEDIA_PART * size_bytes, _BURST_BYTES)

    def may(self, seq: int, size_bytes: int, *, rtt_us: int, now_us: int) -> bool:
        """
        Say whether a packet is sent again now; then it counts as sent.

        Args:
            seq: Its RTP sequence number.
            size_bytes: With headers.
            rtt_us: Round trip, 0 if not known.
            now_us: Increasing.
        """
        answered_us = self._answered_us.get(seq)
        is_soon = answered_us is not None and (
            now_us - answered_us < max(rtt_us // 2, _LEAST_PAUSE_US)
        )
        if is_soon or size_bytes > self._credit_bytes:
            self.n_refused += 1
            return False
        self._credit_bytes -= size_bytes
        self._answered_us.pop(seq, None)  # so that it is the newest again
        self._answered_us[seq] = now_us
        if len(self._answered_us) > _REMEMBERED:
            del self._answered_us[next(iter(self._answered_us))]
        return True
