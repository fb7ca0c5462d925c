"""
One run: phases, who joins and leaves when, and a look at the relay every second.

    baseline -> ramp -> soak (+ churn) -> leave -> after

Decides nothing about figures: what is told goes into the `RunRecord`, what the
relay says into the `RelayProbe`, and `report` makes sense of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rtcodec.errors import RemoteProtocolError, RtcodecError
from rtcodec.timebase import US_PER_S
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_client.connection import wait_set
from rtcodec_client.load.fleet import Fleet
from rtcodec_client.load.link import LinkSettings
from rtcodec_client.load.peer import PeerPlace
from rtcodec_client.load.plan import LoadSettings, Placed, Plan, churn
from rtcodec_client.load.process import ProcessSettings
from rtcodec_client.load.record import RunRecord
from rtcodec_client.load.relay_probe import RelayProbe, RelaySample

PHASES: Final = ("start", "ramp", "soak", "leave", "after")

_JOIN_TIMEOUT_S: Final = 30.0
_LEAVE_TIMEOUT_S: Final = 20.0
_SETTLE_S: Final = 1.0
"After the last join, so that its key frame is no part of the soak."

_AFTER_S: Final = 2.0
"For the relay to let go of the last peer."

_CHURN_AT_ONCE: Final = 24
"Peers of the churn that may be on their way at the same time; more are held back and counted."


@dataclass(slots=True)
class Marks:
    """When the phases began, monotonic, and how the relay was then."""

    at_us: dict[str, int] = field(default_factory=dict)
    baseline: RelaySample | None = None
    "Before the first peer."

    soak_begin: RelaySample | None = None
    soak_end: RelaySample | None = None
    after: RelaySample | None = None
    "When everybody had left."

    is_interrupted: bool = False

    @property
    def soak_s(self) -> float:
        """How long the soak was."""
        begin, end = self.at_us.get("soak"), self.at_us.get("leave")
        return 0.0 if begin is None or end is None else (end - begin) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFacts:
    """What peers need to know of the relay."""

    url: str
    host: str
    "Address that its HTTP is at."

    token: str | None
    engine: str
    "What decodes its streams here."

    model: str
    predicts: bool
    "Whether its frames refer to others, so that it wants to know which are held."


class Conductor:
    """Runs one test to its end, or until it is interrupted."""

    def __init__(
        self,
        settings: LoadSettings,
        plan: Plan,
        facts: RelayFacts,
        probe: RelayProbe,
        *,
        room_prefix: str,
        work: Path,
        peer_cores: Sequence[int] = (),
        on_progress: Callable[[Conductor], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            settings: What is asked for.
            plan: Who joins what.
            facts: Of the relay.
            probe: Looks at the relay.
            room_prefix: Of all rooms of this run.
            work: Folder for logs.
            peer_cores: Processor cores of the peer processes; empty for all.
            on_progress: Called every second and whenever the phase changes.
            check: Called as often; raises if the relay, being ours, has ended.
        """
        self.settings = settings
        self.plan = plan
        self.probe = probe
        self.record = RunRecord()
        self.marks = Marks()
        self.phase = PHASES[0]
        self._facts = facts
        self._room_prefix = room_prefix
        self._work = work
        self._peer_cores = peer_cores
        self._on_progress = on_progress
        self._check = check
        self._changed = asyncio.Event()
        self._failure: RtcodecError | None = None
        self._fleet = Fleet(self._on_event)

    async def run(self, stop: asyncio.Event) -> None:
        """
        Run the test; *stop* ends it early, with everybody leaving in good order.

        Raises:
            RtcodecError: If it cannot start, or the relay is gone before the soak.
        """
        settings = self.settings
        self.record.begin(now_us=monotonic_us())
        self._enter("start")
        try:
            await self._fleet.start(self._process_settings(), self._work, self._peer_cores)
            self.marks.baseline = await self.probe.sample()
            looking = asyncio.ensure_future(self._look(stop))
            try:
                self._enter("ramp")
                await self._ramp(stop)
                await wait_set(stop, _SETTLE_S)
                self._fleet.measure(on=True)
                self.marks.soak_begin = await self.probe.sample()
                self._enter("soak")
                await self._soak(stop)
                self._enter("leave")
                self.marks.soak_end = await self.probe.sample()
                self._fleet.measure(on=False)
                self.marks.is_interrupted = stop.is_set()
                await self._leave()
                self._enter("after")
                await asyncio.sleep(_AFTER_S)
                self.marks.after = await self.probe.sample()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        finally:
            await self._fleet.end()
        if self._failure is not None:
            raise self._failure
        if not settings.n_peers - sum(p.state == "failed" for p in self.record.steady):
            reasons = [peer.reason for peer in self.record.steady if peer.reason]
            raise RemoteProtocolError(
                f"nobody could join: {reasons[0] if reasons else 'no reason'}"
            )

    # ---- phases

    async def _ramp(self, stop: asyncio.Event) -> None:
        """Let everybody join, publishers first, evenly spread over the ramp."""
        loop = asyncio.get_running_loop()
        joining = [*self.plan.publishers, *self.plan.subscribers]
        start_s = loop.time()
        for number, placed in enumerate(joining):
            due_s = start_s + self.settings.ramp_s * number / len(joining)
            await wait_set(stop, max(0.0, due_s - loop.time()))
            if stop.is_set():
                return
            self._join(placed)
        await self._until(
            lambda: all(peer.state != "joining" for peer in self.record.steady),
            stop,
            timeout_s=_JOIN_TIMEOUT_S,
        )

    async def _soak(self, stop: asyncio.Event) -> None:
        """Let time pass, or those of the churn come; without churn, while anybody is there."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        end_s = loop.time() + settings.duration_s
        if not settings.churn_per_s:
            await self._until(
                lambda: all(peer.state != "in" for peer in self.record.steady),
                stop,
                timeout_s=settings.duration_s,
            )
            return
        coming = churn(settings, self.plan, self._room_prefix)
        number = 0
        while (now_s := loop.time()) < end_s and not stop.is_set():
            due_s = end_s - settings.duration_s + number / settings.churn_per_s
            await wait_set(stop, max(0.0, min(due_s, end_s) - now_s))
            number += 1
            n_under_way = sum(peer.spec.is_churn for peer in self.record.peers.values())
            if n_under_way >= _CHURN_AT_ONCE:
                self.record.churn["held_back"] += 1
            elif loop.time() < end_s:
                self._join(next(coming))

    async def _leave(self) -> None:
        """Let everybody leave: publishers first, so that their last frames still arrive."""
        for group in (self.plan.publishers, self.plan.subscribers):
            for placed in group:
                self._fleet.leave(placed.process, placed.spec.name)
            names = {placed.spec.name for placed in group}
            await self._until(
                lambda names=names: not names & self._fleet.peers,  # type: ignore[misc]
                timeout_s=_LEAVE_TIMEOUT_S,
            )
            await asyncio.sleep(_SETTLE_S / 2)
        await self._until(lambda: not self._fleet.peers, timeout_s=_LEAVE_TIMEOUT_S)

    # ---- beside them

    async def _look(self, stop: asyncio.Event) -> None:
        """Look at the relay at every whole second, and tell how it goes."""
        while True:
            await asyncio.sleep(1 - monotonic_us() % US_PER_S / US_PER_S)
            try:
                self._check()
            except RtcodecError as error:
                self._failure = error
                stop.set()
                return
            await self.probe.sample()
            self._on_progress(self)

    def _join(self, placed: Placed) -> None:
        self.record.joining(placed.spec, placed.process)
        if not self._fleet.join(placed.process, asdict(placed.spec)):
            event = {"event": "failed", "peer": placed.spec.name, "reason": "its process died"}
            self._on_event(placed.process, event)

    def _on_event(self, process: int, event: dict[str, Any]) -> None:
        is_ending = self.phase in ("leave", "after")
        self.record.receive(process, event, is_ending=is_ending, now_us=monotonic_us())
        self._changed.set()

    async def _until(
        self,
        condition: Callable[[], bool],
        stop: asyncio.Event | None = None,
        *,
        timeout_s: float,
    ) -> None:
        """Wait until *condition* holds, *stop* is set, or the time is up."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not condition() and loop.time() < deadline_s and not (stop and stop.is_set()):
            self._changed.clear()
            await wait_set(self._changed, 0.5)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.marks.at_us[phase] = monotonic_us()
        self._on_progress(self)

    def _process_settings(self) -> list[ProcessSettings]:
        settings, facts = self.settings, self._facts
        link = LinkSettings(settings.up, settings.down, settings.seed, settings.steps)
        place = PeerPlace(
            url=facts.url,
            token=facts.token,
            relay_host=facts.host,
            link=link if settings.is_impaired else None,
        )
        decoding = {p.process for p in self.plan.subscribers if p.spec.decodes}
        return [
            ProcessSettings(
                place=place,
                feed=settings.feed,
                engine=facts.engine,
                model=facts.model,
                decodes=number in decoding,
                reports=facts.predicts,
                impaired_roles=settings.impaired_roles,
            )
            for number in range(settings.processes)
        ]
