"""
Video codecs through FFmpeg's libraries, at the project's reference settings.

One thread, one key frame, no B-frames, no lookahead: what a call can use. The
size is that of the real packets; the signature that x264 and x265 put into the
first one is not counted against them. Odd and tiny sizes are padded by edge
replication to what an encoder takes and cropped again, as players do.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import av
import numpy as np

from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.codec import Encoded, Unprepared
from rtcodec.evaluation.frames import frame_to_planes, video_context
from rtcodec.media.writer import planes_to_frame
from rtcodec.types import Planes

ONE_KEYFRAME = 9999
"Group of pictures longer than any clip."

_CRF = (42, 38, 34, 30, 26, 22, 18)
_VPX_Q = (63, 56, 48, 40, 32, 24, 16, 6)
_ANY_BITRATE_BPS = 1_000_000  # libvpx wants one; qmin = qmax decides
_NAL_SEI_H264 = 6  # ITU-T H.264 table 7-1


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion(Unprepared):
    """One encoder with its settings."""

    name: str
    encoder: str
    "Name of the encoder in FFmpeg."

    decoder: str
    "Name of the decoder in FFmpeg."

    unit: str = "crf"
    "`crf` is passed as an option; `q` fixes qmin and qmax."

    settings: Sequence[int] = _CRF
    options: Mapping[str, str] = field(default_factory=dict)
    "Options of the encoder, as FFmpeg names them."

    gop_size: int = ONE_KEYFRAME
    "Frames from one key frame to the next; 1 makes every frame one."

    least_px: int = 16
    "Smallest width and height the encoder takes."

    kinds: frozenset[Kind] = frozenset({"video"})

    @property
    def description(self) -> str:
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.encoder} {options} gop={self.gop_size}, one thread, no B-frames".strip()

    def with_keyframes(self, interval: int) -> "Motion":
        """Return the same with a key frame every *interval* frames, at scene cuts too."""
        return self if self.gop_size == 1 else replace(self, gop_size=interval)

    def encode(self, clip: Clip, setting: int) -> Encoded:
        context = self._context(clip, setting)
        packets: list[bytes] = []
        for number, planes in enumerate(clip.frames):
            frame = planes_to_frame(self._padded(planes))
            frame.pts = number
            packets += map(bytes, context.encode(frame))
        packets += map(bytes, context.encode(None))
        if self.encoder == "libx264":
            packets = [_without_sei(packet) for packet in packets]
        return Encoded(tuple(packets))

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        context = video_context(self.decoder, "r")
        packets = [av.Packet(part) for part in encoded.parts]
        for packet in [*packets, None]:
            for frame in context.decode(packet):
                yield _cropped(frame_to_planes(frame), clip.width, clip.height)

    def _coded_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the even size, no side below the encoder's least, that is coded."""
        return max(self.least_px, width + width % 2), max(self.least_px, height + height % 2)

    def _padded(self, planes: Planes) -> Planes:
        width, height = self._coded_size(planes.width, planes.height)
        if (width, height) == (planes.width, planes.height):
            return planes
        sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        return Planes(
            *(
                np.pad(p, ((0, h - p.shape[0]), (0, w - p.shape[1])), mode="edge")
                for p, (h, w) in zip((planes.y, planes.u, planes.v), sizes, strict=True)
            )
        )

    def _context(self, clip: Clip, setting: int) -> av.VideoCodecContext:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; the library writes to stderr itself
        context = video_context(self.encoder, "w")
        context.width, context.height = self._coded_size(clip.width, clip.height)
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / clip.frame_rate
        context.framerate = clip.frame_rate
        context.gop_size = self.gop_size
        context.max_b_frames = 0
        options = dict(self.options)
        if self.unit == "q":
            context.qmin = context.qmax = setting
            context.bit_rate = _ANY_BITRATE_BPS
        else:
            options["crf"] = str(setting)
        context.options = options
        return context


def _cropped(planes: Planes, width: int, height: int) -> Planes:
    rows, columns = -(-height // 2), -(-width // 2)
    return Planes(planes.y[:height, :width], planes.u[:rows, :columns], planes.v[:rows, :columns])


def _without_sei(packet: bytes) -> bytes:
    """Return an H.264 Annex B packet without its SEI units."""
    kept: list[bytes] = []
    start = packet.find(b"\0\0\1")
    lead = packet[:start]
    while start >= 0:
        after = packet.find(b"\0\0\1", start + 3)
        end = len(packet) if after < 0 else after
        if packet[start + 3] & 0x1F != _NAL_SEI_H264:
            kept.append(packet[start:end])
        start = after
    return lead + b"".join(kept)


_VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
_VP8 = {**_VPX, "cpu-used": "-4"}
"""What 8 comes to on an idle core. Positive speeds of VP8 follow how long frames take: on a busy
one the same settings give files of up to 40 % more, and the machine would decide who does well."""
_X265 = {"preset": "medium", "tune": "zerolatency"}
_QUIET_X265 = "log-level=none:info=0:pools=none:frame-threads=1:wpp=0"

MOTION_CODECS: tuple[Motion, ...] = (
    Motion(name="vp8", encoder="libvpx", decoder="vp8", unit="q", settings=_VPX_Q, options=_VP8),
    Motion(
        name="vp9",
        encoder="libvpx-vp9",
        decoder="vp9",
        unit="q",
        settings=_VPX_Q,
        options={**_VPX, "row-mt": "0"},
    ),
    Motion(
        name="x264-veryfast",
        encoder="libx264",
        decoder="h264",
        options={"preset": "veryfast", "tune": "zerolatency"},
    ),
    Motion(
        name="x264-medium",
        encoder="libx264",
        decoder="h264",
        options={"preset": "medium", "tune": "zerolatency"},
    ),
    Motion(
        name="x264-intra",
        encoder="libx264",
        decoder="h264",
        settings=(46, 42, 38, 34, 30, 26, 22, 18, 14),
        options={"preset": "medium", "tune": "zerolatency"},
        gop_size=1,
        kinds=frozenset({"image", "video"}),
    ),
    Motion(
        name="x265",
        encoder="libx265",
        decoder="hevc",
        options={**_X265, "x265-params": _QUIET_X265},
        least_px=64,
    ),
    Motion(
        name="x265-intra",
        encoder="libx265",
        decoder="hevc",
        settings=(46, 42, 38, 34, 30, 26, 22, 18, 14),
        options={**_X265, "x265-params": _QUIET_X265},
        least_px=64,
        gop_size=1,
        kinds=frozenset({"image"}),
    ),
    *(
        Motion(
            name=name,
            encoder="libsvtav1",
            decoder="libdav1d",
            settings=(63, 55, 47, 39, 31, 23, 15),
            least_px=64,
            options={"preset": preset, "svtav1-params": "pred-struct=1:lp=1:tune=1"},
        )
        for name, preset in (("svtav1", "10"), ("svtav1-p12", "12"))
    ),
)
