"""
Hyper-latents of delta frames, in C: what tells the scale network how likely each symbol is.

The network is `rtcodec.models.prior.HyperAnalysis`, in floats, over one tile at a time. Its inputs
are sparse, so a runtime for graphs would mostly multiply zeros. What it finds is sent: another
machine may find another z, and everybody reads the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.errors import ConfigError
from rtcodec.motion.latents import Latents
from rtcodec.motion.native import BLOCK_SAMPLES, library
from rtcodec.motion.vectors import CHANNELS

_FIRST, _SECOND, _HYPER_MAX = 64, 96, 256
_LANES = 16


class _Hyper(ctypes.Structure):
    """`rtc_hyper`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("first", "second", "third", "biases")),
        ("hyper", ctypes.c_uint32),
    )


class HyperAnalysis:
    """The network of one model, as C wants it."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """
        Args:
            tensors: Of the model's part for delta frames, with `hyper_analysis.*`.

        Raises:
            ConfigError: If one is missing or has another shape.
        """
        try:
            layers = [
                (tensors[f"hyper_analysis.{name}.weight"], tensors[f"hyper_analysis.{name}.bias"])
                for name in ("first", "second", "third")
            ]
        except KeyError as error:
            raise ConfigError(f"tensor {error} is missing") from None
        self._channels = len(layers[2][1])
        inputs = (BLOCK_SAMPLES + CHANNELS, 4 * _FIRST, 4 * _SECOND)
        outputs = (_FIRST, _SECOND, self._channels)
        for (weight, bias), n, m in zip(layers, inputs, outputs, strict=True):
            if weight.shape[:2] != (m, n) or bias.shape != (m,) or m > _HYPER_MAX:
                raise ConfigError(f"hyper_analysis has a layer {weight.shape}, not [{m}, {n}]")
        padded = -(-self._channels // _LANES) * _LANES
        (first, _), *others = layers
        # C reads these as long as this lives.
        self._arrays = [np.ascontiguousarray(first.reshape(_FIRST, -1).T, np.float32)]
        self._arrays += [_in_lanes(weight) for weight, _ in others]
        self._arrays.append(np.zeros(_FIRST + _SECOND + padded, np.float32))
        biases = np.concatenate([bias for _, bias in layers])
        self._arrays[-1][: biases.size] = biases
        self._c = _Hyper(*map(address, self._arrays), padded)

    def describe(
        self, latents: Latents, motion: NDArray[np.int16]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int8]]:
        """
        Say what is likely in the tiles where anything is.

        Args:
            latents: Of a frame.
            motion: Its symbols, int16 [4 Th, 4 Tw, 10], with the choice of transform.

        Returns:
            Those tiles, uint32 [T] in order, and their z, int8 [T, Cz].
        """
        rows, columns = latents.ends.shape
        fits = motion.dtype == np.int16 and motion.shape == (rows, columns, CHANNELS)
        if rows % 4 or columns % 4 or not fits or not motion.flags.c_contiguous:
            raise ValueError(f"motion is {motion.dtype} {motion.shape}, latents {rows} x {columns}")
        n_tiles = rows * columns // 16
        tiles, z = np.empty(n_tiles, np.uint32), np.empty((n_tiles, self._c.hyper), np.int8)
        count = library().rtc_describe(
            ctypes.addressof(self._c), address(latents.at), address(latents.values),
            address(latents.ends), address(motion), rows, columns, address(tiles), address(z),
        )  # fmt: skip
        return tiles[:count], np.ascontiguousarray(z[:count, : self._channels])


def _in_lanes(weight: NDArray[Any]) -> NDArray[np.float32]:
    """[m, n] as [m / 16, n, 16], with m filled up by zeros."""
    weight = weight.reshape(weight.shape[0], -1)
    weight = np.pad(weight, ((0, -weight.shape[0] % _LANES), (0, 0)))
    blocks = weight.reshape(-1, _LANES, weight.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(blocks, np.float32)
