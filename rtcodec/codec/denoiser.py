"""
Pictures cleaned of noise on their way to an encoder; what decoders do stays as it is.

    planes --level--> sigma --search in what was cleaned last--> vectors
    planes --average along them--> mean --shrink what is left of the noise--> planes

Each picture is averaged with those before it where they show the same, and what noise is still in
that mean is taken out by its transform: see `rtcodec.motion.denoise`. A file's first picture,
which all others lean on, is averaged with those that follow it: they are gone through once, from
the last to the first. Not what is noise to the eye, but what measures like it, is taken out.
No clock, no files; for one thread at a time.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.codec.noise_meter import NoiseMeter
from rtcodec.motion.cleaning import average, shrink
from rtcodec.motion.denoise import GAINS, WHOLE_GAIN, Windows
from rtcodec.motion.layout import blocks_of, planes_of
from rtcodec.motion.native import ALONE, QUARTERS, Fine, Reference, Vectors
from rtcodec.motion.still_noise import StillNoise
from rtcodec.types import Planes

OFF, AUTO, STRONG = DENOISE_MODES = ("off", "auto", "strong")

LOOK_AHEAD: Final = 8
"Pictures of a file that its first one is averaged with."

_BIT_PRICE: Final = 0.5
"What a bit may save in the search, in standard deviations of the noise."


@dataclass(frozen=True, slots=True)
class _Effort:
    windows: tuple[Windows, Windows]
    "Of the first estimate, and of what comes of it."

    calm: float
    "Mean difference below which a block rests, in standard deviations; of noise alone it is 0.8."

    overlaps: bool
    "Whether blocks that move differently overlap in predictions."


_THOROUGH: Final = _Effort((Windows(2, 2), Windows(2, 2)), 0.85, overlaps=True)
_QUICK: Final = _Effort((Windows(4, 8), Windows(4, 8)), 0.92, overlaps=False)


@dataclass(frozen=True, slots=True)
class _Strength:
    begin: float
    "Measured noise from which on something is done. Clean pictures measure up to 2.6."

    end: float
    "Below which it ends."

    factor: float
    "Of the measured noise, in what is taken out."


_STRENGTHS: Final = {AUTO: _Strength(2.75, 2.25, 1.0), STRONG: _Strength(1.0, 0.75, 1.5)}


class Denoiser:
    """Cleans the pictures of one stream, in their order."""

    def __init__(
        self, mode: str, *, thorough: bool, noise: tuple[float, float, float] | None = None
    ) -> None:
        """
        Args:
            mode: Of `DENOISE_MODES`.
            thorough: Whether time matters less than what is left: for files.
            noise: Of Y, U and V where that is known, as standard deviations in sample values; else
                it is measured.
        """
        if mode not in DENOISE_MODES:
            raise ValueError(f"denoise mode {mode!r} is none of {', '.join(DENOISE_MODES)}")
        self._strength = _STRENGTHS.get(mode)
        self._effort = _THOROUGH if thorough else _QUICK
        self._meter = NoiseMeter() if noise is None else None
        self.noise = noise or (0.0, 0.0, 0.0)
        "Of Y, U and V, as standard deviations in sample values; 0 before the first picture."
        self._state: _State | None = None
        self._last: tuple[Planes, Planes] | None = None

    @property
    def is_off(self) -> bool:
        """Whether pictures stay as they are whatever they show."""
        return self._strength is None

    @property
    def is_active(self) -> bool:
        """Whether the last picture was cleaned."""
        return self._state is not None

    def clean(self, planes: Planes) -> Planes:
        """
        Return a picture without its noise; as it is where there is too little.

        The same picture once more, as where it is coded at several sizes, gives the same again.
        """
        if self._strength is None:
            return planes
        if self._last is not None and self._last[0] is planes:
            return self._last[1]
        cleaned = self._cleaned(planes, self._strength)
        self._last = planes, cleaned
        return cleaned

    def look_ahead(self, pictures: Sequence[Planes]) -> None:
        """Take what follows the first picture of a file, so that it is as clean as those."""
        for planes in reversed(pictures):
            self.clean(planes)

    def _cleaned(self, planes: Planes, strength: _Strength) -> Planes:
        if self._meter is not None:
            self.noise = self._meter.measure(planes)
        least = strength.begin if self._state is None else strength.end
        if self.noise[0] < least:
            self._state = None
            return planes
        blocks = blocks_of(planes)
        if self._state is None or self._state.shape != blocks.shape[:2]:
            self._state = _State(blocks.shape[0], blocks.shape[1], self._effort)
        noise = [max(_LEAST_NOISE, strength.factor * sigma) for sigma in self.noise]
        still = None if self._meter is None else self._meter.still
        fine = self._state.clean(blocks, noise, _Left.of(still, blocks, strength.factor))
        return planes_of(fine, planes.width, planes.height)


_LEAST_NOISE: Final = 0.25  # of a plane, where another one is noisy

_STILL_FACTOR: Final = 1.05
"Of a single picture's noise, in what is shrunk."


@dataclass(frozen=True, slots=True, eq=False)
class _Left:
    """How much noise of a single picture there is to shrink."""

    noise: NDArray[np.float64]
    "Of each coefficient, [3, 8, 8], where it is strongest: standard deviations in sample values."

    shares: NDArray[np.float64]
    "Variance of each quarter of a block, [h16, w16, 8] as gains, to the strongest."

    @staticmethod
    def of(still: StillNoise | None, blocks: NDArray[np.uint8], factor: float) -> "_Left | None":
        """Return what a picture's noise is at its places, None where it is the same at all."""
        if still is None:
            return None
        rows, columns = blocks.shape[:2]
        quarters = blocks[..., :256].reshape(rows, columns, 2, 8, 2, 8).mean((3, 5))
        shares = still.shares(quarters.reshape(rows, columns, QUARTERS))
        most = float(shares.max())
        levels = _STILL_FACTOR * factor * np.sqrt(most) * np.array(still.levels)
        return _Left(levels[:, None, None] * still.shapes, np.tile(shares / most, 2))


class _State:
    """What is kept from picture to picture."""

    def __init__(self, rows: int, columns: int, effort: _Effort) -> None:
        self._effort = effort
        self.shape = (rows, columns)
        self._mean, self._cleaned, self._pilot = (Reference(rows, columns) for _ in range(3))
        self._gains = np.full((rows, columns, GAINS), WHOLE_GAIN, np.uint16)
        self._vectors: Vectors | None = None
        self._is_first = True

    def clean(self, blocks: NDArray[np.uint8], noise: Sequence[float], left: _Left | None) -> Fine:
        """Average *blocks*, uint8 [h16, w16, 384], with those before, and return them clean."""
        if self._is_first:
            self._mean.fill(blocks)
            self._is_first = False
        else:
            self._mean.fill(self._averaged(blocks, noise))
        first, second = self._effort.windows
        gains, deviations = self._gains, np.asarray(noise)
        if left is not None:
            gains = np.maximum(1, self._gains * left.shares).astype(np.uint16)
            deviations = left.noise
        self._pilot.fill(shrink(self._mean, None, gains, deviations, first))
        fine = shrink(self._mean, self._pilot, gains, deviations, second)
        self._cleaned.fill(fine)
        return fine

    def _averaged(self, blocks: NDArray[np.uint8], noise: Sequence[float]) -> Fine:
        vectors, intra = self._cleaned.search(
            blocks,
            bit_price=_BIT_PRICE * noise[0],
            calm=self._effort.calm * noise[0],
            start=self._vectors,
        )
        if not self._effort.overlaps:
            intra |= ALONE
        self._vectors = vectors
        fine = self._mean.predict(vectors, intra)
        self._gains = average(blocks, fine, vectors, intra, self._gains, noise)
        return fine


def looked_ahead(
    frames: Iterator[tuple[int, Planes]], denoiser: Denoiser
) -> Iterator[tuple[int, Planes]]:
    """
    Yield the frames of a file as they are, once a denoiser has seen those that follow the first.

    Holds `LOOK_AHEAD` of them, unless the denoiser is off.
    """
    waiting = deque(islice(frames, 1 + (0 if denoiser.is_off else LOOK_AHEAD)))
    denoiser.look_ahead([planes for _, planes in islice(waiting, 1, None)])
    while waiting:
        yield waiting.popleft()
        waiting.extend(islice(frames, 1))
