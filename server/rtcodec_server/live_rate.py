"""
The bit rate of one publisher's stream.

A `RateController` told of time by the frames' time stamps and of ways that are too thin by the
subscribers' REMB. Belongs to the event loop, but for `retry`.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from rtcodec.rate_control import MAX_FRAME_FACTOR, FrameKind, Plan, RateController
from rtcodec.size_model import Try
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec_server.frame_request import CodedFrame, Retry

_FIRST_RATE: Final = 30.0  # frames per second, until time stamps tell
_REMB_PART: Final = 0.9  # of the narrowest way; the rest is for headers and for asking again
_LEAST_PART: Final = 1 / 8  # of the operator's target, however little a subscriber reports


class LiveRate:
    """Chooses the qp of a stream's frames so that they add up to a bit rate."""

    def __init__(
        self,
        target_bps: int,
        *,
        max_frame_factor: float = MAX_FRAME_FACTOR,
        follows_remb: bool = False,
    ) -> None:
        """
        Args:
            target_bps: The operator's, of the bitstream, above 0.
            max_frame_factor: As in `RateController`.
            follows_remb: Whether the narrowest subscriber's way lowers the target.
        """
        self._most_bps = target_bps
        self._follows_remb = follows_remb
        self._control = RateController(target_bps, _FIRST_RATE, max_frame_factor=max_frame_factor)
        self._last_pts: int | None = None
        self._usual_kind = FrameKind.INTRA

    @property
    def target_bps(self) -> float:
        """What is aimed at now."""
        return self._control.target_bps

    @property
    def is_saturated(self) -> bool:
        """Whether the last frame wanted a qp beyond the finest or the coarsest."""
        return self._control.saturated

    def limit(self, estimates_bps: Iterable[int | None]) -> None:
        """Heed what subscribers say they can receive; None from those that said nothing."""
        if not self._follows_remb:
            return
        known = [_REMB_PART * bps for bps in estimates_bps if bps is not None]
        target_bps = max(_LEAST_PART * self._most_bps, min([self._most_bps, *known]))
        if target_bps != self._control.target_bps:
            self._control.set_target(target_bps)

    def plan(self, pts: int) -> Plan:
        """Plan the frame with a time stamp; `done` or `dropped` has to follow."""
        kind = FrameKind.KEY if self._last_pts is None else self._usual_kind
        elapsed = 0 if self._last_pts is None else pts - self._last_pts
        self._last_pts = pts
        return self._control.plan(kind, float(elapsed * RTP_TIME_BASE))

    def retry(self, plan: Plan) -> Retry:
        """Return what tells, on any thread, whether a frame is too big and which qp to try then."""
        return partial(self._retry, plan)

    def done(self, plan: Plan, coded: CodedFrame) -> None:
        """Account for a frame that was coded."""
        self._usual_kind = FrameKind.DELTA if coded.is_delta else FrameKind.INTRA
        self._control.frame_done(plan, coded.tries, kind=self._usual_kind)

    def dropped(self, plan: Plan) -> None:
        """Account for a frame that was not."""
        self._control.frame_dropped(plan)

    def _retry(self, plan: Plan, tries: Sequence[Try]) -> int | None:
        if tries[-1].n_bits <= plan.max_bits:
            return None  # too small a frame is not worth the time
        return self._control.retry(plan, tries)
