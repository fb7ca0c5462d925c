"""
The building blocks of the networks: straight-through rounding, convolutions, per-qp vectors.

ReLU family only, no normalisation and no sigmoid outside the training loss, so that every runtime
agrees closely (MLVC, arXiv 2606.28027).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.tier import COARSEST_STEP, FINEST_STEP, QP_ANCHORS, QP_COUNT


def qp_to_step(qp: Tensor) -> Tensor:
    """Nominal quantiser step in 8-bit sample values, log-linear in qp."""
    return FINEST_STEP * (COARSEST_STEP / FINEST_STEP) ** (qp / (QP_COUNT - 1))


class RoundSTE(torch.autograd.Function):
    """Round half up forwards (as the exact network does), identity backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


class ClampSTE(torch.autograd.Function):
    """Clamp forwards; backwards, stop only gradients that would push further out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        blocked = ((x > high) & (grad < 0)) | ((x < low) & (grad > 0))
        return grad.masked_fill(blocked, 0.0), None, None


def round_ste(x: Tensor) -> Tensor:
    """Round to integers; gradients pass unchanged."""
    return RoundSTE.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def clamp_ste(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp; gradients pass where the value is inside or moving back inside."""
    return ClampSTE.apply(x, low, high)  # type: ignore[no-any-return, no-untyped-call]


class Conv1x1(nn.Conv2d):
    """A 1x1 convolution as a matrix product: on a CPU, a tenth off a training step."""

    def __init__(self, c_in: int, c_out: int, *, bias: bool = True) -> None:
        super().__init__(c_in, c_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, c_in, h, w], best channels_last -> [N, c_out, h, w]."""
        rows = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return rows.permute(0, 3, 1, 2)


def conv1x1(c_in: int, c_out: int, *, zero: bool = False) -> nn.Conv2d:
    """A 1x1 convolution with bias; *zero* starts it at 0."""
    conv = Conv1x1(c_in, c_out)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """
    Apply *layer* outside any autocast.

    The linear paths and the output layers: in bf16 they cap quality near 38 dB.
    """
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())  # type: ignore[no-any-return]


class Block(nn.Module):
    """Depth-wise mixing, then a gated 1x1 pair, both residual: 5 C^2 + 9 C products per place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix_in = conv1x1(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix_out = conv1x1(channels, channels)
        self.value = conv1x1(channels, channels)
        self.gate = conv1x1(channels, channels)
        self.project = conv1x1(channels, channels)
        self.mix_scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.05))
        self.gate_scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.05))
        with torch.no_grad():
            self.depthwise.weight.mul_(0.5)
            self.depthwise.weight[:, :, 1, 1] += 0.7

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, h, w] -> the same shape."""
        mixed = self.depthwise(F.leaky_relu(self.mix_in(x), 0.1))
        x = x + self.mix_scale * self.mix_out(mixed)
        gated = self.value(x) * (self.gate(x) + 0.5).clamp(0.0, 1.0)
        return x + self.gate_scale * self.project(gated)


class QpVector(nn.Module):
    """A positive vector per qp, exp of a log-gain interpolated between anchors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(QP_ANCHORS, channels))

    def forward(self, qp: Tensor) -> Tensor:
        """qp [N] in 0..63 -> [N, channels]."""
        return interpolate(self.log_gain, qp).exp()


def interpolate(anchors: Tensor, qp: Tensor) -> Tensor:
    """Rows of *anchors* [QP_ANCHORS, K] at qp [N] in 0..63, linearly interpolated to [N, K]."""
    place = qp.float() * ((QP_ANCHORS - 1) / (QP_COUNT - 1))
    low = place.floor().clamp(max=QP_ANCHORS - 2).long()
    part = (place - low)[:, None]
    return anchors[low] * (1 - part) + anchors[low + 1] * part
