"""
The size that a stream's pictures have for now, and what they are coded at.

Belongs to the event loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rtcodec.session.ladder import Rung, ladder
from rtcodec.stats import StreamStats
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.rung import LadderSetup, StreamRung


@dataclass(frozen=True, slots=True, eq=False)
class StreamFormat:
    """One size, as long as pictures have it."""

    width: int
    height: int
    rungs: tuple[StreamRung, ...]
    "What frames of this size are coded at; one, of their size, unless there is a ladder."

    @property
    def is_open(self) -> bool:
        """Whether frames can be coded at any of them."""
        return any(rung.is_open for rung in self.rungs)

    async def close(self, host: EngineHost) -> None:
        """Let go of what the engine keeps."""
        for rung in self.rungs:
            await rung.close(host)


def new_format(
    width: int,
    height: int,
    setup: LadderSetup | None,
    *,
    rate: LiveRate | None,
    stats: Sequence[StreamStats],
) -> StreamFormat:
    """
    Return a format that the engine is not ready for yet.

    Args:
        width: Of the pictures.
        height: Of the pictures.
        setup: What they are coded at; None at their size.
        rate: Of the stream, where there is no ladder.
        stats: Of each rung.
    """
    if setup is None:
        return StreamFormat(width, height, (StreamRung(Rung(0, width, height, None), rate=rate),))
    rungs = (
        StreamRung(
            rung,
            rate=None if rung.kbps is None else setup.new_rate(1000 * rung.kbps, rung.n_pixels),
            stats=(stats[rung.index], setup.totals[rung.index]),
        )
        for rung in ladder(setup.specs, width, height)
    )
    return StreamFormat(width, height, tuple(rungs))
