"""
A sensor's noise in one picture, with nothing to compare it with.

Interpolation has smoothed it, so that in luma it looks like texture; but it is in chroma too, where
texture is weak: a picture whose quietest places in both U and V have it, is noisy. It is stronger
where more light fell, so blocks are compared by brightness, and how strong each frequency is, is
what the quietest blocks have of it. No state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.noise import (
    MIDDLE_QUANTILE,
    MIDDLE_SHARE,
    SIDE,
    middle_energies,
    samples_of,
    usable_blocks,
)
from rtcodec.motion.transform import DCT
from rtcodec.types import Planes

_BLOCKS: Final = 2000
_LEAST_LUMA, _LEAST_CHROMA = 2.25, 1.75
"Levels from which on a picture is noisy; docs/denoise.md says what clean ones measure."

_SPREAD_QUANTILE, _SPREAD_MOST = 0.2, 1.75
"""That quantile of chroma's energies to the lower one, 1.25 of noise alone: at most 1.65 in 86
pictures under a sensor's noise, while texture, of which there is more in one place than in another,
has 1.8 to 5."""

_LUMA_MOST: Final = 1.4  # of the noisier chroma's: luma that is busier than that is texture
_BINS, _BIN_QUANTILE = 4, 0.1
_BIN_LEAST: Final = 24  # blocks
_LINE_OFF: Final = 0.9  # of a bin's energy: how far below the line it may lie
_SHARES: Final = (0.15, 3.0)
_QUIET: Final = 0.1
_QUIET_SHARE: Final = 0.62
"What of their middle frequencies' energy the quietest tenth of blocks of noise has, 22 degrees."

_SHADED: Final = 2.5
"Distance from the mean up to which shading of the picture is stronger than its noise."


@dataclass(frozen=True, slots=True, eq=False)
class StillNoise:
    """How strong noise is, by plane, brightness and frequency."""

    levels: tuple[float, float, float]
    "Standard deviations of Y, U and V's middle frequencies at mean brightness, in sample values."

    line: tuple[float, float]
    "Share of the variance where luma is 0, and what is added for each step of it."

    shapes: NDArray[np.float32]
    "Standard deviations of coefficients to those of middle frequencies, [3, 8, 8]."

    def shares(self, luma: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return variances where luma is so bright, to that at mean brightness."""
        return np.asarray((self.line[0] + self.line[1] * luma).clip(*_SHARES), np.float64)


def still_noise(planes: Planes) -> StillNoise | None:
    """Return the noise of a picture, None where it has none that one can tell from texture."""
    height, width = planes.y.shape[0] // 2 * 2, planes.y.shape[1] // 2 * 2
    cut = planes.y[:height, :width].astype(np.float32)
    half = cut.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    brightness = samples_of(half.astype(np.uint8), _BLOCKS).mean(1)
    luma = samples_of(planes.y, _BLOCKS)
    chroma = [samples_of(p[: height // 2, : width // 2], _BLOCKS) for p in (planes.u, planes.v)]
    usable = usable_blocks(luma)
    by_chroma = (
        usable_blocks(brightness[:, None]) & usable_blocks(chroma[0]) & usable_blocks(chroma[1])
    )
    if usable.sum() < _BINS * _BIN_LEAST or by_chroma.sum() < _BINS * _BIN_LEAST:
        return None
    blocks = [luma[usable], *(each[by_chroma] for each in chroma)]
    bright = [luma[usable].mean(1), *2 * [brightness[by_chroma]]]
    line = _line(bright[1], np.add(*(_relative(middle_energies(each)) for each in blocks[1:])))
    noise = StillNoise((0, 0, 0), line, np.ones((3, SIDE, SIDE), np.float32))
    energies = [
        middle_energies(each) / noise.shares(luma_there)
        for each, luma_there in zip(blocks, bright, strict=True)
    ]
    y, u, v = (float(np.sqrt(np.quantile(e, MIDDLE_QUANTILE) / MIDDLE_SHARE)) for e in energies)
    y = min(y, _LUMA_MOST * max(u, v))
    if (
        y < _LEAST_LUMA
        or min(u, v) < _LEAST_CHROMA
        or max(map(_spread, energies[1:])) > _SPREAD_MOST
    ):
        return None
    shapes = [_shape(each, own) for each, own in zip(blocks, energies, strict=True)]
    return StillNoise((y, u, v), line, np.stack(shapes).astype(np.float32))


def _spread(energies: NDArray[np.float64]) -> float:
    low, high = np.quantile(energies, (MIDDLE_QUANTILE, _SPREAD_QUANTILE))
    return float(high / low)


def _relative(energies: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(energies / max(float(np.quantile(energies, MIDDLE_QUANTILE)), 1e-3))


def _line(bright: NDArray[np.float32], energies: NDArray[np.float32]) -> tuple[float, float]:
    """Return the highest line of energy by brightness that hardly any bin lies below."""
    bins = np.array_split(np.argsort(bright, kind="stable"), _BINS)
    x = np.array([bright[each].mean() for each in bins])
    y = np.array([np.quantile(energies[each], _BIN_QUANTILE) for each in bins])

    def lines() -> Iterator[tuple[float, float]]:
        yield float(y.min()), 0.0
        for i, j in combinations(range(_BINS), 2):
            if x[j] > x[i] + 1:
                slope = float((y[j] - y[i]) / (x[j] - x[i]))
                yield float(y[i] - slope * x[i]), slope

    fitting = [(a, b) for a, b in lines() if (_LINE_OFF * (a + b * x) <= y).all()]
    start, slope = max(fitting, key=lambda line: float((line[0] + line[1] * x).sum()))
    mean = max(start + slope * float(bright.mean()), 1e-6)
    return start / mean, slope / mean


def _shape(blocks: NDArray[np.float32], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how strong each frequency of the quietest blocks is, by its distance from the mean."""
    quiet = blocks[energies <= np.quantile(energies, _QUIET)].reshape(-1, SIDE, SIDE)
    basis = DCT.astype(np.float32) / 4096
    power = np.square(basis @ quiet @ basis.T).mean(0, dtype=np.float64)
    v, h = np.indices((SIDE, SIDE))
    is_middle = (v + h >= 3) & (v + h <= 6)
    power[is_middle] /= _QUIET_SHARE  # those are quiet by choice
    away = np.hypot(v, h)
    rings = np.rint(away).astype(np.int64)
    sums = np.bincount(rings.ravel(), power.ravel()) / np.bincount(rings.ravel())
    smooth = np.minimum.accumulate(sums[3:])  # what is finer is not stronger
    sums = np.concatenate([np.full(3, smooth[0]), smooth])
    shape = np.interp(away, np.arange(len(sums)), np.sqrt(sums))
    steep = min(1.5, float(np.sqrt(sums[3] / sums[5])))
    shape = np.where(away < _SHADED, shape * steep ** ((_SHADED + 0.5 - away) / 3), shape)
    return np.asarray(shape / np.sqrt(np.square(shape[is_middle]).mean()), np.float64)
