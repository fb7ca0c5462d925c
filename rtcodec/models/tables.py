"""
Entropy tables fitted to what a trained codec really produces on training pictures.

No distribution is assumed at run time: the trained one only steadies rare symbols.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.entropy.cdf import EntropyTables, tables_from_histograms, y_tables_from_histograms
from rtcodec.entropy.contexts import RESIDUAL
from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.delta import DeltaCodec, at_rest, spread
from rtcodec.models.network import Codec
from rtcodec.models.supply import Supply
from rtcodec.models.symbol_costs import (
    HISTOGRAM_RADIUS,
    KINDS,
    Counts,
    blend,
    y_prior,
    y_tables,
)
from rtcodec.models.tier import QP_COUNT, SCALE_LEVELS, Z_LIMIT

_WIDTH = 2 * HISTOGRAM_RADIUS + 1
_Z_WIDTH = 2 * Z_LIMIT + 1


@torch.no_grad()
def fit_tables(
    net: Codec | DeltaCodec | Autoencoder, supply: Supply, batches: int
) -> EntropyTables:
    """Tables from the symbols of *batches* of training, over all qp."""
    net.eval()
    y_counts, z_counts = count_symbols(net, supply, batches)
    return EntropyTables(
        y_cdf=(
            y_tables(y_counts)
            if isinstance(net, DeltaCodec)
            else y_tables_from_histograms(blend(y_counts[0], y_prior()))
        ),
        z_cdf=tables_from_histograms(blend(_smooth_over_qp(z_counts), _z_prior(net))),
        contexts=net.contexts.table() if isinstance(net, DeltaCodec) else None,
    )


@torch.no_grad()
def count_symbols(
    net: Codec | DeltaCodec | Autoencoder, supply: Supply, batches: int
) -> tuple[Counts, Counts]:
    """Histograms of symbols [2 kinds, 64 scale indices, 255] and of z [64 qp, Cz, 31]."""
    y_counts = np.zeros((KINDS, SCALE_LEVELS, _WIDTH), np.int64)
    z_counts = np.zeros((QP_COUNT, net.tier.hyper_latents, _Z_WIDTH), np.int64)
    for _ in range(batches):
        inputs = supply.next()
        coded = net(*inputs)
        supply.done(coded.x_hat, coded.symbols)
        symbols, index, qp = coded.symbols, coded.index, inputs[-1].long()
        coded_tiles = torch.ones_like(coded.z[:, :1], dtype=torch.bool)
        if isinstance(net, DeltaCodec):
            coded_tiles = at_rest(symbols) == 0
            index = torch.where(spread(coded_tiles.float()) > 0, index, -1.0)
        latents = RESIDUAL if isinstance(net, DeltaCodec) else symbols.shape[1]
        for kind, part in enumerate((slice(latents), slice(latents, None))):
            y_counts[kind] += _histogram_of_symbols(symbols[:, part], index[:, part])
        for q, z, there in zip(qp.tolist(), coded.z.long(), coded_tiles, strict=True):
            for channel, values in enumerate(z[:, there[0]].numpy() + Z_LIMIT):
                z_counts[q, channel] += np.bincount(values, minlength=_Z_WIDTH)
    return y_counts, z_counts


def _histogram_of_symbols(symbols: Tensor, index: Tensor) -> Counts:
    """[64, 255] counts of *symbols* by scale index, none below 0; both [N, M, h16, w16]."""
    symbols, index = symbols[index >= 0], index[index >= 0]
    row = index.clamp(0, SCALE_LEVELS - 1).long()
    column = symbols.clamp(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS).long() + HISTOGRAM_RADIUS
    counts = torch.bincount((row * _WIDTH + column).flatten(), minlength=SCALE_LEVELS * _WIDTH)
    return counts.numpy().reshape(SCALE_LEVELS, _WIDTH)  # type: ignore[no-any-return]


def _z_prior(net: Codec | DeltaCodec | Autoencoder) -> NDArray[np.float64]:
    """The trained P(z) as [64, Cz, 31]."""
    values = torch.arange(-Z_LIMIT, Z_LIMIT + 1).float()
    z = values[None, None, :, None].expand(QP_COUNT, net.tier.hyper_latents, -1, 1)
    probability = net.hyper_prior.probability(z, torch.arange(QP_COUNT))
    return probability[..., 0].double().numpy()  # type: ignore[no-any-return]


def _smooth_over_qp(counts: Counts) -> Counts:
    """Add neighbouring qp with falling weights: 64 qp share what few crops say."""
    out = np.zeros_like(counts)
    for offset in range(-4, 5):
        source = np.clip(np.arange(QP_COUNT) + offset, 0, QP_COUNT - 1)
        out += (5 - abs(offset)) * counts[source]
    return out
