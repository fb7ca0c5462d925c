"""
The relay's figures in Prometheus' text format.

The only importer of prometheus_client. Nothing is counted here: a collector
reads the cores' stats when it is asked. No label names a peer or a room.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from rtcodec.stats import Histogram, StreamStats
from rtcodec_server.relay import Relay

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BOUNDS_MS: Final = (
    0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2500,
)  # fmt: skip
_PSNR_BOUNDS_DB: Final = (20, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 45, 50, 60)
_BPP_BOUNDS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


class RelayCollector(Collector):
    """Turns a relay's figures into metric families."""

    def __init__(
        self, relay: Relay, refused: Mapping[int, int], webhooks: Mapping[str, int]
    ) -> None:
        self._relay = relay
        self._refused = refused
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those without values too."""
        stats = self._relay.stats
        yield from _latencies(stats)
        yield from _quality(stats)
        yield from _frames(stats)
        yield from self._requests()
        yield from self._engine()
        yield from self._rates()
        yield from self._people()
        yield from self._signalling()

    def _requests(self) -> Iterator[Metric]:
        relay = self._relay
        nacks = CounterMetricFamily(
            "rtcodec_nack", "Packets asked for again, by who was asked.", labels=["asked"]
        )
        nacks.add_metric(["relay"], relay.stats.nack_count)
        nacks.add_metric(["publisher"], relay.publisher_nacks)
        yield nacks
        plis = CounterMetricFamily(
            "rtcodec_pli", "Key frames asked for, by who was asked.", labels=["asked"]
        )
        plis.add_metric(["relay"], relay.stats.pli_count)
        plis.add_metric(["publisher"], relay.publisher_plis)
        yield plis

    def _engine(self) -> Iterator[Metric]:
        host = self._relay.host
        family = HistogramMetricFamily("rtcodec_batch_size", "Frames that ran together.")
        batch_size = host.batch_size if host is not None else Histogram((1.0,))
        family.add_metric([], _buckets(batch_size, batch_size.bounds, 1), batch_size.total)
        yield family
        failures = CounterMetricFamily("rtcodec_engine_failures", "Calls that the engine failed.")
        failures.add_metric([], host.failures if host is not None else 0)
        yield failures
        info = InfoMetricFamily("rtcodec_engine", "What runs the networks.")
        if host is not None:
            about = host.info
            info.add_metric(
                [],
                {
                    "engine": about.name,
                    "device": about.device,
                    "precision": about.precision,
                    "model": about.model,
                    "model_id": about.model_id.hex()[:16],
                },
            )
        yield info

    def _rates(self) -> Iterator[Metric]:
        live = [(room, room.stream) for room in self._relay.rooms if room.stream is not None]
        yield GaugeMetricFamily(
            "rtcodec_bitrate_bits_per_second",
            "Bitstream of all streams together, over the last two seconds.",
            value=sum(1000 * room.rates.kbps for room, _ in live),
        )
        yield GaugeMetricFamily(
            "rtcodec_target_bitrate_bits_per_second",
            "What those of them aim at that have a target.",
            value=sum(stream.rate.target_bps for _, stream in live if stream.rate is not None),
        )
        yield GaugeMetricFamily(
            "rtcodec_saturated_streams",
            "Streams whose target is out of reach of the finest or the coarsest qp.",
            value=sum(s.rate.is_saturated for _, s in live if s.rate is not None),
        )

    def _people(self) -> Iterator[Metric]:
        relay = self._relay
        rooms = relay.rooms
        yield GaugeMetricFamily("rtcodec_rooms", "Rooms with somebody in them.", value=len(rooms))
        sessions = GaugeMetricFamily("rtcodec_sessions", "Peers inside, by role.", labels=["role"])
        n_publishers = sum(relay.publisher_of(room.name) is not None for room in rooms)
        sessions.add_metric(["publisher"], n_publishers)
        sessions.add_metric(["subscriber"], relay.n_sessions - n_publishers)
        yield sessions
        closed = CounterMetricFamily(
            "rtcodec_sessions_closed", "Sessions that ended, by reason.", labels=["reason"]
        )
        for reason, n_sessions in sorted(relay.sessions_closed.items()):
            closed.add_metric([reason], n_sessions)
        yield closed
        yield GaugeMetricFamily(
            "rtcodec_event_loop_lag_seconds",
            "Longest delay of the event loop within the last second.",
            value=relay.loop_lag_s,
        )
        yield GaugeMetricFamily(
            "rtcodec_ready", "Whether peers can come in.", value=float(relay.is_ready)
        )

    def _signalling(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "rtcodec_requests_refused",
            "Requests without a right, a place or patience, by status.",
            labels=["status"],
        )
        for status, n_requests in sorted(dict(self._refused).items()):
            refused.add_metric([str(status)], n_requests)
        yield refused
        webhooks = CounterMetricFamily(
            "rtcodec_webhooks", "Webhook events by what became of them.", labels=["outcome"]
        )
        for outcome, n_events in sorted(self._webhooks.items()):
            webhooks.add_metric([outcome], n_events)
        yield webhooks


class MetricsPage:
    """What `/metrics` answers."""

    def __init__(
        self, relay: Relay, *, refused: Mapping[int, int], webhooks: Mapping[str, int]
    ) -> None:
        """
        Args:
            relay: Whose figures these are.
            refused: HTTP status -> requests.
            webhooks: Outcome -> events.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(RelayCollector(relay, refused, webhooks))

    def render(self) -> bytes:
        """Return the text; safe to call on another thread than the event loop's."""
        return generate_latest(self._registry)


def _latencies(stats: StreamStats) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "rtcodec_frame_latency_seconds",
        "Time that frames spend in the relay, by stage.",
        labels=["stage"],
    )
    for stage, histogram in stats.latency_ms.items():
        buckets = _buckets(histogram, _LATENCY_BOUNDS_MS, 1000)
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
        family.add_metric([plane], _buckets(histogram, _PSNR_BOUNDS_DB, 1), histogram.total)
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
    bpp.add_metric([], _buckets(stats.bits_per_pixel, _BPP_BOUNDS, 1), stats.bits_per_pixel.total)
    yield bpp
    misses = CounterMetricFamily(
        "rtcodec_deadline_misses", "Frames that were too late for the engine or out of it."
    )
    misses.add_metric([], stats.deadline_misses)
    yield misses


def _buckets(
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
