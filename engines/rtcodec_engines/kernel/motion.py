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

from rtcodec.motion.predict import CHROMA_TAPS, GREY, LUMA_TAPS
from rtcodec.motion.transform import DCT, LUMA_PARTS, ORDER, PARTS, SMALL
from rtcodec_engines.tensor.paint import Painted
from rtcodec_engines.tensor.predict import PLANE_SCALES, Pictures

_GREY = tl.constexpr(GREY)


@triton.jit
def _predicted(
    slab, rows, vectors, n, place, y, x, h, w, taps,
    SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Samples at (y, x) [8, 8] of a plane, moved by the vectors of their quarters."""
    quarter = (y // SIDE % 2) * 2 + x // SIDE % 2
    at = ((n * h * w + place) * 4 + quarter) * 2
    across = tl.load(vectors + at).to(tl.int32)
    down = tl.load(vectors + at + 1).to(tl.int32)
    height, width = 2 * SIDE * h, 2 * SIDE * w
    start = tl.load(rows + n) * height
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


@triton.jit
def _part_kernel(
    slab, rows, vectors, intra, taps, prediction, symbols, still, steps, bases, order, out, coded,
    h, w, PLANE: tl.constexpr, SIDE: tl.constexpr, SHIFT: tl.constexpr, COUNT: tl.constexpr,
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
        moved = _predicted(slab, rows, vectors, n, place, y, x, h, w, taps, SIDE, SHIFT, COUNT)
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


def predict(pictures: Pictures, rows: Tensor, vectors: Tensor, intra: Tensor) -> list[Tensor]:
    """As `rtcodec_engines.tensor.predict.predict`."""
    return _run(vectors, intra, pictures=pictures, rows=rows).planes


def paint(symbols: Tensor, prediction: list[Tensor], still: Tensor, steps: Tensor) -> Painted:
    """As `rtcodec_engines.tensor.paint.paint`."""
    return _run(still, still, prediction=prediction, symbols=symbols, still=still, steps=steps)


def predict_and_paint(
    pictures: Pictures, rows: Tensor, vectors: Tensor, intra: Tensor,
    symbols: Tensor, still: Tensor, steps: Tensor,
) -> Painted:  # fmt: skip
    """Both, without the prediction ever being stored."""
    return _run(
        vectors, intra, pictures=pictures, rows=rows, symbols=symbols, still=still, steps=steps
    )


def _run(
    vectors: Tensor, intra: Tensor, *, pictures: Pictures | None = None, rows: Tensor | None = None,
    prediction: list[Tensor] | None = None, symbols: Tensor | None = None,
    still: Tensor | None = None, steps: Tensor | None = None,
) -> Painted:  # fmt: skip
    """What is not given stands for what is not asked for; kernels then never look at it."""
    n, h, w = intra.shape
    device = intra.device
    nothing = intra
    coded = torch.empty((n, 2 * h, 2 * w), dtype=torch.bool, device=device)
    bases, order = _tables(device)
    planes = []
    for plane, scale in enumerate(PLANE_SCALES):
        out = torch.empty((n, 16 * h // scale, 16 * w // scale), dtype=torch.int32, device=device)
        _part_kernel[(h * w * (1 if plane else 4), n)](
            nothing if pictures is None else pictures.planes[plane],
            nothing if rows is None else rows,
            vectors.contiguous(),
            intra.contiguous(),
            _taps(device, scale),
            nothing if prediction is None else prediction[plane],
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
def _taps(device: torch.device, scale: int) -> Tensor:
    taps = LUMA_TAPS if scale == 1 else CHROMA_TAPS
    return torch.tensor(taps, dtype=torch.int32, device=device)


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Both bases, int32 [2, 8, 8], and which latent each coefficient is, int32 [64]."""
    assert PARTS == LUMA_PARTS + 2
    bases = torch.from_numpy(np.stack((DCT, SMALL)).astype(np.int32))
    return bases.to(device), torch.from_numpy(np.argsort(ORDER).astype(np.int32)).to(device)
