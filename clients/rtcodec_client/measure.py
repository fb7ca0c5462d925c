"""
What a watcher finds out about frames that it decoded.

With the taps of a relay and a publisher on this machine, every frame is
compared with what went in and timed from the publisher's hands on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rtcodec.codec.picture_decoder import DecodedPicture
from rtcodec.media.scale import PlanesScaler
from rtcodec.quality import PlanePsnr, picture_psnr
from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us, unwrap
from rtcodec.webrtc.clock import monotonic_us, unix_us
from rtcodec.webrtc.latent_receiver import LatentFrame
from rtcodec.webrtc.tap import FrameTapReader, TappedFrame
from rtcodec_client.barcode import read_barcode
from rtcodec_client.frame_record import FrameRecord, WatchFigures
from rtcodec_client.sample import FrameSample, SampleKeeper

_PTS_START = 1 << 32
"Unwrapped time stamps start near here, so that reordering never makes them negative."


@dataclass(slots=True)
class WatchTimeline:
    """Figures of every frame, for a chart."""

    psnr_db: list[float] = field(default_factory=list)
    size_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TimedPicture:
    """A decoded frame and when that began and ended, monotonic."""

    picture: DecodedPicture
    started_us: int
    decoded_us: int


class FrameMeasurer:
    """
    Measures one subscriber's frames, in order, on one thread.

    Args:
        relay_tap: Ring of the frames that the relay encodes, if it has one.
        source_tap: Ring of the frames that the publisher sends, likewise.
        barcode: Whether frames carry barcodes, to be checked against what the taps say.
        samples: Frames to keep for a contact sheet.
    """

    def __init__(
        self, *, relay_tap: Path | None, source_tap: Path | None, barcode: bool, samples: int
    ) -> None:
        self.figures = WatchFigures()
        self.timeline = WatchTimeline()
        self.samples = SampleKeeper(samples)
        self.rungs: Counter[int] = Counter()
        "Rung -> pictures decoded of it."

        self.barcodes_checked = 0
        "Pictures whose barcode could be compared with what the taps say of them."

        self.barcodes_wrong = 0
        "Of those, pictures that are not the frame that they were taken for."

        self._barcode = barcode
        self._n_samples = samples
        self._relay_tap = _reader(relay_tap)
        self._source_tap = _reader(source_tap)
        self._pts = _PTS_START
        self._first_pts: int | None = None
        self._scaler = PlanesScaler()

    def close(self) -> None:
        """Close the taps."""
        for tap in (self._relay_tap, self._source_tap):
            if tap is not None:
                tap.close()

    def measure(self, frame: LatentFrame, timed: TimedPicture) -> int:
        """Add one decoded frame; return its time since the first one, 90 kHz ticks."""
        picture = timed.picture
        self.rungs[picture.rung] += 1
        pts = self._unwrap(frame)
        relay_frame, source_frame = self._tapped(picture)
        record = FrameRecord(
            number=frame.number,
            pts=pts,
            decoded_us=timed.decoded_us,
            n_bytes=sum(map(len, frame.packets)),
            stages_ms=_stages_ms(frame, timed, source_frame),
            is_complete=picture.is_complete and frame.is_complete,
            psnr_db=self._compare(relay_frame, picture),
            source_psnr_db=self._compare(source_frame, picture),
            source_index=source_frame.frame_number if source_frame is not None else None,
        )
        self._sample(record, picture, source_frame or relay_frame)
        self.figures.add(record)
        if self._barcode:
            self._check_barcode(record, picture)
        return pts - self._zero_pts(pts)

    def _compare(self, tapped: TappedFrame | None, picture: DecodedPicture) -> PlanePsnr | None:
        """Compare a picture with what it was made from, which a lower rung first makes smaller."""
        if tapped is None:
            return None
        planes = picture.planes
        original = self._scaler.scale(tapped.planes, planes.width, planes.height)
        return picture_psnr(original, planes)

    def _check_barcode(self, record: FrameRecord, picture: DecodedPicture) -> None:
        barcode = read_barcode(picture.planes)
        if barcode is not None and record.source_index is not None:
            self.barcodes_checked += 1
            self.barcodes_wrong += barcode & 0xFFFF != record.source_index

    def _unwrap(self, frame: LatentFrame) -> int:
        low = frame.timing.pts if frame.timing is not None else None
        if low is None:  # its first payload was lost: a frame later than the last
            return self._pts + 1
        self._pts = unwrap(low, near=self._pts, bits=32)
        return self._pts

    def _zero_pts(self, pts: int) -> int:
        if self._first_pts is None:
            self._first_pts = pts
        return self._first_pts

    def _tapped(self, picture: DecodedPicture) -> tuple[TappedFrame | None, TappedFrame | None]:
        """Find the frame as the relay had it, and through its time stamp as it was published."""
        relay = source = None
        if self._relay_tap is not None:
            relay = self._relay_tap.by_frame_number(picture.frame_number)
        if self._source_tap is not None and relay is not None:
            source = self._source_tap.by_rtp_timestamp(relay.rtp_timestamp)
        return relay, source

    def _sample(
        self, record: FrameRecord, picture: DecodedPicture, original: TappedFrame | None
    ) -> None:
        psnr_db = record.source_psnr_db or record.psnr_db
        if psnr_db is None or original is None:
            return
        is_smaller = original.planes.y.shape != picture.planes.y.shape  # of a lower rung
        if len(self.timeline.psnr_db) < 1_000_000:
            self.timeline.psnr_db.append(psnr_db.yuv)
            self.timeline.size_bytes.append(record.n_bytes)
        number = self.figures.decoded
        if self._n_samples and self.samples.wants(number) and not is_smaller:
            time_us = ticks_to_us(record.pts - self._zero_pts(record.pts), RTP_TIME_BASE)
            self.samples.keep(
                FrameSample(
                    number, time_us, original.planes, picture.planes, record.n_bytes, psnr_db
                )
            )


def _reader(path: Path | None) -> FrameTapReader | None:
    return FrameTapReader(path) if path is not None else None


def _stages_ms(
    frame: LatentFrame, timed: TimedPicture, source: TappedFrame | None
) -> dict[str, float]:
    """
    Split the frame's way.

    The relay writes the time of day into its frames; it is brought to this
    machine's monotonic clock, which is exact on one machine and as good as
    the clocks agree between two.
    """
    stages = {
        "peer_queue": (timed.started_us - frame.released_us) / 1000,
        "peer_decode": (timed.decoded_us - timed.started_us) / 1000,
    }
    timing = frame.timing
    if timing is None:
        return stages
    offset_us = monotonic_us() - unix_us()
    received_us = timing.received_us + offset_us
    for stage in ("receive", "decode", "queue", "batch", "engine", "entropy"):
        stages[stage] = getattr(timing, f"{stage}_us") / 1000
    stages["deliver"] = (frame.released_us - timing.coded_us - offset_us) / 1000
    if source is not None:
        captured_us = source.received_us
    elif timing.capture_us is not None:
        captured_us = timing.capture_us + offset_us
    else:
        return stages
    stages["publish"] = (received_us - captured_us) / 1000
    stages["total"] = (timed.decoded_us - captured_us) / 1000
    return stages
