"""
What a subscriber knows of one frame, and the figures of many.

All times are of this machine's monotonic clock; `records` become percentiles,
rates and means here and nowhere else. Pure: no clock, no I/O.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtcodec.quality import PlanePsnr
from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us

STAGES = (
    "publish",
    "receive",
    "decode",
    "queue",
    "batch",
    "engine",
    "entropy",
    "deliver",
    "peer_queue",
    "peer_decode",
    "total",
)
"""
The way of a frame, in order. `publish`: from the hands of the publisher's
encoder to the relay's first packet of it; `receive` to `entropy`: inside the
relay; `deliver`: from there until the subscriber has the last packet;
`peer_queue` and `peer_decode`: in the subscriber; `total`: from the
publisher's encoder to decoded planes, the sum of all.
"""

_WINDOW_US = 2_000_000
"Live figures are of the last two seconds."


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One decoded frame."""

    number: int
    "Frames the relay sent us before this one."

    pts: int
    "Unwrapped 90 kHz ticks of the publisher's time."

    decoded_us: int
    "When the planes were there, monotonic."

    n_bytes: int
    "Bitstream packets of the frame, as they came over the network."

    stages_ms: Mapping[str, float]
    "Stage -> duration; stages that could not be measured are absent."

    is_complete: bool = True
    "Whether no part of the picture was missing."

    psnr_db: PlanePsnr | None = None
    "Against the frame that the relay had decoded from the publisher."

    source_index: int | None = None
    "Which of the publisher's frames this is, modulo 65536, as the taps tell."

    source_psnr_db: PlanePsnr | None = None
    "Against the frame before the publisher's own encoder."


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """
    Return p50, p95 and p99, interpolated, rounded to a microsecond.

    Args:
        values: At least one, in milliseconds.
    """
    p50, p95, p99 = np.percentile(np.asarray(values, np.float64), (50, 95, 99))
    return {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}


@dataclass(slots=True)
class _PsnrSum:
    y: float = 0.0
    u: float = 0.0
    v: float = 0.0
    count: int = 0
    lowest: float = float("inf")
    "Worst frame's 6:1:1 figure, dB."

    def add(self, psnr_db: PlanePsnr) -> None:
        self.y += psnr_db.y
        self.u += psnr_db.u
        self.v += psnr_db.v
        self.count += 1
        self.lowest = min(self.lowest, psnr_db.yuv)

    def mean(self) -> dict[str, float] | None:
        if not self.count:
            return None
        mean = PlanePsnr(self.y / self.count, self.u / self.count, self.v / self.count)
        return {name: round(value, 3) for name, value in mean.as_dict().items()}


@dataclass(slots=True)
class WatchFigures:
    """Adds frames up. Memory grows by 8 bytes per frame and stage."""

    decoded: int = 0
    damaged: int = 0
    "Decoded frames with a part missing."

    lost: Counter[str] = field(default_factory=Counter)
    "Reason -> frames sent to us that were not decoded."

    bitstream_bytes: int = 0
    "Of decoded frames."

    latency_ms: dict[str, array[float]] = field(default_factory=dict)
    recent: deque[FrameRecord] = field(default_factory=deque)
    "The last two seconds."

    _psnr: _PsnrSum = field(default_factory=_PsnrSum)
    _source_psnr: _PsnrSum = field(default_factory=_PsnrSum)
    _first: FrameRecord | None = None
    _last: FrameRecord | None = None
    _longest_gap_us: int = 0

    def add(self, record: FrameRecord) -> None:
        """Count one decoded frame."""
        self.decoded += 1
        self.damaged += not record.is_complete
        self.bitstream_bytes += record.n_bytes
        for stage, value in record.stages_ms.items():
            self.latency_ms.setdefault(stage, array("d")).append(value)
        if record.psnr_db is not None:
            self._psnr.add(record.psnr_db)
        if record.source_psnr_db is not None:
            self._source_psnr.add(record.source_psnr_db)
        if self._last is not None:
            gap_us = record.decoded_us - self._last.decoded_us
            self._longest_gap_us = max(self._longest_gap_us, gap_us)
        self._first = self._first or record
        self._last = record
        self.recent.append(record)
        while self.recent[0].decoded_us < record.decoded_us - _WINDOW_US:
            self.recent.popleft()

    def lose(self, reason: str, n_frames: int = 1) -> None:
        """Count frames that were sent and did not become pictures."""
        if n_frames > 0:
            self.lost[reason] += n_frames

    @property
    def n_lost(self) -> int:
        """Frames lost for any reason."""
        return sum(self.lost.values())

    def report(self) -> dict[str, Any]:
        """Return latency, quality and rates of the whole time, as JSON values."""
        return {
            "latency_ms": {
                stage: percentiles(self.latency_ms[stage])
                for stage in STAGES
                if stage in self.latency_ms
            },
            "psnr_db": self._psnr.mean() or _NO_PSNR,
            "psnr_min_db": round(self._psnr.lowest, 3) if self._psnr.count else None,
            "psnr_source_db": self._source_psnr.mean() or _NO_PSNR,
            "psnr_measurements": self._psnr.count,
            "kbps": round(_kbps(self._first, self._last, self.decoded, self.bitstream_bytes), 1),
            "fps": round(_fps(self._first, self._last, self.decoded), 2),
            "bitstream_bytes": self.bitstream_bytes,
            "longest_gap_ms": round(self._longest_gap_us / 1000, 1),
        }

    def live(self) -> dict[str, Any]:
        """Return the figures of the last two seconds, as JSON values."""
        records = list(self.recent)
        out: dict[str, Any] = {"decoded": self.decoded, "lost": self.n_lost}
        if not records:
            return out
        size = sum(record.n_bytes for record in records)
        out["fps"] = round(_fps(records[0], records[-1], len(records)), 1)
        out["kbps"] = round(_kbps(records[0], records[-1], len(records), size), 1)
        psnr = _PsnrSum()
        for record in records:
            if record.psnr_db is not None:
                psnr.add(record.psnr_db)
        out["psnr_db"] = psnr.mean()
        out["latency_ms"] = {
            stage: percentiles(values)
            for stage in STAGES
            if (values := [r.stages_ms[stage] for r in records if stage in r.stages_ms])
        }
        return out


_NO_PSNR: dict[str, float | None] = {"y": None, "u": None, "v": None, "yuv": None}


def _fps(first: FrameRecord | None, last: FrameRecord | None, n_frames: int) -> float:
    if first is None or last is None or last.decoded_us <= first.decoded_us:
        return 0.0
    return (n_frames - 1) * 1e6 / (last.decoded_us - first.decoded_us)


def _kbps(first: FrameRecord | None, last: FrameRecord | None, n_frames: int, size: int) -> float:
    """Rate over the stream's own time: the last frame lasts as long as the mean one."""
    if first is None or last is None or last.pts <= first.pts or n_frames < 2:
        return 0.0
    shown_us = ticks_to_us(last.pts - first.pts, RTP_TIME_BASE) * n_frames / (n_frames - 1)
    return size * 8e3 / shown_us
