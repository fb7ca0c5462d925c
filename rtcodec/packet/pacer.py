"""
Spread the packets of a large frame over a part of the frame interval.

    frames, retransmissions --> [retransmissions first] --> token bucket --> packets that may leave

What fits the bucket's burst leaves at once, so a stream of ordinary frames is not touched. Nothing
waits for longer than its deadline, whatever the rate: a way that is too thin gets less from the
encoder, not a queue here. Sans-I/O: time is an argument, a deadline is a property.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_BITS_US: Final = 8_000_000  # bits in a byte, microseconds in a second


@dataclass(frozen=True, slots=True, kw_only=True)
class PacerConfig:
    """How evenly packets leave."""

    burst_bytes: int = 6_000
    "What leaves at once after a pause: four full packets."

    burst_us: int = 10_000
    "The same, in time of the estimate, where that is more."

    factor: float = 2.5
    "Times the estimate that packets leave at: a frame must not take the whole interval."

    spread: float = 0.5
    "Of the frame interval, in which a frame leaves whatever the estimate."

    again_us: int = 5_000
    "In which a retransmission leaves."

    quantum_us: int = 1_000
    "Shortest wait: timers are no finer."


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    size_bytes: int
    deadline_us: int
    frame: int = 0


class Pacer(Generic[Item]):
    """The packets of one receiver that wait for their turn; at most two frames."""

    def __init__(self, config: PacerConfig | None = None) -> None:
        self.estimate_bps: int | None = None
        "What the way carries, as far as is known."
        self._config = config or PacerConfig()
        self._again: deque[_Waiting[Item]] = deque()
        self._media: deque[_Waiting[Item]] = deque()
        self._frame = 0
        self._n_bytes = 0
        self._empty_us = 0  # when the bucket has drained if nothing more leaves
        self._rate_bps = 0.0

    def __len__(self) -> int:
        return len(self._again) + len(self._media)

    @property
    def deadline_us(self) -> int | None:
        """When `take` next has something, or None while nothing waits."""
        if (due_us := self._due_us) is None:
            return None
        return min(
            due_us, self._empty_us - self._burst_us(self._rate_bps) + self._config.quantum_us
        )

    @property
    def _due_us(self) -> int | None:
        """By when something has to leave whatever the bucket says."""
        heads = [queue[0].deadline_us for queue in (self._again, self._media) if queue]
        return min(heads, default=None)

    def pass_frame(self, sizes_bytes: Sequence[int], *, interval_us: int, now_us: int) -> bool:
        """
        Let all packets of a frame leave at once, as `add_frame` and `take` would; the usual case.

        Args:
            sizes_bytes: Of each packet.
            interval_us: As for `add_frame`.
            now_us: See there.

        Returns:
            Whether they may; if not, nothing has changed and they have to wait their turn.
        """
        if self._media or self._again:
            return False
        rate_bps = self._rate_for(sum(sizes_bytes), self._within_us(interval_us))
        latest_us = now_us + self._burst_us(rate_bps)
        empty_us = self._empty_us
        for size in sizes_bytes:
            if empty_us > latest_us:
                return False
            empty_us = max(empty_us, now_us) + int(size * _BITS_US / rate_bps)
        self._empty_us, self._rate_bps = empty_us, rate_bps
        return True

    def add_frame(
        self, packets: Iterable[tuple[Item, int]], *, interval_us: int, now_us: int
    ) -> None:
        """
        Let the packets of a frame wait for their turn, behind those of the last one.

        Args:
            packets: Each with its size in bytes.
            interval_us: To the next frame.
            now_us: Increasing.
        """
        within_us = self._within_us(interval_us)
        if self._media:
            self._hurry(now_us)
        self._frame += 1
        for item, size in packets:
            self._media.append(_Waiting(item, size, now_us + within_us, self._frame))
            self._n_bytes += size
        self._rate_bps = self._rate_for(self._n_bytes, within_us)

    def add_again(self, item: Item, size_bytes: int, *, now_us: int) -> None:
        """Let a retransmission leave before all else."""
        self._again.append(_Waiting(item, size_bytes, now_us + self._config.again_us))
        self._n_bytes += size_bytes
        self._rate_bps = self._rate_for(self._n_bytes, self._config.again_us)

    def take(self, *, now_us: int) -> list[Item]:
        """Return the packets that leave now, in order."""
        taken = []
        burst_us = self._burst_us(self._rate_bps)
        while queue := self._again or self._media:
            due_us = self._due_us
            assert due_us is not None  # something waits
            if self._empty_us > now_us + burst_us and now_us < due_us:
                break
            first = queue.popleft()
            taken.append(first.item)
            self._n_bytes -= first.size_bytes
            drain_us = int(first.size_bytes * _BITS_US / self._rate_bps)
            self._empty_us = max(self._empty_us, now_us) + drain_us
        return taken

    def clear(self) -> None:
        """Forget what waits."""
        self._again.clear()
        self._media.clear()
        self._n_bytes = 0

    def _within_us(self, interval_us: int) -> int:
        """Return how long a frame may take to leave."""
        return max(int(self._config.spread * interval_us), 1)

    def _rate_for(self, n_bytes: int, within_us: int) -> float:
        """Go by the estimate, or faster if what waits would not leave in time."""
        rate_bps = n_bytes * _BITS_US / within_us
        if self.estimate_bps is not None:
            rate_bps = max(rate_bps, self._config.factor * self.estimate_bps)
        return max(rate_bps, 1.0)

    def _burst_us(self, rate_bps: float) -> int:
        burst_bytes = float(self._config.burst_bytes)
        if self.estimate_bps is not None:
            burst_bytes = max(burst_bytes, self.estimate_bps * self._config.burst_us / _BITS_US)
        return int(burst_bytes * _BITS_US / max(rate_bps, 1.0))

    def _hurry(self, now_us: int) -> None:
        """Let what was added before the last frame leave at once: with the next, two may wait."""
        self._media = deque(
            waiting if waiting.frame == self._frame else replace(waiting, deadline_us=now_us)
            for waiting in self._media
        )
