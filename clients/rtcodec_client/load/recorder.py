"""
What the peers of one process measured, by stage and by second.

Pure: no clock, no I/O; values come in, JSON values go out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from rtcodec_client.load.tally import Tally


class Recorder:
    """Adds up durations and events of all peers of a process."""

    def __init__(self) -> None:
        self.is_measuring = False
        "Whether this is the soak: durations before and after it only show in the time series."

        self.stages: defaultdict[str, Tally] = defaultdict(Tally)
        "Stage -> durations within the soak."

        self._interval: defaultdict[str, Tally] = defaultdict(Tally)
        self._counts: Counter[str] = Counter()

    def time(self, stage: str, ms: float) -> None:
        """Count one duration."""
        self._interval[stage].add(ms)
        if self.is_measuring:
            self.stages[stage].add(ms)

    def count(self, event: str, n: int = 1) -> None:
        """Count events for the time series."""
        self._counts[event] += n

    def take_interval(self) -> dict[str, Any]:
        """Return what happened since the last call."""
        taken = {
            "counts": dict(self._counts),
            "stages": {stage: tally.write() for stage, tally in self._interval.items()},
        }
        self._counts.clear()
        self._interval.clear()
        return taken
