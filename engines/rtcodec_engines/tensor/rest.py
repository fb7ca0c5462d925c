"""Which tiles of delta frames are better left as they are predicted: `rtcodec.codec.rest`."""

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.bundle import Bundle
from rtcodec.entropy.cdf import PROB_BITS, SCALE_COUNT, Z_MAX
from rtcodec.entropy.rans import ESCAPE_LENGTH_BITS
from rtcodec.models.contexts import Contexts
from rtcodec.models.tier import PIXEL_CHANNELS, TILE_SIDE
from rtcodec.motion.native import FINE
from rtcodec.motion.search import SQUARES_PER_BIT, nominal_step
from rtcodec.motion.transform import LUMA_PARTS, PARTS
from rtcodec.motion.vectors import SPLIT_CHANNEL
from rtcodec.types import QP_MAX
from rtcodec_engines.tensor.latents import Quantised, of_tiles

_CHROMA_WEIGHT = 2 / 3  # 6:1:1 over planes of 4:1:1 samples


class Rest(nn.Module):
    """Says which tiles to leave out, for one model; the costs are those of its entropy tables."""

    def __init__(self, delta: Bundle, contexts: Contexts) -> None:
        """
        Args:
            delta: `Bundle.delta` of the model.
            contexts: Of the same model.
        """
        super().__init__()
        self._contexts = contexts
        tables = delta.entropy_tables
        steps = np.square(delta.steps.astype(np.float64) / FINE) * (1, _CHROMA_WEIGHT)
        by_part = np.repeat(steps, (LUMA_PARTS, PARTS - LUMA_PARTS), 1)
        prices = [SQUARES_PER_BIT * nominal_step(qp) ** 2 for qp in range(QP_MAX + 1)]
        of_symbols = _bits(tables.y_cdf)
        self._said_apart = len(of_symbols) > SCALE_COUNT
        costs = np.zeros((len(of_symbols), 256))
        costs[:, : of_symbols.shape[1]] = of_symbols
        costs[0] = 0
        self.energies: Tensor
        self.prices: Tensor
        self.y_costs: Tensor
        self.z_costs: Tensor
        self.radius: Tensor
        for name, values in (
            ("energies", np.tile(by_part, (1, PIXEL_CHANNELS // PARTS))),
            ("prices", np.array(prices)),
            ("y_costs", costs),
            ("z_costs", _bits(tables.z_cdf)),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), False)
        radius = torch.from_numpy(np.array(tables.radius, np.int64))
        self.register_buffer("radius", radius, False)

    def forward(self, coded: Quantised, qp: Tensor) -> Tensor:
        """
        Say which tiles cost more than they bring, bool [N, Th, Tw].

        Those that move, or have blocks without a prediction, are never among them.
        """
        symbol = coded.symbols[:, :PIXEL_CHANNELS]
        mended = (2 * coded.latents - symbol) * symbol * self.energies[qp][..., None, None]
        gain = _sums(mended)
        motion = coded.symbols[:, PIXEL_CHANNELS : PIXEL_CHANNELS + SPLIT_CHANNEL]
        resting = ~of_tiles(motion != 0) & of_tiles(symbol != 0)
        return resting & (gain < self.prices[qp][:, None, None] * self.bits(coded, qp))

    def bits(self, coded: Quantised, qp: Tensor) -> Tensor:
        """Bits of each tile in the entropy coder, [N, Th, Tw]; as `rtcodec.codec.cost`."""
        moved, asked = self._contexts(coded.indices.float(), coded.symbols)
        index = (moved * asked).long()
        row = index
        if self._said_apart:  # of blocks: a table for two indices, behind the others
            said = SCALE_COUNT + index[:, PIXEL_CHANNELS:] // 2
            row = torch.cat((index[:, :PIXEL_CHANNELS], said), 1)
        symbols = coded.symbols.long()
        radius = self.radius[row]
        excess = symbols.abs() - radius
        place = torch.where(excess > 0, 2 * radius + 1, symbols + radius).clamp(0, 255)
        bits = self.y_costs.flatten()[row * 256 + place]
        lengths = torch.log2(excess.clamp(min=1).double()).floor()  # bits of the excess but one
        escapes = torch.where(excess > 0, ESCAPE_LENGTH_BITS + 1 + lengths, 0.0)
        bits = torch.where(index > 0, bits + escapes.float(), 0.0)
        channels = torch.arange(coded.z.shape[1], device=qp.device)[None, :, None, None]
        of_z = self.z_costs[qp[:, None, None, None], channels, coded.z.long() + Z_MAX]
        return _sums(bits) + of_z.sum(1)


def _sums(values: Tensor) -> Tensor:
    """Sums over channels and the places of each tile, [N, C, h, w] to [N, Th, Tw]."""
    n, _, h, w = values.shape
    tiles = values.sum(1).reshape(n, h // TILE_SIDE, TILE_SIDE, w // TILE_SIDE, TILE_SIDE)
    return tiles.sum((2, 4))


def _bits(cdf: np.ndarray) -> np.ndarray:
    """Cost of each symbol of cumulative tables [..., A + 1]; 0 where there is none."""
    frequency = np.diff(cdf.astype(np.int64), axis=-1)
    return np.where(frequency > 0, PROB_BITS - np.log2(np.maximum(frequency, 1)), 0.0)
