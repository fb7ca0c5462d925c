"""
Where the frames of a recording stand in time.

A stream's own time stamps are exact between its frames and start anywhere; the clock of arrival
goes through everything and shakes. So a stream is placed by the arrival of its first frame, and its
frames by their time stamps from there: what was away (a publisher, frames) takes its time.
No clock: times are arguments.
"""

from typing import Final

from rtcodec.timebase import RTP_TIME_BASE, us_to_ticks

_MAX_APART_TICKS: Final = 2 * 90_000
"A time stamp further than this from the clock is a jump of the publisher's clock, not shaking."


class RecordTimeline:
    """Turns a stream's time stamps into those of a file."""

    def __init__(self) -> None:
        self._start_us: int | None = None
        self._offset: int | None = None
        self._last = -1

    @property
    def last(self) -> int:
        """The newest time stamp given out, 90 kHz ticks; -1 before the first."""
        return self._last

    def cut(self) -> None:
        """Note that another stream follows, whose time stamps start anew."""
        self._offset = None

    def place(self, pts: int, *, at_us: int) -> int:
        """
        Return the file's time stamp of a frame: from 0, and growing whatever comes.

        Args:
            pts: The stream's, 90 kHz ticks.
            at_us: When it arrived, monotonic microseconds.
        """
        if self._start_us is None:
            self._start_us = at_us
        by_clock = us_to_ticks(at_us - self._start_us, RTP_TIME_BASE)
        if self._offset is None or abs(pts + self._offset - by_clock) > _MAX_APART_TICKS:
            self._offset = by_clock - pts
        self._last = max(pts + self._offset, self._last + 1)
        return self._last
