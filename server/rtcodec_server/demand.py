"""
What one stream asks of the engine: how often frames come, at which rungs somebody wants them.

Belongs to the event loop.
"""

from collections.abc import Iterable
from typing import Final

from rtcodec.engine.capacity import tiles_of
from rtcodec.session.ladder import Rung
from rtcodec.session.shedding import CodedRung, StreamLoad

_WEIGHT: Final = 1 / 8
_PAUSE_US: Final = 1_000_000
"Without a frame a stream asks for nothing."

_USUAL_INTERVAL_US: Final = 1_000_000 / 30


class Demand:
    """Frames and rungs of one stream."""

    def __init__(self) -> None:
        self.divisor = 1
        "Of how many frames one is to be coded."
        self.shed: frozenset[int] = frozenset()
        "Rungs that nobody is to get."
        self._interval_us = _USUAL_INTERVAL_US
        self._last_us: int | None = None
        self._count = 0
        self._since_us: dict[int, int] = {}  # rung -> when it was first wanted

    def note_frame(self, *, now_us: int) -> bool:
        """Count a frame that came; return whether it is to be coded."""
        if self._last_us is not None:
            interval_us = min(now_us - self._last_us, _PAUSE_US)
            self._interval_us += _WEIGHT * (interval_us - self._interval_us)
        self._last_us = now_us
        self._count += 1
        return self._count % self.divisor == 0

    def tiles_per_s(self, rungs: Iterable[Rung], *, now_us: int) -> float:
        """Return the tiles that some rungs would be, at the rate at which frames are coded."""
        if self._last_us is None or now_us - self._last_us > _PAUSE_US:
            return 0.0
        n_tiles = sum(tiles_of(rung.width, rung.height) for rung in rungs)
        return n_tiles * 1e6 / max(self._interval_us, 1.0) / self.divisor

    def load(
        self,
        name: int,
        wanted: Iterable[Rung],
        *,
        per_tile: float,
        needed: frozenset[int],
        now_us: int,
    ) -> StreamLoad | None:
        """
        Return what the stream takes now; None if nothing of it is coded.

        Args:
            name: Of the stream.
            wanted: What it is coded at.
            per_tile: Load of a tile a second.
            needed: Rungs that others than subscribers want.
            now_us: Time in microseconds.
        """
        rungs = []
        since_us: dict[int, int] = {}
        for rung in wanted:
            since_us[rung.index] = self._since_us.get(rung.index, now_us)
            tiles_per_s = self.tiles_per_s([rung], now_us=now_us)
            rungs.append(CodedRung(rung.index, since_us[rung.index], tiles_per_s * per_tile))
        self._since_us = since_us
        if not rungs or not sum(rung.load for rung in rungs):
            return None
        return StreamLoad(name, min(since_us.values()), rungs, needed)
