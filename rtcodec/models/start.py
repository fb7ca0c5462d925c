"""The start of training: linear paths from a transform, so that step 0 is a transform codec."""

import math

import torch
from torch import Tensor, nn

from rtcodec.models.data import Crops
from rtcodec.models.layer import Int8Input
from rtcodec.models.network import Codec, pack_planes
from rtcodec.models.supply import Supply
from rtcodec.models.tier import (
    ANCHORED,
    PIXEL_CHANNELS,
    QP_ANCHORS,
    QP_COUNT,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
)
from rtcodec.motion.transform import dct_matrix

LOCAL_FROM = 2
"Pairs of frequencies are made local where their places add up to this or more; measured: 1 to 4."

START_CARRY = 0.8
"Correlation of the DCs of a tile's places, given z; measured: 0.8 to 0.9."

RANGE_POWER = 0.85
"""Between a range for each channel of an 8-bit input, 1, and one for all, 0. What ranges do not
even out the weights have to. Measured: 0.85 costs 0.06 dB less than 0.5, before training."""


def localised_dct(size: int) -> Tensor:
    """
    An orthonormal basis [size^2, size^2] of square blocks, float64: a DCT with localised detail.

    Rows are the 2-D DCT-II, with every 2x2 group of neighbouring frequencies but the lowest
    replaced by its sums and differences: each of those lives in one quarter of the block, so an
    edge or a letter costs one quarter's coefficients and not all four (docs/adr/011).
    """
    dct = torch.from_numpy(dct_matrix(size))
    # [vertical frequency / 2, parity, horizontal frequency / 2, parity, samples]
    rows = torch.kron(dct, dct).view(size // 2, 2, size // 2, 2, -1)
    mix = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    local = torch.einsum("ai,bj,uivjs->uavbs", mix, mix, rows)
    half = torch.arange(size // 2)
    is_local = (half[:, None] + half[None] >= LOCAL_FROM)[:, None, :, None, None]
    return torch.where(is_local, local, rows).reshape(size * size, -1)


@torch.no_grad()
def starting_basis(crops: Crops, latents: int) -> Tensor:
    """The *latents* strongest rows [latents, 384] of localised DCTs of Y, U and V."""
    luma, chroma = localised_dct(16), localised_dct(8)
    basis = torch.zeros(PIXEL_CHANNELS, PIXEL_CHANNELS)
    for start, plane in ((0, luma), (256, chroma), (320, chroma)):
        basis[start : start + len(plane), start : start + len(plane)] = plane
    energy = torch.zeros(PIXEL_CHANNELS)
    for _ in range(24):
        coefficients = torch.einsum("kc,nchw->nkhw", basis, pack_planes(*crops.batch(16)))
        energy += coefficients.square().mean((0, 2, 3))
    return basis[energy.argsort(descending=True)[:latents]].contiguous()


@torch.no_grad()
def start(net: Codec, crops: Crops, *, as_transform: bool = True) -> None:
    """
    Set the linear paths to the basis and its transpose, and the scale indices to fit.

    Without *as_transform* the linear paths keep what random weights they have.
    """
    if as_transform:
        basis = starting_basis(crops, net.tier.latents)
        net.analysis.linear.weight.copy_(basis[:, :, None, None])
        net.synthesis.linear.weight.copy_(basis.T[:, :, None, None])
        for flat in (basis[:ANCHORED].sum(1).abs() > 1).nonzero().flatten():  # the DCs
            net.means.anchor_out.weight[flat, flat] = START_CARRY
    x = pack_planes(*crops.batch(64))
    for anchor in range(QP_ANCHORS):
        qp = torch.full((1,), anchor * (QP_COUNT - 1) / (QP_ANCHORS - 1))
        _, gain, _, _, _ = net.gain_vectors(qp)
        index = fitted_index(net.analysis.linear(x) * gain[:, :, None, None])
        net.scale_network.bias3[anchor] = index / net.scale_network.BIAS_UNIT


def fitted_index(latents: Tensor) -> Tensor:
    """Scale indices [M], not rounded, that suit latents [N, M, h16, w16] in quantiser steps."""
    # Of a logistic with this mean modulus.
    scale = latents.abs().mean((0, 2, 3)) / (2 * math.log(2))
    index = torch.log(scale / SCALE_MIN) / math.log(SCALE_MAX / SCALE_MIN) * (SCALE_LEVELS - 1)
    return index.clamp(0, SCALE_LEVELS - 1)


@torch.no_grad()
def set_ranges(net: nn.Module, supply: Supply, *, batches: int = 16) -> None:
    """Set the ranges of the 8-bit inputs to what they see of *batches* of training."""
    seen: dict[Int8Input, list[Tensor]] = {
        module: [] for module in net.modules() if isinstance(module, Int8Input)
    }

    def look(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(module, Int8Input)
        seen[module].append(arguments[0].abs().amax((0, 2, 3)).float())

    hooks = [module.register_forward_pre_hook(look) for module in seen]
    for _ in range(batches):
        supply.done(net(*supply.next()).x_hat)
    for hook in hooks:
        hook.remove()
    for module, values in seen.items():
        largest = torch.stack(values).amax(0) + 1e-6
        module.set_range(largest**RANGE_POWER * largest.max() ** (1 - RANGE_POWER))
