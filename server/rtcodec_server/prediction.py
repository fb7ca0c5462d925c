"""
What the frames of one stream are predicted from.

The engine's thread asks before each frame and says when it was coded; the event loop brings what
subscribers report. The choice itself is `rtcodec.codec.planner`'s.

A frame to start from is paid for by everybody who watches. However often subscribers come, or ask
for one, there are two in a second at most: those who come too soon are let in together.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from rtcodec.codec.planner import FramePlan, ReferencePlanner
from rtcodec.packet.feedback import FrameReport
from rtcodec.webrtc.clock import monotonic_us

REFRESHES_PER_S: Final = 2
"Most frames within a second that are not predicted because subscribers want to start."


class FrameNumbers:
    """Counts the frames of one stream, for all its rungs alike. For the engine's thread."""

    def __init__(self) -> None:
        self.next = 0
        "Number of the next frame, not wrapped."


class StreamPrediction:
    """A planner for two threads."""

    def __init__(
        self,
        slots: int,
        subscribers: Iterable[str] = (),
        *,
        numbers: FrameNumbers | None = None,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        """
        Args:
            slots: Pictures of the stream that the engine keeps.
            subscribers: Those there are already.
            numbers: Those of the stream; new ones by default.
            clock_us: Tells the time.
        """
        self._clock_us = clock_us
        self._refreshed_us: deque[int] = deque(maxlen=REFRESHES_PER_S)
        self._waiting: dict[str, bool] = {}  # subscriber -> whether it is a new one
        self._numbers = numbers or FrameNumbers()
        self._planner = ReferencePlanner(slots)
        self._lock = threading.Lock()
        for name in subscribers:
            self._planner.join(name)

    # ---- for the event loop

    def join(self, subscriber: str) -> None:
        """Count a subscriber that holds nothing yet: a frame to start from comes soon."""
        with self._lock:
            self._waiting[subscriber] = True
            self._let_in()

    def leave(self, subscriber: str) -> None:
        """Count a subscriber no longer."""
        with self._lock:
            self._waiting.pop(subscriber, None)
            self._planner.leave(subscriber)

    def lost_all(self, subscriber: str) -> None:
        """Note that a subscriber can make nothing of what it gets."""
        with self._lock:
            self._waiting.setdefault(subscriber, False)
            self._let_in()

    def report(self, subscriber: str, report: FrameReport) -> None:
        """Note which frames a subscriber holds."""
        with self._lock:
            self._planner.report(subscriber, report)

    def loss_of(self, subscriber: str) -> float:
        """Return the share of frames lately that a subscriber did not get whole."""
        with self._lock:
            return self._planner.loss_of(subscriber)

    # ---- for the engine's thread

    def plan(self, *, half_rate: bool = False) -> FramePlan:
        """Say how to code the next frame; changes nothing until `sent`."""
        with self._lock:
            self._let_in()
            self._planner.skip_to(self._numbers.next)
            return self._planner.plan(half_rate=half_rate)

    def sent(self, plan: FramePlan) -> None:
        """Note that a frame was coded as planned."""
        with self._lock:
            self._planner.sent(plan)
            if plan.reference is None:
                self._refreshed_us.append(self._clock_us())
        self._numbers.next = max(self._numbers.next, plan.frame_number + 1)

    # ---- inside

    def _let_in(self) -> None:
        """Tell the planner of those who wait, unless there were enough frames to start from."""
        refreshed = self._refreshed_us
        if len(refreshed) == REFRESHES_PER_S and self._clock_us() - refreshed[0] < 1_000_000:
            return
        for subscriber, is_new in self._waiting.items():
            if is_new:
                self._planner.join(subscriber)
            else:
                self._planner.lost_all(subscriber)
        self._waiting.clear()
