"""
Gives one subscriber what was played before it came, faster than that was played.

    frames since the last that can be started from --> one by one, at twice their rate
    frames that are played meanwhile --------------^     until none is left

All at once would be no use: a receiver keeps two frames that its decoder has not taken, and what it
drops is lost to those after. Belongs to the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us
from rtcodec_server.play_source import StoredFrame

SPEED: Final = 2
"Of the playback; what decodes 30 frames a second with a margin decodes 60."

_MAX_STEP_US: Final = 20_000
"A pause in the recording, or a slow playback, is not waited for."

_FIRST_STEP_US: Final = 60_000
"The first frame takes longest to decode: 53 ms at 360p in a tab."

PlayedFrame = tuple[StoredFrame, int]
"A frame and when it was played, 90 kHz ticks."


class CatchUp:
    """Frames on their way to one subscriber."""

    def __init__(
        self,
        frames: Iterable[PlayedFrame],
        *,
        send: Callable[[StoredFrame, int], None],
        on_done: Callable[[], None],
    ) -> None:
        """
        Send the first frame now.

        Args:
            frames: Played so far, the first of which can be started from; at least one.
            send: Sends a frame with a time stamp: of now, a tick after another, since what a
                subscriber gets may not go back in time.
            on_done: Called once, when the subscriber has all that was played.
        """
        self._frames = deque(frames)
        self._send = send
        self._on_done = on_done
        self._timer: asyncio.TimerHandle | None = None
        self._live_pts = self._frames[-1][1]
        self._n_since = 0
        _, self._played_pts = self._frames[0]
        self._send_next()

    def add(self, frame: StoredFrame, pts: int) -> None:
        """Let a frame wait that is played now."""
        self._frames.append((frame, pts))
        self._live_pts, self._n_since = pts, 0

    def stop(self) -> None:
        """Send nothing more, and do not call back."""
        if self._timer is not None:
            self._timer.cancel()

    def _send_next(self) -> None:
        if not self._frames:
            self._on_done()
            return
        frame, pts = self._frames.popleft()
        step_us = _FIRST_STEP_US
        if self._timer is not None:
            step_us = min(ticks_to_us(pts - self._played_pts, RTP_TIME_BASE) // SPEED, _MAX_STEP_US)
        self._played_pts = pts
        self._n_since += 1
        self._send(frame, self._live_pts + self._n_since)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(step_us / 1e6, self._send_next)
