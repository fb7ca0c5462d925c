"""
Figures of rooms and of the relay as plain JSON values.

For `/api/rooms` and the summary at the end; Prometheus has `metrics`.
"""

from collections import deque
from typing import Any, Final

from rtcodec.engine.api import EngineInfo
from rtcodec.stats import FrameLedger, Histogram, StreamStats

_RATE_WINDOW_US: Final = 2_000_000


class RateMeter:
    """Frames and kilobits per second over the last two seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int]] = deque()  # time, frames, bytes

    def sample(self, stats: StreamStats, *, now_us: int) -> None:
        """Note the counters; call it a few times a second."""
        self._samples.append((now_us, stats.frames.encoded, stats.bitstream_bytes))
        while now_us - self._samples[0][0] > _RATE_WINDOW_US and len(self._samples) > 2:
            self._samples.popleft()

    @property
    def fps(self) -> float:
        """Frames encoded per second."""
        return self._rate(1)

    @property
    def kbps(self) -> float:
        """Kilobits of bitstream per second."""
        return self._rate(2) * 8 / 1000

    def _rate(self, column: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last[column] - first[column]) * 1e6 / (last[0] - first[0])


def report_stats(stats: StreamStats) -> dict[str, Any]:
    """Return the figures of a stream; stages and planes without a value are null."""
    return {
        "frames": report_frames(stats.frames),
        "latency_ms": {name: _quantiles(h) for name, h in stats.latency_ms.items()},
        "psnr_db": {name: _rounded(h.mean, 3) for name, h in stats.psnr_db.items()},
        "psnr_measurements": stats.psnr_db["y"].count,
        "psnr_skipped": stats.psnr_skipped,
        "bitstream_bytes": stats.bitstream_bytes,
        "bits_per_pixel": _rounded(stats.bits_per_pixel.mean, 4),
        "deadline_misses": stats.deadline_misses,
        "nacks": stats.nack_count,
        "plis": stats.pli_count,
    }


def report_frames(frames: FrameLedger) -> dict[str, Any]:
    """Return the ledger; `received` = `encoded` + `dropped` + `in_flight`."""
    return {
        "received": frames.received,
        "encoded": frames.encoded,
        "dropped": frames.n_dropped,
        "dropped_by_reason": dict(frames.dropped),
        "sent": frames.sent,
        "unsent": frames.unsent,
        "in_flight": frames.in_flight,
    }


def report_engine(info: EngineInfo) -> dict[str, Any]:
    """Return what runs, on what, with which model."""
    return {
        "engine": info.name,
        "hardware": info.device,
        "precision": info.precision,
        "model": info.model,
        "model_id": info.model_id.hex(),
        "versions": dict(info.versions),
    }


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    return {
        name: _rounded(histogram.quantile(fraction), 3)
        for name, fraction in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
