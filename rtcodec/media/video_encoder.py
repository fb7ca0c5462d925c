"""
VP8 or H.264 of a live picture, through PyAV: what publishers send and ordinary viewers get.

aiortc's encoders cap VP8 at 1.5 Mb/s and encode H.264 slowly; ours hand
finished packets to aiortc, which only cuts them into RTP payloads.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, TypeAlias

import av
from av.video.frame import PictureType

from rtcodec.errors import ConfigError, EngineError
from rtcodec.media.picture import frame_of
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec.types import Planes

VideoPacket: TypeAlias = "av.Packet[av.stream.Stream]"

CODECS: Final = ("vp8", "h264")

_REBUILD_RATIO = 0.8
"A lower rate is taken over when it is this much lower; a new encoder costs a key frame."

_MOST_STRETCH: Final = 4.0
"""How much longer or shorter a second of the encoder may be than one: told 400 kb/s, libvpx came
within 5 % of 100 to 1200 on call clips, four seconds each, where quality did not end it before."""

_BITS_PER_PIXEL = 0.3
"640x360 at 30 frames per second gets 2 Mb/s: VP8 at 44 dB, well above what the relay makes of it."


def default_bitrate_bps(width: int, height: int, frame_rate: float) -> int:
    """Say what rate the first hop deserves, 300 kb/s to 20 Mb/s."""
    pixels_per_s = width * height * min(frame_rate, 60.0)
    return int(min(max(pixels_per_s * _BITS_PER_PIXEL, 300_000), 20_000_000))


_STATIC_THRESHOLD = "300"
"""Error below which VP8 leaves a block as it was. Of the encoder's time it takes a tenth in a busy
call (46.3 dB, 0.1 dB less) and a third before a still background (50 dB, 1 dB less)."""


class VideoEncoder:
    """
    Encodes one stream; sizes may not change.

    Args:
        codec: `vp8` or `h264`.
        width, height: Pixels; even for h264.
        frame_rate: Frames per second, for the rate control.
        bitrate_bps: Most it may spend.
        threads: Of the encoder.
        preset: Of x264; VP8 has none.

    Raises:
        ConfigError: If the codec is unknown or cannot carry the size.
    """

    def __init__(
        self,
        codec: str,
        *,
        width: int,
        height: int,
        frame_rate: Fraction,
        bitrate_bps: int,
        threads: int = 1,
        preset: str = "superfast",
    ) -> None:
        if codec not in CODECS:
            raise ConfigError(f"codec {codec!r} is none of {', '.join(CODECS)}")
        if codec == "h264" and (width % 2 or height % 2):
            raise ConfigError(f"h264 carries even sizes only, not {width}x{height}; use vp8")
        self._codec = codec
        self._size = (width, height)
        self._frame_rate = frame_rate
        self._ceiling_bps = bitrate_bps
        self._bitrate_bps = bitrate_bps
        self._threads = threads
        self._preset = preset
        self._wants_keyframe = False
        self._context: av.VideoCodecContext | None = None
        self._stretch = 1.0
        self._clock: tuple[int, float] | None = None  # last pts, and what the encoder was told

    @property
    def bitrate_bps(self) -> int:
        """What the encoder may spend now."""
        return self._bitrate_bps

    def request_keyframe(self) -> None:
        """Make the next frame one that a decoder can start at."""
        self._wants_keyframe = True

    def limit_bitrate(self, bitrate_bps: int) -> None:
        """
        Follow the receiver's estimate downwards, and up again to the ceiling.

        Small changes are ignored: libvpx takes a new rate over with a key frame only.
        """
        wanted = min(max(bitrate_bps, 100_000), self._ceiling_bps)
        lower = wanted < self._bitrate_bps * _REBUILD_RATIO
        higher = wanted * _REBUILD_RATIO > self._bitrate_bps
        if lower or higher:
            self._bitrate_bps = wanted
            if self._codec == "h264" and self._context is not None:
                self._context.bit_rate = wanted
            else:
                self._context = None

    def follow_bitrate(self, bitrate_bps: float) -> None:
        """
        Spend another rate from the next frame on, without a key frame; for VP8.

        libvpx gives a picture its part of a second's bits by time stamps. It is told other seconds.
        """
        stretch = bitrate_bps / self._bitrate_bps
        if not 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH:
            self._bitrate_bps, self._context, stretch = round(bitrate_bps), None, 1.0
        self._stretch = stretch

    def encode(self, planes: Planes, pts: int) -> VideoPacket | None:
        """
        Encode one frame.

        Args:
            planes: Of the encoder's size.
            pts: 90 kHz ticks, increasing.

        Returns:
            The whole frame, or None if the encoder chose to leave it out.

        Raises:
            EngineError: If the library failed.
        """
        frame = frame_of(planes)
        frame.pts, frame.time_base = self._stretched(pts), RTP_TIME_BASE
        if self._wants_keyframe:
            frame.pict_type = PictureType.I
            self._wants_keyframe = False
        try:
            context = self._context = self._context or self._open()
            packets = context.encode(frame)
            data = b"".join(map(bytes, packets))
            is_keyframe = any(packet.is_keyframe for packet in packets)
        except av.FFmpegError as error:
            raise EngineError(f"{self._codec} encoder failed: {error.strerror}") from error
        if not data:
            return None
        packet = av.Packet(data)
        packet.is_keyframe = is_keyframe
        packet.pts, packet.time_base = pts, RTP_TIME_BASE
        return packet

    def _stretched(self, pts: int) -> int:
        last, told = self._clock or (pts, float(pts))
        told += max(self._stretch * (pts - last), 1.0 if pts > last else 0.0)
        self._clock = pts, told
        return int(told)

    def _open(self) -> av.VideoCodecContext:
        name = {"vp8": "libvpx", "h264": "libx264"}[self._codec]
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = RTP_TIME_BASE
        context.framerate = self._frame_rate
        context.bit_rate = self._bitrate_bps
        context.thread_count = self._threads
        context.gop_size = 3000
        context.max_b_frames = 0
        context.options = self._options()
        return context

    def _options(self) -> dict[str, str]:
        rate = str(self._bitrate_bps if self._codec == "vp8" else self._ceiling_bps)
        if self._codec == "vp8":
            return {
                "deadline": "realtime",
                "cpu-used": "-8",
                "lag-in-frames": "0",
                "error-resilient": "default",
                "maxrate": rate,
                "minrate": rate,
                "bufsize": rate,  # one second
                "undershoot-pct": "100",
                "overshoot-pct": "15",
                "static-thresh": _STATIC_THRESHOLD,
                "qmin": "4",
                "qmax": "56",
            }
        return {
            "preset": self._preset,
            "tune": "zerolatency",
            "profile": "baseline",  # what WebRTC offers as 42e01f
            "maxrate": rate,
            "bufsize": str(self._ceiling_bps // 2),
            "forced-idr": "1",
        }
