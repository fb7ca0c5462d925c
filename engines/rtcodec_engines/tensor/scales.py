"""
The exact scale network on tensors: `rtcodec.entropy.scale_net`, a batch at a time.

In float64: sums are below 2^24, so every partial sum is exact in any order, whatever a device's
matrix units make of float32. It is a thousandth of a frame's work.
"""

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.entropy.scale_net import ACTIVATION_MAX, INDEX_MAX, ScaleNet


class Scales(nn.Module):
    """The integers of one model's scale network as tensors."""

    def __init__(self, net: ScaleNet) -> None:
        super().__init__()
        self._shifts = (net.s1, net.s2, net.s3)
        self._always_coded = net.always_coded
        for k, (weight, bias, scale) in enumerate(
            ((net.w1, net.b1, 0), (net.w2, net.b2[None], 0), (net.w3, net.b3, net.s3)), 1
        ):
            biases = bias.astype(np.float64) * 2**scale  # [64 or 1, rows]
            self.register_buffer(f"w{k}", torch.from_numpy(weight.astype(np.float64)), False)
            self.register_buffer(f"b{k}", torch.from_numpy(biases), False)

    def forward(self, z: Tensor, qp: Tensor) -> Tensor:
        """Integers z [N, Cz, Th, Tw] and qp int64 [N] to indices, uint8 [N, M, 4 Th, 4 Tw]."""
        a = z.double()
        for k, top in ((1, ACTIVATION_MAX), (2, ACTIVATION_MAX), (3, INDEX_MAX)):
            a = self._layer(k, a, qp).clamp(0, top)
            if k < 3:
                a = torch.nn.functional.pixel_shuffle(a, 2)
        indices = a.to(torch.uint8)
        if self._always_coded:
            indices[:, -self._always_coded :].clamp_(min=1)
        return indices

    def _layer(self, k: int, a: Tensor, qp: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"w{k}"), self.get_buffer(f"b{k}")
        half = float(1 << self._shifts[k - 1] >> 1)
        own = bias[qp] if bias.shape[0] > 1 else bias.expand(qp.shape[0], -1)
        n, _, h, w = a.shape
        sums = torch.baddbmm((own + half)[..., None], weight.expand(n, -1, -1), a.flatten(2))
        return (sums * 2.0 ** -self._shifts[k - 1]).floor().unflatten(2, (h, w))
