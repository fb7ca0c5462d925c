"""
BD-rate: how many more bits one curve takes than another at equal PSNR.

The formula is the `bjontegaard` package's: log rate as a monotone cubic (pchip)
of PSNR, integrated over the PSNR range that both curves reach. That range is
part of the answer and always given with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rtcodec.quality import LOSSLESS_DB

RatePoint = tuple[float, float]
"A positive rate in any unit, and a PSNR in dB."

MIN_POINTS = 2
"Fewer make no curve."


@dataclass(frozen=True, slots=True)
class BdRate:
    """The difference of two curves."""

    percent: float
    "Bits more (positive) or fewer (negative) than the anchor, in percent."

    low_db: float
    high_db: float
    "PSNR range that both curves reach, over which it is the mean."


def rising(points: Iterable[RatePoint]) -> list[RatePoint]:
    """
    Return the points that form a curve: more rate, more PSNR, not lossless.

    A point that costs more than another and looks no better is left out.
    """
    curve: list[RatePoint] = []
    for rate, psnr_db in sorted(points):
        if psnr_db < LOSSLESS_DB and (not curve or psnr_db > curve[-1][1]):
            curve.append((rate, psnr_db))
    return curve


def bd_rate(anchor: Sequence[RatePoint], test: Sequence[RatePoint]) -> BdRate | None:
    """
    Compare two sets of rate points.

    Returns:
        The difference, or None if one is no curve or they share no PSNR range.
    """
    import bjontegaard  # takes a second: it brings scipy and matplotlib

    anchor_curve, test_curve = rising(anchor), rising(test)
    if min(len(anchor_curve), len(test_curve)) < MIN_POINTS:
        return None
    low_db = max(anchor_curve[0][1], test_curve[0][1])
    high_db = min(anchor_curve[-1][1], test_curve[-1][1])
    if high_db <= low_db:
        return None
    anchor_rate, anchor_db = np.array(anchor_curve).T
    test_rate, test_db = np.array(test_curve).T
    percent = bjontegaard.bd_rate(
        anchor_rate,
        anchor_db,
        test_rate,
        test_db,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return BdRate(float(percent), low_db, high_db)
