"""What training minimises: bits plus lambda times the error, as PSNR is reported (6:1:1)."""

import math

import torch
from torch import Tensor

from rtcodec.models.config import TrainConfig
from rtcodec.models.layer import qp_to_step
from rtcodec.models.network import Coded, unpack_planes

PLANE_WEIGHTS = (0.75, 0.125, 0.125)
"6:1:1, as PSNR is reported."

MSE_FLOOR = 0.05
"Keeps the logarithm of a perfect plane finite; 61 dB, beyond which nothing is gained."

BLOCK_PIXELS = 256
"Luma samples of one place at 1/16."


def distortion(x_hat: Tensor, x: Tensor) -> Tensor:
    """
    Weighted geometric mean of the planes' MSE, [N], in squared 8-bit sample values.

    Its logarithm is the 6:1:1 mean of the planes' PSNR, so every plane's gain counts as reported.
    Both inputs are [N, 384, h16, w16], sample values / 255 - 0.5.
    """
    logs = torch.zeros(x.shape[0], device=x.device)
    for plane_hat, plane, weight in zip(
        unpack_planes(x_hat), unpack_planes(x), PLANE_WEIGHTS, strict=True
    ):
        mse = ((plane_hat - plane).float() * 255.0).square().mean((1, 2, 3))
        logs = logs + weight * torch.log(mse + MSE_FLOOR)
    return logs.exp()


def rate_distortion(
    coded: Coded, x: Tensor, qp: Tensor, config: TrainConfig
) -> tuple[Tensor, dict[str, float]]:
    """
    The loss of one batch, and figures for the log.

    Each crop's cost is divided by what it would really cost, so a per cent saved counts the same
    on a flat crop as on a busy one and at every qp, as it does in BD-rate.

    Args:
        coded: What the codec made of *x*.
        x: [N, 384, h16, w16], sample values / 255 - 0.5.
        qp: [N], 0..63.
        config: Rate factor.
    """
    pixels = x.shape[2] * x.shape[3] * BLOCK_PIXELS
    step = qp_to_step(qp.float())
    d = distortion(coded.x_hat, x)
    bpp = (coded.bits_y + coded.bits_z) / pixels
    factor = config.delta_rate_factor if config.delta else config.rate_factor
    price = factor / step.square()
    true_bpp = (coded.coded_y + coded.bits_z.detach()) / pixels
    loss = ((bpp + price * d) / (true_bpp + price * d.detach())).mean()
    return loss, {
        "log_cost": torch.log(true_bpp + price * d.detach()).mean().item(),
        "bpp": true_bpp.mean().item(),
        "bpp_z": (coded.bits_z / pixels).mean().item(),
        "mse": d.mean().item(),
        "skipped": (coded.index < 1).float().mean().item(),
    }


def weighted_psnr(x_hat: Tensor, x: Tensor) -> float:
    """6:1:1 mean of the planes' PSNR in dB over the batch, on 8-bit rounded samples."""
    total = 0.0
    for plane_hat, plane, weight in zip(
        unpack_planes(x_hat), unpack_planes(x), PLANE_WEIGHTS, strict=True
    ):
        rounded = ((plane_hat.float() + 0.5) * 255).round().clamp(0, 255)
        mse = (rounded - (plane.float() + 0.5) * 255).square().mean().item()
        total += weight * 10 * math.log10(255**2 / max(mse, 1e-3))
    return total
