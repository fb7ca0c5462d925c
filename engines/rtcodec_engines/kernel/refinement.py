"""Refining of pictures: the class of each cell of 4x4 first, then samples, a cell at a time."""

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from rtcodec.motion.refine import CHROMA_PAIRS, LUMA_PAIRS
from rtcodec_engines.tensor.refine import Refine

_CELLS = 16  # of one program
_SAMPLES = 256


@triton.jit
def _seen(plane, y, x, height, width):
    row = tl.minimum(tl.maximum(y, 0), height - 1)
    column = tl.minimum(tl.maximum(x, 0), width - 1)
    return tl.load(plane + row * width + column).to(tl.int32)


@triton.jit(do_not_specialize=["height", "width"])
def _class_kernel(plane, qps, activity, kinds, height, width, CELLS: tl.constexpr):
    """4 * class + turn of a few cells in a row."""
    n = tl.program_id(1).to(tl.int64)
    plane += n * height * width
    cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    per_row = width // 4
    total = height // 4 * per_row
    inside = cells < total
    cells = tl.minimum(cells, total - 1)
    k = tl.arange(0, 64)
    zeros = tl.zeros((CELLS, 64), tl.int32)
    # The pictures' edges are repeated first, and differences taken there then.
    y = (cells // per_row * 4 - 2)[:, None] + (k // 8)[None, :] + zeros
    x = (cells % per_row * 4 - 2)[:, None] + (k % 8)[None, :] + zeros
    twice = 2 * _seen(plane, y, x, height, width)
    across = tl.sum(tl.abs(twice - _seen(plane, y, x - 1, height, width)
                           - _seen(plane, y, x + 1, height, width)), 1)  # fmt: skip
    down = tl.sum(tl.abs(twice - _seen(plane, y - 1, x, height, width)
                         - _seen(plane, y + 1, x, height, width)), 1)  # fmt: skip
    falling = tl.sum(tl.abs(twice - _seen(plane, y - 1, x - 1, height, width)
                            - _seen(plane, y + 1, x + 1, height, width)), 1)  # fmt: skip
    rising = tl.sum(tl.abs(twice - _seen(plane, y + 1, x - 1, height, width)
                           - _seen(plane, y - 1, x + 1, height, width)), 1)  # fmt: skip
    straight, other = tl.maximum(across, down), tl.minimum(across, down)
    slant, other_slant = tl.maximum(falling, rising), tl.minimum(falling, rising)
    is_slant = slant.to(tl.int64) * other > straight.to(tl.int64) * other_slant
    most = tl.where(is_slant, slant, straight)
    least = tl.where(is_slant, other_slant, other)
    strength = (most > 2 * least).to(tl.int32) + (2 * most > 9 * least).to(tl.int32)
    direction = strength + tl.where((strength > 0) & (is_slant == 0), 2, 0)
    tile = (n * (height // 64) + cells // per_row // 16) * (width // 64) + cells % per_row // 16
    qp = tl.minimum(tl.load(qps + tile).to(tl.int32), 63)
    level = tl.zeros((CELLS,), tl.int32)
    for i in range(7):
        level += (across + down > tl.load(activity + qp * 7 + i)).to(tl.int32)
    turn = tl.where(rising > falling, 2, 0) + tl.where(down <= across, 1, 0)
    tl.store(kinds + n * total + cells, (direction * 8 + level) * 4 + turn, mask=inside)


@triton.jit(do_not_specialize=["height", "width"])
def _refine_kernel(
    plane, kinds, qps, sets, weights, clips, offsets, out, height, width,
    PAIRS: tl.constexpr, CHROMA: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Some samples in a row. CHROMA: 0 of luma, 1 of u, 2 of v."""
    n = tl.program_id(1).to(tl.int64)
    plane += n * height * width
    flat = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    inside = flat < height * width
    flat = tl.minimum(flat, height * width - 1)
    y, x = flat // width, flat % width
    side: tl.constexpr = 32 if CHROMA else 64
    tile = (n * (height // side) + y // side) * (width // side) + x // side
    qp = tl.load(qps + tile).to(tl.int32)
    known = qp < 64
    qp = tl.minimum(qp, 63)
    own_set = tl.load(sets + qp).to(tl.int32)
    if CHROMA:
        first = (own_set * 2 + CHROMA - 1) * PAIRS * 4
    else:
        cell = n * (height // 4) * (width // 4) + y // 4 * (width // 4) + x // 4
        first = (own_set * 160 + tl.load(kinds + cell)) * PAIRS * 4
    limits = clips + qp * 8 + (4 if CHROMA else 0)
    own = tl.load(plane + flat).to(tl.int32)
    sums = tl.zeros((SAMPLES,), tl.int32)
    for t in range(PAIRS):
        down, across = tl.load(offsets + 2 * t), tl.load(offsets + 2 * t + 1)
        a = 4 * (_seen(plane, y + down, x + across, height, width) - own)
        b = 4 * (_seen(plane, y - down, x - across, height, width) - own)
        for k in range(4):
            most = tl.load(limits + k)
            both = tl.minimum(tl.maximum(a, -most), most) + tl.minimum(tl.maximum(b, -most), most)
            sums += (both * tl.load(weights + first + 4 * t + k).to(tl.int32) + (1 << 14)) >> 15
    wrapped = (sums << 16) >> 16  # as C, whose sums have 16 bits
    new = tl.minimum(tl.maximum(own + ((wrapped + 2) >> 2), 0), 4080)
    tl.store(out + n * height * width + flat, tl.where(known, new, own), mask=inside)


class FusedRefine(Refine):
    """As `Refine`."""

    def forward(self, planes: Sequence[Tensor], qps: Tensor) -> list[Tensor]:
        """As `Refine.forward`."""
        planes = [plane.contiguous() for plane in planes]
        qps = qps.contiguous()
        n, height, width = planes[0].shape
        device = qps.device
        cells = height // 4 * (width // 4)
        kinds = torch.empty((n, cells), dtype=torch.int32, device=device)
        _class_kernel[(triton.cdiv(cells, _CELLS), n)](
            planes[0], qps, self.activity, kinds, height, width, CELLS=_CELLS
        )
        refined = []
        for k, plane in enumerate(planes):
            out = torch.empty(plane.shape, dtype=torch.int32, device=device)
            rows, columns = plane.shape[1:]
            _refine_kernel[(triton.cdiv(rows * columns, _SAMPLES), n)](
                plane, kinds, qps, self.sets, self.chroma if k else self.luma, self.clips,
                _offsets(device, k > 0), out, rows, columns,
                PAIRS=len(CHROMA_PAIRS if k else LUMA_PAIRS), CHROMA=k, SAMPLES=_SAMPLES,
            )  # fmt: skip
            refined.append(out)
        return refined


@cache
def _offsets(device: torch.device, chroma: bool) -> Tensor:
    pairs = CHROMA_PAIRS if chroma else LUMA_PAIRS
    return torch.tensor(pairs, dtype=torch.int32, device=device)
