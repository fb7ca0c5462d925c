"""
The relay's figures in Prometheus' text format.

Nothing is counted here: a collector reads the cores' stats when it is asked.
No label names a peer or a room. Families of frames are in `stream_metrics`,
those of other codecs and other relays in `edge_metrics`, of studies in `study_metrics`.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rtcodec.stats import Histogram
from rtcodec_server.edge_metrics import edge_families
from rtcodec_server.relay import Relay
from rtcodec_server.stream_metrics import exported_buckets, stream_families
from rtcodec_server.study_metrics import study_families

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


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
        yield from stream_families(self._relay.stats)
        yield from self._requests()
        yield from self._engine()
        yield from self._load()
        yield from self._rates()
        yield from self._rungs()
        yield from self._ways()
        yield from self._people()
        yield from signalling(self._refused, self._webhooks)
        yield from self._recordings()
        yield from study_families(self._relay)
        yield from edge_families(self._relay)

    def _requests(self) -> Iterator[Metric]:
        relay = self._relay
        nacks = CounterMetricFamily(
            "rtcodec_nack", "Packets asked for again, by who was asked.", labels=["asked"]
        )
        nacks.add_metric(["relay"], relay.stats.nack_count)
        nacks.add_metric(["publisher"], relay.occupancy.publisher_nacks)
        yield nacks
        plis = CounterMetricFamily(
            "rtcodec_pli", "Key frames asked for, by who was asked.", labels=["asked"]
        )
        plis.add_metric(["relay"], relay.stats.pli_count)
        plis.add_metric(["publisher"], relay.occupancy.publisher_plis)
        yield plis

    def _engine(self) -> Iterator[Metric]:
        host = self._relay.host
        family = HistogramMetricFamily("rtcodec_batch_size", "Frames that ran together.")
        batch_size = host.batch_size if host is not None else Histogram((1.0,))
        family.add_metric([], exported_buckets(batch_size, batch_size.bounds, 1), batch_size.total)
        yield family
        failures = CounterMetricFamily("rtcodec_engine_failures", "Calls that the engine failed.")
        failures.add_metric([], host.failures if host is not None else 0)
        yield failures
        group = host.group if host is not None else None
        moved = CounterMetricFamily(
            "rtcodec_engine_streams_moved",
            "Streams that started again on another engine, as theirs was gone.",
        )
        moved.add_metric([], group.streams_moved if group is not None else 0)
        yield moved
        yield GaugeMetricFamily(
            "rtcodec_engines_up",
            "Engines that can be asked.",
            value=group.n_up if group is not None else float(host is not None),
        )
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

    def _load(self) -> Iterator[Metric]:
        load, host = self._relay.load, self._relay.host
        yield GaugeMetricFamily(
            "rtcodec_engine_load",
            "What streams ask of engine and cores, as part of what there is; 1 is all of it.",
            value=load.present,
        )
        refused = CounterMetricFamily(
            "rtcodec_admission_refused", "Streams that the engine had no room for."
        )
        refused.add_metric([], load.admission.refused)
        yield refused
        steps = CounterMetricFamily(
            "rtcodec_load_steps",
            "Rungs left out, frame rates halved, either restored, because of the load.",
            labels=["step"],
        )
        for step, n_steps in load.shed_steps.items():
            steps.add_metric([step], n_steps)
        yield steps
        yield GaugeMetricFamily(
            "rtcodec_load_steps_in_force",
            "Rungs that are left out and frame rates that are halved now.",
            value=len(load.shedding.steps),
        )
        busy = CounterMetricFamily(
            "rtcodec_engine_busy_seconds", "Time that the engine's lanes spent on frames."
        )
        busy.add_metric([], host.busy_us / 1e6 if host is not None else 0.0)
        yield busy

    def _rates(self) -> Iterator[Metric]:
        live = [(room, room.stream) for room in self._relay.rooms if room.stream is not None]
        rates = [rate for _, stream in live for rate in stream.rates]
        yield GaugeMetricFamily(
            "rtcodec_bitrate_bits_per_second",
            "Bitstream of all streams together, over the last two seconds.",
            value=sum(1000 * room.rates.kbps for room, _ in live),
        )
        yield GaugeMetricFamily(
            "rtcodec_target_bitrate_bits_per_second",
            "What those of them aim at that have a target.",
            value=sum(rate.target_bps for rate in rates),
        )
        yield GaugeMetricFamily(
            "rtcodec_saturated_streams",
            "Streams, or rungs, whose target is out of reach of the finest or the coarsest qp.",
            value=sum(rate.is_saturated for rate in rates),
        )

    def _rungs(self) -> Iterator[Metric]:
        ladder = self._relay.ladder
        frames = CounterMetricFamily(
            "rtcodec_rung_frames",
            "Frames by rung, 0 the finest; encoded once each, sent once per subscriber.",
            labels=["rung", "event"],
        )
        size = CounterMetricFamily(
            "rtcodec_rung_bitstream_bytes", "Bytes of bitstream packets made.", labels=["rung"]
        )
        present = GaugeMetricFamily(
            "rtcodec_rung_subscribers", "Subscribers that get a rung now.", labels=["rung"]
        )
        switches = CounterMetricFamily(
            "rtcodec_rung_switches", "Subscribers' changes of rung.", labels=["direction"]
        )
        if ladder is not None:
            streams = [room.stream for room in self._relay.rooms if room.stream is not None]
            for rung, stats in enumerate(ladder.totals[: len(ladder.specs)]):
                for event in ("encoded", "sent"):
                    frames.add_metric([str(rung), event], getattr(stats.frames, event))
                size.add_metric([str(rung)], stats.bitstream_bytes)
                n_subscribers = sum(stream.n_subscribers_of(rung) for stream in streams)
                present.add_metric([str(rung)], n_subscribers)
            for direction in ("up", "down"):
                switches.add_metric([direction], ladder.switches[direction])
        yield from (frames, size, present, switches)

    def _ways(self) -> Iterator[Metric]:
        relay = self._relay
        known = [
            bps
            for room in relay.rooms
            for peer in relay.subscribers_of(room.name)
            if (bps := peer.available_bps) is not None
        ]
        yield GaugeMetricFamily(
            "rtcodec_ways_known",
            "Subscribers the way to whom is estimated, by TWCC or REMB.",
            value=len(known),
        )
        narrowest = GaugeMetricFamily(
            "rtcodec_narrowest_way_bits_per_second", "Of those, the least that a way carries."
        )
        if known:
            narrowest.add_metric([], min(known))
        yield narrowest
        rates = [room.stream.rate for room in relay.rooms if room.stream is not None]
        yield GaugeMetricFamily(
            "rtcodec_subscribers_below_floor",
            "Subscribers whose way carries less than min_bitrate_kbps.",
            value=sum(rate.left_behind for rate in rates if rate is not None),
        )

    def _people(self) -> Iterator[Metric]:
        relay = self._relay
        rooms = relay.rooms
        yield GaugeMetricFamily("rtcodec_rooms", "Rooms with somebody in them.", value=len(rooms))
        sessions = GaugeMetricFamily("rtcodec_sessions", "Peers inside, by role.", labels=["role"])
        n_publishers = sum(relay.source_of(room.name) is not None for room in rooms)
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

    def _recordings(self) -> Iterator[Metric]:
        recordings = self._relay.recordings
        totals = recordings.totals
        yield GaugeMetricFamily(
            "rtcodec_recordings", "Recordings that go on.", value=recordings.n_open
        )
        ended = CounterMetricFamily(
            "rtcodec_recordings_finished", "Recordings that ended, by reason.", labels=["reason"]
        )
        for reason, n_recordings in sorted(dict(totals.ended).items()):
            ended.add_metric([reason], n_recordings)
        yield ended
        frames = CounterMetricFamily(
            "rtcodec_recorded_frames",
            "Frames of recordings: written, or dropped as the disk was too slow.",
            labels=["event"],
        )
        frames.add_metric(["written"], totals.frames)
        frames.add_metric(["dropped"], totals.dropped)
        yield frames
        size = CounterMetricFamily("rtcodec_recorded_bytes", "Bytes of recordings written.")
        size.add_metric([], totals.size_bytes)
        yield size
        if recordings.folder is not None:
            yield GaugeMetricFamily(
                "rtcodec_recording_free_bytes",
                "Disk space left where recordings go.",
                value=recordings.folder.free_bytes(),
            )


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
        ProcessCollector(namespace="rtcodec", registry=self._registry)

    def render(self) -> bytes:
        """Return the text; safe to call on another thread than the event loop's."""
        return generate_latest(self._registry)


def signalling(refused: Mapping[int, int], webhooks: Mapping[str, int]) -> Iterator[Metric]:
    """
    Yield what became of requests and of webhooks.

    Args:
        refused: HTTP status -> requests.
        webhooks: Outcome -> events.
    """
    requests = CounterMetricFamily(
        "rtcodec_requests_refused",
        "Requests without a right, a place or patience, by status.",
        labels=["status"],
    )
    for status, n_requests in sorted(dict(refused).items()):
        requests.add_metric([str(status)], n_requests)
    yield requests
    events = CounterMetricFamily(
        "rtcodec_webhooks", "Webhook events by what became of them.", labels=["outcome"]
    )
    for outcome, n_events in sorted(webhooks.items()):
        events.add_metric([outcome], n_events)
    yield events
