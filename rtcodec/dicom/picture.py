"""A picture as files have it: frames of samples, and what belongs to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import SAMPLES_MAX, SIDE_MAX
from rtcodec.errors import InputError

PICTURE_SAMPLES_MAX: Final = 1 << 31
"Of all frames: four gigabytes in 16 bits."


class NoSamplesError(InputError):
    """A data set is no picture: a report, a document, a plan."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Frames of one size, depth and sign."""

    frames: Sequence[NDArray[np.integer]]
    "Each [rows, columns, components] of 8 or 16 bits; at least one."

    bits: int
    "Of a sample, 1 to 16."

    signed: bool

    notes: dict[str, Any]
    "JSON: `kind` and what a file of that kind needs beside samples."


def check_size(frames: int, rows: int, columns: int, components: int) -> None:
    """
    Refuse what would take too much memory, before anything is set up for it.

    Raises:
        InputError: If it would, or a side is 0.
    """
    if min(frames, rows, columns, components) < 1:
        raise InputError(f"{frames} frames of {columns}x{rows} samples are no picture")
    if max(rows, columns) > SIDE_MAX or rows * columns * components > SAMPLES_MAX:
        raise InputError(f"a frame of {columns}x{rows}x{components} samples is too large")
    if frames * rows * columns * components > PICTURE_SAMPLES_MAX:
        raise InputError(f"{frames} frames of {columns}x{rows} samples are too much")
