"""
From samples to symbols of delta frames: the encoder's half, a batch at a time.

What `rtcodec.motion.latents` and `hyper` do in lists is done here to all latents: a GPU has the
arithmetic, and lists have no fixed size. The networks are those of training.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.bundle import Bundle
from rtcodec.entropy.contexts import LUMA_PARTS, PARTS
from rtcodec.models.contexts import Contexts, luma_count
from rtcodec.models.delta import MODE_BITS, MODE_OFFSET, MODE_PRICE, with_motion
from rtcodec.models.prior import HyperAnalysis, round_by
from rtcodec.models.tier import (
    DELTA_LIKELY_OFFSET,
    PIXEL_CHANNELS,
    TILE_SIDE,
    Z_LIMIT,
    tier_from_dims,
)
from rtcodec.motion.native import FINE
from rtcodec.motion.transform import DCT, ORDER, SIDE, SMALL
from rtcodec.motion.vectors import SPLIT_CHANNEL
from rtcodec_engines.tensor.paint import parts_of
from rtcodec_engines.tensor.scales import Scales


class Quantised(NamedTuple):
    """Frames as symbols, channels first."""

    z: Tensor
    "float [N, Cz, Th, Tw], integers; 0 in tiles of which nothing is likely to be said."

    indices: Tensor
    "uint8 [N, 394, h, w]; 0 in those tiles."

    symbols: Tensor
    "float [N, 394, h, w], integers; the last ten channels are motion."

    latents: Tensor
    "float [N, 384, h, w], in steps."


def transform(
    source: list[Tensor], prediction: list[Tensor], steps: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Latents of frames less their predictions, in the cheaper transform.

    Args:
        source: Planes uint8 [N, H, W].
        prediction: Planes int32 [N, H, W], `Fine`.
        steps: Of luma and of chroma, int32 [N, 2].

    Returns:
        float32 [N, 384, h, w] in steps, and split, bool [N, h, w], where luma is in 4x4.
    """
    difference = [
        (own.int() * FINE - expect).float() for own, expect in zip(source, prediction, strict=True)
    ]
    parts = parts_of(difference)  # [N, h, w, 6, 8, 8]
    luma_unit, chroma_unit = (1.0 / steps.float()).split(1, 1)
    units = (luma_unit.expand(-1, LUMA_PARTS), chroma_unit.expand(-1, PARTS - LUMA_PARTS))
    scale = torch.cat(units, 1)[:, None, None, :, None, None]
    whole, small = (
        torch.matmul(torch.matmul(rows, parts), rows.T) * scale for rows in _bases(steps.device)
    )
    likely = (
        (small[..., :LUMA_PARTS, :, :].abs() >= 1 - DELTA_LIKELY_OFFSET).any(-1).any(-1).any(-1)
    )
    split = likely & (_cost(small) < _cost(whole))
    luma = torch.arange(PARTS, device=steps.device) < LUMA_PARTS
    chosen = (split[..., None] & luma)[..., None, None]
    ranked = torch.where(chosen, small, whole).flatten(-2)[..., _order(steps.device)]
    return ranked.permute(0, 4, 3, 1, 2).flatten(1, 2), split  # channel 6 k + p


class Quantise(nn.Module):
    """What is likely, how likely, and which symbols are said of it, for one model."""

    def __init__(self, delta: Bundle) -> None:
        """
        Args:
            delta: `Bundle.delta` of the model.
        """
        super().__init__()
        dims = {key: value for key, value in delta.dims.items() if key != "motion"}
        self.hyper = HyperAnalysis(with_motion(tier_from_dims(delta.name, dims)))
        self.hyper.load_state_dict(
            {
                name: torch.from_numpy(np.array(value, np.float32)).reshape(
                    self.hyper.state_dict()[name].shape
                )
                for name, value in delta.group("hyper_analysis").items()
            }
        )
        self.scales = Scales(delta.scale_net)
        self.contexts = Contexts()
        table = torch.from_numpy(delta.tensor("contexts").astype(np.float32))
        with torch.no_grad():
            self.contexts.offsets.copy_(table / Contexts.UNIT)
        self.rounding: Tensor
        rounding = torch.from_numpy(np.array(delta.tensor("rounding"), np.float32))
        self.register_buffer("rounding", rounding, persistent=False)

    def forward(self, latents: Tensor, split: Tensor, motion: Tensor, qp: Tensor) -> Quantised:
        """
        Quantise frames.

        Args:
            latents: From `transform`.
            split: From `transform`.
            motion: int16 [N, h, w, 10], the last channel 0.
            qp: int64 [N].
        """
        moved = motion.permute(0, 3, 1, 2)[:, :SPLIT_CHANNEL].float()
        likely = torch.cat((round_by(latents, DELTA_LIKELY_OFFSET), moved), 1)
        z = self.hyper(torch.cat((likely, split[:, None].float()), 1))
        told = of_tiles(likely != 0)[:, None]
        z = torch.floor(z + 0.5).clamp(-Z_LIMIT, Z_LIMIT) * told
        everywhere = told.repeat_interleave(TILE_SIDE, 2).repeat_interleave(TILE_SIDE, 3)
        indices = self.scales(z, qp) * everywhere
        residual = self.contexts.quantise(latents, indices[:, :PIXEL_CHANNELS].int(), self.rounding)
        chosen = split & (luma_count(residual) > 0)
        symbols = torch.cat((residual, moved, chosen[:, None].float()), 1)
        return Quantised(z, indices, symbols, latents)


def of_tiles(said: Tensor) -> Tensor:
    """Whether anything is true in a tile: bool [N, C, h, w] to [N, Th, Tw]."""
    n, _, h, w = said.shape
    places = said.any(1).reshape(n, h // TILE_SIDE, TILE_SIDE, w // TILE_SIDE, TILE_SIDE)
    return places.any(4).any(2)


def _cost(parts: Tensor) -> Tensor:
    """About what luma costs, error and bits, in squared steps, [N, h, w]."""
    moduli = parts[..., :LUMA_PARTS, :, :].abs()
    symbols = (moduli + MODE_OFFSET).floor()
    bits = torch.where(symbols > 0, MODE_BITS + symbols, 0.0)
    return ((moduli - symbols).square() + MODE_PRICE * bits).sum((-3, -2, -1))


@cache
def _bases(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of 8x8 and of 4x4; rows are frequencies."""
    whole, small = (torch.from_numpy(rows / 4096).float().to(device) for rows in (DCT, SMALL))
    return whole, small


@cache
def _order(device: torch.device) -> Tensor:
    assert len(ORDER) == SIDE * SIDE
    return torch.from_numpy(np.array(ORDER)).to(device)
