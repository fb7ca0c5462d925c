"""
Chooses qp so that frames add up to a bit rate.

    plan(kind, elapsed) -> Plan --> engine --> too big or too small? retry --> frame_done
         ^                                                                         |
         +------------- debt in the bucket, size model of each kind ---------------+

A leaky bucket as in MLVC's rate controller (arXiv 2606.28027): time drains it at the target's rate,
frames fill it, and a frame's budget is its even share less a part of the debt. How many bits a qp
gives is learnt for each kind of frame (`rtcodec.size_model`). Over any stretch of time the rate is
off by how much the debt changed in it, so holding the debt within a tenth of a bucket holds every
two buckets' worth of time within 5 %. No clock: time is what callers say has passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import ceil, floor, log2
from typing import Final

from rtcodec.size_model import DELTA_SLOPE_RANGE, SizeModel, Try
from rtcodec.types import QP_MAX

MAX_FRAME_FACTOR: Final = 4.0
KEY_FRAME_FACTOR: Final = 2.0
"How much larger than others a key frame may be."

CUT_OCTAVES: Final = 2.5
"A delta frame that comes out so much larger than foreseen shows a new scene."

_OVER: Final = 0.05  # of the bucket that frames may be ahead; with _UNDER under a tenth
_KEY_OVER: Final = 0.5  # the same, for a key frame
_UNDER: Final = 0.03  # of the bucket that is worth a second try of a frame too small
_SAVINGS: Final = 0.25  # of the bucket that outlives a pause
_PAYBACK: Final = 0.2  # of the bucket's time to pay a debt back in  # MLVC: 0.25
_AIM_RANGE: Final = (0.5, 2.0)  # of the even share
_FIRST_SHARES: Final = 3.0  # of the first frame, which later ones may lean on
_MARGIN: Final = 0.85  # of the most a frame may have, to aim at; once more for each try
_SLOPE_TRUST: Final = 0.85  # of a slope that this frame has not shown itself
_AFTER_CUT: Final = 1 / 8  # of a cut's bits, a delta frame's right after it at the same qp
_CUT_LEAST: Final = 0.5  # of the most that a cut may have, below which it is tried again
_MAX_STEP: Final = 8  # of qp between frames, while the bucket allows it
_PERIOD_GAIN: Final = 0.3
_MAX_GAP: Final = 4  # periods; a longer gap is a pause and not a frame rate
_GUESS_BPP: Final = 0.4  # at _GUESS_QP, before any frame  # measured: 0.1 to 1.5 on eight clips
_GUESS_QP: Final = 32
_GUESS_DELTA_OCTAVES: Final = 3.0  # by which a delta frame is cheaper, before the first


class FrameKind(Enum):
    """What a frame's cost depends on besides its qp."""

    KEY = "key"
    "Coded alone, and a place to start; may be larger than others."

    INTRA = "intra"
    "Coded alone."

    DELTA = "delta"
    "Predicted from another frame."

    CUT = "cut"
    "Predicted from a frame of another scene: costs what an intra frame costs."


@dataclass(frozen=True, slots=True)
class Plan:
    """What one frame should be."""

    kind: FrameKind
    "As expected; what it became is said afterwards."

    qp: int
    "To try first."

    min_bits: float
    "Below this another try is worth its time."

    aim_bits: float
    max_bits: float
    "Above this it should be tried again, or not sent."

    expected_bits: float
    "Of the first try, as the model has it."


class RateController:
    """
    One stream's qp.

    Each frame is planned, then done or dropped; several may be in flight, and end in any order.
    """

    def __init__(
        self,
        target_bps: float,
        frame_rate: Fraction | float,
        *,
        bucket_s: float = 1.0,
        max_frame_factor: float = MAX_FRAME_FACTOR,
        n_pixels: int = 640 * 360,
    ) -> None:
        """
        Args:
            target_bps: Bits per second over all frames, above 0.
            frame_rate: Frames per second at the start, above 0; later ones are measured.
            bucket_s: Time over which the rate must hold; every two of it within 5 %.
            max_frame_factor: Even shares that a frame may take at most, above 1; twice as many
                for a key frame.
            n_pixels: Of a frame, for the first guess.
        """
        if target_bps <= 0 or frame_rate <= 0 or bucket_s <= 0 or max_frame_factor <= 1:
            raise ValueError(
                f"no rate control for {target_bps} b/s at {frame_rate} frames/s "
                f"in {bucket_s} s and up to {max_frame_factor} shares"
            )
        self.saturated = False
        "Whether the last plan wanted a qp finer than the finest or coarser than the coarsest."
        self._target_bps = float(target_bps)
        self._bucket_s = bucket_s
        self._max_factor = max_frame_factor
        self._period_s = float(1 / frame_rate)
        self._debt_bits = 0.0  # spent before its time; what is in flight counts as foreseen
        self._last_qp: float | None = None
        self._last_was_cut = False
        guess = log2(_GUESS_BPP * n_pixels)
        intra = SizeModel(_GUESS_QP, guess)
        self._models: Mapping[FrameKind, SizeModel] = {
            FrameKind.KEY: intra,
            FrameKind.INTRA: intra,
            FrameKind.DELTA: SizeModel(
                _GUESS_QP, guess - _GUESS_DELTA_OCTAVES, slope_range=DELTA_SLOPE_RANGE
            ),
            FrameKind.CUT: SizeModel(_GUESS_QP, guess),
        }
        self._last_model = intra

    @property
    def target_bps(self) -> float:
        """Bits per second aimed at."""
        return self._target_bps

    @property
    def share_bits(self) -> float:
        """A frame's even share of the target."""
        return self._target_bps * self._period_s

    @property
    def debt_s(self) -> float:
        """How far the frames are ahead of the target, in seconds of it; negative when behind."""
        return self._debt_bits / self._target_bps

    @property
    def calibrated(self) -> bool:
        """Whether a frame was seen; before that a plan rests on a guess."""
        return any(model.learnt for model in self._models.values())

    def set_target(self, target_bps: float) -> None:
        """Aim at another rate (above 0) from the next plan on; qp may follow at once."""
        if target_bps <= 0:
            raise ValueError(f"no rate control for {target_bps} b/s")
        if self._last_qp is not None:
            self._last_qp += log2(self._target_bps / target_bps) / self._last_model.slope
        self._target_bps = float(target_bps)

    def plan(self, kind: FrameKind, elapsed_s: float) -> Plan:
        """
        Say what the next frame should be.

        Args:
            kind: What it is expected to be.
            elapsed_s: Time since the last planned frame, by their time stamps; 0 for the first.
        """
        self._pass_time(elapsed_s)
        model = self._model_for(kind)
        most = self._max_bits(kind)
        aim = self._aim_bits(kind, model, most)
        share = self.share_bits
        least = min(0.8 * aim, share - _UNDER * self._bucket_bits - self._debt_bits)
        if not self.calibrated:
            least = 0.7 * aim
        wanted = model.qp_for(aim)
        self.saturated = not -1 <= wanted <= QP_MAX + 1
        if self._last_qp is not None:
            wanted = max(self._last_qp - _MAX_STEP, min(self._last_qp + _MAX_STEP, wanted))
        if least > 0:
            wanted = min(wanted, floor(model.qp_for(least)))
        wanted = max(wanted, ceil(model.qp_for(_MARGIN * most)))
        qp = max(0, min(QP_MAX, round(wanted)))
        expected = model.bits(qp)
        self._debt_bits += expected
        return Plan(kind, qp, least, aim, most, expected)

    def retry(self, plan: Plan, tries: Sequence[Try]) -> int | None:
        """
        Return a better qp for a frame that came out too big or too small, or None to keep it.

        Changes nothing, and may be called on any thread.

        Args:
            plan: Of the frame.
            tries: All tries of it so far, at least one.
        """
        last = tries[-1]
        too_big = [t for t in tries if t.n_bits > plan.max_bits]
        least = plan.min_bits
        if self._seen_kind(plan.kind, tries[0]) is FrameKind.CUT:
            least = max(least, _CUT_LEAST * plan.max_bits)  # all that follows will lean on it
        too_small = [t for t in tries if t.n_bits < least]
        if too_big and too_small and (last in too_big or last in too_small):
            return _between(too_big[-1], too_small[-1], least, plan.max_bits)
        model = self._models[self._seen_kind(plan.kind, tries[0])]
        slope = model.slope_through(tries)
        if last.n_bits > plan.max_bits:
            aim = _MARGIN ** len(tries) * plan.max_bits
            if len(tries) == 1:
                slope *= _SLOPE_TRUST
            steps = ceil(log2(last.n_bits / aim) / slope)
        elif last.n_bits < plan.min_bits and len(tries) == 1:
            steps = min(-1, round(log2(max(1, last.n_bits) / plan.aim_bits) / slope))
        else:
            return None
        qp = max(0, min(QP_MAX, last.qp + steps))
        return None if any(qp == t.qp for t in tries) else qp

    def frame_done(
        self, plan: Plan, tries: Sequence[Try], *, kind: FrameKind | None = None
    ) -> None:
        """
        Account for a frame and learn from it.

        Args:
            plan: Of the frame.
            tries: How often it was coded; the last one is what was sent.
            kind: What it turned out to be, if not what was planned.
        """
        if plan.kind is FrameKind.DELTA and kind is FrameKind.INTRA:
            kind = FrameKind.CUT  # the engine found a new scene
        else:
            kind = self._seen_kind(kind or plan.kind, tries[0])
        self._last_was_cut = kind is FrameKind.CUT
        self._last_model = self._models[kind]
        self._last_model.learn(tries)
        sent = tries[-1]
        self._last_qp = sent.qp
        if kind is FrameKind.CUT:  # what comes leans on it: cheap at its qp, dear at a finer one
            self._models[FrameKind.DELTA].restart(sent.qp, sent.n_bits * _AFTER_CUT)
        debt = self._debt_bits + sent.n_bits - plan.expected_bits
        if sent.qp == 0:  # what cannot be spent is not owed
            debt = max(debt, self.share_bits - _UNDER * self._bucket_bits)
        self._debt_bits = min(debt, self.share_bits + self._bucket_bits)

    def frame_dropped(self, plan: Plan) -> None:
        """Account for a planned frame that was never coded."""
        self._debt_bits -= plan.expected_bits

    @property
    def _bucket_bits(self) -> float:
        return self._target_bps * self._bucket_s

    def _pass_time(self, elapsed_s: float) -> None:
        if elapsed_s <= 0:
            return
        debt = self._debt_bits - self._target_bps * elapsed_s
        self._debt_bits = max(debt, -_SAVINGS * self._bucket_bits)
        known_s = min(elapsed_s, _MAX_GAP * self._period_s)
        self._period_s += _PERIOD_GAIN * (known_s - self._period_s)

    def _model_for(self, kind: FrameKind) -> SizeModel:
        model = self._models[kind]
        if kind is FrameKind.CUT and not model.learnt:
            return self._models[FrameKind.INTRA]
        return model

    def _max_bits(self, kind: FrameKind) -> float:
        share = self.share_bits
        is_key = kind is FrameKind.KEY
        factor = self._max_factor * (KEY_FRAME_FACTOR if is_key else 1)
        room = (_KEY_OVER if is_key else _OVER) * self._bucket_bits - self._debt_bits
        return min(factor * share, share + max(room, share / 4))

    def _aim_bits(self, kind: FrameKind, model: SizeModel, most: float) -> float:
        share = self.share_bits
        least_shares, most_shares = _AIM_RANGE
        even = share - self._debt_bits * self._period_s / (_PAYBACK * self._bucket_s)
        even = max(least_shares * share, min(most_shares * share, even, _MARGIN * most))
        if kind not in (FrameKind.KEY, FrameKind.CUT):
            return even
        as_before = (
            _FIRST_SHARES * share if self._last_qp is None else model.bits(round(self._last_qp))
        )
        return max(even, min(as_before, _MARGIN * most))

    def _seen_kind(self, kind: FrameKind, first: Try) -> FrameKind:
        """Tell a scene cut from motion: after a cut the next delta frame is cheap again."""
        model = self._models[kind]
        if kind is not FrameKind.DELTA or not model.learnt or self._last_was_cut:
            return kind
        surprise = log2(max(1, first.n_bits) / model.bits(first.qp))
        return FrameKind.CUT if surprise > CUT_OCTAVES else kind


def _between(too_big: Try, too_small: Try, min_bits: float, max_bits: float) -> int | None:
    """Return the qp where the line through two tries meets the middle of what is allowed."""
    low, high = log2(max(1, too_small.n_bits)), log2(too_big.n_bits)
    aim = (log2(max(1.0, min_bits)) + log2(max_bits)) / 2
    part = (high - aim) / (high - low)
    qp = round(too_big.qp + part * (too_small.qp - too_big.qp))
    return None if qp in (too_big.qp, too_small.qp) else qp
