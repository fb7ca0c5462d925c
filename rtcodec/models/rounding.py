"""
Weights of a trained scale network made integers, so that its indices stay what they were.

Layer by layer, each from what the integer layers before it really give: weights are refitted to
that, then rounded one input after the other, each input's error made good by those that are still
free (GPTQ, Frantar et al., arXiv 2210.17323). Only outputs that matter are asked for: activations
that are not clamped, indices that tables have. Measured on a trained network: indices 0.15 off,
2.7 when each weight goes to its nearest integer.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rtcodec.models.prior import QuantisedLayer, ScaleNetwork
from rtcodec.models.tier import SCALE_LEVELS

Case = tuple[Tensor, Tensor]
"Integers z [N, Cz, h64, w64] and qp [N]."

ACTIVATION_MARGIN, INDEX_MARGIN = 30.0, 3.0
"How far outside its range an output is still asked for: rounding may bring it in."

MOST_ROWS = 4096
"Outputs of each channel that are looked at."

LEAST_ROWS = 64
"With fewer, a channel's weights go to their nearest integers."

DAMPING, REFIT_DAMPING = 1e-4, 1e-3
"Of the inputs' mean energy, added to each input's."


@torch.no_grad()
def round_scale_network(network: ScaleNetwork, cases: Sequence[Case]) -> None:
    """
    Make the weights of *network* integers over 2^shift, and move its biases by what is left.

    Args:
        network: With trained weights, on the CPU; changed, unless they are such integers.
        cases: What it is asked in use.
    """
    layers = (network.layer1, network.layer2, network.layer3)
    if all(torch.equal(one.integer_weight(), one.weight * 2.0**one.shift) for one in layers):
        return
    wanted = [_float_outputs(network, *case) for case in cases]
    inputs = [z for z, _ in cases]
    for number, layer in enumerate(layers):
        is_last = layer is network.layer3
        biases = [network.biases(qp)[number] for _, qp in cases]
        shares = [b if is_last else b * 2.0**-layer.shift for b in biases]
        x = _rows(inputs)
        y = _rows([one[number] for one in wanted])
        share = _rows([b.expand_as(one[number]) for b, one in zip(shares, wanted, strict=True)])
        thin = slice(None, None, max(1, len(x) // MOST_ROWS))
        low, high = (
            (-INDEX_MARGIN, SCALE_LEVELS + INDEX_MARGIN)
            if is_last
            else (-ACTIVATION_MARGIN, 255 + ACTIVATION_MARGIN)
        )
        asked = ((y > low) & (y < high)).double()[thin]
        off = _round_layer(layer, x[thin], (y - share)[thin], asked, has_bias=not is_last)
        bias = (network.bias1, network.bias2, network.bias3)[number]
        bias.add_((off.round() if is_last else off) / network.BIAS_UNIT)
        if not is_last:
            inputs = [
                _activations(layer, a, network.biases(qp)[number])
                for a, (_, qp) in zip(inputs, cases, strict=True)
            ]


def _float_outputs(network: ScaleNetwork, z: Tensor, qp: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all layers, as in training, not clamped."""
    was_training = network.training
    network.train()
    b1, b2, b3 = network.biases(qp)
    first = network.layer1(z, b1)
    second = network.layer2(F.pixel_shuffle(first.clamp(0, 255), 2), b2)
    third = network.layer3(F.pixel_shuffle(second.clamp(0, 255), 2)) + b3
    network.train(was_training)
    return first, second, third


def _activations(layer: QuantisedLayer, a: Tensor, bias: Tensor) -> Tensor:
    """What the next layer gets of the integer layer."""
    acc = F.conv2d(a, layer.integer_weight()) + bias
    return F.pixel_shuffle((acc * 2.0**-layer.shift + 0.5).floor().clamp(0, 255), 2)


def _rows(tensors: Sequence[Tensor]) -> Tensor:
    """[N, C, h, w] of all, as float64 [places, C]."""
    return torch.cat([one.permute(0, 2, 3, 1).flatten(0, 2) for one in tensors]).double()


def _round_layer(
    layer: QuantisedLayer, x: Tensor, y: Tensor, asked: Tensor, *, has_bias: bool
) -> Tensor:
    """
    Round one layer, so that inputs *x* [P, I] give *y* [P, O] where *asked* [P, O] is 1.

    Where *has_bias*, but for a constant: that of the last layer is whole indices, too coarse.

    Returns:
        How far outputs are too low on the mean, [O] float32.
    """
    unit = 2.0**layer.shift
    weight = layer.weight.flatten(1).double() * unit
    grams = x.new_zeros(*weight.shape, x.shape[1])
    counts = asked.sum(0)
    for row in (counts >= LEAST_ROWS).nonzero().flatten().tolist():
        seen = x[asked[:, row] > 0]
        missing = y[asked[:, row] > 0, row] * unit - seen @ weight[row]
        if has_bias:
            seen = seen - seen.mean(0)
        grams[row] = gram = seen.T @ seen / counts[row]
        damped = _damped(gram[None], REFIT_DAMPING)[0]
        weight[row] += torch.linalg.solve(damped, seen.T @ missing / counts[row])
    rounded = _round_rows(weight, grams)
    layer.weight.copy_((rounded / unit).float().view_as(layer.weight))
    error = (y - x @ rounded.T / unit) * asked
    return (error.sum(0) / counts.clamp_min(1)).float()


def _round_rows(weight: Tensor, grams: Tensor) -> Tensor:
    """*weight* [O, I] in integers -127..127; *grams* [O, I, I] of inputs say what errors cost."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_damped(grams, DAMPING)))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, rounded = weight.clone(), torch.empty_like(weight)
    for i in range(weight.shape[1]):
        rounded[:, i] = left[:, i].round().clamp(-127, 127)
        off = (left[:, i] - rounded[:, i]) / upper[:, i, i]
        left[:, i:] -= off[:, None] * upper[:, i, i:]
    return rounded


def _damped(grams: Tensor, part: float) -> Tensor:
    """With *part* of the inputs' mean energy added to each input's; never singular."""
    energy = grams.diagonal(dim1=1, dim2=2).mean(1) + 1e-9
    eye = torch.eye(grams.shape[1], dtype=grams.dtype)
    return grams + eye * (energy * part)[:, None, None]
