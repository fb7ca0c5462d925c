"""
Decides when there is time to measure a frame's PSNR.

Measuring means decoding a frame that is already on its way; the engine is
asked only when no frame to encode is expected before it would be done. If
that does not happen for a while, one measurement is let through all the same,
so that even a relay at its limit has figures. No clock: `now_us` is an
argument.
"""

from dataclasses import dataclass
from typing import Final

FORCED_INTERVAL_US: Final = 1_000_000
"With too little time for any, one measurement this often, in a gap between frames."

OVERDUE_US: Final = 3_000_000
"With no gap between frames either, one measurement this often, before a frame."

_MARGIN_US: Final = 1_000
_INTERVAL_GAIN: Final = 0.125
_COST_GAIN: Final = 0.25
_STALE_INTERVALS: Final = 3


@dataclass(slots=True)
class _Rhythm:
    last_us: int
    interval_us: float | None = None


class MeasureGate:
    """Knows the rhythm of the streams and the cost of a measurement."""

    def __init__(self, mode: str) -> None:
        """
        Args:
            mode: `auto`, `all` or `off`.
        """
        self._mode = mode
        self._rhythms: dict[int, _Rhythm] = {}
        self._cost_us = 0.0
        self._last_us: int | None = None
        self._waiting_since_us: int | None = None

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever measured."""
        return self._mode == "off"

    def comes_first(self, *, now_us: int) -> bool:
        """Say whether a measurement goes before frames to encode."""
        if self._mode == "all":
            return True
        if self._waiting_since_us is None:
            self._waiting_since_us = now_us
        return self._mode == "auto" and now_us - self._waiting_since_us >= OVERDUE_US

    def note_frame(self, stream: int, *, now_us: int) -> None:
        """Note that a frame to encode arrived."""
        rhythm = self._rhythms.get(stream)
        if rhythm is None:
            self._rhythms[stream] = _Rhythm(now_us)
            return
        interval_us = float(now_us - rhythm.last_us)
        if rhythm.interval_us is None:
            rhythm.interval_us = interval_us
        else:
            rhythm.interval_us += _INTERVAL_GAIN * (interval_us - rhythm.interval_us)
        rhythm.last_us = now_us

    def note_measurement(self, *, started_us: int, ended_us: int) -> None:
        """Note what a measurement took."""
        cost_us = float(ended_us - started_us)
        self._cost_us += (cost_us - self._cost_us) * (_COST_GAIN if self._cost_us else 1.0)
        self._last_us = self._waiting_since_us = started_us

    def forget(self, stream: int) -> None:
        """Forget a stream that ended."""
        self._rhythms.pop(stream, None)

    def may_run(self, *, now_us: int) -> bool:
        """Say whether a measurement may start now."""
        if self._mode != "auto":
            return not self.is_off
        if self._last_us is None or now_us - self._last_us >= FORCED_INTERVAL_US:
            return True
        return all(
            now_us + self._cost_us + _MARGIN_US <= rhythm.last_us + rhythm.interval_us
            for rhythm in self._rhythms.values()
            if rhythm.interval_us is not None
            and now_us < rhythm.last_us + _STALE_INTERVALS * rhythm.interval_us
        )
