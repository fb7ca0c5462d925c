"""
One recording of one room, as the event loop sees it.

    stream --take--> timeline --> RecordWriter's queue
              |
              +-- asks for a frame to start from: at first, every few seconds, after a gap

A stream's frames go in as they were coded for the subscribers. One that the disk is too slow for is
counted, and so is every one that could not be decoded without it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us
from rtcodec_server.record_timeline import RecordTimeline
from rtcodec_server.record_writer import RecordTarget, RecordWriter
from rtcodec_server.sink import PassingFrame

ASK_INTERVAL_US: Final = 500_000
"Between two requests for a frame to start from."


class Recording:
    """Takes the frames of a room's streams, one stream after the other."""

    def __init__(
        self,
        target: RecordTarget,
        *,
        keyframe_us: int,
        max_us: int,
        on_file: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        """
        Args:
            target: Where to, and how far.
            keyframe_us: Longest time between frames that can be started from; 0 asks for one.
            max_us: Longest recording; 0 is no limit.
            on_file: Called when a file has its first frame.
            on_end: Called once, when nothing more will be written, with the reason.
        """
        self._keyframe_us = keyframe_us
        self._max_us = max_us
        self._tell_file = on_file
        self._tell_end = on_end
        self._timeline = RecordTimeline()
        self._is_waiting = True  # for a frame that can be started from
        self._has_gap = False  # and one before it could not be written
        self._keyframe_at_us = self._asked_us = 0
        self._ask: Callable[[], None] = lambda: None
        self._reason: str | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._writer = RecordWriter(
            target,
            on_file=lambda name: self._call(self._tell_file, name),
            on_end=lambda reason: self._call(self._on_end, reason),
        )

    @property
    def figures(self) -> dict[str, Any]:
        """What came of it so far, as JSON values."""
        figures = self._writer.figures
        return {
            "files": list(figures.files),
            "frames": figures.frames,
            "dropped": figures.dropped,
            "bytes": figures.size_bytes,
            "seconds": round(figures.seconds, 3),
        }

    @property
    def is_open(self) -> bool:
        """Whether frames are still taken."""
        return self._reason is None

    def follow(self, ask: Callable[[], None]) -> None:
        """Note that the frames of another stream come now; *ask* asks it for a key frame."""
        self._ask = ask
        self._timeline.cut()
        self._is_waiting = True
        self._has_gap = False

    def take(self, frame: PassingFrame) -> bool:
        """Take one frame; return whether it will be written."""
        if not self.is_open:
            return False
        if self._is_waiting and not frame.is_keyframe:
            self._writer.figures.dropped += self._has_gap
            if self._writer.has_caught_up:
                self._ask_now(frame.at_us)
            return False
        pts = self._timeline.place(frame.pts, at_us=frame.at_us)
        if self._max_us and ticks_to_us(pts, RTP_TIME_BASE) >= self._max_us:
            self.end("max_time")
            return False
        if not self._writer.put(frame.packets, pts):
            self._writer.figures.dropped += 1
            self._is_waiting = self._has_gap = True
            return False
        self._is_waiting = self._has_gap = False
        if frame.is_keyframe:
            self._keyframe_at_us = frame.at_us
        elif self._keyframe_us and frame.at_us - self._keyframe_at_us >= self._keyframe_us:
            self._ask_now(frame.at_us)
        return True

    def end(self, reason: str) -> None:
        """Take nothing more and write what waits; a second time does nothing."""
        if self.is_open:
            self._reason = reason
            self._writer.close()

    async def wait_ended(self) -> None:
        """Wait until the last file is closed."""
        await self._ended.wait()

    def _ask_now(self, now_us: int) -> None:
        if now_us - self._asked_us >= ASK_INTERVAL_US:
            self._asked_us = now_us
            self._ask()

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(action, *arguments)
        except RuntimeError:
            return  # the loop ended first: a disk that hung until then

    def _on_end(self, reason: str | None) -> None:
        if self._reason is None:
            self._reason = reason or "failed"
        self._ended.set()
        self._tell_end(reason or self._reason)
        # they know the stream and the room, which know this
        self._ask = lambda: None
        self._tell_file = self._tell_end = lambda _: None
