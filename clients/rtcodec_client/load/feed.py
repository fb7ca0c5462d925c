"""
The synthetic camera of one peer process: drawn and encoded once, sent by many publishers.

    clock grid --> scene + barcode --> VP8/H.264 (thread) --> each publisher, a little later each

Frame n is due at n frame times of the monotonic clock, which all processes of a
machine share, and carries n in its pixels. So whoever decodes it knows when it
should have been taken, without a message: a feed that is late makes the latency
longer, never shorter. Publishers are spread over the frame time, as strangers'
cameras are; how much later each sends is known and taken off again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from rtcodec.media.video_encoder import VideoEncoder, VideoPacket
from rtcodec.timebase import RTP_TIME_BASE, US_PER_S, us_to_ticks
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.newest import NewestQueue, QueueClosed
from rtcodec_client.barcode import COUNTER_MAX, draw_barcode
from rtcodec_client.load.recorder import Recorder
from rtcodec_client.scene import Scene

_SCENE_FRAMES: Final = 9000
"The scene starts over after so many frames, so that its clock fits into the picture."

_KEYFRAME_INTERVAL_US: Final = 300_000
"Publishers that ask for a key frame one after the other share one."

_TRACK_FRAMES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """What the camera shows."""

    width: int
    height: int
    fps: float
    codec: str
    "`vp8` or `h264`."

    bitrate_bps: int

    @property
    def frame_us(self) -> int:
        """One frame time; frame n is due at n times this."""
        return round(US_PER_S / self.fps)


class Pictures:
    """The pictures of a feed by number, for those who send and those who compare."""

    def __init__(self, settings: FeedSettings) -> None:
        self._scene = Scene(settings.width, settings.height, settings.fps)

    def planes(self, number: int) -> Planes:
        """Draw frame *number* with its barcode; safe on any thread."""
        return draw_barcode(self._scene.planes(number % _SCENE_FRAMES), number)


def frame_of_barcode(code: int, *, near: int) -> int:
    """Return the frame number closest to *near* whose barcode is *code*."""
    period = COUNTER_MAX + 1
    return near + (code - near + period // 2) % period - period // 2


class FeedTrack(MediaStreamTrack):
    """One publisher's share of a feed; newest wins."""

    kind = "video"

    def __init__(
        self, delay_us: int, recorder: Recorder, *, on_first: Callable[[int], None]
    ) -> None:
        """
        Args:
            delay_us: How much later than the feed this publisher sends.
            recorder: Hears how punctual it was.
            on_first: Called when the first frame is handed to the network.
        """
        super().__init__()
        self.delay_us = delay_us
        self.frames = 0
        "Handed to the network."

        self.skipped = 0
        "Left out because the process was late."

        self.size_bytes = 0
        self._on_first = on_first
        self._recorder = recorder
        self._has_keyframe = False
        self._queue: NewestQueue[tuple[VideoPacket, int]] = NewestQueue(
            _TRACK_FRAMES, on_drop=lambda _item: self._skip()
        )

    def put(self, packet: VideoPacket, *, is_keyframe: bool, send_us: int) -> None:
        """Queue a frame that should be sent at *send_us*; deltas before a key frame go nowhere."""
        self._has_keyframe = self._has_keyframe or is_keyframe
        if self._has_keyframe:
            self._queue.put((packet, send_us))

    async def recv(self) -> VideoPacket:
        """Wait for the next frame."""
        try:
            packet, send_us = await self._queue.get()
        except QueueClosed:
            raise MediaStreamError from None
        now_us = monotonic_us()
        self._recorder.time("send_lateness", max(0, now_us - send_us) / 1000)
        self._recorder.count("published")
        if not self.frames:
            self._on_first(now_us)
        self.frames += 1
        self.size_bytes += packet.size
        return packet

    def stop(self) -> None:
        """End the track."""
        self._queue.close()
        super().stop()

    def _skip(self) -> None:
        self.skipped += 1
        self._recorder.count("skipped")


class Feed:
    """Draws and encodes while somebody publishes it."""

    def __init__(self, settings: FeedSettings, pictures: Pictures, recorder: Recorder) -> None:
        self._settings = settings
        self._pictures = pictures
        self._recorder = recorder
        self._tracks: set[FeedTrack] = set()
        self._encoder = VideoEncoder(
            settings.codec,
            width=settings.width,
            height=settings.height,
            frame_rate=Fraction(settings.fps).limit_denominator(1001),
            bitrate_bps=settings.bitrate_bps,
        )
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._running: asyncio.Task[None] | None = None
        self._keyframe_allowed_us = 0
        self._wants_keyframe = True
        self._first: int | None = None

    def add(self, track: FeedTrack) -> None:
        """Send to one more publisher, from a key frame on."""
        self._tracks.add(track)
        self._wants_keyframe = True
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())

    def remove(self, track: FeedTrack) -> None:
        """Send to a publisher no more."""
        self._tracks.discard(track)

    def request_keyframe(self) -> None:
        """Make the next frame a key frame, unless there was one just now."""
        now_us = monotonic_us()
        if now_us >= self._keyframe_allowed_us:
            self._keyframe_allowed_us = now_us + _KEYFRAME_INTERVAL_US
            self._wants_keyframe = True

    async def close(self) -> None:
        """Stop."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._pool.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        frame_us = self._settings.frame_us
        number = monotonic_us() // frame_us + 1
        while True:
            planes = await loop.run_in_executor(self._pool, self._pictures.planes, number)
            ahead_us = number * frame_us - monotonic_us()
            if ahead_us > 0:
                await asyncio.sleep(ahead_us / 1e6)
            late_us = max(0, monotonic_us() - number * frame_us)
            self._recorder.time("feed_lateness", late_us / 1000)
            if self._tracks:
                await self._send(planes, number)
            # A frame may be late, and counts as that, but not by a whole frame time.
            behind = max(0, monotonic_us() // frame_us - number - 1)
            if behind:
                self._recorder.count("skipped", behind * len(self._tracks))
            number += 1 + behind

    async def _send(self, planes: Planes, number: int) -> None:
        loop = asyncio.get_running_loop()
        is_keyframe, self._wants_keyframe = self._wants_keyframe, False
        if is_keyframe:
            self._encoder.request_keyframe()
        self._first = number if self._first is None else self._first
        frame_us = self._settings.frame_us
        pts = us_to_ticks((number - self._first) * frame_us, RTP_TIME_BASE)
        packet = await loop.run_in_executor(self._pool, self._encoder.encode, planes, pts)
        if packet is None:
            self._wants_keyframe = self._wants_keyframe or is_keyframe
            return
        ready_us = monotonic_us()
        self._recorder.time("feed_encode", (ready_us - number * frame_us) / 1000)
        for track in self._tracks:
            _put_later(track, packet, is_keyframe, ready_us + track.delay_us)


def _put_later(track: FeedTrack, packet: VideoPacket, is_keyframe: bool, send_us: int) -> None:
    delay_s = max(0, send_us - monotonic_us()) / 1e6

    def put() -> None:
        track.put(packet, is_keyframe=is_keyframe, send_us=send_us)

    asyncio.get_running_loop().call_later(delay_s, put)
