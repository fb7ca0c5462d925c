"""
Tell from arrival times whether a queue builds up on the way.

    packets --> groups sent at once --> change of delay --> slope over 20 groups --> detector

The delay-based half of Google congestion control (draft-ietf-rmcat-gcc-02, with the trendline
filter and the adaptive threshold of its successors): only differences of times count, so the two
clocks need not agree. No clock here: times are arguments.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

_GROUP_US: Final = 5_000  # packets sent within this are one group
_BURST_US: Final = 5_000  # packets that arrive within this of each other, too fast, were queued
_BURST_MAX_US: Final = 100_000
_RESET_US: Final = 3_000_000  # a change of delay by more is a clock that jumped, or a pause
_WINDOW: Final = 20  # groups
_SMOOTHING: Final = 0.9
_GAIN: Final = 4.0
_MAX_DELTAS: Final = 60
_OVERUSE_MS: Final = 10.0
_K_UP: Final = 0.0087
_K_DOWN: Final = 0.039
_MAX_ADAPT_MS: Final = 15.0
_THRESHOLD_MS: Final = 12.5
_THRESHOLD_RANGE_MS: Final = (6.0, 600.0)


class Usage(Enum):
    """How the way is used."""

    UNDER = "under"
    "A queue is running empty."

    NORMAL = "normal"
    OVER = "over"
    "A queue is building up."


@dataclass(slots=True)
class _Group:
    first_sent_us: int
    first_arrived_us: int
    sent_us: int
    arrived_us: int


class DelayTrend:
    """Follows the delay of one stream of packets."""

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        "As the last packet showed it."
        self._group: _Group | None = None
        self._last: _Group | None = None
        self._delay_ms = 0.0
        self._smoothed_ms = 0.0
        self._points: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._origin_us: int | None = None
        self._n_deltas = 0
        self._slope = 0.0
        self._over_ms = -1.0
        self._over_count = 0
        self._threshold_ms = _THRESHOLD_MS
        self._adapted_us: int | None = None

    @property
    def slope(self) -> float:
        """Growth of the delay over time: 0.1 is a tenth of a second more each second."""
        return self._slope

    def add(self, *, sent_us: int, arrived_us: int) -> None:
        """Take one packet in, in the order of sending; each time is of a clock of its own."""
        group = self._group
        if group is None:
            self._group = _Group(sent_us, arrived_us, sent_us, arrived_us)
        elif sent_us < group.first_sent_us:
            return  # overtaken on its way here
        elif self._belongs(group, sent_us, arrived_us):
            group.sent_us = max(group.sent_us, sent_us)
            group.arrived_us = max(group.arrived_us, arrived_us)
        else:
            last, self._last = self._last, group
            if last is not None:
                self._compare(last, group)
            self._group = _Group(sent_us, arrived_us, sent_us, arrived_us)

    def _start_again(self) -> None:
        self.usage = Usage.NORMAL
        self._last = None
        self._delay_ms = self._smoothed_ms = self._slope = 0.0
        self._points.clear()
        self._n_deltas = 0
        self._over_ms = -1.0
        self._over_count = 0

    def _belongs(self, group: _Group, sent_us: int, arrived_us: int) -> bool:
        if sent_us - group.first_sent_us <= _GROUP_US:
            return True
        gap_us = arrived_us - group.arrived_us
        return (
            gap_us - (sent_us - group.sent_us) < 0
            and gap_us <= _BURST_US
            and arrived_us - group.first_arrived_us < _BURST_MAX_US
        )

    def _compare(self, last: _Group, group: _Group) -> None:
        """Take in how much longer than the last group this one took."""
        sent_us = group.sent_us - last.sent_us
        change_us = group.arrived_us - last.arrived_us - sent_us
        if abs(change_us) > _RESET_US:
            self._start_again()
            return
        self._n_deltas = min(self._n_deltas + 1, 1000)
        self._delay_ms += change_us / 1000
        self._smoothed_ms += (1 - _SMOOTHING) * (self._delay_ms - self._smoothed_ms)
        if self._origin_us is None:
            self._origin_us = group.arrived_us
        self._points.append(((group.arrived_us - self._origin_us) / 1000, self._smoothed_ms))
        before = self._slope
        if len(self._points) == _WINDOW:
            self._slope = _fit(self._points) or self._slope
        self._detect(before, sent_us / 1000, group.arrived_us)

    def _detect(self, before: float, sent_ms: float, now_us: int) -> None:
        if self._n_deltas < 2:
            return
        trend_ms = min(self._n_deltas, _MAX_DELTAS) * self._slope * _GAIN
        if trend_ms > self._threshold_ms:
            self._over_ms = sent_ms / 2 if self._over_ms < 0 else self._over_ms + sent_ms
            self._over_count += 1
            if self._over_ms > _OVERUSE_MS and self._over_count > 1 and self._slope >= before:
                self._over_ms = 0.0
                self._over_count = 0
                self.usage = Usage.OVER
        else:
            self._over_ms = -1.0
            self._over_count = 0
            self.usage = Usage.UNDER if trend_ms < -self._threshold_ms else Usage.NORMAL
        self._adapt(abs(trend_ms), now_us)

    def _adapt(self, trend_ms: float, now_us: int) -> None:
        """Let the threshold follow, so that rivals that fill the queue do not starve us."""
        if self._adapted_us is None:
            self._adapted_us = now_us
        elapsed_ms = min(max(now_us - self._adapted_us, 0) / 1000, 100.0)
        self._adapted_us = now_us
        if trend_ms > self._threshold_ms + _MAX_ADAPT_MS:
            return  # a sudden change says nothing of what is usual
        gain = _K_DOWN if trend_ms < self._threshold_ms else _K_UP
        least_ms, most_ms = _THRESHOLD_RANGE_MS
        threshold_ms = self._threshold_ms + gain * (trend_ms - self._threshold_ms) * elapsed_ms
        self._threshold_ms = min(max(threshold_ms, least_ms), most_ms)


def _fit(points: deque[tuple[float, float]]) -> float | None:
    """Return the slope of the line through *points*, or None if they are above each other."""
    n = len(points)
    mean_x = mean_y = 0.0
    for x, y in points:
        mean_x += x
        mean_y += y
    mean_x /= n
    mean_y /= n
    spread = together = 0.0
    for x, y in points:  # a loop each: this runs for every frame of every receiver
        from_mean = x - mean_x
        spread += from_mean * from_mean
        together += from_mean * (y - mean_y)
    return together / spread if spread else None
