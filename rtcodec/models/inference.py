"""
The float networks of a shipped model in torch: what its ONNX graphs compute, with channels first.

    analysis    y, u, v, gains   -> latents, z           (the graphs have blocks for y, u, v)
    residual    latents, z, indices -> symbols
    synthesis   z, symbols, gains -> y, u, v

For CUDA, and to check the graphs against. Scale indices are not here: they come from the exact
integer network, on the CPU.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtcodec.models.layer import is_int8
from rtcodec.models.network import Analysis, Codec, Synthesis, pack_planes, unpack_planes
from rtcodec.models.prior import HyperAnalysis, Means, quantise, rounding_offsets
from rtcodec.models.tier import Z_LIMIT, Tier

FLOAT_MODULES = ("analysis.", "synthesis.", "hyper_analysis.", "means.")
"State-dict prefixes of what runs in floats after training."


class Inference(nn.Module):
    """
    Analysis, residual and synthesis for any batch of padded frames.

    Under `torch.autocast` the trunks run in its type; linear paths, output layers, hyper-latents
    and means stay float32.
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.tier = tier
        self.analysis = Analysis(tier)
        self.synthesis = Synthesis(tier)
        self.hyper_analysis = HyperAnalysis(tier)
        self.means = Means(tier)
        self.rounding: Tensor
        self.register_buffer("rounding", rounding_offsets(), persistent=False)

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
        """
        Planes to latents and hyper-latents.

        Args:
            y: uint8 [N, 1, H, W], sides multiples of 64.
            u: uint8 [N, 1, H/2, W/2].
            v: uint8 [N, 1, H/2, W/2].
            gains: float32 [N, G], rows of the bundle's `gains`.

        Returns:
            Latents [N, M, h16, w16] and integers z [N, Cz, h64, w64], float32.
        """
        trunk, encoder, _, _, _ = self._split(gains)
        x = pack_planes(*(plane.float() / 255 - 0.5 for plane in (y, u, v)))
        latents = self.analysis(self._laid_out(x), trunk, encoder)
        with torch.autocast(x.device.type, enabled=False):
            z = torch.floor(self.hyper_analysis(latents) + 0.5).clamp(-Z_LIMIT, Z_LIMIT)
        return latents, z

    def residual(self, latents: Tensor, z: Tensor, indices: Tensor) -> Tensor:
        """Symbols [N, M, h16, w16], integers in float32; *indices* are uint8 of that shape."""
        with torch.autocast(latents.device.type, enabled=False):
            means = self.means.around(latents, z, indices, self.rounding)
            return quantise(latents - means, indices, self.rounding)

    def synthesise(
        self, z: Tensor, symbols: Tensor, gains: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """z, symbols and gains [N, G] to planes, uint8 [N, 1, H, W] and half-size."""
        _, _, decoder, trunk, head = self._split(gains)
        with torch.autocast(z.device.type, enabled=False):
            latents = self.means.restore(symbols, z)
        x = self.synthesis(self._laid_out(latents), decoder, trunk, head)
        samples = ((x + 0.5) * 255 + 0.5).clamp(0, 255).floor().to(torch.uint8)
        y, u, v = unpack_planes(samples)
        return y, u, v

    def _split(self, gains: Tensor) -> tuple[Tensor, ...]:
        return tuple(g[:, :, None, None] for g in torch.split(gains, list(self.tier.gain_sizes), 1))

    @staticmethod
    def _laid_out(x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    def trunks_to(self, kind: torch.dtype) -> Self:
        """
        Store the trunks' weights in *kind*, for use under `torch.autocast` of that type.

        Those of trunks in 8-bit integers stay float32: what they are rounded to depends on it.
        """
        for trunk in (self.analysis, self.synthesis):
            if not is_int8(trunk):
                trunk.embed.to(kind)
                trunk.blocks.to(kind)
        return self


def inference_from_weights(tier: Tier, weights: Mapping[str, NDArray[Any]]) -> Inference:
    """
    Networks of a bundle.

    Args:
        tier: Its sizes.
        weights: Float weights by state-dict name, and `rounding` if it is another than the
            tier's; anything else is ignored.
    """
    net = Inference(tier)
    net.load_state_dict(
        {
            name: torch.from_numpy(np.array(value, np.float32))
            for name, value in weights.items()
            if name.startswith(FLOAT_MODULES)
        }
    )
    if "rounding" in weights:
        net.rounding.copy_(torch.from_numpy(np.array(weights["rounding"], np.float32)))
    return net.eval()


def inference_from_codec(codec: Codec) -> Inference:
    """The same networks out of training; weights are copied."""
    return inference_from_weights(codec.tier, float_weights(codec))


def float_weights(codec: nn.Module) -> dict[str, NDArray[np.float32]]:
    """What runs in floats after training: float32 arrays by state-dict name."""
    return {
        name: value.detach().float().cpu().numpy()
        for name, value in codec.state_dict().items()
        if name.startswith(FLOAT_MODULES)
    }
