"""
Cines of DICOM as published video: ultrasound and endoscopy, as a screen would show them.

8 bits, windowed, coded with loss: for looking along, not for diagnosis. Nothing but pictures leaves
the file; those that may have a name in them are refused unless told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from rtcodec.dicom.display import read_display, usual_window, view
from rtcodec.dicom.reader import read_dicom
from rtcodec.errors import InputError

SUFFIXES: Final = (".dcm", ".dicom", ".ima")
_USUAL_RATE: Final = Fraction(30)


@dataclass(frozen=True, slots=True)
class Cine:
    """The frames of a file."""

    rate: Fraction
    "Frames a second: the file's own, else 30."

    count: int
    frame: Callable[[int], av.VideoFrame]
    "Return one of them, from 0."


def read_cine(path: Path, *, allow_burned_in: bool) -> Cine:
    """
    Read a file of gray samples of any depth, or of RGB or YBR in 8 bits.

    Raises:
        InputError: If it is no DICOM file, damaged, may have a name in its samples, or is of
            another kind.
        ConfigError: If what reads it is not installed.
    """
    picture = read_dicom(path, keep_identity=False, allow_burned_in=allow_burned_in)
    display = read_display(picture.notes)
    components = picture.frames[0].shape[2]
    if components == 1 and display.photometric in ("MONOCHROME1", "MONOCHROME2"):
        window = usual_window(picture.frames[0], display)

        def shown(number: int) -> av.VideoFrame:
            gray = view(picture.frames[number], display, window)
            return av.VideoFrame.from_ndarray(gray, format="gray")
    elif components == 3 and picture.bits == 8 and display.photometric in ("RGB", "YBR_FULL"):

        def shown(number: int) -> av.VideoFrame:
            samples = np.ascontiguousarray(picture.frames[number]).view(np.uint8)
            rgb = samples if display.photometric == "RGB" else _from_ybr(samples)
            return av.VideoFrame.from_ndarray(rgb, format="rgb24")
    else:
        raise InputError(f"{path}: published are gray samples, and colours of 8 bits")
    rate = Fraction(1000 / display.frame_ms) if display.frame_ms else _USUAL_RATE
    return Cine(rate.limit_denominator(1001), len(picture.frames), shown)


def _from_ybr(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of YBR_FULL; PS3.3 C.7.6.3.1.2."""
    y, b, r = (samples[..., k].astype(np.float32) - (0, 128, 128)[k] for k in range(3))
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], -1)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)
