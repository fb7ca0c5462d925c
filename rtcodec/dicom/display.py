"""
How a picture is to be shown, by its notes, and a view of it in 8 bits (PS3.3 C.11.2.1.2).

Views are for previews alone: nothing exact goes through here.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PHOTOMETRICS: Final = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "PALETTE COLOR")
"What is known; a file may say anything."

_LARGEST: Final = 1e9  # numbers beyond this are no windows or spacings


@dataclass(frozen=True, slots=True)
class Display:
    """What a viewer needs beside samples; numbers and known words, no text of a file."""

    photometric: str | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    "Center and width, in rescaled values."

    frame_ms: float | None
    "Between frames of a cine."

    spacing: tuple[float, float] | None
    "Between rows and between columns, mm."

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)


def read_display(notes: dict[str, Any]) -> Display:
    """Return what *notes* of a picture say; what is missing or makes no sense is None."""
    tags = notes.get("tags")
    tags = tags if isinstance(tags, dict) else {}
    photometric = notes.get("photometric")
    slope, intercept = _number(tags, "00281053", 0), _number(tags, "00281052", 0)
    center, width = _number(tags, "00281050", 0), _number(tags, "00281051", 0)
    has_window = center is not None and width is not None and width >= 1
    rows, columns = _number(tags, "00280030", 0), _number(tags, "00280030", 1)
    frame_ms = _number(tags, "00181063", 0)
    rate = _number(tags, "00082144", 0) or _number(tags, "00180040", 0)
    if not frame_ms and rate and rate > 0:
        frame_ms = 1000 / rate
    return Display(
        photometric if photometric in PHOTOMETRICS else None,
        slope if slope else 1.0,
        intercept or 0.0,
        (center or 0.0, width or 1.0) if has_window else None,
        frame_ms if frame_ms and frame_ms > 0 else None,
        (rows, columns) if rows and columns and rows > 0 and columns > 0 else None,
    )


def usual_window(frame: NDArray[np.integer], display: Display) -> tuple[float, float]:
    """
    Return the window to show *frame* with: its own, or from nearly its least to its most.

    Args:
        frame: [rows, columns, 1].
        display: Of the picture.
    """
    if display.window is not None:
        return display.window
    # a few bright or dark samples must not decide: the 0.5th and 99.5th percentile
    least, most = (
        float(value) * display.slope + display.intercept
        for value in np.percentile(frame[::2, ::2], (0.5, 99.5))
    )
    least, most = min(least, most), max(least, most)
    return (least + most) / 2 + 0.5, max(most - least, 1.0)


def view(
    frame: NDArray[np.integer], display: Display, window: tuple[float, float]
) -> NDArray[np.uint8]:
    """
    Return a gray frame as it is shown, 8 bits.

    Args:
        frame: [rows, columns, 1].
        display: Of the picture; MONOCHROME1 comes out inverted.
        window: Center and width, in rescaled values; linear, PS3.3 C.11.2.1.2.1.

    Returns:
        uint8 [rows, columns].
    """
    center, width = window
    values = frame[..., 0].astype(np.float32) * np.float32(display.slope)
    shown = (values + np.float32(display.intercept - center + 0.5)) / np.float32(
        max(width - 1, 1e-3)
    )
    shown = np.clip((shown + np.float32(0.5)) * 255, 0, 255)
    rounded: NDArray[np.uint8] = np.round(shown).astype(np.uint8)
    return 255 - rounded if display.photometric == "MONOCHROME1" else rounded


def _number(tags: dict[str, Any], tag: str, place: int) -> float | None:
    element = tags.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list) or place >= len(values):
        return None
    value = values[place]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < _LARGEST else None
