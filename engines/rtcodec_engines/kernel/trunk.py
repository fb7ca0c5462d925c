"""
A block of the intra networks with its trunks in 8-bit integers, in two kernels.

    mix     x --8 bits, W1--> leaky ReLU                                      kept
    rest    3x3 of each channel --8 bits, W2--> + x --8 bits, value, gate--> product
            --8 bits, W3--> + x

Between the products everything stays in registers; plain torch writes twelve tensors of this size.
Products of integers are exact, so what can differ from `rtcodec.models.layer.Block` is the last bit
of a float and, rarely, a rounding to 8 bits that it tips over.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from rtcodec.models.layer import Block, Int8Input, int8_weight

_PLACES, _FEW_PLACES = 64, 32
"""Of one program: what fills a tensor core, and what of more than 128 channels fits into registers.
# measured: of 160 channels 64 places spill 2.3 kB a thread on sm_90, 32 places 40 bytes"""


@triton.jit
def _eight_bits(x, unit):
    """To whole units, halves to even, as `torch.round`."""
    units = tl.minimum(tl.maximum(x / unit, -127.0), 127.0)
    return ((units + 12582912.0) - 12582912.0).to(tl.int8)


@triton.jit
def _layer(x, units, weights, steps, biases, k, C: tl.constexpr, WIDE: tl.constexpr):
    """x [P, WIDE] through a layer of C inputs and outputs; weights int8 [C, C], inputs first."""
    inside = k < C
    unit = tl.load(units + k, mask=inside, other=1.0)
    both = inside[:, None] & inside[None, :]
    weight = tl.load(weights + k[:, None] * C + k[None, :], mask=both, other=0)
    sums = tl.dot(_eight_bits(x, unit[None, :]), weight, out_dtype=tl.int32).to(tl.float32)
    step = tl.load(steps + k, mask=inside, other=0.0)
    bias = tl.load(biases + k, mask=inside, other=0.0)
    return bias[None, :] + sums * step[None, :]


@triton.jit(do_not_specialize=["total"])
def _mix_kernel(
    x, units, weights, steps, biases, out, total,
    C: tl.constexpr, WIDE: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    places = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    k = tl.arange(0, WIDE)
    at = places.to(tl.int64)[:, None] * C + k[None, :]
    mask = (places < total)[:, None] & (k < C)[None, :]
    mixed = _layer(tl.load(x + at, mask=mask, other=0.0), units, weights, steps, biases, k, C, WIDE)
    tl.store(out + at, tl.where(mixed < 0, 0.1 * mixed, mixed), mask=mask)


@triton.jit(do_not_specialize=["total", "h", "w"])
def _rest_kernel(
    x, mixed, taps, tap_bias, units, weights, steps, biases, scales, out, total, h, w,
    C: tl.constexpr, WIDE: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """units, steps, biases: of W2, value, gate, W3, one after the other; weights too."""
    places = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    k = tl.arange(0, WIDE)
    inside = k < C
    at = places.to(tl.int64)[:, None] * C + k[None, :]
    mask = (places < total)[:, None] & inside[None, :]
    row, column = places // w % h, places % w
    spread = tl.zeros((PLACES, WIDE), tl.float32)
    spread += tl.load(tap_bias + k, mask=inside, other=0.0)[None, :]
    for t in range(9):
        down, across = t // 3 - 1, t % 3 - 1
        there = (row + down >= 0) & (row + down < h) & (column + across >= 0)
        there = there & (column + across < w)
        seen = tl.load(mixed + at + (down * w + across) * C, mask=mask & there[:, None], other=0.0)
        spread += seen * tl.load(taps + t * C + k, mask=inside, other=0.0)[None, :]
    own = tl.load(x + at, mask=mask, other=0.0)
    after = _layer(spread, units, weights, steps, biases, k, C, WIDE)
    own += tl.load(scales + k, mask=inside, other=0.0)[None, :] * after
    value = _layer(own, units + C, weights + C * C, steps + C, biases + C, k, C, WIDE)
    gate = _layer(own, units + C, weights + 2 * C * C, steps + 2 * C, biases + 2 * C, k, C, WIDE)
    gated = value * tl.minimum(tl.maximum(gate + 0.5, 0.0), 1.0)
    last = _layer(
        gated, units + 2 * C, weights + 3 * C * C, steps + 3 * C, biases + 3 * C, k, C, WIDE
    )
    own += tl.load(scales + C + k, mask=inside, other=0.0)[None, :] * last
    tl.store(out + at, own, mask=mask)


class FusedBlock(nn.Module):
    """As `Block`, for inference, its 8-bit weights worked out once."""

    def __init__(self, block: Block) -> None:
        """
        Args:
            block: With ranges set: `rtcodec.models.layer.is_int8`.
        """
        super().__init__()
        self._channels = block.depthwise.in_channels
        first = _quantised(block.mix_input, block.mix_in)
        rest = [
            _quantised(block.mixed_input, block.mix_out),
            _quantised(block.gate_input, block.value),
            _quantised(block.gate_input, block.gate),
            _quantised(block.gated_input, block.project),
        ]
        inputs = (block.mixed_input, block.gate_input, block.gated_input)
        assert block.depthwise.bias is not None
        for name, values in (
            ("mix_units", _unit(block.mix_input)),
            ("mix_weight", first[0]),
            ("mix_step", first[1]),
            ("mix_bias", first[2]),
            ("taps", block.depthwise.weight.flatten(1).T),
            ("tap_bias", block.depthwise.bias),
            ("units", torch.cat([_unit(one) for one in inputs])),
            ("weights", torch.stack([one[0] for one in rest])),
            ("steps", torch.cat([one[1] for one in rest])),
            ("biases", torch.cat([one[2] for one in rest])),
            ("scales", torch.cat((block.mix_scale.flatten(), block.gate_scale.flatten()))),
        ):
            kept = values.detach()
            kept = kept if kept.dtype is torch.int8 else kept.float()
            self.register_buffer(name, kept.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, h, w] -> the same shape, float32, channels last."""
        n, c, h, w = x.shape
        rows = x.float().permute(0, 2, 3, 1).contiguous()
        mixed, out = torch.empty_like(rows), torch.empty_like(rows)
        total = n * h * w
        wide = triton.next_power_of_2(c)
        few = _PLACES if wide <= 128 else _FEW_PLACES
        sizes = {"C": c, "WIDE": wide, "num_warps": 8}
        mine = self.get_buffer
        _mix_kernel[(triton.cdiv(total, _PLACES),)](
            rows, mine("mix_units"), mine("mix_weight"), mine("mix_step"), mine("mix_bias"),
            mixed, total, PLACES=_PLACES, **sizes,
        )  # fmt: skip
        _rest_kernel[(triton.cdiv(total, few),)](
            rows, mixed, mine("taps"), mine("tap_bias"), mine("units"), mine("weights"),
            mine("steps"), mine("biases"), mine("scales"), out, total, h, w,
            PLACES=few, **sizes,
        )  # fmt: skip
        return out.permute(0, 3, 1, 2)


def _unit(layer_input: Int8Input) -> Tensor:
    assert layer_input.log_range is not None, "trunks are not in 8 bits"
    return layer_input.log_range.detach().exp() / Int8Input.LIMIT


def _quantised(layer_input: Int8Input, layer: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
    """Weights int8 [C, C], inputs first; what 1 is in each output, and biases, [C]."""
    with torch.no_grad():
        weight, step = int8_weight(layer.weight.float().flatten(1) * _unit(layer_input))
    bias = torch.zeros_like(step) if layer.bias is None else layer.bias
    return weight.T.to(torch.int8), step, bias
