"""
What JPEG does to planes, in torch, a batch at a time: 8x8 DCT, rounding to steps, 8-bit samples.

The same as libjpeg's but where a coefficient is half-way between two integers and its integer DCT
rounds otherwise, or a sample is (`tests/unit/models/test_restoration.py`); much faster than files.
"""

import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.models.data import Batch, Crops
from rtcodec.models.restoration import transformed, transformed_back
from rtcodec.models.restorer_shape import SIDE, block_transform

JITTER_SHARE = 0.2
"Part of the tables that are not the standard's: cameras and editors have tables of their own."

JITTER = 0.25
"Standard deviation of the logarithms of those tables' factors, one for each coefficient."

_LUMA = """
    16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
    72 92 95 98 112 100 103 99"""
"ITU-T T.81 table K.1, row by row."

_CHROMA = """
    17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""
"Table K.2."


@cache
def quality_tables(quality: int) -> NDArray[np.float32]:
    """
    Steps [128] of luma and of chroma, row by row, as libjpeg scales the standard's tables.

    Args:
        quality: 1..100.
    """
    base = np.array(f"{_LUMA} {_CHROMA}".split(), int)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * scale + 50) // 100, 1, 255).astype(np.float32)


def random_tables(rng: random.Random, qualities: tuple[int, int]) -> NDArray[np.float32]:
    """Steps [128] of some quality from the first to the second, at times of no standard table."""
    steps = quality_tables(rng.randint(*qualities))
    if rng.random() < JITTER_SHARE:
        factors = [np.exp(rng.gauss(0, JITTER)) for _ in steps]
        steps = np.clip(np.rint(steps * factors), 1, 255).astype(np.float32)
    return steps


class Jpeg:
    """Codes planes; `decoded` is what a decoder shows of them."""

    def __init__(self) -> None:
        self._transform = torch.from_numpy(block_transform()).float()

    def decoded(self, planes: Batch, steps: Tensor) -> Batch:
        """
        Planes as they come out of a JPEG file of 4:2:0.

        Args:
            planes: y [N, 1, H, W], u and v [N, 1, H/2, W/2], 0..255; sides multiples of 16.
            steps: [N, 128, 1, 1].
        """
        luma, chroma = torch.split(steps, SIDE**2, 1)
        y, u, v = planes
        return self._plane(y, luma), self._plane(u, chroma), self._plane(v, chroma)

    def _plane(self, plane: Tensor, steps: Tensor) -> Tensor:
        coefficients = (transformed(plane, self._transform) / steps).round() * steps
        samples = transformed_back(coefficients, self._transform) + 128
        return samples.round().clamp(0, 255)


class Sample(NamedTuple):
    """A batch of pictures before and after coding."""

    clean: Batch
    "y [N, 1, size, size], u and v half that, 0..255."

    coded: Batch
    levels: Tensor
    "[N, 128, 1, 1], see `Restorer`."


class Supply(Protocol):
    """An endless supply of samples."""

    def next(self) -> Sample:
        """Return the next batch."""


class JpegSupply:
    """Crops of pictures through JPEG, each with tables of its own."""

    def __init__(
        self, crops: Crops, *, batch: int, qualities: Sequence[tuple[int, int]], seed: int
    ) -> None:
        """
        Args:
            crops: The pictures; sides multiples of 16.
            batch: Crops in a batch.
            qualities: From and to; each range as often as the others.
            seed: Of the choice of tables.
        """
        self._crops, self._batch, self._qualities = crops, batch, qualities
        self._random = random.Random(seed)
        self._jpeg = Jpeg()

    def next(self) -> Sample:
        """Return the next batch."""
        y, u, v = ((plane + 0.5) * 255 for plane in self._crops.batch(self._batch))
        clean = (y.round(), u.round(), v.round())
        tables = [
            random_tables(self._random, self._random.choice(self._qualities))
            for _ in range(self._batch)
        ]
        steps = torch.from_numpy(np.stack(tables))[:, :, None, None]
        return Sample(clean, self._jpeg.decoded(clean, steps), steps)
