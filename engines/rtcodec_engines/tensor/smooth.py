"""The filter in the loop of delta frames: `rtcodec.motion.smoothing`, a batch at a time."""

import torch
from torch import Tensor

from rtcodec_engines.tensor.paint import spread
from rtcodec_engines.tensor.predict import FINE_MAX
from rtcodec_engines.tensor.vectors import quarter_grid


def smooth(
    planes: list[Tensor], coded: Tensor, vectors: Tensor, intra: Tensor, still: Tensor,
    limits: Tensor,
) -> None:  # fmt: skip
    """
    Smooth the edges between the quarters of frames, in place.

    Args:
        planes: int32 [N, H, W].
        coded: Which quarters of luma have a symbol, bool [N, 2 h, 2 w].
        vectors: int16 [N, h, w, 4, 2].
        intra: bool [N, h, w].
        still: bool [N, h, w].
        limits: int32 [N, 2, 3], `rtcodec.motion.smoothing.limits` at each frame's steps.
    """
    grid = quarter_grid(vectors).int()
    either, never = coded | spread(intra, 2), spread(still, 2)
    for axis in (2, 1):  # edges that run down, then those that run across
        edges = _edges(grid, either, never, axis)
        if axis == 1:
            edges = edges.transpose(1, 2)
        for plane, limit, apart in zip(planes, (0, 1, 1), (1, 2, 2), strict=True):
            view = plane if axis == 2 else plane.transpose(1, 2)
            some = edges[:, :, apart - 1 :: apart].repeat_interleave(8 // apart, 1)
            _smooth_across(view, some, limits[:, limit], luma=apart == 1)


def _edges(grid: Tensor, either: Tensor, never: Tensor, axis: int) -> Tensor:
    """Whether the edge between each quarter and the next along an axis is smoothed."""
    ends = grid.shape[axis] - 1

    def two(of_quarters: Tensor) -> tuple[Tensor, Tensor]:
        return of_quarters.narrow(axis, 0, ends), of_quarters.narrow(axis, 1, ends)

    one, other = two(grid)
    moves = ((one - other).abs() >= 4).any(-1)
    some = moves | torch.logical_or(*two(either))
    return some & ~torch.logical_or(*two(never))


def _smooth_across(plane: Tensor, edges: Tensor, limit: Tensor, *, luma: bool) -> None:
    """Smooth the edges that run down a plane, every eight samples, in place; edges [N, H, E]."""
    if not edges.shape[2]:
        return
    alpha, beta, most = (limit[:, k, None, None] for k in range(3))
    eights = plane.unflatten(2, (-1, 8))
    left, right = eights[:, :, :-1], eights[:, :, 1:]
    p2, p1, p0 = (left[..., k] for k in (5, 6, 7))
    q0, q1, q2 = (right[..., k] for k in (0, 1, 2))
    where = edges & ((p0 - q0).abs() < alpha) & ((p1 - p0).abs() < beta) & ((q1 - q0).abs() < beta)
    twice = 2 * most
    change = ((4 * (q0 - p0) + p1 - q1 + 4) >> 3).clamp(-twice, twice)
    middle = (p0 + q0 + 1) >> 1
    by_p = ((p2 + middle - 2 * p1) >> 1).clamp(-most, most)
    by_q = ((q2 + middle - 2 * q1) >> 1).clamp(-most, most)
    smooth_p = where & ((p2 - p0).abs() < beta)
    smooth_q = where & ((q2 - q0).abs() < beta)
    new_p, new_q = ((x).clamp(0, FINE_MAX) for x in (p0 + change, q0 - change))
    p0.copy_(torch.where(where, new_p, p0))
    q0.copy_(torch.where(where, new_q, q0))
    if luma:
        p1.add_(torch.where(smooth_p, by_p, 0))
        q1.add_(torch.where(smooth_q, by_q, 0))
