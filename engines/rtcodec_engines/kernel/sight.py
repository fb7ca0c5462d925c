"""What vectors leave of pictures: the inner loop of the motion search."""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from rtcodec_engines.tensor.sights import MARGIN, Sights

_MARGIN = tl.constexpr(MARGIN)


@triton.jit
def _seen(planes, n, i, j, height, width):
    """Samples [8, 8] at a place in halves of a sample."""
    plane = n * 4 + (i & 1) + 2 * (j & 1)
    k = tl.arange(0, 8)
    start = (plane * height + (j >> 1) + _MARGIN) * width + (i >> 1) + _MARGIN
    return tl.load(planes + start + k[:, None] * width + k[None, :]).to(tl.int32)


@triton.jit(do_not_specialize=["rows", "columns", "count"])
def _difference_kernel(
    planes, source, vectors, hadamard, out, rows, columns, count, TRANSFORMED: tl.constexpr
):
    """All vectors of one 8x8 part."""
    n = tl.program_id(1).to(tl.int64)
    row, column = tl.program_id(0) // columns, tl.program_id(0) % columns
    height, width = 8 * rows + 2 * _MARGIN, 8 * columns + 2 * _MARGIN
    k = tl.arange(0, 8)
    at = (n * rows * 8 + row * 8 + k[:, None]) * columns * 8 + column * 8 + k[None, :]
    own = tl.load(source + at).to(tl.int32)
    for c in range(count):
        to = ((n * count + c) * rows + row) * columns + column
        x = tl.load(vectors + 2 * to).to(tl.int32) + 32 * column
        y = tl.load(vectors + 2 * to + 1).to(tl.int32) + 32 * row
        x = tl.minimum(tl.maximum(x, -88), 4 * (8 * columns + 14))
        y = tl.minimum(tl.maximum(y, -88), 4 * (8 * rows + 14))
        i, j, across, down = x >> 1, y >> 1, x & 1, y & 1
        turned = across & down & (((i ^ j) & 1) ^ 1)
        one = _seen(planes, n, i + turned, j, height, width)
        other = _seen(planes, n, i + (across & (1 - turned)), j + down, height, width)
        left = own - ((one + other + 1) >> 1)
        if TRANSFORMED:
            signs = tl.load(hadamard + k[:, None] * 8 + k[None, :])
            half = tl.sum(signs[:, :, None] * left[None, :, :], 1)
            whole = tl.sum(half[:, :, None] * signs[None, :, :], 1)
            tl.store(out + to, (tl.sum(tl.sum(tl.abs(whole), 0), 0) + 4) // 8)
        else:
            tl.store(out + to, tl.sum(tl.sum(tl.abs(left), 0), 0))


class FusedSights(Sights):
    """As `Sights`."""

    def differences(self, source: Tensor, vectors: Tensor, *, transformed: bool) -> Tensor:
        """As `Sights.differences`."""
        n, count, rows, columns, _ = vectors.shape
        out = torch.empty(vectors.shape[:-1], dtype=torch.int32, device=vectors.device)
        _difference_kernel[(rows * columns, n)](
            self.planes, source.contiguous(), vectors.contiguous(), _signs(vectors.device), out,
            rows, columns, count, TRANSFORMED=transformed, num_warps=2,
        )  # fmt: skip
        return out


@cache
def _signs(device: torch.device) -> Tensor:
    """The Hadamard matrix of eight, int32, symmetric."""
    k = torch.arange(8)
    ones = torch.stack([(k[:, None] & k & bit) != 0 for bit in (1, 2, 4)]).sum(0)
    return (1 - 2 * (ones % 2)).to(torch.int32).to(device)
