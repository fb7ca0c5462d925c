"""
What a relay does beside coding streams: pictures decoded and encoded for ordinary viewers.

    time that it took, added up room by room --> seconds a second, lately --> load, admission

Belongs to the event loop.
"""

from collections.abc import Iterable
from typing import Final

from rtcodec.engine.capacity import Aside
from rtcodec_server.legacy import LegacyAudience

_WINDOW_US: Final = 2_000_000
"About how far back *lately* goes."


class AsideMeter:
    """How much of that there is."""

    def __init__(self) -> None:
        self._seen: tuple[int, int, int] | None = None  # decoding, encoding, when
        self._lately = Aside()

    def advance(self, audiences: Iterable[LegacyAudience], *, now_us: int) -> Aside:
        """Look at all rooms' ordinary viewers; return what is done for them lately."""
        decode_us = encode_us = 0
        for audience in audiences:
            decode_us += audience.decode_us
            encode_us += sum(counters.encode_us for _, _, counters in audience.figures())
        before, self._seen = self._seen, (decode_us, encode_us, now_us)
        if before is None or now_us <= before[2]:
            return self._lately
        elapsed_us = now_us - before[2]
        weight = min(1.0, elapsed_us / _WINDOW_US)
        # Less than before: a room has ended, and what it had counted went with it.
        decode_s = max(0, decode_us - before[0]) / elapsed_us
        encode_s = max(0, encode_us - before[1]) / elapsed_us
        old = self._lately
        self._lately = Aside(
            decode_s=old.decode_s + weight * (decode_s - old.decode_s),
            encode_s=old.encode_s + weight * (encode_s - old.encode_s),
        )
        return self._lately
