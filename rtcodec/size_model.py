"""
How many bits a frame takes at a qp, learnt from frames of its kind.

    log2(bits) = level - slope * qp

The form is MLVC's (bits = alpha * exp(-beta * q)); here the slope is learnt as well as the level. A
small miss moves the level a little, a large one at once, so noise is averaged and motion is not.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp2, log2
from typing import Final, NamedTuple

SLOPE: Final = 0.085
"Halvings of the bits per step of qp, to begin with. # measured: 0.07 to 0.12 on both tiers"

SLOPE_RANGE: Final = (0.04, 0.16)

DELTA_SLOPE_RANGE: Final = (0.04, 0.5)
"""Of delta frames: a qp finer than what they lean on was coded with mends the whole picture, one
coarser only what moves. # measured: 0.1 to 0.6 around that qp"""

_LEVEL_GAIN: Final = 0.3  # of a small miss
_PAIR_GAIN: Final = 0.5  # of the slope through two tries of one frame
_DRIFT_GAIN: Final = 0.1  # of what frames of different qp suggest, which their content may explain
_DRIFT_STEPS: Final = 10  # of qp, where that counts half
_MAX_MISS: Final = 0.5  # octaves that may be the slope's fault
_TRUST_GAIN: Final = 0.02  # of the way back to the slope that tries of one frame have shown


class Try(NamedTuple):
    """One coding of a frame."""

    qp: int
    n_bits: int


class SizeModel:
    """The line through what one kind of frame costs."""

    def __init__(
        self,
        qp: int,
        log2_bits: float,
        *,
        slope_range: tuple[float, float] = SLOPE_RANGE,
    ) -> None:
        """
        Args:
            qp: Of the guess.
            log2_bits: What a frame may cost there, until one was seen.
            slope_range: Least and most halvings of the bits per step of qp.
        """
        self._slope_range = slope_range
        self.slope = SLOPE
        self._trusted_slope = SLOPE
        self.learnt = False
        "Whether a frame was seen."
        self._qp = qp
        self._log2_bits = log2_bits

    def bits(self, qp: int) -> float:
        """Return what the next frame would cost."""
        return exp2(self._log2_bits - self.slope * (qp - self._qp))

    def qp_for(self, n_bits: float) -> float:
        """Return the qp at which the next frame would cost *n_bits*; may be out of range."""
        return self._qp + (self._log2_bits - log2(n_bits)) / self.slope

    def restart(self, qp: int, n_bits: float) -> None:
        """Take it that the next frame would cost *n_bits* at *qp*; the slope stays."""
        self._qp, self._log2_bits = qp, log2(max(1.0, n_bits))

    def slope_through(self, tries: Sequence[Try]) -> float:
        """Return the slope for one frame, by its own tries where there are two."""
        slope = self.slope
        for one, other in pairwise(tries):
            if one.qp != other.qp:
                slope = self._slope(one, other)
        return slope

    def learn(self, tries: Sequence[Try]) -> None:
        """Learn from a frame, coded once or more often; the last try is what was kept."""
        for one, other in pairwise(tries):
            if abs(one.qp - other.qp) > 1:
                self._trusted_slope += _PAIR_GAIN * (self._slope(one, other) - self._trusted_slope)
                self.slope = self._trusted_slope
        qp, n_bits = tries[-1]
        seen = log2(max(1, n_bits))
        if self.learnt:
            foreseen = log2(self.bits(qp))
            miss = seen - foreseen
            if len(tries) == 1:
                steps = qp - self._qp
                fault = max(-_MAX_MISS, min(_MAX_MISS, miss))
                turn = -_DRIFT_GAIN * fault * steps / (steps**2 + _DRIFT_STEPS**2)
                self.slope += turn + _TRUST_GAIN * (self._trusted_slope - self.slope)
                self.slope = max(self._slope_range[0], min(self._slope_range[1], self.slope))
            gain = min(1.0, _LEVEL_GAIN + (1 - _LEVEL_GAIN) * miss**2)
            seen = foreseen + gain * miss
        self._qp, self._log2_bits = qp, seen
        self.learnt = True

    def _slope(self, one: Try, other: Try) -> float:
        octaves = log2(max(1, one.n_bits)) - log2(max(1, other.n_bits))
        least, most = self._slope_range
        return max(least, min(most, octaves / (other.qp - one.qp)))
