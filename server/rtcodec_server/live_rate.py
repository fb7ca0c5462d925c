"""
The bit rate of one publisher's stream.

A `RateController` told of time by the frames' time stamps and of ways that are too thin by what
subscribers report. Belongs to the event loop, but for `retry`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from rtcodec.rate_control import MAX_FRAME_FACTOR, FrameKind, Plan, RateController
from rtcodec.session.room_rate import RoomRate
from rtcodec.size_model import Try
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec_server.frame_request import CodedFrame, Retry

_FIRST_RATE: Final = 30.0  # frames per second, until time stamps tell
LEAST_PART: Final = 1 / 8
"Of the operator's target, however little a subscriber's way carries, if he does not say."


class LiveRate:
    """Chooses the qp of a stream's frames so that they add up to a bit rate."""

    def __init__(
        self,
        target_bps: int,
        *,
        max_frame_factor: float = MAX_FRAME_FACTOR,
        follows_remb: bool = False,
        n_pixels: int = 640 * 360,
        least_bps: float | None = None,
    ) -> None:
        """
        Args:
            target_bps: The operator's, of the bitstream, above 0.
            max_frame_factor: As in `RateController`.
            follows_remb: Whether the narrowest subscriber's way lowers the target.
            n_pixels: Of a frame, for the first guess.
            least_bps: How far at most; None for `LEAST_PART` of the target.
        """
        if least_bps is None:
            least_bps = LEAST_PART * target_bps
        self._room = RoomRate(target_bps, min(least_bps, target_bps))
        self._follows_remb = follows_remb
        self._control = RateController(
            target_bps, _FIRST_RATE, max_frame_factor=max_frame_factor, n_pixels=n_pixels
        )
        self._expects_key = True
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

    @property
    def left_behind(self) -> int:
        """Subscribers whose ways do not carry the least that is aimed at."""
        return self._room.left_behind

    def limit(self, ways_bps: Mapping[str, int | None], *, now_us: int) -> None:
        """Heed what the way to each subscriber carries; None where that is not known."""
        if not self._follows_remb:
            return
        target_bps = self._room.target(ways_bps, now_us=now_us)
        if target_bps != self._control.target_bps:
            self._control.set_target(target_bps)

    def expect_key(self) -> None:
        """Let the next frame be as large as a key frame may be."""
        self._expects_key = True

    def plan(self, pts: int) -> Plan:
        """Plan the frame with a time stamp; `done` or `dropped` has to follow."""
        kind = FrameKind.KEY if self._expects_key else self._usual_kind
        self._expects_key = False
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
