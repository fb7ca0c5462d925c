"""
Vectors for pictures: a search that looks at all blocks of a batch at once.

The search on the CPU goes block by block, and each leans on those before it. Here every block tries
the same number of vectors in step with all others, and takes over what its neighbours found in the
step before (Barnes et al., PatchMatch, ACM ToG 28(3), 2009). Prices and thresholds are those of
`_search.c`; vectors may differ, what they cost together hardly does (docs/adr/038).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rtcodec.motion.native import FINE
from rtcodec.motion.predict import GREY
from rtcodec.motion.search import BIT_PRICE, CALM, CALM_PER_STEP
from rtcodec_engines.tensor.paint import parts_of, spread
from rtcodec_engines.tensor.predict import Pictures, predict
from rtcodec_engines.tensor.sights import Sights
from rtcodec_engines.tensor.vectors import Motion, expected, of_blocks, quarter_grid, spread_tiles

TILE_BITS, INTRA_BITS, SPLIT_BITS, SPLIT_FROM, CLOSE_BITS = 24, 24, 6, 40, 72
SPECK_LEAST, SMOOTH = 20, 10
"As in `_search.c`, where they are explained."

Predict = Callable[[Pictures, Tensor, Motion], list[Tensor]]

_SQUARE = ((-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1))
_CROSS = ((0, -1), (-1, 0), (1, 0), (0, 1))
_SAMPLE = 4  # in quarters


class Moved(NamedTuple):
    """What was found for frames."""

    motion: Motion

    prediction: list[Tensor]
    "Planes int32 [N, H, W]."


class _Best:
    """The best vector of each of some parts of frames so far."""

    def __init__(self, task: "_Task", vectors: Tensor, expect: Tensor, *, whole: bool) -> None:
        """
        Args:
            task: What is looked for.
            vectors: int32 [N, rows, columns, 2], what to start from.
            expect: Like *vectors*.
            whole: Whether they are of blocks; else of quarters, in a picture's order.
        """
        self._task, self._whole = task, whole
        self.vectors, self._expect = vectors, expect
        self.differences = task.differences(vectors[:, None], whole=whole)[:, 0]
        self.cost = self._cost(self.differences, vectors)

    def expect(self, vectors: Tensor) -> None:
        """Price vectors by what they differ from other ones from now on."""
        self._expect = vectors
        self.cost = self._cost(self.differences, self.vectors)

    def attempt(self, vectors: list[Tensor], where: Tensor | None = None) -> None:
        """Take over what is better of *vectors*, everywhere or *where* that is asked for."""
        tried = torch.stack(vectors, 1)  # [N, K, rows, columns, 2]
        differences = self._task.differences(tried, whole=self._whole)
        cost = self._cost(differences, tried, self._expect[:, None])
        least, which = cost.min(1)
        better = least < self.cost if where is None else where & (least < self.cost)
        chosen = which[:, None]
        self.cost = torch.where(better, least, self.cost)
        own = differences.gather(1, chosen)[:, 0]
        self.differences = torch.where(better, own, self.differences)
        spot = tried.gather(1, chosen[..., None].expand(-1, -1, -1, -1, 2))[:, 0]
        self.vectors = torch.where(better[..., None], spot, self.vectors)

    def around(
        self, pattern: tuple[tuple[int, int], ...], unit: int, where: Tensor | None = None
    ) -> None:
        """Try what lies around the best so far."""
        x, y = self.vectors.unbind(-1)
        self.attempt([torch.stack((x + unit * i, y + unit * j), -1) for i, j in pattern], where)

    def _cost(self, differences: Tensor, vectors: Tensor, expect: Tensor | None = None) -> Tensor:
        apart = vectors - (self._expect if expect is None else expect)
        return differences + self._task.price(bits_of(apart), vectors)


class _Task:
    """The pictures to predict, and what is seen to predict them from."""

    def __init__(self, luma: Tensor, sights: Sights, bit_price: Tensor) -> None:
        self._luma = luma
        self._sights = sights
        self._bit_price = bit_price
        self.is_transformed = False

    def differences(self, vectors: Tensor, *, whole: bool) -> Tensor:
        """What vectors [N, K, rows, columns, 2] leave, float32 [N, K, rows, columns]."""
        if whole:
            vectors = vectors.repeat_interleave(2, 2).repeat_interleave(2, 3)
        sums = self._sights.differences(
            self._luma, vectors, transformed=self.is_transformed
        ).float()
        return sums.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).sum((3, 5)) if whole else sums

    def price(self, bits: Tensor, like: Tensor) -> Tensor:
        """What bits cost in sums of differences."""
        return bits * self._bit_price.reshape(-1, *(1,) * (like.dim() - 2))


def find_motion(
    source: list[Tensor],
    pictures: Pictures,
    rows: Tensor,
    steps: Tensor,
    start: Tensor,
    *,
    sights: type[Sights] = Sights,
    predict: Predict = predict,
) -> Moved:
    """
    Find what takes stored pictures to new ones.

    Args:
        source: Planes uint8 [N, H, W].
        pictures: Of the same size.
        rows: Which of them for each frame, int64 [N].
        steps: Nominal quantiser steps, float32 [N].
        start: Vectors of the frames before, int16 [N, h, w, 4, 2].
        sights: What looks at pictures.
        predict: What predicts, as `rtcodec_engines.tensor.predict.predict`.
    """
    task = _Task(source[0], sights(pictures.planes[0][rows]), BIT_PRICE * steps)
    resting = torch.zeros_like(start[..., 0, :], dtype=torch.int32)
    best = _Best(task, resting, resting, whole=True)
    rest, at_rest = best.differences, best.cost
    _descend(best, start.int(), task.price(torch.full_like(best.cost, CLOSE_BITS), best.vectors))
    task.is_transformed = True
    best = _Best(task, best.vectors, _expect(best.vectors), whole=True)
    best.around(_CROSS, 2)
    best.around(_SQUARE, 1)
    _take_over(task, best)
    vectors = _split(task, best, start.int())
    calm = at_rest < ((CALM + CALM_PER_STEP * steps) * 256)[:, None, None]
    vectors = vectors * ~calm[..., None, None]
    task.is_transformed = False
    alone, smooth, vectors = _decide(task, source[0], vectors, rest)
    cut = torch.ones_like(alone[:, ::4, ::4])
    plain = predict(pictures, rows, Motion(vectors, alone, cut))
    intra = alone | (smooth & _has_speck(source, plain, task))
    vectors = vectors * ~intra[..., None, None]
    plain = [
        torch.where(spread(intra, plane.shape[1] // intra.shape[1]), GREY, plane) for plane in plain
    ]
    blended = predict(pictures, rows, Motion(vectors, intra, ~cut))
    return _nearer(source, plain, blended, Motion(vectors, intra, cut), FINE * steps)


def bits_of(apart: Tensor) -> Tensor:
    """About the bits of vectors [..., 2] that differ by so much from what is expected, float."""
    sizes = torch.log2(apart.abs().clamp(min=1).float()).floor() + 1
    return torch.where(apart != 0, 2 * sizes + 0.5, 0.5).sum(-1)


def _descend(best: _Best, start: Tensor, far: Tensor) -> None:
    """By whole samples: from the vectors of the last frame, far and near, and from neighbours."""
    last = start.unbind(3)
    best.attempt([*last, last[0].roll(-1, 2), last[0].roll(-1, 1)])
    best.expect(_expect(best.vectors))
    for radius in (8, 4, 2, 1):
        best.around(_SQUARE, radius * _SAMPLE, best.cost > far)
    for radius in (2, 1):
        best.expect(_expect(best.vectors))
        best.attempt(_beside(best.vectors))
        best.around(_SQUARE, radius * _SAMPLE, best.cost > far)
    best.around(_CROSS, _SAMPLE)


def _take_over(task: _Task, best: _Best) -> None:
    """
    Take over what neighbours found, or what is expected, where that is cheaper in all.

    What it does to the blocks that lean on this one counts too, so a fourth of the blocks is asked
    at a time: none of them leans on another.
    """
    place = torch.arange(2, device=best.vectors.device)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        own = (place == down)[:, None] & (place == across)
        n, h, w, _ = best.vectors.shape
        asked = own.repeat(h // 2, w // 2)  # [h, w]
        field = best.vectors
        tried = torch.stack((field, _expect(field), *_beside(field)), 1)  # [N, K, h, w, 2]
        differences = task.differences(tried, whole=True)
        fields = torch.where(asked[..., None], tried, field[:, None]).flatten(0, 1)
        bits = _bits_around(bits_of(fields - _expect(fields))).unflatten(0, (n, -1))
        which = (differences + task.price(bits, tried)).argmin(1, keepdim=True)
        spot = which[..., None].expand(-1, -1, -1, -1, 2)
        best.vectors = torch.where(asked[..., None], tried.gather(1, spot)[:, 0], field)
        chosen = differences.gather(1, which)[:, 0]
        best.differences = torch.where(asked, chosen, best.differences)
    best.expect(_expect(best.vectors))


def _bits_around(bits: Tensor) -> Tensor:
    """Bits [N, h, w] of each block and of those of its tile that lean on it."""
    n, h, w = bits.shape
    tiles = bits.reshape(n, h // 4, 4, w // 4, 4)
    below = torch.cat((tiles[:, :, 1:], torch.zeros_like(tiles[:, :, :1])), 2)
    both = tiles + below
    right = torch.cat((both[..., 1:], torch.zeros_like(both[..., :1])), -1)
    return (both + right).reshape(n, h, w)


def _beside(vectors: Tensor) -> list[Tensor]:
    """Those of the four neighbours; at the edges, of the other side, which harms nothing."""
    return [vectors.roll(by, axis) for by, axis in ((1, 2), (1, 1), (-1, 2), (-1, 1))]


def _expect(vectors: Tensor) -> Tensor:
    """What is expected of blocks that move as one, int32 [N, h, w, 2]."""
    return expected(vectors.to(torch.int16)[..., None, :].expand(-1, -1, -1, 4, -1)).int()


def _split(task: _Task, best: _Best, start: Tensor) -> Tensor:
    """Vectors of the quarters, int16 [N, h, w, 4, 2], where they are worth what they cost."""
    whole = best.vectors.repeat_interleave(2, 1).repeat_interleave(2, 2)
    quarters = _Best(task, whole, whole, whole=False)
    quarters.attempt(
        [
            quarter_grid(start),
            *(
                v.roll(by, axis)
                for v in (whole,)
                for by, axis in ((2, 2), (2, 1), (-2, 2), (-2, 1))
            ),
        ]
    )
    quarters.around(_CROSS, 2 * _SAMPLE)
    quarters.around(_CROSS, _SAMPLE)
    quarters.attempt(_beside(quarters.vectors))
    quarters.around(_SQUARE, 2)
    quarters.around(_SQUARE, 1)
    found = of_blocks(quarters.vectors)  # [N, h, w, 4, 2]
    first, right, below, last = found.unbind(-2)
    low, high = torch.minimum(right, below), torch.maximum(right, below)
    median = torch.maximum(low, torch.minimum(high, right + below - first))
    said = ((first, _expect(best.vectors)), (right, first), (below, first), (last, median))
    bits = torch.stack([bits_of(own - expect) for own, expect in said]).sum(0) + SPLIT_BITS
    cost = of_blocks(quarters.differences).sum(-1) + task.price(bits, best.vectors)
    busy = best.differences > task.price(torch.full_like(cost, SPLIT_FROM), best.vectors)
    parted = (busy & (cost < best.cost))[..., None, None]
    return torch.where(parted, found, best.vectors[..., None, :]).to(torch.int16)


def _decide(
    task: _Task, luma: Tensor, vectors: Tensor, rest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Leave tiles at rest whose motion is worth little, and blocks alone that nothing predicts.

    Returns:
        Which blocks are alone, which are smooth, bool [N, h, w], and the vectors.
    """
    first = vectors[..., 0, :].int()
    left = task.differences(quarter_grid(vectors).int()[:, None], whole=False)[:, 0]
    moved = of_blocks(left).sum(-1)
    blocks = luma.float().unflatten(2, (-1, 16)).unflatten(1, (-1, 16))  # [N, h, 16, w, 16]
    mean = (blocks.mean((2, 4), keepdim=True) + 0.5).floor()
    busy = (blocks - mean).abs().sum((2, 4))
    bits = bits_of(first - _expect(first))
    alone = moved + task.price(bits - INTRA_BITS, first) > busy
    is_whole = (vectors == vectors[..., :1, :]).all(-1).all(-1)
    saved = torch.where(alone | ~is_whole, torch.inf, (rest - moved).clamp(min=0))
    tiles = saved.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).sum((2, 4))
    quiet = tiles <= task.price(torch.full_like(tiles, TILE_BITS), tiles[..., None])
    moving = ~(spread_tiles(quiet, 4) | alone)
    return alone, busy < SMOOTH * 256, vectors * moving[..., None, None]


def _nearer(
    source: list[Tensor],
    plain: list[Tensor],
    blended: list[Tensor],
    motion: Motion,
    steps: Tensor,
) -> Moved:
    """Each tile overlapped, unless that takes more bits, going by the logarithm of errors."""
    bits = []
    for prediction in (plain, blended):
        off = [
            (expect - own.int() * FINE).float()
            for own, expect in zip(source, prediction, strict=True)
        ]
        errors = parts_of(off).square().sum((-1, -2))  # [N, h, w, 6]
        scaled = torch.log2(1 + errors / steps.square()[:, None, None, None]).sum(-1)
        bits.append(scaled.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).sum((2, 4)))
    alone = bits[1] > bits[0] + 1
    chosen = [
        torch.where(spread_tiles(alone, one.shape[1] // alone.shape[1]), one, other)
        for one, other in zip(plain, blended, strict=True)
    ]
    return Moved(motion._replace(alone=alone), chosen)


def _has_speck(source: list[Tensor], prediction: list[Tensor], task: _Task) -> Tensor:
    """Whether a block's colour is off in a few samples, by what no symbol would mend."""
    planes = [
        (own.int() * FINE - expect).abs() for own, expect in zip(source, prediction, strict=True)
    ]
    sizes = parts_of(planes)[..., 4:, :, :].flatten(3)  # [N, h, w, 128]
    most, total = sizes.amax(-1), sizes.sum(-1)
    price = task.price(torch.ones_like(most, dtype=torch.float32), most[..., None])
    least = (16 * price / 12).floor().clamp(min=SPECK_LEAST)
    return (most > least * FINE) & (total < most * 16)
