"""Made-up integers that look like latents, and small scale networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import Z_MAX, EntropyTables, example_tables
from rtcodec.entropy.scale_net import ScaleNet


@dataclass(frozen=True)
class Slice:
    """What `encode_slice` takes."""

    tables: EntropyTables
    z: NDArray[np.int8]
    symbols: NDArray[np.int16]
    indices: NDArray[np.uint8]
    qp: int


tables_for = cache(example_tables)


def make_slice(
    n_tiles: int,
    *,
    seed: int = 0,
    hyper_channels: int = 6,
    channels: int = 10,
    coded: float = 0.3,
    escapes: float = 0.0,
    qp: int = 20,
) -> Slice:
    """
    Draw a slice of Laplacian-like latents.

    Args:
        n_tiles: T.
        seed: Of the generator.
        hyper_channels: Cz.
        channels: M.
        coded: Share of latents whose scale index is not 0.
        escapes: Share of coded latents anywhere in -32767..32767.
        qp: Passed on.
    """
    rng = np.random.default_rng(seed)
    shape = (n_tiles, channels, 16)
    z = np.clip(rng.normal(0, 3, (n_tiles, hyper_channels)).round(), -Z_MAX, Z_MAX)
    indices = np.where(rng.random(shape) < coded, rng.integers(1, 64, shape), 0)
    symbols = (rng.laplace(0, 1, shape) * indices / 3).round()
    wild = rng.random(shape) < escapes
    symbols = np.where(wild, rng.integers(-32767, 32768, shape), symbols)
    return Slice(
        tables_for(hyper_channels),
        z.astype(np.int8),
        np.where(indices > 0, symbols, 0).astype(np.int16),
        indices.astype(np.uint8),
        qp,
    )


def make_scale_net(
    *,
    seed: int = 0,
    hyper_channels: int = 6,
    hidden: tuple[int, int] = (8, 12),
    channels: int = 10,
) -> ScaleNet:
    """Draw a scale network whose indices spread over 0..63."""
    rng = np.random.default_rng(seed)
    h1, h2 = hidden

    def weights(rows: int, columns: int) -> NDArray[np.int8]:
        return rng.integers(-127, 128, (rows, columns)).astype(np.int8)

    def biases(low: int, high: int, *shape: int) -> NDArray[np.int32]:
        return rng.integers(low, high, shape).astype(np.int32)

    return ScaleNet(
        w1=weights(4 * h1, hyper_channels),
        b1=biases(-2000, 4000, 64, 4 * h1),
        s1=4,
        w2=weights(4 * h2, h1),
        b2=biases(-20000, 40000, 4 * h2),
        s2=8,
        w3=weights(channels, h2),
        b3=biases(-20, 60, 64, channels),
        s3=8,
    )


def make_hyper_latents(
    channels: int, rows: int, columns: int, *, seed: int = 0
) -> NDArray[np.int8]:
    """Draw z, int8 [channels, rows, columns], over the whole range."""
    rng = np.random.default_rng(seed)
    return rng.integers(-Z_MAX, Z_MAX + 1, (channels, rows, columns)).astype(np.int8)
