"""
The frames of a file at a bit rate.

    plan -> engine -> size by the tables -> too big or too small? the engine again -> pack, done

Only what is kept is packed: sizes of tries are estimates (`TileCosts`), corrected by what packing
added to the frame before.
"""

from typing import Final

from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import EncodedFrame, FrameEncoder
from rtcodec.engine.api import EncodeOutput
from rtcodec.entropy.cdf import EntropyTables
from rtcodec.rate_control import FrameKind, Plan, RateController
from rtcodec.rate_record import RateRecord
from rtcodec.size_model import Try
from rtcodec.types import Planes

MAX_TRIES: Final = 3
"Of a frame; one more costs an engine's run."

FIRST_FRAME_TRIES: Final = 5

TOO_BIG_TRIES: Final = 6
"Of a frame that is still larger than it may be: right after a cut nothing tells sizes from qp."


class RateSteering:
    """One file's way to its bit rate: `run` for each frame, then `done`."""

    def __init__(
        self,
        control: RateController,
        tables: EntropyTables,
        delta_tables: EntropyTables | None = None,
        spatial_tables: EntropyTables | None = None,
    ) -> None:
        """
        Args:
            control: Fresh.
            tables: Of the model.
            delta_tables: Those of its delta frames, if it has any.
            spatial_tables: Those of its frames predicted from themselves, if it has any.
        """
        self.record = RateRecord()
        "What was written, frame by frame."
        self.n_retries = 0
        "Runs of the engine beyond one for each frame."
        self.n_saturated = 0
        "Frames that wanted a qp beyond the finest or the coarsest."
        self._control = control
        self._costs = FrameCosts(tables, delta_tables, spatial_tables)
        self._overhead_bits = 0
        self._last_s: float | None = None
        self._frame: tuple[Plan, list[Try]] | None = None

    def run(
        self,
        encoder: FrameEncoder,
        planes: Planes,
        *,
        time_s: float,
        keyframe: bool,
        reconstruct: bool = False,
    ) -> tuple[EncodeOutput, int]:
        """
        Run the engine on one frame until its size is right.

        Args:
            encoder: Of the stream.
            planes: The frame.
            time_s: When it is shown; one before that of the frame before counts as the same.
            keyframe: Whether a decoder may start at it.
            reconstruct: Whether the output holds the picture that a decoder will see.

        Returns:
            The output to pack, and its qp.
        """
        if self._last_s is not None:
            time_s = max(time_s, self._last_s)
        elapsed_s = 0.0 if self._last_s is None else time_s - self._last_s
        most_tries = FIRST_FRAME_TRIES if self._last_s is None else MAX_TRIES
        self._last_s = time_s
        kind = FrameKind.DELTA if encoder.is_delta(keyframe=keyframe) else FrameKind.INTRA
        plan = self._control.plan(FrameKind.KEY if keyframe else kind, elapsed_s)
        self.n_saturated += self._control.saturated

        def run(qp: int) -> EncodeOutput:
            return encoder.run(planes, qp=qp, keyframe=keyframe, reconstruct=reconstruct)

        output = run(plan.qp)
        tries = [self._size_up(output, plan.qp)]
        while len(tries) < (TOO_BIG_TRIES if tries[-1].n_bits > plan.max_bits else most_tries):
            qp = self._control.retry(plan, tries)
            if qp is None:
                break
            output = run(qp)
            tries.append(self._size_up(output, qp))
        self.n_retries += len(tries) - 1
        self._frame = (plan, tries)
        return output, tries[-1].qp

    def done(self, coded: EncodedFrame, n_bits: int) -> None:
        """Account for the frame of the last `run`, which takes *n_bits* of the file."""
        assert self._frame is not None
        assert self._last_s is not None
        plan, tries = self._frame
        self._overhead_bits = max(0, self._overhead_bits + n_bits - tries[-1].n_bits)
        self._control.frame_done(
            plan, [*tries[:-1], Try(tries[-1].qp, n_bits)], kind=_kind_of(coded)
        )
        self.record.add(self._last_s, n_bits)

    def _size_up(self, output: EncodeOutput, qp: int) -> Try:
        return Try(qp, self._costs.frame_bits(output, qp) + self._overhead_bits)


def _kind_of(coded: EncodedFrame) -> FrameKind:
    header = coded.unit.header
    if header.keyframe:
        return FrameKind.KEY
    return FrameKind.INTRA if header.reference is None else FrameKind.DELTA
