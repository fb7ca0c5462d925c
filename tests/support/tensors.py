"""Between blocks, as C has pictures, and planes of tensors. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.engine.blocks import planes_of
from rtcodec.motion.native import NO_QP
from rtcodec.motion.refine import blocks_of_planes
from rtcodec_engines.tensor.predict import Pictures

Blocks = NDArray[np.uint16]


def fine_blocks(rng: np.random.Generator, rows: int, columns: int, roughness: int = 400) -> Blocks:
    """A smooth picture with noise, uint16 [rows, columns, 384]."""
    planes = []
    for side in (16, 8, 8):
        coarse = rng.integers(0, 4081, (rows, columns)).repeat(side, 0).repeat(side, 1)
        noise = rng.integers(-roughness, roughness + 1, coarse.shape)
        planes.append((coarse + noise).clip(0, 4080).astype(np.uint16))
    return blocks_of_planes(planes)


def planes_from(blocks: NDArray[np.uint16]) -> list[Tensor]:
    """Blocks [N, h, w, 384] as int32 planes [N, H, W]."""
    apart = [planes_of(frame.astype(np.uint16)) for frame in blocks]
    return [
        torch.from_numpy(np.stack([planes[k] for planes in apart]).astype(np.int32))
        for k in range(3)
    ]


def blocks_from(planes: Sequence[Tensor]) -> Blocks:
    """Planes [H, W] of one frame as blocks."""
    return blocks_of_planes([plane.numpy().astype(np.uint16) for plane in planes])


def pictures_of(stored: Sequence[Blocks]) -> Pictures:
    """Stored pictures, with nothing left to refine."""
    y, u, v = (plane.to(torch.int16) for plane in planes_from(np.stack(stored)))
    tiles = (len(stored), stored[0].shape[0] // 4, stored[0].shape[1] // 4)
    return Pictures((y, u, v), torch.full(tiles, NO_QP, dtype=torch.uint8))
