"""
Receive VP8 or H.264 from an aiortc receiver and decode it on its own thread.

Frames are decoded in order the moment they are whole; decoded frames wait in
a short queue where the newest win. Every frame that arrived ends in exactly
one of: read by `recv`, or dropped with a reason.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import av
from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.media.picture import frame_of, planes_of
from rtcodec.media.quantiser import EXPORT_QUANTISER, h264_step
from rtcodec.packet.jitter_buffer import Arrival, FrameReleased, JitterConfig
from rtcodec.packet.rtp_packet import RtpPacket
from rtcodec.packet.video_size import Size, fits, read_frame_size
from rtcodec.packet.vp8_header import read_vp8_step
from rtcodec.timebase import unwrap
from rtcodec.webrtc.aiortc_patch import new_decoder
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.intake import Intake
from rtcodec.webrtc.newest import NewestQueue

_log = logging.getLogger(__name__)

MAX_BACKLOG_FRAMES: Final = 60
"Frames waiting for the decoder; beyond that it starts over at a key frame."

FREEZE_LIMIT_US: Final = 1_000_000
"A sender that ignores PLI is decoded again after this, whatever it looks like."

SETTLE_S: Final = 0.1
"How long at the end what has arrived may take to be decoded."

VIDEO_CODECS: Final = ("VP8", "H264")


class DecodedFrame(NamedTuple):
    """A picture and when it went by."""

    picture: av.VideoFrame
    "Planar 4:2:0 of 8 bits, whatever the stream was."

    pts: int
    "90 kHz ticks from the first frame of the stream, not wrapped."

    rtp_timestamp: int
    "As the publisher sent it, 32 bits."

    is_keyframe: bool
    arrived_us: int
    "When the first packet arrived, monotonic microseconds."

    assembled_us: int
    "When the last packet arrived."

    decoded_us: int
    "When the picture was there."


class _Encoded(NamedTuple):
    codec: RTCRtpCodecParameters
    data: bytes
    pts: int
    rtp_timestamp: int
    is_keyframe: bool
    arrived_us: int
    assembled_us: int


class _DecoderThread:
    """The queue and the loop of one decoder thread; all but `run` is for the event loop's."""

    def __init__(
        self,
        *,
        on_frame: Callable[[DecodedFrame], None],
        on_drop: Callable[[str], None],
        on_end: Callable[[], None],
        restorer: CallRestorer | None,
    ) -> None:
        self._restorer = restorer
        self._on_frame = on_frame
        self._on_drop = on_drop
        self._on_end = on_end
        self._tasks: SimpleQueue[_Encoded | None] = SimpleQueue()
        self._pending: deque[_Encoded] = deque()
        self._has_ended = False
        self._n_open = 0
        self.is_idle = asyncio.Event()
        "Nothing waits or is being decoded."

        self.is_idle.set()
        self._decoder: Any = None
        self._codec_name: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def put(self, task: _Encoded | None) -> None:
        """Queue a frame, or the end: what still waits, or comes later, is then dropped."""
        if self._has_ended:
            if task is not None:
                self._on_drop("closing")
            return
        if task is None:
            self._has_ended = True
            for _ in range(self.clear()):
                self._on_drop("closing")
        else:
            self._count_open(1)
        self._tasks.put(task)

    def clear(self) -> int:
        """Drop what waits; return how many frames that was."""
        n_dropped = 0
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
                n_dropped += 1
        self._count_open(-n_dropped)
        return n_dropped

    def __len__(self) -> int:
        return self._tasks.qsize()

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Decode until the end."""
        self._loop = loop
        while (task := self._tasks.get()) is not None:
            self._decode(task)
            self._call(self._count_open, -1)
        for _ in self._pending:
            self._call(self._on_drop, "no_picture")
        self._call(self._on_end)

    def _decode(self, task: _Encoded) -> None:
        try:
            decoder = self._decoder_of(task.codec)
            pictures = [
                _to_yuv420p(picture) for picture in decoder.decode(JitterFrame(task.data, task.pts))
            ]
        except Exception as error:  # aiortc's thread would die and the track hang
            _log.debug("decode failed: %s", error)
            self._call(self._on_drop, "decode_error")
            return
        self._pending.append(task)
        for picture in pictures:
            if not self._pending:
                break  # more pictures than frames: not one of ours
            source = self._pending.popleft()
            picture = self._restored(source, picture)
            frame = DecodedFrame(
                picture=picture,
                pts=source.pts,
                rtp_timestamp=source.rtp_timestamp,
                is_keyframe=source.is_keyframe,
                arrived_us=source.arrived_us,
                assembled_us=source.assembled_us,
                decoded_us=monotonic_us(),
            )
            self._call(self._on_frame, frame)

    def _restored(self, source: _Encoded, picture: av.VideoFrame) -> av.VideoFrame:
        """Return a picture without its artefacts, or as it is while others wait."""
        if self._restorer is None or not self._tasks.empty():
            return picture
        is_vp8 = source.codec.name == "VP8"
        step = read_vp8_step(source.data) if is_vp8 else h264_step(picture)
        if step is None:
            return picture
        codec = "vp8" if is_vp8 else "h264"
        return frame_of(self._restorer.restore(planes_of(picture), codec, step))

    def _decoder_of(self, codec: RTCRtpCodecParameters) -> Any:
        if codec.name != self._codec_name:
            self._codec_name = None
            self._decoder = new_decoder(codec)
            if self._restorer is not None and codec.name == "H264":
                self._decoder.codec.options = EXPORT_QUANTISER
            self._codec_name = codec.name
        return self._decoder

    def _count_open(self, change: int) -> None:
        self._n_open += change
        if self._n_open:
            self.is_idle.clear()
        else:
            self.is_idle.set()

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(action, *arguments)
        except RuntimeError:  # the loop is closed, nobody is left to hear it
            _log.debug("decoder outlived its loop")


def _ignore(*_: object) -> None:
    pass


class VideoReceiver(Intake[bytes]):
    """
    The receiving end of an ordinary video stream.

    `frames_received` counts frames of which at least one packet arrived; each
    is later returned by `recv` or reported to `on_drop` with a reason:
    incomplete, no_keyframe, too_large, backlog, decode_error, no_picture,
    superseded or closing.
    """

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        *,
        max_frames: int = 2,
        config: JitterConfig | None = None,
        on_received: Callable[[], None] = lambda: None,
        on_drop: Callable[[str], None] = lambda reason: None,
        max_size: Size | None = None,
        on_too_large: Callable[[], None] = lambda: None,
        restorer: CallRestorer | None = None,
    ) -> None:
        """
        Take over *receiver*; call it in the connection's `track` event.

        Args:
            receiver: Of a transceiver that receives VP8 or H.264.
            max_frames: Decoded frames that may wait to be read.
            config: Patience of the jitter buffer.
            on_received: Called for every frame that arrives, on the loop.
            on_drop: Called for every frame that does not come out, on the loop.
            max_size: Largest picture, width and height, lying or standing; a larger one is
                dropped, if possible before it is decoded.
            on_too_large: Called for every such picture, on the loop.
            restorer: Takes the artefacts out of pictures, on the decoder's thread, when no other
                frame waits for that.
        """
        self._max_size = max_size
        self._on_too_large = on_too_large
        self.frames_received = 0
        self._on_received = on_received
        self._on_drop = on_drop
        self._decoder = _DecoderThread(
            on_frame=self._put,
            on_drop=self._drop_encoded,
            on_end=self._finish,
            restorer=restorer,
        )
        super().__init__(
            receiver, config=config or JitterConfig(patience_us=150_000), decoder=self._decoder
        )
        self._queue: NewestQueue[DecodedFrame] = NewestQueue(max_frames, on_drop=self._drop_decoded)
        self._first_timestamp: int | None = None
        self._last_timestamp = 0  # not wrapped
        self._needs_keyframe_since_us: int | None = None
        self._payload_type = 0

    async def recv(self) -> DecodedFrame:
        """
        Wait for the next picture.

        Raises:
            QueueClosed: When the stream has ended.
        """
        return await self._queue.get()

    async def settle(self) -> None:
        """Wait until what has arrived is decoded, SETTLE_S at most; who reads at once has it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._decoder.is_idle.wait()

    def close(self) -> None:
        """End the stream; pictures that nobody read yet are dropped."""
        self.finish()
        super().close()
        self._queue.close()
        self._queue.drain()

    def release(self) -> None:
        """Let go of what calls back here, after the last call: only figures are left."""
        self._port.on_sender_report = _ignore
        del self._decoder, self._queue

    def _finish(self) -> None:
        self.finish()
        super().close()
        self._queue.close()

    def _put(self, frame: DecodedFrame) -> None:
        if self._is_too_large((frame.picture.width, frame.picture.height)):
            self._drop_too_large()
        else:
            self._queue.put(frame)

    def _is_too_large(self, size: Size | None, *, slack_px: int = 0) -> bool:
        if size is None or self._max_size is None:
            return False
        width, height = self._max_size
        return not fits(size, (width + slack_px, height + slack_px))

    def _drop_too_large(self) -> None:
        self._on_drop("too_large")
        self._on_too_large()

    def _drop_encoded(self, reason: str) -> None:
        if reason == "decode_error":
            self._need_keyframe(monotonic_us())
        self._on_drop(reason)

    def _drop_decoded(self, frame: DecodedFrame) -> None:
        self._on_drop("closing" if self._queue.is_closed else "superseded")

    def _read(self, packet: RtpPacket, codec: str, data: bytes) -> Arrival[bytes] | None:
        self._payload_type = packet.payload_type
        starts_frame = None
        if packet.payload and codec == "VP8":
            starts_frame = packet.payload[0] & 0x17 == 0x10  # RFC 7741 4.2: S, partition 0
        return Arrival(
            seq=packet.sequence_number,
            timestamp=packet.timestamp,
            marker=packet.marker,
            item=data or None,
            starts_frame=starts_frame,
        )

    def _release(self, frame: FrameReleased[bytes]) -> None:
        self.frames_received += 1
        self._on_received()
        if not frame.is_complete:
            self._need_keyframe(frame.last_us)
            self._on_drop("incomplete")
            return
        data = b"".join(frame.items)
        codec = self._port.codec(self._payload_type)
        is_keyframe = _is_keyframe(codec.name, data)
        if is_keyframe:
            # H.264 codes multiples of 16, of 32 interlaced: exactly it is known when decoded
            if self._is_too_large(read_frame_size(codec.name, data), slack_px=31):
                self._drop_too_large()
                return
            self._needs_keyframe_since_us = None
        elif (since_us := self._needs_keyframe_since_us) is not None:
            if frame.last_us < since_us + FREEZE_LIMIT_US:
                self.request_keyframe()
                self._on_drop("no_keyframe")
                return
            self._needs_keyframe_since_us = None
        if len(self._decoder) >= MAX_BACKLOG_FRAMES:
            for _ in range(self._decoder.clear()):
                self._on_drop("backlog")
            self._need_keyframe(frame.last_us)
            self._on_drop("backlog")
            return
        self._decoder.put(
            _Encoded(
                codec=codec,
                data=data,
                pts=self._pts(frame.timestamp),
                rtp_timestamp=frame.timestamp,
                is_keyframe=is_keyframe,
                arrived_us=frame.first_us,
                assembled_us=frame.last_us,
            )
        )

    def _lose(self, n_packets: int) -> None:
        self._need_keyframe(monotonic_us())

    def _need_keyframe(self, now_us: int) -> None:
        if self._needs_keyframe_since_us is None:
            self._needs_keyframe_since_us = now_us
        self.request_keyframe()

    def _pts(self, timestamp: int) -> int:
        if self._first_timestamp is None:
            self._first_timestamp = self._last_timestamp = timestamp
        self._last_timestamp = unwrap(timestamp, near=self._last_timestamp, bits=32)
        return self._last_timestamp - self._first_timestamp


def _to_yuv420p(picture: av.VideoFrame) -> av.VideoFrame:
    if picture.format.name in ("yuv420p", "yuvj420p"):
        return picture
    return picture.reformat(format="yuv420p")


def _is_keyframe(codec_name: str, data: bytes) -> bool:
    if codec_name == "VP8":
        return data[0] & 1 == 0  # RFC 6386 9.1
    start = data.find(b"\x00\x00\x01")
    while start >= 0 and start + 3 < len(data):
        if data[start + 3] & 0x1F in (5, 7):  # H.264 7.4.1: IDR slice, parameter set
            return True
        start = data.find(b"\x00\x00\x01", start + 3)
    return False
