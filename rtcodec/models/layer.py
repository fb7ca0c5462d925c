"""
The building blocks of the networks: straight-through rounding, convolutions, per-qp vectors.

ReLU family only, no normalisation and no sigmoid outside the training loss, so that every runtime
agrees closely (MLVC, arXiv 2606.28027).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.tier import QP_ANCHORS, QP_COUNT
from rtcodec.motion.search import COARSEST_STEP, FINEST_STEP


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
    """Clamp forwards; backwards, stop only gradients that would push further out, or from afar."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, reach: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high, reach)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high, reach = ctx.bounds
        above = (x > high) & ((grad < 0) | (x > high + reach))
        below = (x < low) & ((grad > 0) | (x < low - reach))
        return grad.masked_fill(above | below, 0.0), None, None, None


def round_ste(x: Tensor) -> Tensor:
    """Round to integers; gradients pass unchanged."""
    return RoundSTE.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def clamp_ste(x: Tensor, low: float, high: float, reach: float = math.inf) -> Tensor:
    """Clamp; gradients pass where the value is inside, or moving back from at most *reach* away."""
    return ClampSTE.apply(x, low, high, reach)  # type: ignore[no-any-return, no-untyped-call]


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


def in_float32(layer: nn.Module, x: Tensor, *rest: nn.Module) -> Any:
    """
    Apply *layer* to *x* and *rest* outside any autocast.

    The linear paths and the output layers: in bf16 they cap quality near 38 dB.
    """
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float(), *rest)


class Int8Input(nn.Module):
    """
    What 1x1 layers in 8-bit integers read: a range per channel, learned with the weights.

    Until ranges are set the layers run in floats. From then on inputs are rounded to 255 levels of
    the range, and weights to 255 levels up to the largest in their row. Gradients pass through the
    rounding and reach the range as well (Esser et al., arXiv 1902.08153; docs/adr/014).
    """

    LIMIT = 127

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.log_range: nn.Parameter | None
        self.register_parameter("log_range", None)

    def set_range(self, largest: Tensor) -> None:
        """Round from now on, to *largest* [C] at most."""
        self.log_range = nn.Parameter(largest.detach().float().log())

    def forward(self, x: Tensor, *layers: nn.Conv2d) -> tuple[Tensor, ...]:
        """Outputs [N, O, h, w] of 1x1 *layers* that read x [N, C, h, w]."""
        if self.log_range is None:
            return tuple(layer(x) for layer in layers)
        unit = self.log_range.exp() / self.LIMIT
        rows = RoundToUnit.apply(x.permute(0, 2, 3, 1), unit)  # type: ignore[no-untyped-call]
        outputs = []
        for layer in layers:
            weight, step = int8_weight(layer.weight.flatten(1) * unit)
            # Integers up to 127 are exact in bf16 too; times the step they would not be.
            products = F.linear(rows, weight)
            bias = torch.zeros_like(step) if layer.bias is None else layer.bias
            outputs.append(torch.addcmul(bias, products, step).permute(0, 3, 1, 2))
        return tuple(outputs)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """Take a range where *state* has one, whether or not it was set before."""
        if self.log_range is None and f"{prefix}log_range" in state:
            self.set_range(torch.ones(self.channels))
        super()._load_from_state_dict(state, prefix, *rest)


def is_int8(net: nn.Module) -> bool:
    """Whether layers of *net* run in 8-bit integers."""
    return any(isinstance(m, Int8Input) and m.log_range is not None for m in net.modules())


def int8_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """*weight* [O, I] as integers up to the limit, and what 1 is in each row, [O]."""
    step = weight.detach().abs().amax(1).clamp_min(1e-12) / Int8Input.LIMIT
    return round_ste(weight / step[:, None]), step


class RoundToUnit(torch.autograd.Function):
    """x [..., C] in units [C], rounded to integers -127..127; gradients as if it were not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: Tensor) -> Tensor:
        ctx.save_for_backward(x, unit)
        limit = Int8Input.LIMIT
        return (x / unit).round_().clamp_(-limit, limit).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, unit = ctx.saved_tensors
        scaled = x / unit
        # A clipped value cannot move the output.
        grad = torch.where(scaled.abs() <= Int8Input.LIMIT, grad / unit, 0.0)
        return grad.to(x.dtype), -(grad * scaled).flatten(0, -2).sum(0)


class Block(nn.Module):
    """Depth-wise mixing, then a gated 1x1 pair, both residual: 5 C^2 + 9 C products per place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix_input, self.mixed_input = Int8Input(channels), Int8Input(channels)
        self.gate_input, self.gated_input = Int8Input(channels), Int8Input(channels)
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
        (mixed,) = self.mix_input(x, self.mix_in)
        mixed = self.depthwise(F.leaky_relu(mixed, 0.1))
        (mixed,) = self.mixed_input(mixed, self.mix_out)
        x = x + self.mix_scale * mixed
        value, gate = self.gate_input(x, self.value, self.gate)
        gated = value * (gate + 0.5).clamp(0.0, 1.0)
        (gated,) = self.gated_input(gated, self.project)
        return x + self.gate_scale * gated


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
