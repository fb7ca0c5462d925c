"""
What rate makes ordinary video cost as much as the latents that it is compared with.

    endpoint?rate=match&rung=1

    bytes of latents --> their rate over the last second --+--> rate to aim at
    bytes of latents - bytes of video, of late ------------+

An encoder that is told a rate keeps to it more or less, and what is to be matched changes from
second to second. So what came out too much or too little is made up for in the seconds after. No
clock: `now_us` is an argument.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from rtcodec.errors import RemoteProtocolError
from rtcodec.session.layer import read_layer_query

_WINDOW_US: Final = 1_000_000
_REPAY_S: Final = 2.0
"In which what is owed is made up for."

_MOST_OWED_S: Final = 2.0
"Seconds of the rate that can be owed: what an encoder cannot spend is not spent later."

_LEAST_PART: Final = 0.25
"Of the rate, while too much is made up for: a picture needs something."


def read_match_query(query: Mapping[str, str]) -> int | None:
    """
    Read what the query of an endpoint's URL asks for; other parameters are ignored.

    Returns:
        The rung whose rate a viewer wants its video to have; None if it takes the relay's.

    Raises:
        RemoteProtocolError: If a value is out of range.
    """
    rate = query.get("rate")
    if rate is None:
        return None
    if rate != "match":
        raise RemoteProtocolError("rate is match or not given")
    return read_layer_query(query).rung or 0


class ByteRate:
    """How fast a count of bytes has grown in the last second."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()  # time, bytes

    def sample(self, n_bytes: int, *, now_us: int) -> None:
        """Note the count; call it a few times a second."""
        self._samples.append((now_us, n_bytes))
        while len(self._samples) > 2 and now_us - self._samples[1][0] >= _WINDOW_US:
            self._samples.popleft()

    @property
    def bps(self) -> float | None:
        """Bits per second; None if nothing came."""
        if len(self._samples) < 2:
            return None
        (first_us, first), (last_us, last) = self._samples[0], self._samples[-1]
        return 8e6 * (last - first) / (last_us - first_us) or None


class RateMatch:
    """Says what one encoder shall aim at, so that in the end it spends what latents did."""

    def __init__(self) -> None:
        self._owed_bits = 0.0
        self._seen: tuple[int, int] | None = None

    def aim(self, latents_bps: float, *, latent_bytes: int, video_bytes: int) -> float:
        """
        Return bits per second to aim at until the next call, a moment from now.

        Args:
            latents_bps: Of the last second, above 0.
            latent_bytes: That there ever were of what is to be matched.
            video_bytes: That the encoder ever made.
        """
        before, self._seen = self._seen, (latent_bytes, video_bytes)
        if before is not None:
            self._owed_bits += 8 * ((latent_bytes - before[0]) - (video_bytes - before[1]))
        most_bits = _MOST_OWED_S * latents_bps
        self._owed_bits = min(max(self._owed_bits, -most_bits), most_bits)
        return max(latents_bps + self._owed_bits / _REPAY_S, _LEAST_PART * latents_bps)
