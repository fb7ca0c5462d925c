"""The filter in the loop of delta frames, eight lines of an edge at a time."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_LINES = 8


@triton.jit(do_not_specialize=["h", "w"])
def _edge_kernel(
    plane, coded, vectors, intra, still, limits, h, w,
    DOWN: tl.constexpr, LUMA: tl.constexpr, LINES: tl.constexpr,
):  # fmt: skip
    """Half a block's edge: of luma 8 lines, of chroma 4. DOWN: whether it runs down."""
    n = tl.program_id(1).to(tl.int64)
    across_parts = 2 * w - 1 if DOWN else 2 * w
    step: tl.constexpr = 1 if LUMA else 2  # chroma has edges between blocks only
    first = 0 if LUMA else 1
    if DOWN:
        per_row = (across_parts - first + step - 1) // step
        i = tl.program_id(0) // per_row
        j = first + tl.program_id(0) % per_row * step
        i2, j2 = i, j + 1
    else:
        i = first + tl.program_id(0) // across_parts * step
        j = tl.program_id(0) % across_parts
        i2, j2 = i + 1, j

    a = (n * h + i // 2) * w + j // 2
    b = (n * h + i2 // 2) * w + j2 // 2
    rest = tl.load(still + a).to(tl.int32) + tl.load(still + b).to(tl.int32)
    va = (a * 4 + i % 2 * 2 + j % 2) * 2
    vb = (b * 4 + i2 % 2 * 2 + j2 % 2) * 2
    dx = tl.load(vectors + va).to(tl.int32) - tl.load(vectors + vb).to(tl.int32)
    dy = tl.load(vectors + va + 1).to(tl.int32) - tl.load(vectors + vb + 1).to(tl.int32)
    some = tl.load(intra + a).to(tl.int32) + tl.load(intra + b).to(tl.int32)
    some += tl.load(coded + (n * 2 * h + i) * 2 * w + j).to(tl.int32)
    some += tl.load(coded + (n * 2 * h + i2) * 2 * w + j2).to(tl.int32)
    moves = tl.maximum(tl.abs(dx), tl.abs(dy)) // 4
    is_edge = tl.where(rest > 0, 0, some + moves) > 0

    side: tl.constexpr = 8 if LUMA else 4  # samples of a quarter
    width = 2 * side * w
    k = tl.arange(0, LINES)
    if DOWN:
        at = (n * 2 * side * h + i * side + k) * width + j2 * side
        over = 1
    else:
        at = (n * 2 * side * h + i2 * side) * width + j * side + k
        over = width
    alpha = tl.load(limits + n * 6 + (0 if LUMA else 3))
    beta = tl.load(limits + n * 6 + (1 if LUMA else 4))
    most = tl.load(limits + n * 6 + (2 if LUMA else 5))
    most = tl.where(is_edge, most, 0)  # then nothing changes
    p1, p0 = tl.load(plane + at - 2 * over), tl.load(plane + at - over)
    q0, q1 = tl.load(plane + at), tl.load(plane + at + over)
    where = (tl.abs(p0 - q0) < alpha) & (tl.abs(p1 - p0) < beta)
    where = where & (tl.abs(q1 - q0) < beta)
    if LUMA:
        p2, q2 = tl.load(plane + at - 3 * over), tl.load(plane + at + 2 * over)
        middle = (p0 + q0 + 1) >> 1
        by_p = tl.minimum(tl.maximum((p2 + middle - 2 * p1) >> 1, -most), most)
        by_q = tl.minimum(tl.maximum((q2 + middle - 2 * q1) >> 1, -most), most)
        tl.store(plane + at - 2 * over, p1 + by_p, mask=where & (tl.abs(p2 - p0) < beta))
        tl.store(plane + at + over, q1 + by_q, mask=where & (tl.abs(q2 - q0) < beta))
    change = (4 * (q0 - p0) + p1 - q1 + 4) >> 3
    change = tl.minimum(tl.maximum(change, -2 * most), 2 * most)
    new_p, new_q = p0 + change, q0 - change
    tl.store(plane + at - over, tl.minimum(tl.maximum(new_p, 0), 4080), mask=where)
    tl.store(plane + at, tl.minimum(tl.maximum(new_q, 0), 4080), mask=where)


def smooth(
    planes: list[Tensor], coded: Tensor, vectors: Tensor, intra: Tensor, still: Tensor,
    limits: Tensor,
) -> None:  # fmt: skip
    """As `rtcodec_engines.tensor.smooth.smooth`; planes are contiguous."""
    n, h, w = intra.shape
    said = (coded.contiguous(), vectors.contiguous(), intra.contiguous(), still.contiguous())
    for down in (True, False):
        for k, plane in enumerate(planes):
            rows, columns = (2 * h, 2 * w - 1) if down else (2 * h - 1, 2 * w)
            if k and down:
                columns = w - 1
            elif k:
                rows = h - 1
            if rows * columns:
                _edge_kernel[(rows * columns, n)](
                    plane, *said, limits.to(torch.int32).contiguous(), h, w,
                    DOWN=down, LUMA=k == 0, LINES=_LINES if k == 0 else _LINES // 2, num_warps=1,
                )  # fmt: skip
