"""
The filter in the loop of delta frames in plain numpy: what `native` must equal, and its limits.

The edges of the 8x8 parts of luma and of chroma are smoothed where something is coded beside them,
where vectors differ by a sample or more, or where a block has no prediction; never in a tile that
rests. After ITU-T H.264 8.7.2, in 12 bits, with limits in steps (SPEC.md section 9.4).
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import INTRA, WHOLE, Fine, Steps

ALPHA, BETA, MOST = 28, 10, 1
"""Sixteenths of a step: the largest difference across an edge that is smoothed, the largest beside
it, and the largest change of a sample beside the first. Measured: 9 % fewer bits; with a MOST of 2
one and a half per cent less, with larger ones still less."""


def limits(steps: Steps) -> NDArray[np.int32]:
    """The limits of luma and of chroma at some steps, int32 [2, 3]."""
    return np.array(
        [[step * part >> 4 for part in (ALPHA, BETA, MOST)] for step in steps], np.int32
    )


def smooth(
    blocks: Fine,
    coded: NDArray[np.uint8],
    vectors: NDArray[np.int16],
    intra: NDArray[np.uint8],
    still: NDArray[np.bool_],
    limits: NDArray[np.int32],
) -> None:
    """As `native.smooth`."""
    bits = coded[..., None] >> np.arange(4) & 1
    of_places = (intra & INTRA, still, intra & WHOLE)
    parts = np.stack((bits, *(np.repeat(a[..., None], 4, 2) for a in of_places)), 3)
    said = np.concatenate(
        (vectors.astype(np.int64), parts), 3
    )  # [h, w, 4, x, y, coded, intra, still, whole]
    of_parts = _grid(said)
    luma, u, v = (_plane(blocks, *span) for span in ((0, 16), (256, 8), (320, 8)))
    for axis in (1, 0):
        turned = of_parts if axis == 1 else of_parts.swapaxes(0, 1)
        edges = _edges(turned)  # [2 h, 2 w - 1] when turned back
        for plane, limit, apart in ((luma, limits[0], 1), (u, limits[1], 2), (v, limits[1], 2)):
            view = plane if axis == 1 else plane.T
            some = edges[:, apart - 1 :: apart]
            _smooth_across(view, some.repeat(8 // apart, 0), limit, luma=apart == 1)
    for plane, start, side in ((luma, 0, 16), (u, 256, 8), (v, 320, 8)):
        h, w = still.shape
        back = plane.reshape(h, side, w, side).swapaxes(1, 2).reshape(h, w, side * side)
        blocks[..., start : start + side * side] = back


def _grid(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """[h, w, 4, K] as [2 h, 2 w, K]."""
    h, w, _, k = places.shape
    return places.reshape(h, w, 2, 2, k).swapaxes(1, 2).reshape(2 * h, 2 * w, k)


def _plane(blocks: Fine, start: int, side: int) -> NDArray[np.int64]:
    h, w, _ = blocks.shape
    part = blocks[..., start : start + side * side].reshape(h, w, side, side)
    return part.swapaxes(1, 2).reshape(h * side, w * side).astype(np.int64)


def _edges(parts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the edge between each part and the next one in its row is smoothed."""
    one, other = parts[:, :-1], parts[:, 1:]
    moves = (np.abs(one[..., :2] - other[..., :2]) >= 4).any(2)
    either = one | other
    some = moves | (either[..., 2] > 0) | (either[..., 3] > 0)
    some &= either[..., 4] == 0
    some[:, ::2] &= one[:, ::2, 5] == 0  # within a place
    return np.asarray(some, np.bool_)


def _smooth_across(
    plane: NDArray[np.int64], edges: NDArray[np.bool_], limit: NDArray[np.int32], *, luma: bool
) -> None:
    """Smooth the edges that run down a plane, every eight samples, in place."""
    alpha, beta, most = (int(x) for x in limit)
    p2, p1, p0 = (plane[:, 8 - back : -8 : 8] for back in (3, 2, 1))
    q0, q1, q2 = (plane[:, 8 + on :: 8] for on in (0, 1, 2))
    where = edges & (np.abs(p0 - q0) < alpha)
    where &= (np.abs(p1 - p0) < beta) & (np.abs(q1 - q0) < beta)
    change = np.clip((4 * (q0 - p0) + p1 - q1 + 4) >> 3, -2 * most, 2 * most)
    middle = (p0 + q0 + 1) >> 1
    by_p = np.clip((p2 + middle - 2 * p1) >> 1, -most, most)
    by_q = np.clip((q2 + middle - 2 * q1) >> 1, -most, most)
    smooth_p, smooth_q = (where & (np.abs(a - b) < beta) for a, b in ((p2, p0), (q2, q0)))
    p0 += np.where(where, np.clip(p0 + change, 0, 4080) - p0, 0)
    q0 -= np.where(where, q0 - np.clip(q0 - change, 0, 4080), 0)
    if luma:
        p1 += np.where(smooth_p, by_p, 0)
        q1 += np.where(smooth_q, by_q, 0)
