"""
What becomes of one stream's frames, counted for its room and for the relay alike.

Belongs to the event loop. Every frame that is received is later coded or dropped, once.
"""

from collections.abc import Iterable

from rtcodec.quality import PlanePsnr
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.webrtc import DecodedFrame
from rtcodec_server.frame_request import CodedFrame


class StreamFigures:
    """Figures of one stream."""

    def __init__(self, stats: tuple[StreamStats, ...], *, deadline_us: int) -> None:
        """
        Args:
            stats: Filled alike; the first are the stream's own.
            deadline_us: From the picture being there to a frame being late.
        """
        self._stats = stats
        self._deadline_us = deadline_us

    @property
    def frames(self) -> FrameLedger:
        """What became of the stream's frames."""
        return self._stats[0].frames

    def received(self) -> None:
        """Count one frame that reached the relay."""
        for stats in self._stats:
            stats.frames.received += 1

    def dropped(self, reason: str) -> None:
        """Count one received frame that will not be encoded."""
        for stats in self._stats:
            stats.frames.drop(reason)

    def missed(self) -> None:
        """Count one frame that was too late to be coded at all."""
        for stats in self._stats:
            stats.deadline_misses += 1

    def decoded(self, frame: DecodedFrame) -> None:
        """Count the time that a picture took to be there."""
        for stats in self._stats:
            stats.add_latency("receive", frame.assembled_us - frame.arrived_us)
            stats.add_latency("decode", frame.decoded_us - frame.assembled_us)

    def coded(
        self, frame: DecodedFrame, coded: CodedFrame, *, n_pixels: int, is_first: bool
    ) -> None:
        """
        Count one coding of a frame.

        Args:
            frame: Of which picture.
            coded: What came of it.
            n_pixels: That were coded.
            is_first: Whether it is the frame's first.
        """
        is_late = coded.coded_us > frame.decoded_us + self._deadline_us
        for stats in self._stats:
            stats.frames.encoded += is_first
            stats.bitstream_bytes += coded.size_bytes
            stats.bits_per_pixel.add(coded.size_bytes * 8 / n_pixels)
            stats.deadline_misses += is_late
            stats.add_latency("queue", coded.taken_us - frame.decoded_us)
            stats.add_latency("batch", coded.started_us - coded.taken_us)
            stats.add_latency("engine", coded.engine_us - coded.started_us)
            stats.add_latency("entropy", coded.coded_us - coded.engine_us)

    def measured(self, psnr: PlanePsnr | None, rung: Iterable[StreamStats]) -> None:
        """Count one measurement of a frame, or that there was no time for it; *rung*'s, too."""
        for stats in (*self._stats, *rung):
            if psnr is None:
                stats.psnr_skipped += 1
            else:
                stats.add_psnr(psnr.as_dict())
