"""
What the frames of one stream are predicted from.

The engine's thread asks before each frame and says what was kept; the event loop says when a
subscriber needs to start afresh.
"""

import threading
from dataclasses import dataclass
from typing import Final

from rtcodec.codec.reference import NewestReference, ReferenceChoice

REFRESH_INTERVAL_US: Final = 300_000
"Least time between two key frames: many subscribers ask at once, and each costs all of them."


@dataclass(frozen=True, slots=True)
class FramePlan:
    """How one frame is to be coded; ids as headers name them."""

    keyframe: bool = True
    reference: int | None = None
    store: int | None = None


INTRA: Final = FramePlan()
"A frame by itself, of which nothing is kept."


class StreamPrediction:
    """Chooses references for one stream. `plan` and `stored` belong to the engine's thread."""

    def __init__(self, choice: ReferenceChoice | None = None) -> None:
        """
        Args:
            choice: Says which states there are; by default the newest frame is predicted from.
        """
        self._choice = choice or NewestReference()
        self._lock = threading.Lock()
        self._wants_keyframe = True
        self._last_keyframe_us: int | None = None

    def refresh(self) -> None:
        """Let a frame that anyone can start from come soon; may be called by any thread."""
        with self._lock:
            self._wants_keyframe = True

    def plan(self, *, now_us: int) -> FramePlan:
        """Say how to code the next frame."""
        with self._lock:
            last = self._last_keyframe_us
            if self._wants_keyframe and (last is None or now_us - last >= REFRESH_INTERVAL_US):
                self._wants_keyframe = False
                self._last_keyframe_us = now_us
                self._choice.forget()
            reference = self._choice.choose()
            return FramePlan(reference is None, reference, self._choice.next_state())

    def stored(self, plan: FramePlan, frame_number: int) -> None:
        """Note that a frame was coded as planned."""
        if plan.store is not None:
            with self._lock:
                self._choice.stored(plan.store, frame_number)

    def failed(self) -> None:
        """Note that a planned frame was not coded, or will not arrive anywhere."""
        with self._lock:
            self._wants_keyframe = True
            self._last_keyframe_us = None
