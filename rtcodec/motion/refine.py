"""
Refining pictures in plain numpy: what `_refine.c` must equal, and its numbers (SPEC.md 9.5).

To each sample is added what the differences to its neighbours come to: each is cut to four limits,
in steps of the quantiser, and those are weighted. Neighbours that lie opposite each other share
their weights. Luma has other weights in each class of 4x4 samples, by direction and activity; what
runs another way is turned first. As the adaptive loop filter of ITU-T H.266 8.8.5 does, but with
more limits, and weights that the model brings along instead of the stream.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import Fine
from rtcodec.types import QP_MAX

LUMA_PAIRS = (
    (0, 1), (0, 2), (0, 3), (1, -2), (1, -1), (1, 0),
    (1, 1), (1, 2), (2, -1), (2, 0), (2, 1), (3, 0),
)  # fmt: skip
CHROMA_PAIRS = ((0, 1), (0, 2), (1, -1), (1, 0), (1, 1), (2, 0))
"Down and across from a sample to one neighbour of each pair."

CLIPS = (13, 32, 96, 256)
"What differences are cut to, in 32nds of a step."

CLIP_MAX = 8191
"The largest, in quarters of a step of `Fine`: sums of two stay within 16 bits."

DIRECTIONS, LEVELS = 5, 8
CLASSES = DIRECTIONS * LEVELS
"None, a weak and a strong slant, a weak and a strong line down or across; by how much goes on."

CELL, AROUND = 4, 2
"Side of what is of one class, and how far around it that looks."

WEIGHT_BITS = 15

FIRST_QP, QP_APART, SETS = 4, 6, 9
"Weights are for these qp; others take those of the nearest."

INTRA_ACTIVITY, DELTA_ACTIVITY = 20, 5
"""The most that the first level of activity sums up to, in quarters of a step; each has twice that
of the one before. Networks leave more in pictures than transforms in small blocks do."""

_TURNS = (
    lambda down, across: (down, across),
    lambda down, across: (across, down),
    lambda down, across: (-down, across),
    lambda down, across: (across, -down),
)


def set_of(qp: int) -> int:
    """Which set of weights is for *qp*, 0..63."""
    nearest = (min(qp, QP_MAX) - FIRST_QP + QP_APART // 2) // QP_APART
    return min(max(nearest, 0), SETS - 1)


def clips(step: int) -> list[int]:
    """What differences are cut to at a step, in quarters of a step of `Fine`."""
    return [min(step * clip >> 3, CLIP_MAX) for clip in CLIPS]


def activity(step: int, first: int) -> list[int]:
    """The most that is of each level of activity but the last, see `INTRA_ACTIVITY`."""
    return [first * step << i >> 2 for i in range(LEVELS - 1)]


def turned(turn: int) -> list[int]:
    """Which of `LUMA_PAIRS` gets the weights of each, in a cell that is turned: 0..3."""
    pairs = []
    for pair in LUMA_PAIRS:
        down, across = _TURNS[turn](*pair)
        pairs.append(LUMA_PAIRS.index((down, across) if (down, across) in LUMA_PAIRS
                                      else (-down, -across)))  # fmt: skip
    return pairs


def refine(
    planes: Sequence[NDArray[np.uint16]],
    luma: NDArray[np.int16],
    chroma: NDArray[np.int16],
    steps: tuple[int, int],
    first: int,
) -> list[NDArray[np.uint16]]:
    """
    Refine a picture.

    Args:
        planes: Y, U and V as in `Fine`; sides multiples of 16, and half that.
        luma: Weights [CLASSES, 12, 4], 32768 for 1.
        chroma: Weights of U and of V, [2, 6, 4].
        steps: Of luma and of chroma, as in `native.Steps`.
        first: Of the levels of activity.
    """
    kind, turn = classes(planes[0], activity(steps[0], first))
    weights = np.empty((*kind.shape, *luma.shape[1:]), np.int16)
    for k in range(4):
        of_pairs = np.argsort(turned(k))
        weights[turn == k] = luma[kind[turn == k]][:, of_pairs]
    everywhere = weights.repeat(CELL, 0).repeat(CELL, 1)
    refined = [_refined(planes[0], LUMA_PAIRS, everywhere, clips(steps[0]))]
    for plane, own in zip(planes[1:], chroma, strict=True):
        refined.append(_refined(plane, CHROMA_PAIRS, own[None, None], clips(steps[1])))
    return refined


def classes(
    luma: NDArray[np.uint16], activity: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class 0..39 and turn 0..3 of each cell of a plane, int64 [h / 4, w / 4]."""
    far = AROUND + 1
    wide = np.pad(luma.astype(np.int64), far, mode="edge")
    middle = 2 * wide[1:-1, 1:-1]
    across, down, falling, rising = (
        _cell_sums(np.abs(middle - one - other))
        for one, other in (
            (wide[1:-1, :-2], wide[1:-1, 2:]),
            (wide[:-2, 1:-1], wide[2:, 1:-1]),
            (wide[:-2, :-2], wide[2:, 2:]),
            (wide[2:, :-2], wide[:-2, 2:]),
        )
    )
    straight, other = np.maximum(across, down), np.minimum(across, down)
    slant, other_slant = np.maximum(falling, rising), np.minimum(falling, rising)
    is_slant = slant * other > straight * other_slant
    most, least = np.where(is_slant, slant, straight), np.where(is_slant, other_slant, other)
    direction = np.where(most <= 2 * least, 0, np.where(2 * most <= 9 * least, 1, 2))
    direction += 2 * ((direction > 0) & ~is_slant)
    level = np.searchsorted(activity, (across + down).ravel()).reshape(across.shape)
    turn = 2 * (rising > falling) + ~(down > across)
    return direction * LEVELS + level, turn


def _cell_sums(of_samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over each cell and what is around it; `AROUND` samples more on all sides go in."""
    seen = CELL + 2 * AROUND
    windows = np.lib.stride_tricks.sliding_window_view(of_samples, (seen, seen))
    sums: NDArray[np.int64] = windows[::CELL, ::CELL].sum((2, 3))
    return sums


def _refined(
    plane: NDArray[np.uint16],
    pairs: Sequence[tuple[int, int]],
    weights: NDArray[np.int16],
    clips: Sequence[int],
) -> NDArray[np.uint16]:
    """One plane; weights [h or 1, w or 1, pairs, 4]."""
    height, width = plane.shape
    own = plane.astype(np.int64)
    wide = np.pad(own, 3, mode="edge")
    sums = np.zeros_like(own)
    for t, (down, across) in enumerate(pairs):
        ends = (
            wide[3 + s * down : 3 + s * down + height, 3 + s * across : 3 + s * across + width]
            for s in (1, -1)
        )
        differences = [4 * (end - own) for end in ends]
        for k, clip in enumerate(clips):
            both = sum(np.clip(d, -clip, clip) for d in differences)
            sums += (both * weights[..., t, k] + (1 << 14)) >> WEIGHT_BITS
    wrapped = sums.astype(np.int16).astype(np.int64)  # as C, whose sums have 16 bits
    return np.clip(own + ((wrapped + 2) >> 2), 0, 4080).astype(np.uint16)


def blocks_of_planes(planes: Sequence[NDArray[np.uint16]]) -> Fine:
    """Blocks [h16, w16, 384] of whole planes."""
    parts = []
    for plane, side in zip(planes, (16, 8, 8), strict=True):
        h, w = plane.shape[0] // side, plane.shape[1] // side
        parts.append(plane.reshape(h, side, w, side).swapaxes(1, 2).reshape(h, w, side * side))
    return np.concatenate(parts, 2)
