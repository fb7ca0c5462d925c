"""Latency and PSNR of the last seconds: what a dashboard draws, where totals would hardly move."""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.stats import Histogram, StreamStats

_WINDOW_US: Final = 5_000_000
_EVERY_US: Final = 500_000
"Between two notes of the counters: a look at a window need not be finer."


@dataclass(frozen=True, slots=True)
class _Note:
    """Counters of a stream at one time."""

    at_us: int
    latencies: dict[str, tuple[int, ...]]
    "Stage -> counts of its buckets."

    n_psnr: int
    psnr_db: float
    "Sum over the measurements."


class RecentFigures:
    """Figures of the last five seconds, from counters that only ever grow."""

    def __init__(self) -> None:
        self._notes: deque[_Note] = deque()

    def sample(self, stats: StreamStats, *, now_us: int) -> None:
        """Note the counters; call it a few times a second."""
        if self._notes and now_us - self._notes[-1].at_us < _EVERY_US:
            return
        psnr = stats.psnr_db["yuv"]
        latencies = {stage: tuple(h.counts) for stage, h in stats.latency_ms.items()}
        self._notes.append(_Note(now_us, latencies, psnr.count, psnr.total))
        while now_us - self._notes[0].at_us > _WINDOW_US and len(self._notes) > 2:
            self._notes.popleft()

    def report(self, stats: StreamStats) -> dict[str, Any]:
        """
        Return them as JSON values; what was not measured meanwhile is null.

        Args:
            stats: The counters as they are now.
        """
        first = self._notes[0] if self._notes else None
        psnr = stats.psnr_db["yuv"]
        n_psnr = psnr.count - (first.n_psnr if first else 0)
        psnr_db = psnr.total - (first.psnr_db if first else 0.0)
        return {
            "latency_ms": {
                stage: _quantiles(now, first.latencies[stage] if first else ())
                for stage, now in stats.latency_ms.items()
            },
            "psnr_db": round(psnr_db / n_psnr, 3) if n_psnr > 0 else None,
        }


def _quantiles(now: Histogram, then: tuple[int, ...]) -> dict[str, float | None]:
    since = Histogram(now.bounds)
    since.counts = [b - a for a, b in zip(then, now.counts, strict=True)] if then else now.counts
    since.count = sum(since.counts)
    quantiles = (("p50", since.quantile(0.5)), ("p95", since.quantile(0.95)))
    return {name: None if ms is None else round(ms, 3) for name, ms in quantiles}
