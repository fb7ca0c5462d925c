"""
An engine for frozen baselines: torch on the CPU, in float32, whole frames one after the other.

With it their files are `.rtc` files like ours, through the same packets and entropy coder; scale
indices come from exact integers here, too. Nothing is kept between frames.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.entropy.cdf import SYMBOL_MAX
from rtcodec.errors import ConfigError
from rtcodec.models.baselines import BASELINES
from rtcodec.models.config import ARCH
from rtcodec.models.network import pack_planes, unpack_planes
from rtcodec.models.prior import quantise
from rtcodec.models.tier import Z_LIMIT, tier_from_dims
from rtcodec.types import TILE_PX, Planes, tile_grid


class BaselineEngine:
    """
    The `Engine` protocol over one baseline.

    Raises:
        ConfigError: If the bundle is of no baseline, or its weights do not fit.
    """

    def __init__(self, bundle: Bundle) -> None:
        build = BASELINES.get(bundle.card.get(ARCH, ""))
        if build is None:
            raise ConfigError(f"model {bundle.name} is of none of {', '.join(BASELINES)}")
        self._net = build(tier_from_dims(bundle.name, dict(bundle.dims))).eval()
        own = self._net.state_dict()
        weights = {k: _tensor(v) for k, v in bundle.tensors.items() if k in own}
        try:
            self._net.load_state_dict(weights, strict=False)
        except RuntimeError:
            raise ConfigError(f"model {bundle.name}: its weights do not fit its sizes") from None
        self._net.rounding.copy_(_tensor(bundle.tensor("rounding")))
        self._gains = _tensor(bundle.gains)  # [64, 2 * M]
        self._scale_net = bundle.scale_net
        self._ids = count()
        self.info = EngineInfo(
            name="torch",
            device="cpu",
            precision="f32",
            model=bundle.name,
            model_id=bundle.model_id,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            versions={"torch": torch.__version__},
        )

    def open_state(self, width: int, height: int) -> StateId:
        """Name a stream; any size will do."""
        return StateId(next(self._ids))

    def close_state(self, state: StateId) -> None:
        """Do nothing."""

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols."""
        return [self._encode(job) for job in jobs]

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures."""
        return [self._paint(j.symbols, j.z, j.qp, (j.width, j.height)) for j in jobs]

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z, uint8 [M, 4 Th, 4 Tw]."""
        return self._scale_net.indices(z, qp)

    def close(self) -> None:
        """Do nothing."""

    @torch.no_grad()
    def _encode(self, job: EncodeJob) -> EncodeOutput:
        planes, size = job.planes, (job.planes.width, job.planes.height)
        latents = self._net.latents(_packed(planes), self._gain(job.qp, 0))
        z_raw = self._net.hyper_latents(latents)
        z = (z_raw + 0.5).floor().clamp(-Z_LIMIT, Z_LIMIT)[0].to(torch.int8).numpy()
        indices = self.scale_indices(z, job.qp)
        means = self._net.means(_tensor(z)[None], torch.tensor([job.qp]))
        found = quantise(latents - means, _tensor(indices)[None], self._net.rounding)[0]
        symbols = found.clamp(-SYMBOL_MAX, SYMBOL_MAX).to(torch.int16).numpy()
        seen = self._paint(symbols, z, job.qp, size) if job.reconstruct else None
        return EncodeOutput(z, symbols, indices, seen)

    @torch.no_grad()
    def _paint(
        self, symbols: NDArray[np.int16], z: NDArray[np.int8], qp: int, size: tuple[int, int]
    ) -> Planes:
        """What integers look like, at a size (width, height)."""
        x_hat = self._net.restore(
            _tensor(symbols)[None], _tensor(z)[None], torch.tensor([qp]), self._gain(qp, 1)
        )
        width, height = size
        y, u, v = (
            ((plane[0, 0] + 0.5) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
            for plane in unpack_planes(x_hat)
        )
        rows, columns = -(-height // 2), -(-width // 2)
        parts = (y[:height, :width], u[:rows, :columns], v[:rows, :columns])
        return Planes(*(np.ascontiguousarray(part) for part in parts))

    def _gain(self, qp: int, side: int) -> Tensor:
        """Gains [1, M] of the encoder, 0, or the decoder, 1."""
        return self._gains[qp : qp + 1].chunk(2, 1)[side]


def _packed(planes: Planes) -> Tensor:
    """Planes, their edges repeated to whole tiles, as x [1, 384, h16, w16]."""
    rows, columns = tile_grid(planes.width, planes.height)
    padded = []
    for plane, scale in ((planes.y, 1), (planes.u, 2), (planes.v, 2)):
        side = TILE_PX // scale
        pad = ((0, rows * side - plane.shape[0]), (0, columns * side - plane.shape[1]))
        samples = np.pad(plane, pad, mode="edge").astype(np.float32)
        padded.append(torch.from_numpy(samples)[None, None] / 255.0 - 0.5)
    return pack_planes(*padded)


def _tensor(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))
