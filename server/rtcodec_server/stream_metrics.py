"""
Families of metrics of all streams' frames: latency, quality, sizes, what became of them.

No label names a stream.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)

from rtcodec.stats import Histogram, StreamStats

_LATENCY_BOUNDS_MS: Final = (
    0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2500,
)  # fmt: skip
_PSNR_BOUNDS_DB: Final = (20, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 45, 50, 60)
_BPP_BOUNDS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


def stream_families(stats: StreamStats) -> Iterator[Metric]:
    """Yield the families, those without values too."""
    yield from _latencies(stats)
    yield from _quality(stats)
    yield from _frames(stats)


def _latencies(stats: StreamStats) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "rtcodec_frame_latency_seconds",
        "Time that frames spend in the relay, by stage.",
        labels=["stage"],
    )
    for stage, histogram in stats.latency_ms.items():
        buckets = exported_buckets(histogram, _LATENCY_BOUNDS_MS, 1000)
        family.add_metric([stage], buckets, histogram.total / 1000)
    yield family


def _quality(stats: StreamStats) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "rtcodec_frame_psnr_db",
        "PSNR of what a subscriber decodes against what the publisher sent.",
        labels=["plane"],
    )
    # histograms would call it rtcodec_frame_psnr_db_sum; webrtc-stats has psnrSum
    sums = UnknownMetricFamily(
        "rtcodec_psnr_db_sum", "Sum of the PSNR of measured frames.", labels=["plane"]
    )
    for plane, histogram in stats.psnr_db.items():
        family.add_metric([plane], exported_buckets(histogram, _PSNR_BOUNDS_DB, 1), histogram.total)
        sums.add_metric([plane], histogram.total)
    yield family
    yield sums
    measured = CounterMetricFamily("rtcodec_psnr_measurements", "Frames whose PSNR was measured.")
    measured.add_metric([], stats.psnr_db["y"].count)
    yield measured
    skipped = CounterMetricFamily(
        "rtcodec_psnr_skipped", "Frames whose PSNR there was no time to measure."
    )
    skipped.add_metric([], stats.psnr_skipped)
    yield skipped


def _frames(stats: StreamStats) -> Iterator[Metric]:
    frames = stats.frames
    family = CounterMetricFamily(
        "rtcodec_frames",
        "Frames by what became of them: received = encoded + dropped, but for those in flight.",
        labels=["event", "reason"],
    )
    family.add_metric(["received", ""], frames.received)
    family.add_metric(["encoded", ""], frames.encoded)
    for reason, n_frames in sorted({"superseded": 0, **frames.dropped}.items()):
        family.add_metric(["dropped", reason], n_frames)
    family.add_metric(["sent", ""], frames.sent)
    family.add_metric(["unsent", ""], frames.unsent)
    yield family
    size = CounterMetricFamily("rtcodec_bitstream_bytes", "Bytes of bitstream packets made.")
    size.add_metric([], stats.bitstream_bytes)
    yield size
    bpp = HistogramMetricFamily("rtcodec_bits_per_pixel", "Bits per luma pixel of coded frames.")
    bpp.add_metric(
        [], exported_buckets(stats.bits_per_pixel, _BPP_BOUNDS, 1), stats.bits_per_pixel.total
    )
    yield bpp
    misses = CounterMetricFamily(
        "rtcodec_deadline_misses", "Frames that were too late for the engine or out of it."
    )
    misses.add_metric([], stats.deadline_misses)
    yield misses


def exported_buckets(
    histogram: Histogram, bounds: Sequence[float], units: float
) -> list[tuple[str, float]]:
    """
    Return cumulative buckets with the given bounds; each counts what is surely below it.

    Args:
        histogram: With bounds at least as fine.
        bounds: In the histogram's unit.
        units: How many of that unit make one of the exported unit.
    """
    counts = list(histogram.counts)
    buckets = []
    index = 0
    below = 0
    for bound in bounds:
        while index < len(histogram.bounds) and histogram.bounds[index] <= bound:
            below += counts[index]
            index += 1
        buckets.append((repr(bound / units), float(below)))
    buckets.append(("+Inf", float(sum(counts))))
    return buckets
