"""
Picture quality: MSE and PSNR of 8- to 16-bit planes.

Conventions, the same everywhere in rtcodec:

* The peak is 2**bits - 1 (255 for 8 bits), whatever the nominal range.
* A picture's `yuv` figure is the mean of its planes' PSNR weighted 6:1:1.
* A clip's figure is the mean over its frames' figures, not the PSNR of the
  mean error.
* Identical planes, whose PSNR is infinite, count as 100 dB, and nothing counts
  as more, so that means stay finite.

Numpy only: no clock, no files.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.types import Planes

PEAK = 255
"Largest value of an 8-bit sample."

LOSSLESS_DB = 100.0
"What identical planes count as, and the largest PSNR reported."


@dataclass(frozen=True, slots=True)
class PlanePsnr:
    """PSNR of one picture, or the mean of several, in dB, each 0 to 100."""

    y: float
    u: float
    v: float

    @property
    def yuv(self) -> float:
        """Mean of the planes' PSNR weighted 6:1:1, in dB."""
        return (6.0 * self.y + self.u + self.v) / 8.0

    def as_dict(self) -> dict[str, float]:
        """Return `y`, `u`, `v` and `yuv`, in dB."""
        return {"y": self.y, "u": self.u, "v": self.v, "yuv": self.yuv}


def mse(
    reference: NDArray[np.uint8] | NDArray[np.uint16],
    decoded: NDArray[np.uint8] | NDArray[np.uint16],
) -> float:
    """
    Return the mean squared error of two planes, exact.

    Args:
        reference: Unsigned integers [H, W] of 8 or 16 bits, not empty.
        decoded: The same shape.

    Raises:
        ValueError: If the shapes differ or are empty.
    """
    if reference.shape != decoded.shape or reference.size == 0:
        raise ValueError(f"planes {reference.shape} and {decoded.shape} cannot be compared")
    # Unsigned differences squared in twice the width never overflow; integer sums are exact and,
    # unlike a BLAS dot product, start no threads beside the engine's.
    error = np.maximum(reference, decoded)
    error -= np.minimum(reference, decoded)
    squares = error.astype(np.uint16 if error.dtype == np.uint8 else np.uint32)
    np.multiply(squares, squares, out=squares)
    return int(squares.sum(dtype=np.uint64)) / squares.size


def psnr(
    reference: NDArray[np.uint8] | NDArray[np.uint16],
    decoded: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    peak: int = PEAK,
) -> float:
    """
    Return the peak signal-to-noise ratio of two planes in dB, at most 100.

    Args:
        reference: Unsigned integers [H, W].
        decoded: The same shape.
        peak: Largest possible sample, 2**bits - 1.

    Raises:
        ValueError: If the shapes differ or are empty.
    """
    return mse_to_psnr(mse(reference, decoded), peak=peak)


def mse_to_psnr(error: float, *, peak: int = PEAK) -> float:
    """
    Convert a mean squared error to dB, at most 100.

    Args:
        error: Mean squared error, 0 or more.
        peak: Largest possible sample, 2**bits - 1.
    """
    if error <= 0.0:
        return LOSSLESS_DB
    return min(LOSSLESS_DB, float(10.0 * np.log10(peak * peak / error)))


def picture_psnr(reference: Planes, decoded: Planes) -> PlanePsnr:
    """
    Compare two pictures of one size, plane by plane.

    Raises:
        ValueError: If their sizes differ.
    """
    return PlanePsnr(
        y=psnr(reference.y, decoded.y),
        u=psnr(reference.u, decoded.u),
        v=psnr(reference.v, decoded.v),
    )


def mean_psnr(pictures: Iterable[PlanePsnr]) -> PlanePsnr:
    """
    Return the mean over pictures of each plane's PSNR.

    Raises:
        ValueError: If there are none.
    """
    rows = [(picture.y, picture.u, picture.v) for picture in pictures]
    if not rows:
        raise ValueError("no pictures to average")
    y, u, v = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return PlanePsnr(y, u, v)
