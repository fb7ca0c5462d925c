"""
How noisy the pictures of one stream are, one after the other.

White noise shows in each picture. That of a sensor, which interpolation has smoothed, looks like
texture there; it is told from that by a prediction from the picture before, which brings texture
along but not noise. A search costs as much as cleaning, so it is made where the pictures as they
are leave a doubt, and there not for each of them. In the first picture, or the only one, it is told
by chroma. No clock, no files.
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.layout import blocks_of, planes_of
from rtcodec.motion.native import Reference
from rtcodec.motion.noise import changing_level, noise_level
from rtcodec.motion.still_noise import StillNoise, still_noise
from rtcodec.types import Planes

_STEADY: Final = 0.9  # of what was measured before, in what counts
_CHROMA_BLOCKS: Final = 320
_CHROMA_MOST: Final = 1.5  # of luma's noise: colour that is busier than that is no noise

_LEAST, _LEAST_SHARE = 2.25, 1.25
"Smooth noise below that, or below that share of the white noise, is none."

_EVERY: Final = 8
"Pictures from one search to the next."

_LOOKED_EVERY: Final = 4
"Pictures from one look for doubt to the next while there is none."

_WINDOW: Final = 3
"Searches of which the least counts: noise stays, motion that a search misses does not."

_FACTOR: Final = 1.6
"""Of smooth noise to the white noise that it is treated as: more of it is in what changes slowly,
which averages look at first."""

_BIT_PRICE: Final = 6.0  # in a search: for less, vectors would follow the noise
_CALM: Final = 0.3


class NoiseMeter:
    """Measures one picture after the other."""

    def __init__(self) -> None:
        self._before: Planes | None = None
        self._white: NDArray[np.float64] | None = None  # variances
        self._smooth: deque[NDArray[np.float64]] = deque(maxlen=_WINDOW)
        self._count = 0
        self.still: StillNoise | None = None
        "That of the first picture, until motion tells more."

    def measure(self, planes: Planes) -> tuple[float, float, float]:
        """Return the noise of Y, U and V so far, as standard deviations in sample values."""
        luma = noise_level(planes.y)
        chroma = [noise_level(plane, most_blocks=_CHROMA_BLOCKS) for plane in (planes.u, planes.v)]
        now = np.square([luma, *np.minimum(chroma, _CHROMA_MOST * luma)])
        self._white = now if self._white is None else _STEADY * self._white + (1 - _STEADY) * now
        if self._before is None:
            self.still = _smooth_still(planes, np.array([luma, *chroma]))
        self._look_for_smooth(planes, luma)
        self._before = planes
        y, u, v = np.maximum(np.sqrt(self._white), self._smooth_level()).tolist()
        return y, u, v

    def _look_for_smooth(self, planes: Planes, white: float) -> None:
        before, least = self._before, max(_LEAST, _LEAST_SHARE * white)
        self._count += 1
        if not self._smooth and self._count % _LOOKED_EVERY:
            return
        if (
            before is None
            or before.y.shape != planes.y.shape
            or changing_level(planes.y, before.y) < least
        ):
            self._smooth.clear()
            self.still = self.still if before is None else None
        elif len(self._smooth) < _WINDOW or self._count % _EVERY == 0:
            self._smooth.append(_unpredicted(planes, before))
            if len(self._smooth) == _WINDOW:
                self.still = None

    def _smooth_level(self) -> NDArray[np.float64]:
        if self.still is not None:
            return _FACTOR * np.array(self.still.levels)
        if len(self._smooth) == _WINDOW:
            least: NDArray[np.float64] = np.min(self._smooth, axis=0)
            if least[0] > _LEAST:
                return _FACTOR * least
        return np.zeros(3)


def _smooth_still(planes: Planes, white: NDArray[np.float64]) -> StillNoise | None:
    """Return the noise of a picture alone, where there is more of it than white noise explains."""
    found = still_noise(planes)
    is_smooth = found is not None and (np.array(found.levels) > _LEAST_SHARE * white).all()
    return found if is_smooth else None


def _unpredicted(planes: Planes, before: Planes) -> NDArray[np.float64]:
    """Return the levels of what changes however a picture is predicted from another."""
    blocks = blocks_of(planes)
    reference = Reference(blocks.shape[0], blocks.shape[1])
    reference.fill(blocks_of(before))
    vectors, intra = reference.search(blocks, bit_price=_BIT_PRICE, calm=_CALM, start=None)
    moved = planes_of(reference.predict(vectors, intra), planes.width, planes.height)
    pairs = ((planes.y, moved.y), (planes.u, moved.u), (planes.v, moved.v))
    return np.array([changing_level(*pair) for pair in pairs])
