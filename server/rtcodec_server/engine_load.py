"""
What streams ask of the engine, whether one more fits, and what is left out when it is too much.

    streams' demand  x  cost of a tile, as measured  -->  load  -->  admission, shedding

The cost is the self-test's until frames have run, then theirs. What is decoded and encoded for
ordinary viewers counts as well, by the time that it takes. Belongs to the event loop.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from rtcodec.engine.capacity import USUAL_FPS, VIEWER_US, Aside, tiles_of
from rtcodec.session.admission import Admission
from rtcodec.session.lobby import RelayFull
from rtcodec.session.shedding import Shedding, StreamLoad
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.demand import Demand
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.logs import log_event

_log = logging.getLogger(__name__)

_LEAST_BATCHES: Final = 10
"To learn a cost from."

_WEIGHT: Final = 0.3
"Of what was learnt last."

_USUAL_SIZE: Final = (640, 360)


class Loading(Protocol):
    """A stream that is coded here."""

    demand: Demand

    @property
    def key(self) -> int:
        """Tells it from others."""

    def load(self, per_tile: float, *, now_us: int) -> StreamLoad | None:
        """Return what it takes now; None if nothing of it is coded."""

    def next_load(self, per_tile: float, *, now_us: int) -> float:
        """Return what it would take if one subscriber more came."""


class EngineLoad:
    """The load of one relay's engine."""

    def __init__(
        self,
        config: AdmissionConfig,
        *,
        host: Callable[[], EngineHost | None],
        usual_size: tuple[int, int] = _USUAL_SIZE,
    ) -> None:
        """
        Args:
            config: The operator's.
            host: Runs the engine; None until it is ready.
            usual_size: Width and height of a stream of which nothing has come yet.
        """
        self.admission = Admission(config.limit)
        self.shedding = Shedding()
        self.present = 0.0
        "Load of all streams, and of what is done for ordinary viewers; 1 is all there is."
        self.aside = Aside()
        "Of it, what is done for ordinary viewers."
        self.shed_steps: dict[str, int] = {"rung": 0, "rate": 0, "restored": 0}
        "How often something was left out, or came back."
        self._config = config
        self._host = host
        self._usual_tiles_per_s = tiles_of(*usual_size) * USUAL_FPS
        self._encode_us: float | None = None
        self._core_us: float | None = None
        self._seen = (0, 0, 0, 0)
        self._coded: list[StreamLoad] = []

    # ---- who comes

    def check_publisher(self, room: str, *, now_us: int) -> None:
        """
        Keep a place for a new stream.

        Raises:
            RelayFull: If there is none.
        """
        usual = self._usual_tiles_per_s
        if self._coded:
            usual = sum(s.load for s in self._coded) / len(self._coded) / max(self.per_tile, 1e-12)
        self._check(room, usual, now_us=now_us)

    def check_watched(self, room: str, stream: Loading, *, now_us: int) -> None:
        """
        Keep a place for a stream that somebody wants to watch and that may not be coded yet.

        Raises:
            RelayFull: If it is not, and there is none.
        """
        per_tile = self.per_tile
        if per_tile and stream.load(per_tile, now_us=now_us) is None:
            self._check(room, stream.next_load(per_tile, now_us=now_us) / per_tile, now_us=now_us)

    def check_viewer(self, room: str, encoding: str, *, is_decoded: bool, now_us: int) -> None:
        """
        Keep a place for what the first who watches an encoder's video brings about.

        Args:
            room: Where.
            encoding: Name of what the encoder makes.
            is_decoded: Whether the room's pictures are decoded for that.
            now_us: Time in microseconds.

        Raises:
            RelayFull: If there is none.
        """
        host = self._host()
        if host is None or host.capacity is None:
            return
        tiles_per_us = self._usual_tiles_per_s / 1e6
        decode_us = host.capacity.costs.decode_us if is_decoded else 0.0
        aside = Aside(decode_s=tiles_per_us * decode_us, encode_s=tiles_per_us * VIEWER_US)
        self._ask(f"{room}: {encoding}", host.capacity.load(0.0, aside=aside), now_us=now_us)

    def may_add(self, tiles_per_s: float, *, now_us: int) -> bool:
        """Return whether a rung more fits; nothing is promised."""
        limit = self.admission.limit
        taken = self.present + self.admission.promised(now_us=now_us)
        return not limit or taken + tiles_per_s * self.per_tile <= limit

    @property
    def per_tile(self) -> float:
        """Load of one tile a second; 0 while nothing is known."""
        host = self._host()
        if host is None or host.capacity is None:
            return 0.0
        return host.capacity.load(1.0, encode_us=self._encode_us, core_us=self._core_us)

    def _check(self, room: str, tiles_per_s: float, *, now_us: int) -> None:
        self._ask(room, tiles_per_s * self.per_tile, now_us=now_us)

    def _ask(self, room: str, load: float, *, now_us: int) -> None:
        if not self.admission.ask(room, load, present=self.present, now_us=now_us):
            log_event(
                _log, "admission_refused", room=room, load=round(self.present, 2),
                asked=round(load, 2), limit=self.admission.limit,
            )  # fmt: skip
            raise RelayFull(
                "the engine has no room for another stream",
                retry_after_s=self._config.retry_after_s,
            )

    # ---- ten times a second

    def advance(
        self,
        streams: Iterable[tuple[str, Loading]],
        *,
        now_us: int,
        aside: Aside = Aside(),  # noqa: B008  # frozen
    ) -> None:
        """
        Look at what is coded, and leave out or bring back.

        Args:
            streams: Room and stream, of those that are coded here.
            aside: What is done for ordinary viewers.
            now_us: Time in microseconds.
        """
        self._learn()
        per_tile = self.per_tile
        by_key: dict[int, Loading] = {}
        self._coded = []
        for room, stream in streams:
            by_key[stream.key] = stream
            load = stream.load(per_tile, now_us=now_us)
            if load is not None:
                self._coded.append(load)
                self.admission.settle(room)
        self.aside = aside
        self.present = self._load(sum(load.load for load in self._coded), aside)
        for step in self.shedding.steps:
            if step.stream not in by_key:
                self.shedding.forget(step.stream)
        if self._config.shed:
            self._shed(by_key, now_us)

    def _shed(self, by_key: dict[int, Loading], now_us: int) -> None:
        n_before = len(self.shedding.steps)
        step = self.shedding.advance(self._coded, load=self.present, now_us=now_us)
        if step is None:
            return
        is_back = len(self.shedding.steps) < n_before
        what = "rate" if step.rung is None else "rung"
        self.shed_steps["restored" if is_back else what] += 1
        log_event(
            _log, "load_restored" if is_back else "load_shed",
            level=logging.INFO if is_back else logging.WARNING,
            stream=step.stream, what=what, rung=step.rung, load=round(self.present, 2),
        )  # fmt: skip
        demand = by_key[step.stream].demand
        demand.divisor = self.shedding.divisor(step.stream)
        demand.shed = self.shedding.rungs(step.stream)

    def _load(self, coded: float, aside: Aside) -> float:
        """Return the load of streams, which are *coded* alone, with what is done aside."""
        host, per_tile = self._host(), self.per_tile
        if host is None or host.capacity is None or not per_tile:
            return coded
        return host.capacity.load(
            coded / per_tile, encode_us=self._encode_us, core_us=self._core_us, aside=aside
        )

    def _learn(self) -> None:
        """Take what frames have cost lately into what they are said to cost."""
        host = self._host()
        if host is None:
            return
        now = host.batch_size.count, host.tiles, host.busy_us, host.core_us
        n_batches, n_tiles, busy_us, core_us = (
            new - old for new, old in zip(now, self._seen, strict=True)
        )
        if n_batches < _LEAST_BATCHES or not n_tiles:
            return
        self._seen = now
        self._encode_us = _nearer(self._encode_us, busy_us / n_tiles)
        self._core_us = _nearer(self._core_us, core_us / n_tiles)


def _nearer(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)
