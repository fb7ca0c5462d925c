"""
Refining of what wavelets paint, in plain numpy: what `_refine.h` must equal (SPEC.md 7).

To each sample is added what the differences to its neighbours come to: each is cut to three limits,
parts of what is not known yet, and those are weighted. Neighbours that lie opposite each other
share their weights, which are those of a class of 4x4 samples, by direction and by how much goes on
beside what is not known, and of luma or chroma, coarse or fine. As the refinement of frames
(`rtcodec.motion.refine`), but further around, since wavelets reach further than blocks, and with
weights that every decoder knows.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

PAIRS: Final = (
    (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0),
    (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1),
    (2, 2), (2, -2), (2, 4), (4, 2), (2, -4), (4, -2),
    (0, 5), (5, 0), (0, 8), (8, 0), (6, 6), (6, -6),
)  # fmt: skip
"Down and across from a sample to one neighbour of each pair."

CLIPS: Final = 3
"Limits: a quarter of a step, half of one, a whole one."

UNKNOWN: Final = (8, 7, 6, 5)
"Step before each pass of a plane, in quarters of the plane's: passes bring it down by and by."

SETS: Final = 6
"Luma and chroma, in each planes 0 and 1, 2 and 3, coarser ones."

COARSEST: Final = 7
"Bit planes above are refined as this one."

LEAST, MOST = -8192, 8128
"Of a sample, in 64ths, from mid grey."

CELL, AROUND = 4, 2
"Side of what is of one class, and how far around it that looks."

DIRECTIONS: Final = 9
"None; across, down, falling, rising: weak, strong."

ACTIVITY: Final = (3, 26, 128, 192, 512)
"""What goes on across and down, summed up over what a cell looks at, in each level but the last is
at most so many times the step."""

LEVELS: Final = len(ACTIVITY) + 1
CLASSES: Final = LEVELS * DIRECTIONS

WEIGHT_BITS: Final = 9

WEIGHTS: Final[NDArray[np.int8]] = np.load(
    Path(__file__).with_name("weights.npy"), allow_pickle=False
)
"""512ths, of pairs and limits, int8 [sets * classes, pairs * CLIPS]: by
`rtcodec.models.fit_progressive`. Classes that it never met do as their level of activity."""

_EDGE: Final = 8


def step_of(plane: int, turn: int) -> int:
    """Return what is unknown before a pass of a bit plane, in 64ths of a sample."""
    return UNKNOWN[turn] * 8 << min(plane, COARSEST)


def set_of(plane: int, *, is_chroma: bool) -> int:
    """Return which weights are those of a bit plane."""
    return 3 * is_chroma + (plane > 1) + (plane > 3)


def classes(samples: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return the class of each sample [H, W], `DIRECTIONS` of each level of activity."""
    height, width = samples.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    around = AROUND + 1
    padded = np.pad(
        samples,
        ((around, around + rows * CELL - height), (around, around + columns * CELL - width)),
        "edge",
    )
    here = 2 * padded[1:-1, 1:-1]
    across, down, falling, rising = (
        _cell_sums(np.abs(here - _moved(padded, y, x) - _moved(padded, -y, -x)))
        for y, x in ((0, 1), (1, 0), (1, 1), (1, -1))
    )
    straight = np.minimum(across, down), np.maximum(across, down)
    slant = np.minimum(falling, rising), np.maximum(falling, rising)
    is_slant = slant[1] * straight[0] > straight[1] * slant[0]
    least, most = (np.where(is_slant, s, t) for s, t in zip(slant, straight, strict=True))
    direction = np.where(is_slant, 2 + (rising <= falling), down <= across)
    found = np.where(2 * most > 3 * least, 1 + direction + 4 * (most > 3 * least), 0)
    for limit in ACTIVITY:
        found += DIRECTIONS * (across + down > limit * step)
    return found.repeat(CELL, 0).repeat(CELL, 1)[:height, :width]


def differences(samples: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return what weights are for, [H, W, pairs * CLIPS], in 64ths of a sample."""
    height, width = samples.shape
    padded = np.pad(samples, _EDGE, "edge")
    found = []
    for y, x in PAIRS:
        one, other = (
            padded[_EDGE + s * y :, _EDGE + s * x :][:height, :width] - samples for s in (1, -1)
        )
        for clip in range(CLIPS):
            limit = step >> CLIPS - 1 - clip
            found.append(one.clip(-limit, limit) + other.clip(-limit, limit))
    return np.stack(found, -1)


def refined(
    samples: NDArray[np.int64], plane: int, turn: int, *, is_chroma: bool
) -> NDArray[np.int64]:
    """
    Return samples, refined.

    Args:
        samples: In 64ths from mid grey, [H, W], `LEAST` to `MOST`.
        plane: The bit plane that is being read; 0 when all are.
        turn: The pass of it, 0 to 3; 3 when all are.
        is_chroma: Whether they are of U or V.
    """
    step = step_of(plane, turn)
    rows = classes(samples, step) + CLASSES * set_of(plane, is_chroma=is_chroma)
    weights = WEIGHTS[rows].astype(np.int64)  # [H, W, pairs * CLIPS]
    total: NDArray[np.int64] = (weights * differences(samples, step)).sum(-1)
    return samples + (total + (1 << WEIGHT_BITS - 1) >> WEIGHT_BITS)


def _moved(padded: NDArray[np.int64], y: int, x: int) -> NDArray[np.int64]:
    """What lies so far down and across of all but the outermost samples."""
    height, width = padded.shape
    return padded[1 + y : height - 1 + y, 1 + x : width - 1 + x]


def _cell_sums(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of values [4 rows + 4, 4 columns + 4] over each cell and what is around it."""
    rows, columns = (side // CELL - 1 for side in values.shape)
    halves = values.reshape(2 * rows + 2, 2, 2 * columns + 2, 2).sum((1, 3))
    return np.asarray(
        sum(
            halves[i : i + 2 * rows : 2, j : j + 2 * columns : 2]
            for i in range(4)
            for j in range(4)
        ),
        np.int64,
    )
