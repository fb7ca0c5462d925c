"""
Frames predicted from themselves: the networks that say how likely what is coded of them is.

The networks of delta frames, over the same symbols: latents of what a prediction left,
and ten numbers of each block. The prediction comes from the encoder's own choice of modes and
transforms, so training sees what it would say.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.bundle import CHROMA_FROM_LUMA, Bundle, installed_bundles
from rtcodec.engine.spatial_encoder import SpatialEncoder
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops, Picture
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.network import pack_planes
from rtcodec.models.streams import Blocks, Sample, to_blocks, to_samples
from rtcodec.models.tier import QP_COUNT
from rtcodec.motion import within
from rtcodec.motion.native import FINE
from rtcodec.motion.steps import step_table
from rtcodec.motion.transform import basis
from rtcodec.motion.vectors import SPLIT_CHANNEL


class SpatialCodec(DeltaCodec):
    """The networks of one tier's frames predicted from themselves."""

    dead_zone, least_offset = 0.05, 0.0
    "Less than in delta frames: what is left out is not coded later. Measured: 0.02 costs 2 %."

    @staticmethod
    def bases() -> tuple[NDArray[np.float64], ...]:
        """As those of delta frames, and luma in 16x16."""
        return basis(), basis(split=True), basis(large=True)

    def choose_form(self, forms: Sequence[Tensor], motion: Tensor) -> Tensor:
        """As it was chosen with the modes."""
        large, split = (motion[:, c : c + 1] > 0 for c in (within.LARGE_CHANNEL, SPLIT_CHANNEL))
        return torch.where(large, 2, split.long())


class SpatialSupply:
    """Crops and what they are predicted to be, cut ahead by a thread."""

    def __init__(
        self,
        crops: Crops,
        pool: ThreadPoolExecutor,
        *,
        batch: int,
        seed: int,
        encoder: SpatialEncoder | None = None,
    ) -> None:
        self._crops, self._pool, self._batch = crops, pool, batch
        self._random, self._encoder = np.random.default_rng(seed), encoder
        self._ahead = pool.submit(self._sample)

    def next(self) -> Sample:
        """A batch at any qp."""
        sample = self._ahead.result()
        self._ahead = self._pool.submit(self._sample)
        return sample

    def done(self, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """Nothing depends on it."""

    def _sample(self) -> Sample:
        blocks = to_blocks(pack_planes(*self._crops.batch(self._batch)))
        qps = self._random.integers(0, QP_COUNT, self._batch)
        across_tiles = bool(self._random.integers(2))
        return spatial_sample(
            blocks, qps.tolist(), across_tiles=across_tiles, encoder=self._encoder
        )


def spatial_sample(
    pictures: Sequence[Blocks],
    qps: Sequence[int],
    *,
    across_tiles: bool = False,
    encoder: SpatialEncoder | None = None,
) -> Sample:
    """
    What `SpatialCodec` takes of some pictures of one size.

    Args:
        pictures: uint8 [h16, w16, 384] each.
        qps: Of each.
        across_tiles: Whether parts are predicted from other tiles, too.
        encoder: What chooses modes by what they will cost; without one, by a guess.
    """

    def choose(blocks: Blocks, qp: int) -> within.Choice:
        if encoder is not None:
            return encoder.choose(blocks, qp, thorough=True, across_tiles=across_tiles)
        steps = _steps(qp)
        return within.choose(blocks, steps, thorough=True, across_tiles=across_tiles, linear=True)

    choices = [choose(blocks, qp) for blocks, qp in zip(pictures, qps, strict=True)]
    fine = torch.from_numpy(np.stack([choice.prediction for choice in choices]).astype(np.float32))
    said = [within.mode_symbols(choice.modes, choice.latents.split) for choice in choices]
    return Sample(
        to_samples(pictures),
        fine.permute(0, 3, 1, 2) / (255 * FINE) - 0.5,
        torch.from_numpy(np.stack(said).astype(np.float32)).permute(0, 3, 1, 2),
        torch.tensor(qps),
    )


@contextmanager
def spatial_supply(
    pictures: list[Picture], config: TrainConfig, *, seed: int
) -> Iterator[SpatialSupply]:
    """
    Crops of *pictures*, predicted from themselves as the installed model of the tier would, if any.

    Raises:
        InputError: If no picture is large enough.
    """
    crops = Crops(pictures, size=config.crop_px, seed=seed)
    with ThreadPoolExecutor(1) as pool:
        yield SpatialSupply(
            crops, pool, batch=config.batch, seed=seed, encoder=_installed_encoder(config.tier)
        )


def _installed_encoder(tier: str) -> SpatialEncoder | None:
    """The shipped model's, also where it does not know yet that chroma may be a line of luma."""
    part = next((b.spatial for b in map(Bundle.load, installed_bundles()) if b.name == tier), None)
    if part is None:
        return None
    return SpatialEncoder(replace(part, dims={**part.dims, CHROMA_FROM_LUMA: 1}))


def _steps(qp: int) -> tuple[int, int]:
    luma, chroma = (int(step) for step in step_table()[qp])
    return luma, chroma
