"""
When a process that died is started again. No clock: `now_us` is an argument.

At once after the first time, later and later when it keeps dying, and in the end never.
"""

from collections import deque
from typing import Final

FIRST_PAUSE_US: Final = 200_000
MAX_PAUSE_US: Final = 5_000_000


class RestartPolicy:
    """What is known of the deaths of some processes."""

    def __init__(self, *, max_restarts: int, window_us: int) -> None:
        """
        Args:
            max_restarts: Within the window; one more death is one too many.
            window_us: Deaths longer ago are forgotten.
        """
        self.has_given_up = False
        "Whether nothing is started any more."
        self._max_restarts = max_restarts
        self._window_us = window_us
        self._deaths_us: deque[int] = deque()

    def died(self, *, now_us: int) -> int | None:
        """Note a death; return how long to wait before starting again, or None for never."""
        self._deaths_us.append(now_us)
        while now_us - self._deaths_us[0] > self._window_us:
            self._deaths_us.popleft()
        n_deaths = len(self._deaths_us)
        if self.has_given_up or n_deaths > self._max_restarts:
            self.has_given_up = True
            return None
        if n_deaths == 1:
            return 0
        return min(FIRST_PAUSE_US << min(n_deaths - 2, 8), MAX_PAUSE_US)
