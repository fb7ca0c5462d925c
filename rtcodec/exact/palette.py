"""
Pictures of few colours as numbers of a list (SPEC.md 2.5), and which colours are worth one.

    [rows, columns, components] ─▶ the number of each colour, [rows, columns, 1] ─▶ tiles

Ultrasound is mostly gray in three components, its colours those of a map. Samples that were scaled
leave values out. No I/O.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import PALETTE_MAX

COLORS_TRIED: Final = 2048
"Of two components and more: each takes four bytes of the header."

_CHUNK: Final = 1 << 16  # pixels whose colours are sorted at a time
_BITS: Final = 16  # of a sample, at most
_SPARSE: Final = 1.05  # mean distance of values in use, from which on a list of them may pay
_FEWEST_VALUES: Final = 3  # or there is nothing to gain
_LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601 2.5.1

Colors = tuple[tuple[int, ...], ...]
Keys = NDArray[np.int64]


class Palette:
    """What turns colours into numbers and back."""

    def __init__(self, colors: Colors, sample_type: np.dtype[np.integer]) -> None:
        """Take a header's palette, and the type of its samples."""
        self._table = np.array(colors, np.int32).astype(sample_type)
        keys = _keys(self._table)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def colors(self, numbers: NDArray[np.uint16]) -> NDArray[np.integer]:
        """Return colours, [rows, columns, components], from numbers, [rows, columns]."""
        found: NDArray[np.integer] = self._table[numbers]
        return found

    def numbers(self, frame: NDArray[np.integer]) -> NDArray[np.uint16]:
        """
        Return the number of each colour, [rows, columns, 1].

        Raises:
            ValueError: If a colour of *frame* has none.
        """
        out = np.empty((*frame.shape[:2], 1), np.uint16)
        for row, to in zip(frame, out, strict=True):  # one at a time: keys take eight bytes
            keys = _keys(row)
            places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
            if (self._keys[places] != keys).any():
                raise ValueError("a colour is not in the palette")
            to[:, 0] = self._order[places]
        return out


def find_colors(frames: Sequence[NDArray[np.integer]]) -> Colors | None:
    """
    Return the colours of *frames* in an order in which they are coded well, or None.

    Those with all components equal come first, rising, then the others by luma: a number says
    first of all how bright.

    Args:
        frames: [rows, columns, components], all of a shape.

    Returns:
        None where there are too many to be worth a list, or all values are in use.
    """
    channels = frames[0].shape[2]
    if channels == 1:
        return _find_values(frames)
    keys = np.empty(0, np.int64)
    for frame in frames:
        pixels = frame.reshape(-1, channels)
        for start in range(0, len(pixels), _CHUNK):
            keys = np.union1d(keys, _keys(pixels[start : start + _CHUNK]))
            if len(keys) > COLORS_TRIED:
                return None
    shifts = np.arange(channels)[::-1] * _BITS
    values = _samples(keys[:, None] >> shifts, frames[0].dtype)
    weights = _LUMA if channels == len(_LUMA) else (1,) * channels
    is_gray = (values == values[:, :1]).all(1)
    order = np.lexsort((values.astype(np.float64) @ weights, ~is_gray))
    return tuple(tuple(row) for row in values[order].tolist())


def _find_values(frames: Sequence[NDArray[np.integer]]) -> Colors | None:
    """Return the values in use, rising, if those around a usual one are not."""
    counts = np.zeros(PALETTE_MAX, np.int64)
    for frame in frames:
        samples = frame.ravel()
        for start in range(0, samples.size, 16 * _CHUNK):
            keys = _keys(samples[start : start + 16 * _CHUNK, None])
            counts += np.bincount(keys, minlength=PALETTE_MAX)
    values = _samples(np.flatnonzero(counts), frames[0].dtype)
    order = np.argsort(values)
    values, counts = values[order], counts[counts > 0][order]
    if len(values) < _FEWEST_VALUES:
        return None
    counts[counts.argmax()] = 0  # often padding, and alone
    if np.gradient(values.astype(np.float64)) @ counts < _SPARSE * counts.sum():
        return None
    return tuple((value,) for value in values.tolist())


def _samples(keys: NDArray[np.integer], dtype: np.dtype[np.integer]) -> NDArray[np.integer]:
    """Return samples that have these _BITS bits."""
    unsigned = (keys & (1 << _BITS) - 1).astype(np.uint16)
    return unsigned.view(np.int16) if dtype.kind == "i" else unsigned


def _keys(pixels: NDArray[np.integer]) -> Keys:
    """Return a number for each colour, from [..., components] to [...]."""
    keys = np.zeros(pixels.shape[:-1], np.int64)
    for k in range(pixels.shape[-1]):
        keys = keys << _BITS | pixels[..., k].astype(np.int64) & (1 << _BITS) - 1
    return keys
