"""
Keeps a few frames of a stream of unknown length, evenly spread.

Source and decoded pictures, for the contact sheet; memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtcodec.quality import PlanePsnr
from rtcodec.types import Planes


@dataclass(frozen=True, slots=True)
class FrameSample:
    """One frame before and after."""

    number: int
    "Place among the decoded frames, from 0."

    time_us: int
    "Since the first frame."

    original: Planes
    "What went in: before the publisher's encoder, or as the relay received it."

    decoded: Planes
    n_bytes: int
    psnr_db: PlanePsnr
    "Of decoded against original."


class SampleKeeper:
    """
    Picks every n-th frame and doubles n when it has enough.

    What is left at the end are between *count* and twice *count* frames, of
    which `pick` returns *count*, from the first to the last.
    """

    def __init__(self, count: int) -> None:
        self._count = max(1, count)
        self._every = 1
        self._kept: list[FrameSample] = []

    def wants(self, number: int) -> bool:
        """Whether the frame would be kept; ask before making a sample."""
        return number % self._every == 0

    def keep(self, sample: FrameSample) -> None:
        """Take a sample that is wanted."""
        self._kept.append(sample)
        if len(self._kept) > 2 * self._count:
            self._every *= 2
            self._kept = [s for s in self._kept if s.number % self._every == 0]

    def pick(self) -> list[FrameSample]:
        """Return up to *count* samples, evenly spread."""
        n = len(self._kept)
        if n <= self._count:
            return list(self._kept)
        if self._count == 1:
            return [self._kept[n // 2]]
        return [self._kept[round(i * (n - 1) / (self._count - 1))] for i in range(self._count)]
