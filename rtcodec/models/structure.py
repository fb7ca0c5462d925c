"""
How far a picture is from another to the eye, as far as gradients can use that. Luma only.

MS-SSIM without its luminance (see `rtcodec.evaluation.ms_ssim`), the similarity of gradient
magnitudes (Xue et al., "Gradient magnitude similarity deviation", 2014), how much texture there is
at three scales, and absolute errors, which hold the rest to the picture.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from rtcodec.quality import PEAK

SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363)
"Of MS-SSIM from the finest scale on; the coarsest of five does not fit a training crop."

TEXTURE_SCALES: Final = 3

_SIGMA: Final = 1.5
_C2: Final = (0.03 * PEAK) ** 2  # of SSIM
_GRADIENT_FLOOR: Final = 60.0  # of samples squared; the paper's 0.0026, for 255 and /3
_TEXTURE_FLOOR: Final = 4.0  # of variances: what nobody sees is no texture


def structure_losses(shown: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """
    How far windows of two pictures are from each other.

    Args:
        shown: [N, 1, H, W] of sample values; sides of 128 or more.
        clean: The same.

    Returns:
        1 - MS-SSIM, and how far variances are apart: logarithms, summed over the finest three
        scales. Means over all crops.
    """
    logs, texture = torch.zeros(shown.shape[0]), torch.zeros(())
    a, b = shown - 128, clean - 128
    for scale, weight in enumerate(SCALE_WEIGHTS):
        means = _blurred(torch.cat([a, b, a * a, b * b, a * b], 1))
        mean_a, mean_b, aa, bb, ab = means.unbind(1)
        of_a, of_b = aa - mean_a**2, bb - mean_b**2
        similarity = (2 * (ab - mean_a * mean_b) + _C2) / (of_a + of_b + _C2)
        logs = logs + weight * similarity.mean((1, 2)).clamp_min(0.05).log()
        if scale < TEXTURE_SCALES:
            kept = [of.clamp_min(0) + _TEXTURE_FLOOR for of in (of_a, of_b)]
            texture = texture + (kept[0] / kept[1]).log().abs().mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return (1 - logs.exp()).mean(), texture


def gradient_loss(shown: Tensor, clean: Tensor) -> Tensor:
    """1 - similarity of gradient magnitudes, mean over [N, 1, H, W] of sample values."""
    a, b = _gradient(shown), _gradient(clean)
    return 1 - ((2 * a * b + _GRADIENT_FLOOR) / (a * a + b * b + _GRADIENT_FLOOR)).mean()


def error_loss(shown: Tensor, clean: Tensor, wide: Tensor) -> Tensor:
    """
    Mean absolute error, in parts of what was there before, and of one level.

    Args:
        shown: [N, 1, H, W] of sample values.
        clean: The same.
        wide: What was filtered, [N, H + 2 m, W + 2 m].
    """
    margin = (wide.shape[1] - clean.shape[2]) // 2
    before = wide[:, None, margin:-margin, margin:-margin]
    now, was = ((a - clean).abs().mean((1, 2, 3)) for a in (shown, before))
    return (now / (1 + was)).mean()


def _gradient(luma: Tensor) -> Tensor:
    across = luma.new_tensor([[1.0, 0.0, -1.0]] * 3)[None, None] / 3  # Prewitt
    parts = F.conv2d(luma, across), F.conv2d(luma, across.transpose(2, 3))
    return (parts[0] ** 2 + parts[1] ** 2 + 1e-3).sqrt()


def _blurred(maps: Tensor) -> Tensor:
    """Each of [N, C, H, W] under SSIM's window, where that fits whole."""
    n, channels, height, width = maps.shape
    places = torch.arange(-5.0, 6.0)
    window = (-places.square() / (2 * _SIGMA**2)).exp()
    window = window / window.sum()
    flat = maps.reshape(n * channels, 1, height, width)
    blurred = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return blurred.reshape(n, channels, height - 10, width - 10)
