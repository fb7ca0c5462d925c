"""
The subscribers of a stream that has rungs: who gets which, and what has to be coded for that.

    available bit rate, loss, wishes --> selectors --> seats --> rungs to code, frames to send

Belongs to the event loop. What is chosen is `rtcodec.session`'s; here it is tied to senders,
predictions and rates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.packet.feedback import FrameReport
from rtcodec.session.layer import FULL_RATE, HALF_RATE, LayerWish
from rtcodec.session.rung_selector import RungSelector, Step
from rtcodec.session.seat import FrameCodings, Seat
from rtcodec.webrtc import LatentSender, OutgoingFrame
from rtcodec_server.rung import LadderSetup, StreamRung

HALF_RATE_PART: Final = 0.6
"Of a rung's bit rate in two layers, that of every other frame. # measured: benchmarks/rungs.json"

_KEY_INTERVAL_US: Final = 500_000
"Between two changes to a rung that others follow: each costs all of them a key frame."

_PIXEL_POWER: Final = 0.8
"Of the ratio of pixels, for a first guess at the ratio of bits."


@dataclass(frozen=True, slots=True, eq=False)
class RungFrame:
    """A frame as one rung codes it, ready to be sent."""

    rung: int
    outgoing: OutgoingFrame
    is_clean: bool
    temporal: int


@dataclass(slots=True)
class _Member:
    sender: LatentSender
    selector: RungSelector


class Audience:
    """Seats of a stream's subscribers."""

    def __init__(
        self, setup: LadderSetup, may_add: Callable[[StreamRung], bool] = lambda rung: True
    ) -> None:
        """
        Args:
            setup: Of all streams.
            may_add: Says whether the engine has room for a rung that is not coded yet.
        """
        self.seats: dict[str, Seat] = {}
        self._setup = setup
        self._members: dict[str, _Member] = {}
        self._rungs: tuple[StreamRung, ...] = ()
        self._may_add = may_add
        self.shed: frozenset[int] = frozenset()
        "Rungs that nobody gets, as long as there is another."

    # ---- rungs

    def change_rungs(self, rungs: tuple[StreamRung, ...]) -> None:
        """Take the rungs of a new source size; everybody starts afresh."""
        self._rungs = rungs
        for name, seat in self.seats.items():
            before = seat.aim
            seat.rung = seat.target = None
            is_free = before is not None and seat.wish.rung is None
            first = self._steps(seat.wish)[0].rung
            self._aim(name, min(before or 0, len(rungs) - 1) if is_free else first)

    def followers(self, index: int) -> list[str]:
        """Return the subscribers that a rung has to be coded for."""
        return [name for name, seat in self.seats.items() if index in seat.follows]

    def wanted(self) -> list[StreamRung]:
        """Return the rungs to code the next frame at, coarsest first: it is done soonest."""
        indices = frozenset[int]().union(*(seat.follows for seat in self.seats.values()))
        return [rung for rung in reversed(self._rungs) if rung.index in indices and rung.is_open]

    def wants_half_rate(self, index: int) -> bool:
        """Return whether somebody gets every other frame of a rung."""
        return any(
            seat.max_temporal == HALF_RATE and index in seat.follows for seat in self.seats.values()
        )

    # ---- subscribers

    def join(self, name: str, sender: LatentSender, wish: LayerWish, *, now_us: int) -> None:
        """Seat a subscriber: on the best rung that it may have, until more is known of its way."""
        self.seats[name] = Seat(wish, max_temporal=wish.max_temporal)
        self._members[name] = _Member(sender, RungSelector(self._setup.policy, now_us=now_us))
        if self._rungs:
            self._aim(name, self._steps(wish)[0].rung)

    def leave(self, name: str) -> None:
        """Let a subscriber go; one that is not there is ignored."""
        self._members.pop(name, None)
        seat = self.seats.pop(name, None)
        for index in seat.follows if seat is not None else ():
            self._rungs[index].leave(name)

    def choose(self, name: str, wish: LayerWish, *, now_us: int) -> None:
        """Heed what a subscriber wants from now on."""
        seat = self.seats.get(name)
        if seat is None:
            return
        seat.wish = wish
        if self._rungs:
            self._advance(name, seat, now_us)

    def restart(self, name: str) -> None:
        """Let a subscriber start afresh that can make nothing of what it gets."""
        for rung in self._followed(name):
            if rung.prediction is not None:
                rung.prediction.lost_all(name)

    def report(self, name: str, report: FrameReport) -> None:
        """Take a subscriber's word for which frames it holds."""
        for rung in self._followed(name):
            if rung.prediction is not None:
                rung.prediction.report(name, report)

    def describe(self, name: str) -> dict[str, Any]:
        """Return what a subscriber gets, as JSON values."""
        seat = self.seats.get(name)
        if seat is None:
            return {}
        return {
            "rung": seat.rung,
            "rung_wanted": seat.wish.rung,
            "half_rate": seat.max_temporal == HALF_RATE,
            "rung_switches": seat.n_switches,
        }

    # ---- ten times a second

    def advance(self, *, now_us: int) -> None:
        """Move subscribers to what their ways carry."""
        for rung in self._rungs:
            rung.sample(now_us=now_us)
        if self._rungs:
            for name, seat in self.seats.items():
                self._advance(name, seat, now_us)

    def _advance(self, name: str, seat: Seat, now_us: int) -> None:
        member = self._members[name]
        steps = self._steps(seat.wish)
        at = member.selector.advance(
            steps,
            available_bps=member.sender.available_bps,
            loss=self._loss(name, seat),
            now_us=now_us,
        )
        seat.max_temporal = steps[at].max_temporal
        to = steps[at].rung
        if to == seat.aim:
            return
        if to == seat.rung:  # it had not left yet
            assert seat.target is not None
            self._rungs[seat.target].leave(name)
            seat.target = None
            return
        rung = self._rungs[to]
        key_us = rung.key_us
        is_busy = key_us is not None and key_us < now_us < key_us + _KEY_INTERVAL_US
        if not (is_busy and self.followers(to)):
            rung.key_us = now_us
            self._aim(name, to)

    def _aim(self, name: str, to: int) -> None:
        seat = self.seats[name]
        if seat.target is not None:
            self._rungs[seat.target].leave(name)
        seat.target = to
        self._rungs[to].join(name)

    def _steps(self, wish: LayerWish) -> Sequence[Step]:
        """Return what a subscriber may be given, finest first."""
        allowed = [self._rungs[rung.index] for rung in wish.allowed([r.rung for r in self._rungs])]
        rungs = [rung for rung in allowed if rung.is_open] or allowed
        rungs = self._carried(rungs)
        part = 1.0 if wish.max_temporal == FULL_RATE else HALF_RATE_PART
        steps = [self._step(rung, wish.max_temporal, part) for rung in rungs]
        if wish.rung is None and wish.max_temporal == FULL_RATE:
            steps.append(self._step(rungs[-1], HALF_RATE, HALF_RATE_PART))
        return steps

    def _carried(self, rungs: list[StreamRung]) -> list[StreamRung]:
        """Leave out what the engine has no room for, where a coarser rung is coded."""
        rungs = [rung for rung in rungs if rung.index not in self.shed] or rungs[-1:]
        coded = {rung.index for rung in self.wanted()}
        return [
            rung
            for rung in rungs
            if rung.index in coded
            or not any(other.index in coded for other in rungs if other.index > rung.index)
            or self._may_add(rung)
        ]

    def _step(self, rung: StreamRung, max_temporal: int, part: float) -> Step:
        bps = rung.wire_bps
        if bps is None:  # guess by a rung that is known, the nearest first
            known = sorted(
                (other for other in self._rungs if other.wire_bps is not None),
                key=lambda other: abs(other.index - rung.index),
            )
            if known:
                pixels = rung.rung.n_pixels / known[0].rung.n_pixels
                bps = (known[0].wire_bps or 0.0) * pixels**_PIXEL_POWER
        return Step(rung.index, max_temporal, None if bps is None else part * bps)

    def _loss(self, name: str, seat: Seat) -> float:
        if seat.rung is None:
            return 0.0
        prediction = self._rungs[seat.rung].prediction
        return 0.0 if prediction is None else prediction.loss_of(name)

    def _followed(self, name: str) -> list[StreamRung]:
        seat = self.seats.get(name)
        return [] if seat is None else [self._rungs[index] for index in seat.follows]

    # ---- frames

    def serve(self, frame: FrameCodings[RungFrame]) -> Mapping[RungFrame, list[LatentSender]]:
        """Return who gets what of a frame now; call it after each of its codings."""
        receivers: dict[RungFrame, list[LatentSender]] = {}
        for served in frame.serve(self.seats):
            coding, left = served.coding, served.left
            if left is not None:
                self._rungs[left].leave(served.name)
                self._setup.switches["up" if coding.rung < left else "down"] += 1
            receivers.setdefault(coding, []).append(self._members[served.name].sender)
        return receivers
