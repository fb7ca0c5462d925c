"""
Tell from how long frames take to leave what a data channel carries. Time is an argument.

SCTP lets out what its window allows and says nothing of the way. Where frames leave at once nothing
is known of it, and need not be; where the channel is hardly ever idle, what it carries is what it
let out while it was not.
"""

from collections import deque
from typing import Final

WINDOW_US: Final = 2_000_000
"How far back is looked."

SATURATED: Final = 0.8
"""Of the window that the channel was busy: beyond it the rate is known. Senders aim at 0.9 of that
(`session/room_rate`), so it stays known while it limits them."""


class ChannelRate:
    """Follows one channel that sends one frame after the other."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int, int]] = deque()  # began, ended, bytes

    def note(self, n_bytes: int, *, began_us: int, ended_us: int) -> None:
        """
        Take that a frame has left.

        Args:
            n_bytes: Its messages together.
            began_us: When its first message was given to the channel.
            ended_us: When the channel had let out the last; not before that of the frame before.
        """
        self._sent.append((began_us, ended_us, n_bytes))

    def bps(self, *, now_us: int, busy_since_us: int | None) -> int | None:
        """
        Return what the channel carries, bits per second; None where it has room to spare.

        Args:
            now_us: Not before what was noted.
            busy_since_us: Since when a frame is on its way out; None if none is.
        """
        start_us = now_us - WINDOW_US
        while self._sent and self._sent[0][1] <= start_us:
            self._sent.popleft()
        busy_us = 0 if busy_since_us is None else now_us - max(busy_since_us, start_us)
        n_bytes = 0.0
        for began_us, ended_us, size_bytes in self._sent:
            in_window_us = ended_us - max(began_us, start_us)
            busy_us += in_window_us
            n_bytes += size_bytes * in_window_us / max(ended_us - began_us, 1)
        if busy_us < SATURATED * WINDOW_US:
            return None
        return int(8 * n_bytes * 1e6 / busy_us)
