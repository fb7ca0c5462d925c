"""
Symbols transformed back and added to predictions: `rtcodec.motion.transform`, a batch at a time.

Sums of eight products in 32 bits, as C has them; torch multiplies no matrices of integers on CUDA.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rtcodec.motion.native import BLOCK_SAMPLES
from rtcodec.motion.transform import DCT, LUMA_PARTS, ORDER, PARTS, SIDE, SMALL
from rtcodec_engines.tensor.predict import FINE_MAX, PLANE_SCALES

_COEFFICIENT_MAX, _COLUMN_MAX = 65535, 131071


class Painted(NamedTuple):
    """Frames over their predictions."""

    planes: list[Tensor]
    "int32 [N, H, W]."

    coded: Tensor
    "Which quarters of luma have a symbol, bool [N, 2 h, 2 w]."


def paint(symbols: Tensor, prediction: list[Tensor], still: Tensor, steps: Tensor) -> Painted:
    """
    Add what symbols make to predictions.

    Args:
        symbols: int16 [N, h, w, 394]; the last one is not 0 where luma is in 4x4.
        prediction: Planes int32 [N, H, W].
        still: Blocks that stay as they are, bool [N, h, w].
        steps: Of luma and of chroma, int32 [N, 2].
    """
    n, h, w, _ = symbols.shape
    device = symbols.device
    latents = symbols[..., :BLOCK_SAMPLES].reshape(n, h, w, SIDE * SIDE, PARTS)
    of_parts = steps[:, _plane_of_part(device)][:, None, None, None]  # [N, 1, 1, 1, 6]
    scaled = (latents.int() * of_parts).clamp(-_COEFFICIENT_MAX, _COEFFICIENT_MAX)
    ranked = scaled[..., _ranks(device), :].transpose(-1, -2)
    split = (symbols[..., -1:] != 0) & (torch.arange(PARTS, device=device) < LUMA_PARTS)
    added = _inverse(ranked.reshape(n, h, w, PARTS, SIDE, SIDE), _bases(device)[split.long()])
    planes = [
        torch.where(spread(still, 16 // scale), expect, (expect + more).clamp(0, FINE_MAX))
        for expect, more, scale in zip(prediction, planes_of(added), PLANE_SCALES, strict=True)
    ]
    said = (latents[..., :LUMA_PARTS] != 0).any(3) & ~still[..., None]  # [N, h, w, 4]
    coded = said.reshape(n, h, w, 2, 2).transpose(2, 3).reshape(n, 2 * h, 2 * w)
    return Painted(planes, coded)


def planes_of(parts: Tensor) -> list[Tensor]:
    """Parts [N, h, w, 6, 8, 8] as planes y, u and v, [N, H, W]."""
    n, h, w = parts.shape[:3]
    luma = parts[..., :LUMA_PARTS, :, :].reshape(n, h, w, 2, 2, SIDE, SIDE)
    y = luma.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, 16 * h, 16 * w)
    chroma = (parts[..., k, :, :].transpose(2, 3) for k in (LUMA_PARTS, LUMA_PARTS + 1))
    return [y, *(plane.reshape(n, SIDE * h, SIDE * w) for plane in chroma)]


def parts_of(planes: list[Tensor]) -> Tensor:
    """Invert `planes_of`."""
    y, u, v = planes
    n, h, w = y.shape[0], y.shape[1] // 16, y.shape[2] // 16
    luma = y.reshape(n, h, 2, SIDE, w, 2, SIDE).permute(0, 1, 4, 2, 5, 3, 6)
    chroma = [plane.reshape(n, h, SIDE, w, SIDE).transpose(2, 3) for plane in (u, v)]
    return torch.cat((luma.reshape(n, h, w, 4, SIDE, SIDE), torch.stack(chroma, 3)), 3)


def spread(of_places: Tensor, times: int) -> Tensor:
    """Repeat what is of places [N, h, w] *times* down and across."""
    return of_places.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _inverse(coefficients: Tensor, rows: Tensor) -> Tensor:
    """Samples of coefficients [..., 8, 8], vertical frequencies first; rows [..., 8, 8]."""
    down = _sums(rows.unsqueeze(-1), coefficients.unsqueeze(-2), -3)  # over v: [.., y, h]
    down = ((down + 1024) >> 11).clamp(-_COLUMN_MAX, _COLUMN_MAX)
    both = _sums(down.transpose(-1, -2).unsqueeze(-1), rows.unsqueeze(-2), -3)  # over h
    return (both + 4096) >> 13


def _sums(one: Tensor, other: Tensor, axis: int) -> Tensor:
    """Sum of products along an axis of 8, term by term: all of them at once would fill memory."""
    terms = zip(one.unbind(axis), other.unbind(axis), strict=True)
    first, second = next(terms)
    total = first * second
    for first, second in terms:
        total = total + first * second
    return total


@cache
def _bases(device: torch.device) -> Tensor:
    """Of 8x8 and of 4x4, int32 [2, 8, 8]."""
    return torch.from_numpy(np.stack((DCT, SMALL)).astype(np.int32)).to(device)


@cache
def _ranks(device: torch.device) -> Tensor:
    """Which latent each coefficient is, [64]."""
    return torch.from_numpy(np.argsort(ORDER)).to(device)


@cache
def _plane_of_part(device: torch.device) -> Tensor:
    return (torch.arange(PARTS, device=device) >= LUMA_PARTS).long()
