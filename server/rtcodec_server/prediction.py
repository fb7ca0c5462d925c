"""
What the frames of one stream are predicted from.

The engine's thread asks before each frame and says when it was coded; the event loop brings what
subscribers report. The choice itself is `rtcodec.codec.planner`'s.
"""

import threading
from collections.abc import Iterable

from rtcodec.codec.planner import FramePlan, ReferencePlanner
from rtcodec.packet.feedback import FrameReport


class StreamPrediction:
    """A planner for two threads."""

    def __init__(
        self, slots: int, subscribers: Iterable[str] = (), *, first_frame: int = 0
    ) -> None:
        """
        Args:
            slots: Pictures of the stream that the engine keeps.
            subscribers: Those there are already.
            first_frame: Number of the first frame, not wrapped.
        """
        self._planner = ReferencePlanner(slots, first_frame=first_frame)
        self._lock = threading.Lock()
        for name in subscribers:
            self._planner.join(name)

    @property
    def next_frame(self) -> int:
        """Number of the next frame, not wrapped."""
        with self._lock:
            return self._planner.next_frame

    # ---- for the event loop

    def join(self, subscriber: str) -> None:
        """Count a subscriber that holds nothing yet: the next frame is one to start from."""
        with self._lock:
            self._planner.join(subscriber)

    def leave(self, subscriber: str) -> None:
        """Count a subscriber no longer."""
        with self._lock:
            self._planner.leave(subscriber)

    def lost_all(self, subscriber: str) -> None:
        """Note that a subscriber can make nothing of what it gets."""
        with self._lock:
            self._planner.lost_all(subscriber)

    def report(self, subscriber: str, report: FrameReport) -> None:
        """Note which frames a subscriber holds."""
        with self._lock:
            self._planner.report(subscriber, report)

    # ---- for the engine's thread

    def plan(self) -> FramePlan:
        """Say how to code the next frame; changes nothing until `sent`."""
        with self._lock:
            return self._planner.plan()

    def sent(self, plan: FramePlan) -> None:
        """Note that a frame was coded as planned."""
        with self._lock:
            self._planner.sent(plan)
