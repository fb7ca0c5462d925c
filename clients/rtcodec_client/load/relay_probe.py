"""
What the relay says of itself, and the system of its process, again and again.

Tolerant: a relay that says less is fine, figures are then absent.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Final

from rtcodec.errors import RtcodecError
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.load.system import (
    MachineSample,
    ProcessSample,
    sample_family,
    sample_machine,
)
from rtcodec_client.signalling import SignallingClient

_LINE: Final = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')

Metrics = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySample:
    """The relay at one moment."""

    at_us: int
    "Monotonic."

    metrics: Metrics
    rooms: list[dict[str, Any]]
    "As `/api/rooms` has them, ours only."

    n_foreign_rooms: int
    "Rooms of others: what they cost is in the totals."

    total: dict[str, Any]
    process: ProcessSample | None
    machine: MachineSample | None
    "That which the test runs on."

    def metric(self, name: str, **labels: str) -> float | None:
        """Return one value."""
        return self.metrics.get((name, tuple(sorted(labels.items()))))

    def metric_sum(self, name: str, **labels: str) -> float:
        """Return the sum over all series of *name* that have these labels."""
        wanted = set(labels.items())
        return sum(v for (n, have), v in self.metrics.items() if n == name and wanted <= set(have))

    def frames(self) -> dict[str, int]:
        """Return received, encoded, dropped and sent frames since the relay started."""
        name = "rtcodec_frames_total"
        return {
            event: round(self.metric_sum(name, event=event))
            for event in ("received", "encoded", "dropped", "sent", "unsent")
        }

    def dropped(self) -> dict[str, int]:
        """Return dropped frames by reason since the relay started."""
        return {
            reason: round(value)
            for (name, labels), value in self.metrics.items()
            if name == "rtcodec_frames_total"
            and dict(labels).get("event") == "dropped"
            and (reason := dict(labels).get("reason", ""))
        }

    @property
    def loop_lag_ms(self) -> float | None:
        """Longest delay of its event loop within the last second."""
        lag_s = self.metric("rtcodec_event_loop_lag_seconds")
        return None if lag_s is None else lag_s * 1000

    @property
    def n_sessions(self) -> int:
        """Peers inside."""
        return round(self.metric_sum("rtcodec_sessions"))


@dataclass(slots=True)
class RelayProbe:
    """Looks at one relay."""

    client: SignallingClient
    room_prefix: str
    pid: int | None
    "Of the relay, if it runs on this machine."

    samples: list[RelaySample] = field(default_factory=list)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def sample(self) -> RelaySample | None:
        """Look once, and keep what was seen; None if the relay does not answer."""
        async with self._looking:  # a second connection would be a descriptor too many over there
            return await self._sample()

    async def _sample(self) -> RelaySample | None:
        try:
            text = await self.client.get_text("/metrics")
            document = await self.client.get_json("/api/rooms")
        except RtcodecError:
            return None
        document = document if isinstance(document, dict) else {}
        rooms = [room for room in document.get("rooms") or () if isinstance(room, dict)]
        ours = [room for room in rooms if str(room.get("room")).startswith(self.room_prefix)]
        total = document.get("total")
        sample = RelaySample(
            at_us=monotonic_us(),
            metrics=read_metrics(text or ""),
            rooms=ours,
            n_foreign_rooms=len(rooms) - len(ours),
            total=total if isinstance(total, dict) else {},
            process=sample_family(self.pid) if self.pid is not None else None,
            machine=sample_machine(),
        )
        self.samples.append(sample)
        return sample


def read_metrics(text: str) -> Metrics:
    """Read Prometheus' text format; lines that are something else are left out."""
    metrics: Metrics = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
        try:
            metrics[match["name"], labels] = float(match["value"])
        except ValueError:
            continue
    return metrics


def latency_between(first: RelaySample, last: RelaySample) -> dict[str, dict[str, float | None]]:
    """
    Return percentiles of the relay's own stages from one sample to another.

    From the buckets of its histogram, so as coarse as those: interpolated, in milliseconds.
    """
    name = "rtcodec_frame_latency_seconds_bucket"
    stages = sorted({dict(labels)["stage"] for n, labels in last.metrics if n == name})
    return {stage: _quantiles(_buckets(first, last, name, stage)) for stage in stages}


def _buckets(
    first: RelaySample, last: RelaySample, name: str, stage: str
) -> list[tuple[float, float]]:
    """Return (upper bound in ms, cumulative count) of what was added in between."""
    buckets = []
    for (n, labels), value in last.metrics.items():
        if n == name and dict(labels)["stage"] == stage:
            added = value - first.metrics.get((n, labels), 0.0)
            buckets.append((float(dict(labels)["le"]) * 1000, added))
    return sorted(buckets)


def _quantiles(buckets: list[tuple[float, float]]) -> dict[str, float | None]:
    return {f"p{q}": _quantile(buckets, q / 100) for q in (50, 95, 99)}


def _quantile(buckets: list[tuple[float, float]], fraction: float) -> float | None:
    wanted = fraction * buckets[-1][1] if buckets else 0.0
    low_ms = below = 0.0
    for high_ms, count in buckets:
        if wanted and count >= wanted:
            if high_ms == float("inf"):
                return low_ms
            return round(low_ms + (high_ms - low_ms) * (wanted - below) / (count - below), 3)
        low_ms, below = high_ms, count
    return None
