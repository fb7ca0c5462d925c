"""
Figures of what goes to and comes from beyond our own codec and our own rooms: ordinary viewers,
and rooms of other relays. `metrics` gives them their names and types.
"""

from dataclasses import dataclass

from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec_server.relay import Relay


@dataclass(frozen=True, slots=True)
class Edge:
    """One sample of all rooms together."""

    codecs: dict[str, tuple[int, int, TranscodeCounters]]
    "Codec -> viewers, encoders that run, and figures since the start."

    forwards_by_state: dict[str, int]
    frames: int
    frames_lost: int
    bitstream_bytes: int
    connections: int
    failures: int


def sample_edge(relay: Relay) -> Edge:
    """Add up the rooms of a relay; safe on another thread than the event loop's."""
    codecs: dict[str, tuple[int, int, TranscodeCounters]] = {}
    for codec in relay.settings.legacy.codecs:
        total, n_viewers, n_encoders = TranscodeCounters(), 0, 0
        if codec in relay.legacy_gone:
            total.add(relay.legacy_gone[codec])
        for room in relay.rooms:
            for name, viewers, counters in room.audience.figures():
                if name == codec:
                    total.add(counters)
                    n_viewers += viewers
                    n_encoders += viewers > 0
        codecs[codec] = (n_viewers, n_encoders, total)
    forwards = list(relay.forwards.values())
    states = dict.fromkeys(("idle", "connecting", "connected", "waiting"), 0)
    for forward in forwards:
        states[forward.state] += 1
    came = [forward.counters for forward in forwards]
    return Edge(
        codecs,
        states,
        frames=sum(c.frames for c in came),
        frames_lost=sum(c.frames_lost for c in came),
        bitstream_bytes=sum(c.bitstream_bytes for c in came),
        connections=sum(c.connections for c in came),
        failures=sum(c.failures for c in came),
    )
