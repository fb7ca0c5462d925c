"""
What a motion search looks at: luma in bytes, and half a sample to the right, down, and both.

As `_sights.c`: near enough to choose by. Between halves the mean of two samples is taken, as in
ITU-T H.264 8.4.2.2.1.
"""

import torch
from torch import Tensor

from rtcodec.motion.native import FINE
from rtcodec.motion.predict import LUMA_TAPS

MARGIN = 24
"Samples around a picture that can be seen; a block may lie 22 outside it."

_HALF = LUMA_TAPS[2]
_SIDE = 8


class Sights:
    """Planes [N, 4, H + 48, W + 48] of stored pictures, and 8x8 parts seen in them."""

    def __init__(self, luma: Tensor) -> None:
        """
        Args:
            luma: Of the pictures, int16 [N, H, W], `Fine`.
        """
        reach = MARGIN + 4
        _, self._height, self._width = luma.shape
        y = torch.arange(-reach, self._height + reach + 1, device=luma.device)
        x = torch.arange(-reach, self._width + reach + 1, device=luma.device)
        y, x = y.clamp(0, self._height - 1), x.clamp(0, self._width - 1)
        whole = ((luma.int() + FINE // 2) >> 4)[:, y[:, None], x]
        right = _half_way(whole, 2)  # a sample shorter each way than is asked for
        down, both = _half_way(whole, 1), _half_way(right, 1)
        rows, columns = self._height + 2 * MARGIN, self._width + 2 * MARGIN
        crops = ((whole, 4, 4), (right, 4, 1), (down, 1, 4), (both, 1, 1))
        self.planes = torch.stack([p[:, i : i + rows, j : j + columns] for p, i, j in crops], 1).to(
            torch.uint8
        )

    def differences(self, source: Tensor, vectors: Tensor, *, transformed: bool) -> Tensor:
        """
        What vectors leave of 8x8 parts.

        Args:
            source: Luma, uint8 [N, H, W].
            vectors: int32 [N, K, 2 h, 2 w, 2], in quarters of a sample.
            transformed: Whether after a Hadamard transform.

        Returns:
            int32 [N, K, 2 h, 2 w].
        """
        parts = source.unflatten(2, (-1, _SIDE)).unflatten(1, (-1, _SIDE)).transpose(2, 3)
        left = parts[:, None].to(torch.int16) - self._parts(vectors)
        return _sums_of_transformed(left) if transformed else _sums_of_moduli(left)

    def _parts(self, vectors: Tensor) -> Tensor:
        """
        See the 8x8 parts that vectors bring.

        Args:
            vectors: int32 [N, K, 2 h, 2 w, 2], in quarters of a sample; what is too far outside
                is seen at the edge.

        Returns:
            int16 [N, K, 2 h, 2 w, 8, 8].
        """
        n, _, rows, columns, _ = vectors.shape
        device = vectors.device
        tops = torch.arange(rows, device=device)[:, None] * (4 * _SIDE)
        lefts = torch.arange(columns, device=device) * (4 * _SIDE)
        x = (vectors[..., 0] + lefts).clamp(-4 * 22, 4 * (self._width + 14))
        y = (vectors[..., 1] + tops).clamp(-4 * 22, 4 * (self._height + 14))
        i, j, across, down = x >> 1, y >> 1, x & 1, y & 1
        turned = across & down & ~(i ^ j) & 1  # the two between samples one way
        frames = torch.arange(n, device=device)[:, None, None, None]
        one = self._seen(frames, i + turned, j)
        other = self._seen(frames, i + (across & (1 - turned)), j + down)
        return (one + other + 1) >> 1

    def _seen(self, frames: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Samples at places in halves."""
        _, _, height, width = self.planes.shape
        plane = frames * 4 + (i & 1) + 2 * (j & 1)
        start = (plane * height + (j >> 1) + MARGIN) * width + (i >> 1) + MARGIN
        steps = torch.arange(_SIDE, device=i.device)
        at = start[..., None, None] + steps[:, None] * width + steps
        return self.planes.view(-1)[at].to(torch.int16)


def _half_way(plane: Tensor, axis: int) -> Tensor:
    """Bytes half way to the next samples along an axis; 7 fewer there, from the fourth one on."""
    size = plane.shape[axis] - 7
    sums = torch.zeros_like(plane.narrow(axis, 0, size))
    for k, tap in enumerate(_HALF):
        sums = sums + tap * plane.narrow(axis, k, size)
    return ((sums + 32) >> 6).clamp(0, 255)


def _sums_of_moduli(difference: Tensor) -> Tensor:
    """What parts [..., 8, 8] differ, int32 [...]."""
    return difference.abs().sum((-1, -2), dtype=torch.int32)


def _sums_of_transformed(difference: Tensor) -> Tensor:
    """The same after a Hadamard transform, in units of an orthonormal one: nearer to bits."""
    d = difference
    for axis in (-1, -2):
        for apart in (1, 2, 4):
            pairs = d.unflatten(axis, (-1, 2, apart)).unbind(axis - 1)
            joined = torch.stack((pairs[0] + pairs[1], pairs[0] - pairs[1]), axis - 1)
            d = joined.flatten(axis - 2, axis)
    return (_sums_of_moduli(d) + 4) // 8
