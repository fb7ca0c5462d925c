"""
Predictions from stored pictures, and symbols added to them, a part of 8x8 samples at a time.

Both filters at once: 64 taps for a sample of luma, nearly all of whose samples are in the cache by
then, instead of lines that would have to be kept.
"""

from functools import cache

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from rtcodec.motion.predict import CHROMA_TAPS, CHROMA_WEIGHTS, GREY, LUMA_TAPS, LUMA_WEIGHTS
from rtcodec.motion.transform import DCT, LUMA_PARTS, ORDER, PARTS, SMALL
from rtcodec_engines.tensor.paint import Painted
from rtcodec_engines.tensor.predict import PLANE_SCALES, Pictures, overlapping
from rtcodec_engines.tensor.vectors import Motion

_GREY = tl.constexpr(GREY)


@triton.jit
def _moved(
    slab, start, across, down, y, x, height, width, taps, SHIFT: tl.constexpr, COUNT: tl.constexpr
):
    """Samples at (y, x) [8, 8] of a plane, each moved by its own vector."""
    whole_x = x + (across >> SHIFT) - (COUNT // 2 - 1)
    whole_y = y + (down >> SHIFT) - (COUNT // 2 - 1)
    part_x = (across & ((1 << SHIFT) - 1)) * COUNT
    part_y = (down & ((1 << SHIFT) - 1)) * COUNT
    sums = tl.zeros((8, 8), tl.int32)
    for i in range(COUNT):
        row = tl.minimum(tl.maximum(whole_y + i, 0), height - 1)
        line = tl.zeros((8, 8), tl.int32)
        for j in range(COUNT):
            column = tl.minimum(tl.maximum(whole_x + j, 0), width - 1)
            sample = tl.load(slab + (start + row) * width + column).to(tl.int32)
            line += sample * tl.load(taps + part_x + j)
        sums += (line >> 4) * tl.load(taps + part_y + i)
    return tl.minimum(tl.maximum(((sums >> 6) + 2) >> 2, 0), 4080)


@triton.jit
def _vector_at(vectors, n, row, column, h, w):
    """Where the vector of the quarter at a place among quarters is."""
    block = (n * h + row // 2) * w + column // 2
    return vectors + (block * 4 + row % 2 * 2 + column % 2) * 2


@triton.jit
def _predicted(
    slab, rows, vectors, intra, overlaps, n, y, x, h, w, taps, weights,
    SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Samples at (y, x) [8, 8] of a plane, moved by the vectors of their quarters, and blended."""
    height, width = 2 * SIDE * h, 2 * SIDE * w
    start = tl.load(rows + n) * height
    row, column = y // SIDE, x // SIDE
    at = _vector_at(vectors, n, row, column, h, w)
    across, down = tl.load(at).to(tl.int32), tl.load(at + 1).to(tl.int32)
    own = _moved(slab, start, across, down, y, x, height, width, taps, SHIFT, COUNT)
    tile = (n * (h // 4) + tl.min(tl.min(row, 0), 0) // 8) * (w // 4)
    tile += tl.min(tl.min(column, 0), 0) // 8
    if tl.load(overlaps + tile).to(tl.int32) > 0:
        sums = tl.zeros((8, 8), tl.int32)
        for side in range(4):  # left, right, above, below
            one = 2 * (side % 2) - 1
            beside_row = row + tl.where(side < 2, 0, one)
            beside_column = column + tl.where(side < 2, one, 0)
            inside = (beside_row >= 0) & (beside_row < 2 * h)
            inside = inside & (beside_column >= 0) & (beside_column < 2 * w)
            beside_row = tl.minimum(tl.maximum(beside_row, 0), 2 * h - 1)
            beside_column = tl.minimum(tl.maximum(beside_column, 0), 2 * w - 1)
            block = (n * h + beside_row // 2) * w + beside_column // 2
            counts = tl.where(inside, 1 - tl.load(intra + block).to(tl.int32), 0)
            there = _vector_at(vectors, n, beside_row, beside_column, h, w)
            across, down = tl.load(there).to(tl.int32), tl.load(there + 1).to(tl.int32)
            other = _moved(slab, start, across, down, y, x, height, width, taps, SHIFT, COUNT)
            deep = tl.where(side < 2, x % SIDE, y % SIDE)
            deep = tl.where(side % 2 == 0, deep, SIDE - 1 - deep)
            sums += counts * tl.load(weights + deep) * (other - own)
        own = tl.minimum(tl.maximum(own + ((sums + 16) >> 5), 0), 4080)
    return own


@triton.jit
def _added(symbols, n, place, part, h, w, step, bases, order):
    """What a part's symbols make, [8, 8]; and whether any is not 0."""
    base = (n * h * w + place) * 394
    split = tl.load(symbols + base + 393) != 0
    basis = bases + tl.where(split & (part < 4), 64, 0)
    k = tl.arange(0, 8)
    v, f = k[:, None], k[None, :]  # frequencies: down, across
    said = tl.load(symbols + base + tl.load(order + v * 8 + f) * 6 + part).to(tl.int32)
    c = tl.minimum(tl.maximum(said * step, -65535), 65535)
    rows = tl.load(basis + v * 8 + f)  # [frequency, sample]
    down = tl.sum(rows[:, :, None] * c[:, None, :], 0)  # [y, f]
    down = tl.minimum(tl.maximum((down + 1024) >> 11, -131071), 131071)
    both = tl.sum(down[:, :, None] * rows[None, :, :], 1)  # [y, x]
    return (both + 4096) >> 13, tl.sum(tl.sum((said != 0).to(tl.int32), 0), 0)


@triton.jit(do_not_specialize=["h", "w"])
def _part_kernel(
    slab, rows, vectors, intra, overlaps, taps, weights,
    prediction, symbols, still, steps, bases, order, out, coded, h, w,
    PLANE: tl.constexpr, SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr,
    PREDICT: tl.constexpr, PAINT: tl.constexpr,
):  # fmt: skip
    """One part: predicted, or read; then, if it is to be painted, with what is added."""
    n = tl.program_id(1).to(tl.int64)
    scale: tl.constexpr = 1 if PLANE else 2  # parts along a block
    down, across = tl.program_id(0) // (w * scale), tl.program_id(0) % (w * scale)
    place = down // scale * w + across // scale
    k = tl.arange(0, 8)
    y, x = down * 8 + k[:, None] + tl.zeros((8, 8), tl.int32), across * 8 + k[None, :]
    x = x + tl.zeros((8, 8), tl.int32)
    at = (n * h * 8 * scale + y) * w * 8 * scale + x
    if PREDICT:
        alone = tl.load(intra + n * h * w + place) != 0
        moved = _predicted(
            slab, rows, vectors, intra, overlaps, n, y, x, h, w, taps, weights, SIDE, SHIFT, COUNT
        )
        samples = tl.where(alone, _GREY, moved)
    else:
        samples = tl.load(prediction + at)
    if PAINT:
        part = PLANE + 3 if PLANE else (down % 2) * 2 + across % 2
        step = tl.load(steps + n * 2 + (1 if PLANE else 0))
        resting = tl.load(still + n * h * w + place) != 0
        more, said = _added(symbols, n, place, part, h, w, step, bases, order)
        painted = tl.minimum(tl.maximum(samples + more, 0), 4080)
        samples = tl.where(resting, samples, painted)
        if PLANE == 0:
            tl.store(coded + (n * 2 * h + down) * 2 * w + across, tl.where(resting, 0, said) > 0)
    tl.store(out + at, samples)


def predict(pictures: Pictures, rows: Tensor, motion: Motion) -> list[Tensor]:
    """As `rtcodec_engines.tensor.predict.predict`."""
    return _run(motion, pictures=pictures, rows=rows).planes


def paint(symbols: Tensor, prediction: list[Tensor], still: Tensor, steps: Tensor) -> Painted:
    """As `rtcodec_engines.tensor.paint.paint`."""
    nowhere = Motion(still, still, still)
    return _run(nowhere, prediction=prediction, symbols=symbols, still=still, steps=steps)


def predict_and_paint(
    pictures: Pictures, rows: Tensor, motion: Motion, symbols: Tensor, still: Tensor, steps: Tensor
) -> Painted:
    """Both, without the prediction ever being stored."""
    return _run(motion, pictures=pictures, rows=rows, symbols=symbols, still=still, steps=steps)


def _run(
    motion: Motion,
    *,
    pictures: Pictures | None = None,
    rows: Tensor | None = None,
    prediction: list[Tensor] | None = None,
    symbols: Tensor | None = None,
    still: Tensor | None = None,
    steps: Tensor | None = None,
) -> Painted:
    """What is not given stands for what is not asked for; kernels then never look at it."""
    n, h, w = motion.intra.shape
    device = motion.intra.device
    nothing = motion.intra
    coded = torch.empty((n, 2 * h, 2 * w), dtype=torch.bool, device=device)
    overlaps = nothing if pictures is None else overlapping(motion)
    bases, order = _tables(device)
    planes = []
    for plane, scale in enumerate(PLANE_SCALES):
        out = torch.empty((n, 16 * h // scale, 16 * w // scale), dtype=torch.int32, device=device)
        _part_kernel[(h * w * (1 if plane else 4), n)](
            nothing if pictures is None else pictures.planes[plane],
            nothing if rows is None else rows.contiguous(),  # they come as a column
            motion.vectors.contiguous(),
            motion.intra.contiguous(),
            overlaps.contiguous(),
            _taps(device, scale),
            _weights(device, scale),
            nothing if prediction is None else prediction[plane].contiguous(),
            nothing if symbols is None else symbols.contiguous(),
            nothing if still is None else still.contiguous(),
            nothing if steps is None else steps,
            bases, order, out, coded, h, w,
            PLANE=plane, SIDE=8 // scale, SHIFT=2 + (scale > 1), COUNT=8 if scale == 1 else 4,
            PREDICT=pictures is not None, PAINT=symbols is not None, num_warps=2,
        )  # fmt: skip
        planes.append(out)
    return Painted(planes, coded)


@cache
def _weights(device: torch.device, scale: int) -> Tensor:
    """By distance from a side, int32 [8 or 4]."""
    near = LUMA_WEIGHTS if scale == 1 else CHROMA_WEIGHTS
    return torch.tensor(near + (0,) * len(near), dtype=torch.int32, device=device)


@cache
def _taps(device: torch.device, scale: int) -> Tensor:
    taps = LUMA_TAPS if scale == 1 else CHROMA_TAPS
    return torch.tensor(taps, dtype=torch.int32, device=device)


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Both bases, int32 [2, 8, 8], and which latent each coefficient is, int32 [64]."""
    assert PARTS == LUMA_PARTS + 2
    bases = torch.from_numpy(np.stack((DCT, SMALL)).astype(np.int32))
    return bases.to(device), torch.from_numpy(np.argsort(ORDER).astype(np.int32)).to(device)
