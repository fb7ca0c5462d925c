"""
Families of metrics of what goes to and comes from beyond our own codec and our own rooms:
ordinary viewers, and rooms of other relays.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec_server.legacy import COMPARED
from rtcodec_server.relay import Relay


@dataclass(frozen=True, slots=True)
class _Edge:
    """One sample of all rooms together."""

    codecs: dict[str, tuple[int, int, TranscodeCounters]]
    "Codec, or what is compared -> viewers, encoders that run, and figures since the start."

    forwards_by_state: dict[str, int]
    frames: int
    frames_lost: int
    bitstream_bytes: int
    connections: int
    failures: int


def edge_families(relay: Relay) -> Iterator[Metric]:
    """Yield the families, those without values too."""
    edge = _sample(relay)
    yield from _legacy(edge)
    yield from _forwards(edge)


def _sample(relay: Relay) -> _Edge:
    """Add up the rooms of a relay; safe on another thread than the event loop's."""
    codecs: dict[str, tuple[int, int, TranscodeCounters]] = {}
    for codec in (*relay.settings.legacy.codecs, COMPARED.name):
        total, n_viewers, n_encoders = TranscodeCounters(), 0, 0
        if codec in relay.legacy_gone:
            total.add(relay.legacy_gone[codec])
        for room in relay.rooms:
            for encoding, viewers, counters in room.audience.figures():
                if encoding.name == codec:
                    total.add(counters)
                    n_viewers += viewers
                    n_encoders += viewers > 0
        codecs[codec] = (n_viewers, n_encoders, total)
    forwards = list(relay.forwards.values())
    states = dict.fromkeys(("idle", "connecting", "connected", "waiting"), 0)
    for forward in forwards:
        states[forward.state] += 1
    came = [forward.counters for forward in forwards]
    return _Edge(
        codecs,
        states,
        frames=sum(c.frames for c in came),
        frames_lost=sum(c.frames_lost for c in came),
        bitstream_bytes=sum(c.bitstream_bytes for c in came),
        connections=sum(c.connections for c in came),
        failures=sum(c.failures for c in came),
    )


def _legacy(edge: _Edge) -> Iterator[Metric]:
    viewers = GaugeMetricFamily(
        "rtcodec_legacy_subscribers", "Subscribers without our codec.", labels=["codec"]
    )
    encoders = GaugeMetricFamily(
        "rtcodec_legacy_encoders", "Encoders that run for them.", labels=["codec"]
    )
    frames = CounterMetricFamily(
        "rtcodec_legacy_frames",
        "Pictures to be encoded for them, by what became of them.",
        labels=["codec", "event"],
    )
    sent = CounterMetricFamily(
        "rtcodec_legacy_encoded_bytes", "RTP payloads made for them.", labels=["codec"]
    )
    keyframes = CounterMetricFamily(
        "rtcodec_legacy_keyframes", "Key frames made for them.", labels=["codec"]
    )
    seconds = CounterMetricFamily(
        "rtcodec_legacy_encode_seconds", "Time spent on that.", labels=["codec"]
    )
    for codec, (n_viewers, n_encoders, counters) in edge.codecs.items():
        viewers.add_metric([codec], n_viewers)
        encoders.add_metric([codec], n_encoders)
        for event in ("received", "encoded", "superseded", "failed"):
            frames.add_metric([codec, event], getattr(counters, event))
        sent.add_metric([codec], counters.payload_bytes)
        keyframes.add_metric([codec], counters.keyframes)
        seconds.add_metric([codec], counters.encode_us / 1e6)
    yield from (viewers, encoders, frames, sent, keyframes, seconds)


def _forwards(edge: _Edge) -> Iterator[Metric]:
    rooms = GaugeMetricFamily(
        "rtcodec_forward_rooms", "Rooms that come from another relay, by state.", labels=["state"]
    )
    for state, n_rooms in edge.forwards_by_state.items():
        rooms.add_metric([state], n_rooms)
    yield rooms
    for name, about, value in (
        ("frames", "Frames that came from other relays.", edge.frames),
        ("frames_lost", "Frames of which nothing came.", edge.frames_lost),
        ("bitstream_bytes", "Bytes of bitstream packets that came.", edge.bitstream_bytes),
        ("connections", "Times that another relay let us in.", edge.connections),
        ("failures", "Times that it did not, or went away.", edge.failures),
    ):
        yield CounterMetricFamily(f"rtcodec_forward_{name}", about, value=value)
