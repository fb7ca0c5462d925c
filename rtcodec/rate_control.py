"""
Chooses qp so that frames add up to a bit rate.

    bits ~ 2 ** (level - slope * qp)        level follows the frames, slope is fixed

Each frame's budget is its even share plus a part of what was saved or overspent before. No clock:
frames are the only time there is.
"""

from fractions import Fraction
from math import log2
from typing import Final

from rtcodec.types import QP_MAX

SLOPE: Final = 0.08
"Halvings of the bits per step of qp. # measured: 0.066 to 0.085 on both tiers"

_LEVEL_WEIGHT: Final = 0.5  # of the newest frame in the running level
_WINDOW_S: Final = 1  # in which a debt is paid back
_MAX_STEP: Final = 8  # of qp between frames


class BitrateController:
    """One stream's qp, frame by frame: `next_qp`, then `frame_done` with what it cost."""

    def __init__(self, target_bps: int, frame_rate: Fraction) -> None:
        """
        Args:
            target_bps: Bits per second over all frames, at least 1.
            frame_rate: Frames per second, positive.
        """
        if target_bps < 1 or frame_rate <= 0:
            raise ValueError(f"no rate control for {target_bps} b/s at {frame_rate} frames/s")
        self._share_bits = float(target_bps / frame_rate)
        self._window_frames = max(1.0, float(frame_rate * _WINDOW_S))
        self._saved_bits = 0.0
        self._level: float | None = None
        self._qp = QP_MAX // 2

    @property
    def calibrated(self) -> bool:
        """Whether a frame was seen; before that `next_qp` is a guess worth repeating."""
        return self._level is not None

    def next_qp(self) -> int:
        """Return the qp for the next frame."""
        if self._level is None:
            return self._qp
        budget = self._share_bits + self._saved_bits / self._window_frames
        budget = max(budget, self._share_bits / 8)
        wanted = round((self._level - log2(budget)) / SLOPE)
        near = max(self._qp - _MAX_STEP, min(self._qp + _MAX_STEP, wanted))
        return max(0, min(QP_MAX, near))

    def try_again(self, qp: int, n_bits: int) -> int:
        """
        Learn from a frame that will not be sent and return a better qp for it.

        For the first frame, whose cost nobody knows: repeat until the qp stays.
        """
        self._level = log2(max(1, n_bits)) + SLOPE * qp
        wanted = round((self._level - log2(self._share_bits)) / SLOPE)
        self._qp = max(0, min(QP_MAX, wanted))
        return self._qp

    def frame_done(self, qp: int, n_bits: int) -> None:
        """Account for a frame that was sent."""
        level = log2(max(1, n_bits)) + SLOPE * qp
        if self._level is not None:
            level = _LEVEL_WEIGHT * level + (1 - _LEVEL_WEIGHT) * self._level
        self._level = level
        self._qp = qp
        most = self._share_bits * self._window_frames
        saved = self._saved_bits + self._share_bits - n_bits
        self._saved_bits = max(-4 * most, min(most, saved))
