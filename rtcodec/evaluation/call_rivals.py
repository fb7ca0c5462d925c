"""
FFmpeg's x264 and VP8 in a call, with the recovery that is usual for them.

Lost packets are asked for again; a frame that has not come whole after the wait breaks the chain,
and the receiver asks for a key frame until it gets one. Meanwhile the decoder is fed with what
there is, and what it makes of it, by its own concealment, is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
from av.video.frame import PictureType

from rtcodec.codec.damage import Shown
from rtcodec.evaluation.call import CallReceiver, CallSender, CodedFrame, SeenFrame
from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.frames import frame_to_planes, video_context
from rtcodec.evaluation.network import Network
from rtcodec.media.writer import planes_to_frame
from rtcodec.packet.depacketizer import ReceivedFrame
from rtcodec.types import Planes

_ONE_KEYFRAME = 9999
_ANY_BITRATE_BPS = 1_000_000  # libvpx wants one; qmin = qmax decides
_PLI = b"\x81\xce\0\2" + bytes(8)  # RFC 4585 6.3.1
_SEI, _SLICE, _IDR = 6, 1, 5  # ITU-T H.264 table 7-1
_SLICE_BYTES = 1150


@dataclass(frozen=True, kw_only=True)
class VideoCall:
    """One encoder of FFmpeg with its settings, and the decoder that goes with it."""

    name: str
    encoder: str
    decoder: str
    settings: Sequence[float]
    options: Mapping[str, str] = field(default_factory=dict)
    is_sliced: bool = False
    "Whether a frame is made of H.264 slices that each fit a packet."

    shows_broken: bool = True
    """Whether frames that stand on lost ones are shown as the decoder conceals them; else the last
    good picture stands until the next key frame."""

    fixed_patience_us: int | None = None
    "How long a gap is waited for; by the round trip if not given."

    @property
    def parity_every(self) -> int | None:
        """Send none: none of their receivers would know what it is."""
        return None

    def patience_us(self, network: Network) -> int:
        """Wait for one retransmission, and for another one where the way is short."""
        if self.fixed_patience_us is not None:
            return self.fixed_patience_us
        return max(150_000, network.rtt_us * 3 // 2 + 40_000)

    def open(self, clip: Clip, setting: float, network: Network) -> tuple[CallSender, CallReceiver]:
        """Start a call."""
        return _VideoSender(self, clip, setting, network), _VideoReceiver(self, clip, network)


class _VideoSender:
    def __init__(self, codec: VideoCall, clip: Clip, setting: float, network: Network) -> None:
        context = video_context(codec.encoder, "w")
        context.width, context.height = clip.width, clip.height
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / clip.frame_rate
        context.framerate = clip.frame_rate
        context.gop_size = _ONE_KEYFRAME
        context.max_b_frames = 0
        options = dict(codec.options)
        if codec.encoder == "libx264":
            options["crf"] = str(setting)
        else:
            context.qmin = context.qmax = int(setting)
            context.bit_rate = _ANY_BITRATE_BPS
        context.options = options
        self._context = context
        self._is_sliced = codec.is_sliced
        self._number = 0
        self._rtt_us = network.rtt_us
        self._wants_keyframe = True
        self._keyframe_us = -_ONE_KEYFRAME * network.rtt_us

    def encode(self, planes: Planes, *, now_us: int) -> CodedFrame:
        frame = planes_to_frame(planes)
        frame.pts = self._number
        self._number += 1
        if self._wants_keyframe:
            frame.pict_type = PictureType.I
            self._wants_keyframe = False
            self._keyframe_us = now_us
        [packet] = self._context.encode(frame)
        data = bytes(packet)
        parts = _slices(data) if self._is_sliced else [data]
        return CodedFrame(parts, bool(packet.is_keyframe))

    def hear(self, message: bytes, *, now_us: int) -> None:
        # one that is on its way answers this request as well
        if now_us - self._keyframe_us >= self._rtt_us:
            self._wants_keyframe = True


class _VideoReceiver:
    def __init__(self, codec: VideoCall, clip: Clip, network: Network) -> None:
        context = video_context(codec.decoder, "r")
        context.options = {"flags": "+low_delay+output_corrupt", "flags2": "+showall"}
        self._context = context
        self._size = (clip.width, clip.height)
        self._pause_us = network.rtt_us * 3 // 2 + 50_000
        self._shows_broken = codec.shows_broken
        self._is_whole = False
        self._ask_us: int | None = None
        self._has_started = False

    @property
    def deadline_us(self) -> int | None:
        return self._ask_us

    def decode(self, frame: ReceivedFrame, *, now_us: int) -> SeenFrame:
        is_break = not frame.is_complete or frame.n_frames_lost_before > 0
        if frame.is_complete and frame.is_keyframe:
            self._is_whole, self._ask_us = True, None
        elif is_break:
            self._is_whole = False
        if not self._is_whole and self._ask_us is None:
            self._ask_us = now_us
        self._has_started |= self._is_whole
        may_show = self._is_whole or (self._shows_broken and self._has_started)
        planes = self._show(b"".join(frame.packets)) if may_show else None
        missing = frame.n_payloads_missing / frame.n_payloads
        is_new = planes is not None
        shown = Shown(frame.number, missing, may_drift=not self._is_whole, is_new=is_new)
        return SeenFrame(planes, shown)

    def say(self, *, now_us: int) -> bytes | None:
        if self._ask_us is None or now_us < self._ask_us:
            return None
        self._ask_us = now_us + self._pause_us
        return _PLI

    def _show(self, data: bytes) -> Planes | None:
        if not data:
            return None
        try:
            frames = self._context.decode(av.Packet(data))
        except av.FFmpegError:
            return None
        seen = [frame_to_planes(frame) for frame in frames]
        fitting = [planes for planes in seen if (planes.width, planes.height) == self._size]
        return fitting[-1] if fitting else None


def _slices(data: bytes) -> list[bytes]:
    """Cut an H.264 access unit before each slice; parameter sets go with the first, SEI is left."""
    starts = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\0\0\1", at + 3)
    parts: list[bytes] = []
    head = b""
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        kind = data[start + 3] & 0x1F
        unit = b"\0" + data[start:end]
        if kind in (_SLICE, _IDR):
            parts.append(head + unit)
            head = b""
        elif kind != _SEI:
            head += unit
    return parts


X264 = VideoCall(
    name="x264-veryfast",
    encoder="libx264",
    decoder="h264",
    settings=tuple(np.arange(51.0, 14.0, -0.25).tolist()),
    options={
        "preset": "veryfast",
        "tune": "zerolatency",
        "forced-idr": "1",
        "x264-params": f"slice-max-size={_SLICE_BYTES}:log-level=error",
    },
    is_sliced=True,
)

VP8 = VideoCall(
    name="vp8",
    encoder="libvpx",
    decoder="vp8",
    settings=tuple(float(q) for q in range(63, 1, -1)),
    # a negative speed is a fixed one; others follow the clock, and no two runs are the same
    options={"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"},
)
