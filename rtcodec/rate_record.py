"""
What frames cost and when, to judge a rate control by.

Keeps two numbers for each frame, so it is for files and tests and not for a stream without end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class RateRecord:
    """What frames cost and when they were due, to judge a rate by."""

    times_s: list[float] = field(default_factory=list)
    "Increasing."

    bits: list[int] = field(default_factory=list)

    def add(self, time_s: float, n_bits: int) -> None:
        """Note one frame."""
        self.times_s.append(time_s)
        self.bits.append(n_bits)

    def rates_bps(self, window_s: float, *, from_s: float) -> Iterator[tuple[float, float]]:
        """
        Yield start and rate of every stretch of whole frames that lasts at least *window_s*.

        The last frame is taken to last as long as the one before it.

        Args:
            window_s: Above 0.
            from_s: Since the first frame, before which no stretch begins.
        """
        if len(self.times_s) < 2:
            return
        ends_s = [*self.times_s[1:], 2 * self.times_s[-1] - self.times_s[-2]]
        end, spent = 0, 0
        for start, start_s in enumerate(self.times_s):
            while end == start or ends_s[end - 1] - start_s < window_s - 1e-6:
                if end == len(ends_s):
                    return
                spent += self.bits[end]
                end += 1
            if start_s - self.times_s[0] >= from_s - 1e-6:
                yield start_s, spent / (ends_s[end - 1] - start_s)
            spent -= self.bits[start]

    def worst_deviation(
        self, target_bps: float, *, window_s: float = 2.0, from_s: float = 1.0
    ) -> float | None:
        """Return by which part of *target_bps* the worst stretch is off, signed; None if none."""
        off = [bps / target_bps - 1 for _, bps in self.rates_bps(window_s, from_s=from_s)]
        return max(off, key=abs, default=None)
