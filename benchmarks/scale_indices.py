"""
What the exact scale network costs: against its own weights in floats, and against sent scales.

    python -m benchmarks.scale_indices PICTURES [--model s128] [--output FILE.json]

Bits of one model's symbols on the middle 512x512 of every PNG in a folder, by the logistics that
tables are fitted to; z is counted for the networks. Sent scales are the best of 22 for each group
of channels in a tile, chosen knowing the symbols, coded at their own entropy. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.entropy import machine
from rtcodec.models.layer import interpolate
from rtcodec.models.network import Coded
from rtcodec.models.prior import (
    QuantisedLayer,
    ScaleNetwork,
    coded_bits,
    index_to_scale,
    logistic_mass,
)
from rtcodec.models.thaw import installed, thaw
from rtcodec.models.tier import SCALE_LEVELS, TIERS, TILE_SIDE
from rtcodec.models.validation import Validation

QPS = (14, 30, 46)
SENT = torch.arange(0, SCALE_LEVELS, 3)
"Indices that a sent scale may have."

GROUPS = (2, 4, 8)
"Channels that share a sent scale."

LEAST = 2.0**-20


def in_floats(network: ScaleNetwork, z: Tensor, qp: Tensor) -> Tensor:
    """Indices [N, M, h16, w16] of the network's weights with nothing rounded."""

    def layer(one: QuantisedLayer, a: Tensor) -> Tensor:
        limit = 127 / 2**one.shift
        return F.conv2d(a, one.weight.clamp(-limit, limit))

    unit = network.BIAS_UNIT
    b1, b3 = (interpolate(b, qp)[:, :, None, None] * unit for b in (network.bias1, network.bias3))
    b2 = network.bias2[None, :, None, None] * unit
    a = (layer(network.layer1, z) + b1).clamp(0, 255)
    a = (layer(network.layer2, F.pixel_shuffle(a, 2)) + b2).clamp(0, 255)
    return layer(network.layer3, F.pixel_shuffle(a, 2)) + b3


def bits_in_floats(network: ScaleNetwork, coded: Coded, qp: Tensor) -> float:
    """Bits of the symbols with scales from `in_floats`; what is skipped and zero costs nothing."""
    index = in_floats(network, coded.z, qp)
    scale = index_to_scale(index.clamp(0, SCALE_LEVELS - 1))
    bits = -torch.log2(logistic_mass(coded.symbols, scale).clamp_min(LEAST))
    return float((bits * ((index >= 0.5) | (coded.symbols != 0))).sum())


def costs_by_scale(symbols: Tensor) -> Tensor:
    """Bits [S, M, Th, Tw] of each channel of each tile, with each of the SENT scales."""
    costs = []
    for number, index in enumerate(SENT):
        scale = index_to_scale(index.float())
        bits = -torch.log2(logistic_mass(symbols, scale).clamp_min(LEAST))
        if number == 0:  # the skipped ones
            bits = torch.where(symbols == 0, 0.0, 30.0)
        costs.append(F.avg_pool2d(bits, TILE_SIDE) * TILE_SIDE**2)
    return torch.cat(costs)


def bits_sent(costs: list[Tensor], group: int) -> tuple[float, float]:
    """Bits of all symbols, and of the scales that *group* channels share."""
    each = torch.cat([c.unfold(1, group, group).sum(-1).flatten(2) for c in costs], 2)
    price = torch.zeros(each.shape[:2])
    best = each.argmin(0)
    for _ in range(4):  # choices and what they cost settle together
        best = (each + price[..., None]).argmin(0)
        counts = F.one_hot(best, len(SENT)).sum(1).T + 0.5
        price = -torch.log2(counts / counts.sum(0))
    scales = price[..., None].expand_as(each).gather(0, best[None])
    return float(each.gather(0, best[None]).sum()), float(scales.sum())


@torch.no_grad()
def measure(tier: str, pictures: list[Tensor], qp: int) -> dict[str, Any]:
    """One row of the result."""
    net = thaw(installed(tier), TIERS[tier]).eval()
    at = torch.tensor([qp])
    z = exact = floats = 0.0
    costs = []
    for picture in pictures:
        coded = net(picture, at)
        scale = index_to_scale(coded.index.clamp(0, SCALE_LEVELS - 1))
        exact += float(coded_bits(coded.symbols, scale, coded.index))
        floats += bits_in_floats(net.scale_network, coded, at)
        z += float(coded.bits_z)
        costs.append(costs_by_scale(coded.symbols))
    whole = exact + z
    row = {"qp": qp, "bits": round(whole), "z_percent": round(100 * z / whole, 1)}
    row["floats_percent"] = round(100 * ((floats + z) / whole - 1), 2)
    for group in GROUPS:
        symbols, scales = bits_sent(costs, group)
        row[f"sent_{group}_percent"] = round(100 * ((symbols + scales) / whole - 1), 1)
    return row


def main(arguments: list[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_indices", description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder with PNG images")
    parser.add_argument("--model", choices=sorted(TIERS), default="s128")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    pictures = Validation(options.pictures).pictures
    rows = []
    for qp in QPS:
        rows.append(measure(options.model, pictures, qp))
        print(rows[-1], file=sys.stderr, flush=True)
    report = {"model": options.model, "machine": machine(), "results": rows}
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
