"""
How often somebody may do something: token buckets, one or a bounded table of them.

No clock: time is an argument, in microseconds of any origin.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_ROUNDING: Final = 1e-6
"Part of a token that is forgiven, so that whoever waits as long as told is let through."


@dataclass(slots=True)
class TokenBucket:
    """Lets *burst* things through at once and *rate_per_s* in the long run."""

    rate_per_s: float
    "Above 0."

    burst: float
    "At least 1."

    level: float | None = None
    "Tokens left; None is full."

    filled_us: int = 0
    "When `level` was true."

    def take(self, *, now_us: int) -> int:
        """
        Take one token.

        Returns:
            0, or how many microseconds to wait; nothing is taken then.
        """
        level = self._level_at(now_us)
        self.filled_us = max(now_us, self.filled_us)
        missing = 1 - level
        if missing > _ROUNDING:
            self.level = level
            return math.ceil(missing / self.rate_per_s * 1e6)
        self.level = max(level - 1, 0.0)
        return 0

    def _level_at(self, now_us: int) -> float:
        if self.level is None:
            return self.burst
        passed_us = max(now_us - self.filled_us, 0)
        return min(self.level + passed_us * self.rate_per_s / 1e6, self.burst)


class RateLimiter:
    """
    A bucket for each client, for no more than *max_clients* of them.

    When there are more, the one not heard of for longest is forgotten, and
    starts anew with a full bucket.
    """

    def __init__(self, *, rate_per_s: float, burst: float, max_clients: int) -> None:
        """
        Args:
            rate_per_s: In the long run, for each client; 0 lets everything through.
            burst: At once, at least 1.
            max_clients: At least 1.
        """
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()  # the latest last

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str, *, now_us: int) -> int:
        """
        Let *client* do the thing once.

        Returns:
            0, or how many microseconds it has to wait.
        """
        if self._rate_per_s == 0:
            return 0
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= self._max_clients:
                self._buckets.popitem(last=False)
            bucket = self._buckets[client] = TokenBucket(self._rate_per_s, self._burst)
        self._buckets.move_to_end(client)
        return bucket.take(now_us=now_us)
