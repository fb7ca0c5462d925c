"""
The exact scale network: hyper-latents to scale indices, integers only.

    z [Cz] -> W1 -> shuffle 2 -> W2 -> shuffle 2 -> W3 -> indices [M, 4, 4]     per tile

Every layer is clamp(floor((W a + b) / 2**s + 1/2), 0, top). Each sum is below
2**24 in magnitude, which is asserted, so float32 gives the same integers in
any order of summation. Reduced precision (bf16, fp16, TF32) is not allowed.

Dims: T tiles, Th x Tw the grid of tiles, Cz hyper channels, M latent channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import QP_COUNT, SCALE_COUNT, Z_MAX
from rtcodec.errors import ConfigError

_T = TypeVar("_T", bound=np.generic)

Layer: TypeAlias = tuple[NDArray[np.int8], NDArray[np.int64], int, int]
"Weights [rows, inputs], biases [rows] before the shift, shift, upper clamp."

EXACT_LIMIT = 1 << 24
"Integers up to this are exact in float32."
ACTIVATION_MAX = 255
WEIGHT_MAX = 127
SHIFT_MAX = 16
INDEX_MAX = SCALE_COUNT - 1


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ScaleNet:
    """
    Frozen integers of one model's scale network.

    Raises:
        ConfigError: If a shape, a dtype or a weight is wrong, or a layer's
            sums could reach 2**24.
    """

    w1: NDArray[np.int8]
    "[4 * H1, Cz], magnitudes up to 127."
    b1: NDArray[np.int32]
    "[64 qp, 4 * H1], in units of 2**-s1."
    s1: int
    "Right shift of the first layer, 0..16."
    w2: NDArray[np.int8]
    "[4 * H2, H1]."
    b2: NDArray[np.int32]
    "[4 * H2], in units of 2**-s2."
    s2: int
    w3: NDArray[np.int8]
    "[M, H2]."
    b3: NDArray[np.int32]
    "[64 qp, M], added to the index after the shift."
    s3: int

    always_coded: int = 0
    "Latents, the last so many, whose index is at least 1: no symbol of theirs is ever skipped."

    def __post_init__(self) -> None:
        for name in ("w1", "w2", "w3"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int8, name))
        for name in ("b1", "b2", "b3"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int32, name))
        for name in ("s1", "s2", "s3"):
            shift = getattr(self, name)
            if not 0 <= shift <= SHIFT_MAX:
                raise ConfigError(f"{name} = {shift} is not a shift of 0..{SHIFT_MAX}")
            object.__setattr__(self, name, int(shift))
        if not 0 <= self.always_coded <= self.w3.shape[0]:
            raise ConfigError(f"{self.always_coded} of {self.w3.shape[0]} latents always coded")
        self._check_shapes()
        self._check_bounds()

    @property
    def hyper_channels(self) -> int:
        """Cz."""
        return int(self.w1.shape[1])

    @property
    def latent_channels(self) -> int:
        """M."""
        return int(self.w3.shape[0])

    def indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """
        Scale indices of a whole frame, by float32 matrix products.

        Args:
            z: int8 [Cz, Th, Tw], magnitudes up to 15.
            qp: 0..63.

        Returns:
            uint8 [M, 4 * Th, 4 * Tw], 0..63; equal to `indices_reference`.
        """
        self.check_input(z, qp)
        first, second, last = self.layers(qp)
        a: NDArray[np.float32] = z.astype(np.float32)
        for layer in (first, second):
            acc = _float_sums(layer, a)
            a = depth_to_space(np.floor(acc, out=acc))
        indices = _float_sums(last, a).astype(np.uint8)  # a floor too: nothing is negative
        return self.with_always_coded(indices)

    def indices_reference(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Scale indices in int64: the normative, slow form of `indices`."""
        self.check_input(z, qp)
        first, second, last = self.layers(qp)
        a: NDArray[np.int64] = z.astype(np.int64)
        for layer in (first, second):
            a = depth_to_space(_integer_layer(layer, a))
        return self.with_always_coded(_integer_layer(last, a).astype(np.uint8))

    def with_always_coded(self, indices: NDArray[np.uint8], *, axis: int = 0) -> NDArray[np.uint8]:
        """*indices*, changed: at least 1 in the last `always_coded` latents along *axis*."""
        if self.always_coded:
            rows = np.moveaxis(indices, axis, 0)[-self.always_coded :]
            np.maximum(rows, 1, out=rows)
        return indices

    def layers(self, qp: int) -> tuple[tuple[NDArray[np.int8], NDArray[np.int64], int, int], ...]:
        """Weights, biases before the shift, shift and upper clamp of each layer at *qp*."""
        return (
            (self.w1, self.b1[qp].astype(np.int64), self.s1, ACTIVATION_MAX),
            (self.w2, self.b2.astype(np.int64), self.s2, ACTIVATION_MAX),
            (self.w3, self.b3[qp].astype(np.int64) << self.s3, self.s3, INDEX_MAX),
        )

    def check_input(self, z: NDArray[np.int8], qp: int) -> None:
        """Raise ValueError unless *z* is int8 [Cz, Th, Tw] within +-15 and *qp* is 0..63."""
        if z.dtype != np.int8 or z.ndim != 3 or z.shape[0] != self.hyper_channels:
            raise ValueError(f"z is {z.dtype} {z.shape}, not int8 [{self.hyper_channels}, Th, Tw]")
        if not 0 <= qp < QP_COUNT:
            raise ValueError(f"qp {qp} is not 0..{QP_COUNT - 1}")
        if z.size and (z.max() > Z_MAX or z.min() < -Z_MAX):
            raise ValueError(f"hyper-latents beyond +-{Z_MAX}")

    def _check_shapes(self) -> None:
        w1, w2, w3 = self.w1, self.w2, self.w3
        if not (w1.ndim == w2.ndim == w3.ndim == 2 and w1.size and w2.size and w3.size):
            raise ConfigError("scale network weights are not three non-empty matrices")
        if w1.shape[0] != 4 * w2.shape[1] or w2.shape[0] != 4 * w3.shape[1]:
            raise ConfigError(f"scale network layers {w1.shape}, {w2.shape}, {w3.shape} do not fit")
        wanted = ((QP_COUNT, w1.shape[0]), (w2.shape[0],), (QP_COUNT, w3.shape[0]))
        if (self.b1.shape, self.b2.shape, self.b3.shape) != wanted:
            raise ConfigError(f"scale network biases do not have shapes {wanted}")

    def _check_bounds(self) -> None:
        for layer, bound in enumerate(self.bounds(), 1):
            if bound >= EXACT_LIMIT:
                raise ConfigError(f"scale network layer {layer} can reach {bound} >= 2**24")

    def bounds(self) -> tuple[int, int, int]:
        """Largest magnitude any partial sum of each layer can reach, rounding term included."""
        return (
            _bound(self.w1, self.b1, self.s1, Z_MAX, 0),
            _bound(self.w2, self.b2[None], self.s2, ACTIVATION_MAX, 0),
            _bound(self.w3, self.b3, self.s3, ACTIVATION_MAX, self.s3),
        )


def _integer_layer(layer: Layer, a: NDArray[np.int64]) -> NDArray[np.int64]:
    w, b, shift, top = layer
    acc: NDArray[np.int64] = np.tensordot(w.astype(np.int64), a, axes=1) + b[:, None, None]
    clamped: NDArray[np.int64] = np.clip((acc + (1 << shift >> 1)) >> shift, 0, top)
    return clamped


def _float_sums(layer: Layer, a: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a layer before its floor, clamped; scaling by a power of two is exact."""
    w, b, shift, top = layer
    weights: NDArray[np.float32] = np.ldexp(w.astype(np.float32), -shift)
    biases: NDArray[np.float32] = np.ldexp((b + (1 << shift >> 1)).astype(np.float32), -shift)
    acc: NDArray[np.float32] = weights @ a.reshape(w.shape[1], -1)
    acc += biases[:, None]
    np.clip(acc, 0, top, out=acc)
    return acc.reshape(w.shape[0], *a.shape[1:])


def depth_to_space(a: NDArray[_T]) -> NDArray[_T]:
    """[4 * C, h, w] -> [C, 2 * h, 2 * w]; channel c * 4 + dy * 2 + dx goes to c at (dy, dx)."""
    channels, h, w = a.shape
    return (
        a.reshape(channels // 4, 2, 2, h, w)
        .transpose(0, 3, 1, 4, 2)  # [C, h, dy, w, dx]
        .reshape(channels // 4, 2 * h, 2 * w)
    )


def _bound(
    w: NDArray[np.int8], b: NDArray[np.int32], shift: int, input_max: int, bias_shift: int
) -> int:
    rows = np.abs(w.astype(np.int64)).sum(axis=1) * input_max
    biases = np.abs(b.astype(np.int64)).max(axis=0) << bias_shift
    return int((rows + biases).max()) + (1 << shift >> 1)


def _frozen(array: NDArray[_T], dtype: type[_T], name: str) -> NDArray[_T]:
    """Return a private read-only C-contiguous copy; weights within +-127."""
    if array.dtype != dtype:
        raise ConfigError(f"{name} is {array.dtype}, not {np.dtype(dtype)}")
    copy = np.array(array, order="C")
    if dtype is np.int8 and (copy == -128).any():
        raise ConfigError(f"{name} holds a weight of -128, beyond +-{WEIGHT_MAX}")
    copy.flags.writeable = False
    return copy
