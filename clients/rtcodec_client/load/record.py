"""
Everything that was told during a run, in one place: events in, figures out.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from rtcodec.timebase import US_PER_S
from rtcodec_client.load.peer import PeerSpec
from rtcodec_client.load.tally import Tally, read_tally


@dataclass(slots=True)
class PeerRecord:
    """What became of one peer."""

    spec: PeerSpec
    process: int
    times: dict[str, float | None] = field(default_factory=dict)
    "Durations of its join from the POST on, in milliseconds."

    figures: dict[str, Any] = field(default_factory=dict)
    "Its own, once it has left."

    state: str = "joining"
    "`joining`, `in`, `left`, `failed` (never saw a frame) or `lost` (its stay was cut short)."

    reason: str | None = None


@dataclass(slots=True)
class Second:
    """What all processes told within one second."""

    counts: Counter[str] = field(default_factory=Counter)
    stages: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    peers: int = 0
    cpu_s: float = 0.0
    "Processor time of the peer processes within this second."


class RunRecord:
    """Adds up what the processes tell."""

    def __init__(self) -> None:
        self.peers: dict[str, PeerRecord] = {}
        self.seconds: defaultdict[int, Second] = defaultdict(Second)
        "Second since the start of the run -> what was told for it."

        self.stages: defaultdict[str, Tally] = defaultdict(Tally)
        "Stage -> durations within the soak, of all peers."

        self.counts: Counter[str] = Counter()
        "Of the whole run."

        self.churn_joins = Tally()
        self.churn: Counter[str] = Counter()
        "`started`, `cycles` (joined and left), `failed`, `held_back`."

        self.churn_reasons: Counter[str] = Counter()
        self.deaths: list[str] = []
        self._cpu_s: dict[int, float] = {}
        self._start_us: int | None = None

    def begin(self, *, now_us: int) -> None:
        """Set when the run starts: the whole second of the clock before *now_us*."""
        self._start_us = now_us - now_us % US_PER_S

    def second_of(self, at_us: int) -> int:
        """Return the second of the run that ended at *at_us*, or about then."""
        assert self._start_us is not None
        return (at_us - US_PER_S // 2 - self._start_us) // US_PER_S

    def joining(self, spec: PeerSpec, process: int) -> None:
        """Note that a peer was told to join."""
        self.peers[spec.name] = PeerRecord(spec, process)
        if spec.is_churn:
            self.churn["started"] += 1

    def receive(self, process: int, event: dict[str, Any], *, is_ending: bool, now_us: int) -> None:
        """
        Take one event of a process.

        Args:
            process: Its number.
            event: As `process.tell` wrote it.
            is_ending: Whether peers have been told to leave by now.
            now_us: When it was heard.
        """
        kind = event["event"]
        if kind in ("joined", "left", "failed"):
            self._note_peer(self.peers[event["peer"]], event, is_ending=is_ending)
        elif kind in ("tick", "ended"):
            self._note_interval(process, event, now_us)
        elif kind == "died":
            self.deaths.append(f"peer process {process}: {event['reason']}")
            for name, peer in list(self.peers.items()):
                if peer.process == process and peer.state in ("joining", "in"):
                    kind = "left" if peer.state == "in" else "failed"
                    died = {"event": kind, "peer": name, "reason": "its process died"}
                    self._note_peer(peer, died, is_ending=False)

    @property
    def steady(self) -> list[PeerRecord]:
        """Peers of the soak."""
        return [peer for peer in self.peers.values() if not peer.spec.is_churn]

    def _note_peer(self, peer: PeerRecord, event: dict[str, Any], *, is_ending: bool) -> None:
        kind = event["event"]
        peer.times = event.get("times", peer.times)
        peer.figures = event.get("figures", peer.figures)
        peer.reason = event.get("reason", peer.reason)
        if kind == "joined":
            peer.state = "in"
        elif kind == "failed":
            peer.state = "failed"
        else:
            peer.state = "left" if peer.reason is None or is_ending else "lost"
        if peer.spec.is_churn:
            self._note_churn(peer)

    def _note_churn(self, peer: PeerRecord) -> None:
        """Count a cycle and forget the peer: there may be thousands."""
        if peer.state == "in":
            first_ms = peer.times.get("first_frame")
            if first_ms is not None:
                self.churn_joins.add(first_ms)
            return
        self.churn["cycles" if peer.state == "left" else "failed"] += 1
        self.churn["frames"] += peer.figures.get("units", 0)
        self.churn["lost"] += peer.figures.get("lost", 0)
        if peer.reason is not None:
            self.churn_reasons[peer.reason] += 1
        del self.peers[peer.spec.name]

    def _note_interval(self, process: int, event: dict[str, Any], now_us: int) -> None:
        second = self.seconds[self.second_of(event.get("at_us", now_us))]
        for name, n in event["counts"].items():
            second.counts[name] += n
            self.counts[name] += n
        if event["event"] == "ended":
            for stage, tally in event["stages"].items():
                self.stages[stage].merge(read_tally(tally))
            return
        for stage, tally in event["stages"].items():
            second.stages[stage].merge(read_tally(tally))
        second.peers += event["peers"]
        second.cpu_s += event["cpu_s"] - self._cpu_s.get(process, 0.0)
        self._cpu_s[process] = event["cpu_s"]
