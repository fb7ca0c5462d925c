"""
What tiles cost in the entropy coder, without running it.

Dims: T tiles, Cz hyper channels, M latent channels, 16 = 4 x 4 positions of a tile.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.codec.copied import split_copies
from rtcodec.engine.api import EncodeOutput
from rtcodec.entropy.cdf import PROB_BITS, Z_MAX, EntropyTables
from rtcodec.entropy.native import SliceEncoder, tile_costs
from rtcodec.entropy.native_tiles import gather_tiles
from rtcodec.entropy.rans import ESCAPE_LENGTH_BITS
from rtcodec.entropy.tile import gather_hyper

_UNITS = 256  # of a bit, in the integer sums


class FrameCosts:
    """What frames of either kind cost, for one model."""

    def __init__(
        self,
        tables: EntropyTables,
        delta_tables: EntropyTables | None,
        spatial_tables: EntropyTables | None = None,
    ) -> None:
        """
        Args:
            tables: Of the model.
            delta_tables: Those of its delta frames, if it has any.
            spatial_tables: Those of frames predicted from themselves, if it has any.
        """
        self._intra = TileCosts(tables)
        self._delta = None if delta_tables is None else TileCosts(delta_tables)
        self._spatial = None if spatial_tables is None else TileCosts(spatial_tables)

    def frame_bits(self, output: EncodeOutput, qp: int) -> int:
        """Return the bits of a frame's payloads; headers and the coder's ends come on top."""
        front, output = split_copies(output)
        tiles, costs, map_bits = np.arange(output.z[0].size, dtype=np.uint32), self._intra, 0
        if output.is_spatial and self._spatial is not None:
            costs = self._spatial
        elif output.is_delta and self._delta is not None:
            costs, map_bits = self._delta, tiles.size
            said = output.symbols.any(0)
            h, w = said.shape
            coded = said.reshape(h // 4, 4, w // 4, 4).any((1, 3))
            tiles = tiles[coded.ravel()]
        z = gather_hyper(output.z, tiles)
        symbols = gather_tiles(output.symbols, tiles)
        indices = gather_tiles(output.indices, tiles)
        return map_bits + 8 * len(front) + round(float(costs.bits(z, symbols, indices, qp).sum()))


class TileCosts:
    """Costs of symbols under one model's tables, ready to be looked up."""

    def __init__(self, tables: EntropyTables) -> None:
        self._tables = tables
        self._z_bits = _bits(tables.z_cdf)  # [64, Cz, 31]
        y_bits = _bits(tables.y_cdf)  # [64, K - 1]
        self._y_costs = np.zeros((len(y_bits), 256), np.uint16)
        self._y_costs[:, : y_bits.shape[1]] = np.round(y_bits * _UNITS)

    def bits(
        self,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        qp: int,
        *,
        moved: bool = False,
    ) -> NDArray[np.float64]:
        """
        Return the bits of each tile, exact but for rounding.

        Args:
            z: int8 [T, Cz].
            symbols: int16 [T, M, 16], 0 where the index is 0.
            indices: uint8 [T, M, 16], 0 to 63.
            qp: 0 to 63.
            moved: Whether *indices* come from `rtcodec.entropy.native.context_indices`.

        Returns:
            float64 [T].
        """
        y_units = tile_costs(self._tables, self._y_costs, symbols, indices, moved=moved)
        return self._hyper_bits(z, qp) + y_units / _UNITS

    def bits_of(self, coder: SliceEncoder) -> NDArray[np.float64]:
        """Return the bits of each tile that a coder of this model's tables has: `bits`."""
        z, _ = coder.coded(0, len(coder))
        return self._hyper_bits(z, coder.qp) + coder.costs(self._y_costs) / _UNITS

    def bits_reference(
        self,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        qp: int,
    ) -> NDArray[np.float64]:
        """The slow form of `bits`, a symbol at a time."""
        radius, cdf = self._tables.radius, self._tables.y_cdf.astype(np.int64)
        total = self._hyper_bits(z, qp)
        for tile, (row, scales) in enumerate(zip(symbols, indices, strict=True)):
            for symbol, index in zip(row.ravel().tolist(), scales.ravel().tolist(), strict=True):
                if index:
                    reach = int(radius[index])
                    excess = abs(symbol) - reach
                    place = symbol + reach if excess <= 0 else 2 * reach + 1
                    total[tile] += PROB_BITS - np.log2(cdf[index, place + 1] - cdf[index, place])
                    if excess > 0:
                        total[tile] += ESCAPE_LENGTH_BITS + 1 + excess.bit_length() - 1
        return total

    def _hyper_bits(self, z: NDArray[np.int8], qp: int) -> NDArray[np.float64]:
        channels = np.arange(z.shape[1])
        bits: NDArray[np.float64] = self._z_bits[qp, channels, z + Z_MAX].sum(
            axis=1, dtype=np.float64
        )
        return bits


def _bits(cdf: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the cost of each symbol of cumulative tables [..., A + 1]; 0 where there is none."""
    frequency = cdf[..., 1:].astype(np.int64) - cdf[..., :-1]
    used = np.maximum(frequency, 1)
    return np.where(frequency > 0, PROB_BITS - np.log2(used), 0.0).astype(np.float32)
