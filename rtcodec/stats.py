"""
Counters and histograms that cores fill and shells export.

Plain values: no clock, no locks (each belongs to one thread), no exporter.
Names follow webrtc-stats where it has one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

STAGES = ("receive", "decode", "queue", "batch", "engine", "entropy", "send", "total")
"Stages of a frame's way through the relay, in order; `total` is all of them."

PLANES = ("y", "u", "v", "yuv")
"`yuv` is the planes' PSNR weighted 6:1:1."

PSNR_LOSSLESS_DB = 100.0
"Stands for an infinite PSNR in sums and histograms."


def geometric_bounds(first: float, last: float, *, per_octave: int) -> tuple[float, ...]:
    """Return bucket bounds from *first* to at least *last*, evenly spread in octaves."""
    bounds = [first]
    while bounds[-1] < last:
        bounds.append(first * 2.0 ** (len(bounds) / per_octave))
    return tuple(bounds)


LATENCY_BOUNDS_MS = geometric_bounds(0.05, 30_000.0, per_octave=8)
"Quantiles read from these are within 5 % of the truth."

PSNR_BOUNDS_DB = tuple(15.0 + 0.5 * step for step in range(91))
SIZE_BOUNDS = tuple(float(size) for size in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64))
BPP_BOUNDS = geometric_bounds(0.01, 8.0, per_octave=2)


@dataclass(slots=True)
class Histogram:
    """Counts of values in fixed buckets, with their sum."""

    bounds: Sequence[float]
    "Upper bounds of the buckets, increasing; a last bucket has none."

    counts: list[int] = field(init=False)
    "Values in each bucket, one more than bounds."

    count: int = 0
    "Values so far."

    total: float = 0.0
    "Sum of the values."

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    @property
    def mean(self) -> float | None:
        """Mean of the values, or None before the first."""
        return self.total / self.count if self.count else None

    def add(self, value: float) -> None:
        """Count *value*; one on a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.total += value

    def quantile(self, fraction: float) -> float | None:
        """
        Return the value below which *fraction* of the values lie.

        Interpolated inside the bucket; None before the first value, and the last bound for
        whatever lies above it.

        Args:
            fraction: Above 0, up to 1.
        """
        if not self.count:
            return None
        wanted = fraction * self.count
        seen = list(accumulate(self.counts))
        index = bisect_left(seen, wanted)
        if index >= len(self.bounds):
            return self.bounds[-1]
        low = self.bounds[index - 1] if index else 0.0
        missing = wanted - (seen[index] - self.counts[index])
        return low + (self.bounds[index] - low) * missing / self.counts[index]


@dataclass(slots=True)
class ReceiveCounters:
    """What a receiver's jitter buffer saw."""

    packets_received: int = 0
    "Packets taken in, retransmissions included."

    packets_recovered: int = 0
    "Packets that came after they had been asked for."

    packets_late: int = 0
    "Packets after their frame was given up or released."

    packets_duplicate: int = 0
    "Packets that were there already."

    packets_lost: int = 0
    "Packets given up."

    packets_malformed: int = 0
    "Packets that were not what they should be."

    nack_count: int = 0
    "Packets asked for again, every request counted."

    pli_count: int = 0
    "Key frames asked for."

    frames_complete: int = 0
    "Frames released whole."

    frames_incomplete: int = 0
    "Frames released with a part missing."


FREEZE_US = 200_000
"So long without a new picture is a freeze."


@dataclass(slots=True)
class FreezeCounters:
    """What a viewer saw stand still: times between new pictures that were longer than a freeze."""

    pictures: int = 0
    "New pictures shown."

    freeze_count: int = 0
    "Times that no new picture came for more than FREEZE_US."

    total_freeze_us: int = 0
    "Their sum, each from picture to picture."

    longest_us: int = 0
    "The longest time between two pictures, frozen or not."

    last_us: int | None = None
    "When the last new picture was shown."

    def shown(self, *, now_us: int) -> None:
        """Note a new picture."""
        if self.last_us is not None:
            self._count(now_us - self.last_us)
        self.last_us = now_us
        self.pictures += 1

    def end(self, *, now_us: int) -> None:
        """Note that the viewer stops watching, which ends the last time between pictures."""
        if self.last_us is not None:
            self._count(now_us - self.last_us)
            self.last_us = now_us

    def _count(self, gap_us: int) -> None:
        self.longest_us = max(self.longest_us, gap_us)
        if gap_us > FREEZE_US:
            self.freeze_count += 1
            self.total_freeze_us += gap_us


@dataclass(slots=True)
class FrameLedger:
    """
    Every frame is received once and then encoded or dropped for one reason.

    While the stream runs, `in_flight` frames are between the two.
    """

    received: int = 0
    encoded: int = 0
    sent: int = 0
    "Frames handed to the network, counted once per subscriber."

    unsent: int = 0
    "Encoded frames that a subscriber was too slow for, or left before."

    dropped: Counter[str] = field(default_factory=Counter)
    "Reason -> frames."

    @property
    def n_dropped(self) -> int:
        """Frames dropped for any reason."""
        return sum(self.dropped.values())

    @property
    def in_flight(self) -> int:
        """Frames received and not yet encoded or dropped."""
        return self.received - self.encoded - self.n_dropped

    def drop(self, reason: str) -> None:
        """Count one dropped frame."""
        self.dropped[reason] += 1


def _latency_histograms() -> dict[str, Histogram]:
    return {stage: Histogram(LATENCY_BOUNDS_MS) for stage in STAGES}


def _psnr_histograms() -> dict[str, Histogram]:
    return {plane: Histogram(PSNR_BOUNDS_DB) for plane in PLANES}


@dataclass(slots=True)
class StreamStats:
    """Figures of one stream, or of all of them together."""

    frames: FrameLedger = field(default_factory=FrameLedger)

    latency_ms: dict[str, Histogram] = field(default_factory=_latency_histograms)
    "Stage -> milliseconds."

    psnr_db: dict[str, Histogram] = field(default_factory=_psnr_histograms)
    "Plane -> decibels."

    psnr_skipped: int = 0
    "Frames encoded without a PSNR measurement, because the engine was busy."

    bitstream_bytes: int = 0
    "Bytes of bitstream packets made, counted once however many receive them."

    bits_per_pixel: Histogram = field(default_factory=lambda: Histogram(BPP_BOUNDS))

    deadline_misses: int = 0
    "Frames that were encoded after their deadline."

    nack_count: int = 0
    "Retransmissions asked for by subscribers."

    pli_count: int = 0
    "Key frames asked for by subscribers."

    def add_psnr(self, psnr_db: Mapping[str, float]) -> None:
        """Count one measurement of every plane; infinity counts as 100 dB."""
        for plane, histogram in self.psnr_db.items():
            histogram.add(min(psnr_db[plane], PSNR_LOSSLESS_DB))

    def add_latency(self, stage: str, us: int) -> None:
        """Count one *stage* that took *us* microseconds."""
        self.latency_ms[stage].add(us / 1000)
