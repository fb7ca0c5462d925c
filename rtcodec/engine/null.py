"""
An engine that needs no model file and no device: block means, in plain integers.

    16x16 block --> 16 means of 4x4 luma, 4 of each chroma plane --> / step --> symbols
    tile        --> largest symbol of each plane's channels      --> z --> exact scale network

Deterministic to the last bit on every machine, so tests and conformance vectors may name its
pixels. The bitstreams are real: the same geometry, tables and exact network as a trained model.

Dims: `M` = 24 latent channels, `Cz` = 3 hyper-latent channels, `Th Tw` the grid of tiles.
"""

from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle, integer_tensors
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.entropy.cdf import EntropyTables, tables_from_histograms, y_tables_from_histograms
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.errors import LocalProtocolError
from rtcodec.types import TILE_PX, Planes, tile_grid

LUMA_CHANNELS: Final = 16
CHROMA_CHANNELS: Final = 4
LATENT_CHANNELS: Final = LUMA_CHANNELS + 2 * CHROMA_CHANNELS
HYPER_CHANNELS: Final = 3

_BLOCK: Final = 4  # side of the square whose mean is one latent, in samples of its plane
_MIDDLE: Final = 128  # what a missing tile shows
_INDEX_PER_Z: Final = 4
_PLANE_CHANNELS: Final = (slice(0, 16), slice(16, 20), slice(20, 24))


def qp_to_step(qp: int) -> int:
    """Return the quantiser step of a block mean, 1 at qp 0 to 32 at qp 63."""
    return 1 + qp * 31 // 63


@cache
def null_bundle() -> Bundle:
    """Return the stand-in's model, built from arithmetic alone; always the same object."""
    tensors = integer_tensors(_entropy_tables(), _scale_net())
    tensors["gains"] = np.array([[qp_to_step(qp)] for qp in range(64)], np.float32)
    return Bundle(
        name="null",
        dims={"M": LATENT_CHANNELS, "Cz": HYPER_CHANNELS},
        tensors=tensors,
        card={"about": "block means for tests; not a trained model"},
    )


class NullEngine:
    """The `Engine` protocol over block means. Keeps no frames; references change nothing."""

    def __init__(self) -> None:
        self.bundle = null_bundle()
        self.info = EngineInfo(
            name="null",
            device="none",
            precision="integer",
            model=self.bundle.name,
            model_id=self.bundle.model_id,
            latent_channels=LATENT_CHANNELS,
            hyper_channels=HYPER_CHANNELS,
        )
        self._net = self.bundle.scale_net
        self._sizes: dict[StateId, tuple[int, int]] = {}
        self._ids = count()

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream of *width* x *height* pixels."""
        state = StateId(next(self._ids))
        self._sizes[state] = (width, height)
        return state

    def close_state(self, state: StateId) -> None:
        """Forget a stream."""
        self._sizes.pop(state, None)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols."""
        return [self._encode(job) for job in jobs]

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures."""
        for job in jobs:
            self._check_size(job.state, job.width, job.height)
        return [_paint(job.symbols, job.qp, job.width, job.height) for job in jobs]

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z, uint8 [M, 4 Th, 4 Tw]."""
        return self._net.indices(z, qp)

    def close(self) -> None:
        """Forget every stream."""
        self._sizes.clear()

    def _encode(self, job: EncodeJob) -> EncodeOutput:
        planes = job.planes
        self._check_size(job.state, planes.width, planes.height)
        rows, columns = tile_grid(planes.width, planes.height)
        luma = (rows * TILE_PX, columns * TILE_PX)
        chroma = (luma[0] // 2, luma[1] // 2)
        means = np.concatenate(
            [
                _block_means(planes.y, luma, 4),
                _block_means(planes.u, chroma, 2),
                _block_means(planes.v, chroma, 2),
            ]
        )
        step = qp_to_step(job.qp)
        symbols = ((means - _MIDDLE) * 2 + step) // (2 * step)  # rounds half up
        z = _hyper_latents(symbols, rows, columns)
        indices = self._net.indices(z, job.qp)
        symbols = np.where(indices > 0, symbols, 0).astype(np.int16)
        seen = _paint(symbols, job.qp, planes.width, planes.height) if job.reconstruct else None
        return EncodeOutput(z, symbols, indices, seen)

    def _check_size(self, state: StateId, width: int, height: int) -> None:
        size = self._sizes.get(state)
        if size != (width, height):
            raise LocalProtocolError(f"state {state} was not opened for {width}x{height}")


def _block_means(
    plane: NDArray[np.uint8], padded: tuple[int, int], per_latent: int
) -> NDArray[np.int32]:
    """
    Return the rounded means of 4x4 blocks of a plane, padded by its edges.

    Args:
        plane: uint8 [H, W].
        padded: Height and width to pad to.
        per_latent: Blocks along each side of one latent position, 4 (luma) or 2 (chroma).

    Returns:
        int32 [per_latent ** 2, 4 Th, 4 Tw].
    """
    height, width = plane.shape
    pad = ((0, padded[0] - height), (0, padded[1] - width))
    blocks = np.pad(plane, pad, mode="edge").reshape(
        padded[0] // _BLOCK, _BLOCK, padded[1] // _BLOCK, _BLOCK
    )
    means: NDArray[np.int32] = (blocks.sum(axis=(1, 3), dtype=np.int32) + 8) // 16
    p = per_latent
    h, w = means.shape
    return (
        means.reshape(h // p, p, w // p, p)
        .transpose(1, 3, 0, 2)  # [p, p, 4 Th, 4 Tw]
        .reshape(p * p, h // p, w // p)
    )


def _hyper_latents(symbols: NDArray[np.int32], rows: int, columns: int) -> NDArray[np.int8]:
    """Return z: 0, or the bit length of the largest magnitude of a plane and tile, plus one."""
    largest = np.abs(symbols).reshape(LATENT_CHANNELS, rows, 4, columns, 4).max(axis=(2, 4))
    by_plane = [largest[channels].max(axis=0) for channels in _PLANE_CHANNELS]
    # 0, 1, 2-3, 4-7 ... become 0, 1, 2, 3 ...
    lengths = np.searchsorted(1 << np.arange(8), np.stack(by_plane), side="right")
    return (lengths + (lengths > 0)).astype(np.int8)


def _paint(symbols: NDArray[np.int16], qp: int, width: int, height: int) -> Planes:
    """Return the picture whose block means are the given symbols, cropped."""
    means = symbols.astype(np.int32) * qp_to_step(qp) + _MIDDLE
    samples = np.clip(means, 0, 255).astype(np.uint8)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    sizes = ((height, width), chroma, chroma)
    y, u, v = (
        _spread(samples[channels], size)
        for channels, size in zip(_PLANE_CHANNELS, sizes, strict=True)
    )
    return Planes(y, u, v)


def _spread(means: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a plane from its block means [p * p, 4 Th, 4 Tw], cropped to *size*."""
    count_, h, w = means.shape
    p = 4 if count_ == LUMA_CHANNELS else 2
    grid = means.reshape(p, p, h, w).transpose(2, 0, 3, 1).reshape(h * p, w * p)
    plane = grid.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
    return np.ascontiguousarray(plane[: size[0], : size[1]])


def _entropy_tables() -> EntropyTables:
    """Two-sided geometric tables: index 4 z suits magnitudes up to 2 ** (z - 1) - 1."""
    y = []
    for index in range(64):
        spread = 1 << max(0, index // _INDEX_PER_Z - 2)
        side = [1 << 24]
        for _ in range(127):
            side.append(side[-1] * spread // (spread + 2))
        y.append([*side[:0:-1], *side])
    z = np.ones((64, HYPER_CHANNELS, 31), np.int64)
    z[:, :, 15:25] = 64  # 0, or a bit length of 1 to 8, plus one
    return EntropyTables(y_tables_from_histograms(np.array(y)), tables_from_histograms(z))


def _scale_net() -> ScaleNet:
    """Index = 4 z of the latent's own plane, for z up to 15."""
    copies = 4
    h1 = HYPER_CHANNELS * copies
    w1 = np.zeros((4 * h1, HYPER_CHANNELS), np.int8)
    w2 = np.zeros((4 * HYPER_CHANNELS, h1), np.int8)
    w3 = np.zeros((LATENT_CHANNELS, HYPER_CHANNELS), np.int8)
    for plane, channels in enumerate(_PLANE_CHANNELS):
        w1[4 * copies * plane : 4 * copies * (plane + 1), plane] = 64  # 4 z
        w2[4 * plane : 4 * plane + 4, copies * plane : copies * (plane + 1)] = 64  # 4 z
        w3[channels, plane] = 64  # 4 z
    return ScaleNet(
        w1=w1,
        b1=np.zeros((64, 4 * h1), np.int32),
        s1=4,
        w2=w2,
        b2=np.zeros(4 * HYPER_CHANNELS, np.int32),
        s2=8,
        w3=w3,
        b3=np.zeros((64, LATENT_CHANNELS), np.int32),
        s3=6,
    )
