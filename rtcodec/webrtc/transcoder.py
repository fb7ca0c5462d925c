"""
Encodes pictures as VP8 or H.264 for ordinary viewers: one thread, one encoder, any number of them.

    put (any thread) -> newest picture -> thread: encode, cut -> on_frame (event loop)

One picture may wait; a newer one takes its place and is counted. The encoder
lets go of the interpreter lock, so that neither the event loop nor the engine waits for it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from aiortc.codecs import get_encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from rtcodec.media.scale import PlanesScaler
from rtcodec.media.video_encoder import VideoEncoder
from rtcodec.packet.packetizer import foreign_frame
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.video_sender import VideoFrame

_log = logging.getLogger(__name__)

_FRAME_RATE: Final = Fraction(30)
"Of what the encoders are told; VP8 goes by time stamps anyway."


@dataclass(slots=True)
class TranscodeCounters:
    """What one encoder did. Written by its thread and by whoever puts; read anywhere."""

    received: int = 0
    "Pictures put in: encoded + superseded + failed + at most two under way."

    encoded: int = 0
    superseded: int = 0
    "Pictures that a newer one overtook."

    failed: int = 0
    "Pictures that the encoder did not take, or left out."

    keyframes: int = 0
    payload_bytes: int = 0
    encode_us: int = 0
    "Time spent encoding and cutting."

    def add(self, other: "TranscodeCounters") -> None:
        """Add the figures of an encoder that is gone."""
        for name in TranscodeCounters.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class _Task:
    planes: Planes
    pts: int
    size: tuple[int, int]
    "Width and height to encode it at."


class Transcoder:
    """One codec's encoder for all that watch one room in it."""

    def __init__(
        self,
        codec: str,
        *,
        bitrate_bps: int,
        keyframe_interval_us: int,
        on_frame: Callable[[VideoFrame], None],
    ) -> None:
        """
        Start the thread; call it on the event loop.

        Args:
            codec: `VP8` or `H264`.
            bitrate_bps: Most it may spend.
            keyframe_interval_us: Least time between two key frames that are asked for.
            on_frame: Called on the event loop with every frame that comes out.
        """
        self.codec = codec
        self.counters = TranscodeCounters()
        self._ceiling_bps = bitrate_bps
        self._target_bps = bitrate_bps
        self._keyframe_interval_us = keyframe_interval_us
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._waiting: _Task | None = None
        self._wants_keyframe = True
        self._keyframe_allowed_us = 0
        self._is_stopping = False
        self._encoder: VideoEncoder | None = None
        self._size = (0, 0)
        self._scaler = PlanesScaler()
        self._followed_bps: float | None = None
        self._cutter = _new_cutter(codec)
        self._thread = threading.Thread(target=self._run, name=f"transcode-{codec}", daemon=True)
        self._thread.start()

    @property
    def target_bps(self) -> int:
        """What is aimed at now."""
        return round(self._followed_bps or self._target_bps)

    def put(self, planes: Planes, pts: int, *, size: tuple[int, int] | None = None) -> None:
        """
        Encode a picture unless a newer one comes first; on any thread, never waits.

        Args:
            planes: Not changed by anyone any more.
            pts: 90 kHz ticks, increasing.
            size: Width and height to scale it to; its own if not given.
        """
        with self._wake:
            self.counters.received += 1
            self.counters.superseded += self._waiting is not None or self._is_stopping
            if self._is_stopping:
                return
            self._waiting = _Task(planes, pts, size or (planes.width, planes.height))
            self._wake.notify()

    def request_keyframe(self) -> None:
        """Make a picture soon a key frame: the next one, or the first after the interval."""
        with self._wake:
            self._wants_keyframe = True

    def limit_bitrate(self, bitrate_bps: int) -> None:
        """Follow what the narrowest of the viewers can receive."""
        self._target_bps = min(bitrate_bps, self._ceiling_bps)

    def follow_bitrate(self, bitrate_bps: float) -> None:
        """Spend this from the next picture on, whatever the ceiling; for VP8."""
        self._followed_bps = bitrate_bps

    async def close(self) -> None:
        """End the thread; what waits is not encoded."""
        with self._wake:
            self._is_stopping = True
            self.counters.superseded += self._waiting is not None
            self._waiting = None
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    # ---- the thread

    def _run(self) -> None:
        while (task := self._take()) is not None:
            started_us = monotonic_us()
            frame = None
            try:
                frame = self._encode(task, started_us)
            except Exception as error:  # whatever the library does, the next picture is tried
                n_failed = self.counters.failed + 1
                if n_failed & (n_failed - 1) == 0:  # 1, 2, 4, 8 ...
                    _log.error("transcoding to %s, failure %d: %s", self.codec, n_failed, error)
                self._encoder = None
            self.counters.encode_us += monotonic_us() - started_us
            if frame is None:
                self.counters.failed += 1
                continue
            self.counters.encoded += 1
            self.counters.keyframes += frame.is_keyframe
            self.counters.payload_bytes += frame.cut.payload_bytes
            try:
                self._loop.call_soon_threadsafe(self._on_frame, frame)
            except RuntimeError:  # the loop is closed, nobody is left to hear it
                _log.debug("a transcoder outlived its loop")

    def _take(self) -> _Task | None:
        with self._wake:
            while self._waiting is None and not self._is_stopping:
                self._wake.wait()
            task, self._waiting = self._waiting, None
            return None if self._is_stopping else task

    def _encode(self, task: _Task, now_us: int) -> VideoFrame | None:
        planes = self._scaler.scale(task.planes, *task.size)
        if self.codec == "H264":
            planes = _even(planes)
        encoder = self._encoder_for(planes)
        if self._followed_bps is None:
            encoder.limit_bitrate(self._target_bps)
        else:
            encoder.follow_bitrate(self._followed_bps)
        if self._takes_keyframe(now_us):
            encoder.request_keyframe()
        packet = encoder.encode(planes, task.pts)
        if packet is None:
            return None
        payloads, _ = self._cutter.pack(packet)
        return VideoFrame(foreign_frame(payloads), task.pts, packet.is_keyframe)

    def _encoder_for(self, planes: Planes) -> VideoEncoder:
        size = (planes.width, planes.height)
        if self._encoder is None or size != self._size:
            self._size = size
            self._encoder = VideoEncoder(
                self.codec.lower(),
                width=planes.width,
                height=planes.height,
                frame_rate=_FRAME_RATE,
                bitrate_bps=self._ceiling_bps,
                preset="veryfast",
            )
        return self._encoder

    def _takes_keyframe(self, now_us: int) -> bool:
        with self._wake:
            if not self._wants_keyframe or now_us < self._keyframe_allowed_us:
                return False
            self._wants_keyframe = False
        self._keyframe_allowed_us = now_us + self._keyframe_interval_us
        return True


def _new_cutter(codec: str) -> Any:
    """Return what cuts packets into RTP payloads: aiortc's encoder, which encodes nothing."""
    return get_encoder(RTCRtpCodecParameters(mimeType=f"video/{codec}", clockRate=90_000))


def _even(planes: Planes) -> Planes:
    """Leave out the last row and column of odd sizes, which x264 does not take in 4:2:0."""
    height, width = planes.height & ~1, planes.width & ~1
    if (height, width) == (planes.height, planes.width) or not (height and width):
        return planes
    return Planes(
        planes.y[:height, :width],
        planes.u[: height // 2, : width // 2],
        planes.v[: height // 2, : width // 2],
    )
