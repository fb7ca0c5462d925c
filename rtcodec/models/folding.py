"""
Layers as they are run: factors folded into weights, weights rounded to 8-bit integers.

What the ONNX graphs and the browser's model share. Plain numpy: neither torch nor onnx is needed
here. Weights come in as numpy float32 by state-dict name.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Weights = Mapping[str, NDArray[Any]]

INT8_LIMIT = 127


class Layer(NamedTuple):
    """A convolution's weight [O, I, h, w] and bias [O]."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, weights: Weights, name: str) -> "Layer":
        """The layer called *name*."""
        return cls(weights[f"{name}.weight"], weights[f"{name}.bias"])

    def scaled(self, factor: Array) -> "Layer":
        """With each of its outputs times *factor* [O]."""
        factor = factor.reshape(-1)
        return Layer(self.weight * factor[:, None, None, None], self.bias * factor)

    def in_units(self, unit: Array | None) -> "Layer":
        """With its outputs in units [O], as they are if that is None."""
        return self if unit is None else self.scaled(1 / unit)

    def plus(self, value: float) -> "Layer":
        """With a number added to its outputs."""
        return Layer(self.weight, self.bias + np.float32(value))


def int8_unit(weights: Weights, name: str) -> Array | None:
    """What 1 is in the 8 bits of the input called *name*, [C]; None where it is a float."""
    log_range = weights.get(f"{name}.log_range")
    return None if log_range is None else np.exp(log_range) / INT8_LIMIT


def int8_weight(weight: Array, limit: int = INT8_LIMIT) -> tuple[NDArray[np.int8], Array]:
    """Weights [O, I] as integers up to *limit*, as training rounds them, and each row's unit."""
    step = np.maximum(np.abs(weight).max(1), 1e-12) / limit
    rounded = np.floor(weight / step[:, None] + 0.5)
    return np.clip(rounded, -limit, limit).astype(np.int8), step


def anchor_spread(weight: Array, places: int, anchor: int) -> Array:
    """The layer from an anchor to its tile, [K * places, K]: 0 at the anchor's own place."""
    anchored = weight.shape[1]
    # Weight 0 at the anchor's own place: nothing is added there, and exactly nothing.
    spread = weight.copy().reshape(anchored, places, anchored)
    spread[:, anchor] = 0
    return spread.reshape(anchored * places, anchored)
