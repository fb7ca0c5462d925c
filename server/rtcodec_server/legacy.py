"""
Those who watch a room without our codec, and the encoders that they share.

    pictures of the stream --> one transcoder a codec --> everybody who watches in that codec

An encoder is there while somebody watches in its codec and no longer. Belongs to the event loop,
but for `put`.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.transcoder import TranscodeCounters, Transcoder
from rtcodec.webrtc.video_sender import VideoFrame, VideoSender
from rtcodec_server.edge_config import LegacyConfig

_REMB_PART: Final = 0.85  # of the narrowest way; the rest is for headers and for asking again
_RAISE_EVERY_US: Final = 5_000_000
"A higher rate costs VP8 a key frame: not more often than this."

_MAX_JUMP_TICKS: Final = 10 * 90_000
"A longer pause, or a step back, is another stream's time."


class LegacyAudience:
    """The ordinary viewers of one room."""

    def __init__(self, config: LegacyConfig) -> None:
        """
        Args:
            config: Codecs, rates and the least time between key frames.
        """
        self.gone: dict[str, TranscodeCounters] = {}
        "Codec -> figures of encoders that are no more."
        self.decode_us = 0
        "What decoding pictures for them has taken."
        self._config = config
        self._members: dict[str, VideoSender] = {}
        self._encoders: dict[str, Transcoder] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timeline = Timeline()
        self._raised_us = 0

    @property
    def is_wanted(self) -> bool:
        """Whether pictures are of use."""
        return bool(self._encoders)

    def join(self, name: str, sender: VideoSender) -> None:
        """Send to one more, from the next key frame on, which is asked for."""
        self._members[name] = sender
        if sender.codec not in self._encoders:
            self._encoders = {**self._encoders, sender.codec: self._new_encoder(sender.codec)}
        self.need_keyframe(sender.codec)

    def encodes(self, codec: str) -> bool:
        """Return whether somebody watches in a codec."""
        return codec in self._encoders

    def note_decoding(self, took_us: int) -> None:
        """Count the time that a picture took to decode; on the decoder's thread."""
        self.decode_us += took_us

    def leave(self, name: str) -> None:
        """Send nothing more to a viewer; one that is not there is ignored."""
        sender = self._members.pop(name, None)
        if sender is None or any(m.codec == sender.codec for m in self._members.values()):
            return
        encoders = dict(self._encoders)
        encoder = encoders.pop(sender.codec)
        self._encoders = encoders
        closing = asyncio.ensure_future(self._close(encoder))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def need_keyframe(self, codec: str) -> None:
        """Make a key frame in a codec soon."""
        encoder = self._encoders.get(codec)
        if encoder is not None:
            encoder.request_keyframe()

    def put(self, planes: Planes, pts: int) -> None:
        """
        Encode a picture for whoever watches; on any thread, returns at once.

        Args:
            planes: Not changed by anyone any more.
            pts: The stream's, 90 kHz ticks.
        """
        encoders = self._encoders  # replaced as a whole, never changed
        if encoders:
            shown = self._timeline.place(pts, monotonic_us())
            for encoder in encoders.values():
                encoder.put(planes, shown)

    def heed(self, now_us: int) -> None:
        """Let the rates follow what viewers say they can receive; a few times a second."""
        if not self._config.follow_remb:
            return
        may_raise = now_us - self._raised_us >= _RAISE_EVERY_US
        for codec, encoder in self._encoders.items():
            known = [
                sender.counters.remb_bps
                for sender in self._members.values()
                if sender.codec == codec and sender.counters.remb_bps
            ]
            limit_bps = int(
                min([self._config.bitrate_kbps * 1000, *(_REMB_PART * k for k in known)])
            )
            if limit_bps < encoder.target_bps or may_raise:
                encoder.limit_bitrate(limit_bps)
        if may_raise:
            self._raised_us = now_us

    def figures(self) -> Iterator[tuple[str, int, TranscodeCounters]]:
        """
        Yield codec, viewers and figures since the room's start, of each codec ever used.

        Safe on another thread than the event loop's.
        """
        members, encoders = list(self._members.values()), self._encoders
        for codec in sorted({*self.gone, *encoders}):
            total = TranscodeCounters()
            if codec in self.gone:
                total.add(self.gone[codec])
            if codec in encoders:
                total.add(encoders[codec].counters)
            yield codec, sum(member.codec == codec for member in members), total

    def report(self) -> list[dict[str, Any]]:
        """Return what `/api/rooms` says of the room's encoders."""
        return [
            {
                "codec": codec,
                "subscribers": n_viewers,
                "target_kbps": (
                    round(self._encoders[codec].target_bps / 1000, 1)
                    if codec in self._encoders
                    else None
                ),
                "frames_encoded": counters.encoded,
                "frames_superseded": counters.superseded,
                "frames_failed": counters.failed,
                "keyframes": counters.keyframes,
                "payload_bytes": counters.payload_bytes,
                "encode_ms": (
                    round(counters.encode_us / counters.encoded / 1000, 3)
                    if counters.encoded
                    else None
                ),
            }
            for codec, n_viewers, counters in self.figures()
        ]

    async def settle(self) -> None:
        """Wait for the end of encoders that nobody needs any more."""
        await asyncio.gather(*self._closing)

    # ---- inside

    def _new_encoder(self, codec: str) -> Transcoder:
        return Transcoder(
            codec,
            bitrate_bps=self._config.bitrate_kbps * 1000,
            keyframe_interval_us=self._config.keyframe_interval_ms * 1000,
            on_frame=lambda frame: self._send(codec, frame),
        )

    def _send(self, codec: str, frame: VideoFrame) -> None:
        for sender in self._members.values():
            if sender.codec == codec:
                sender.send(frame)

    async def _close(self, encoder: Transcoder) -> None:
        await encoder.close()
        self.gone.setdefault(encoder.codec, TranscodeCounters()).add(encoder.counters)


class Timeline:
    """Time stamps that only grow, over streams that each start at nought; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[int, int, int] | None = None  # pts, place, when

    def place(self, pts: int, now_us: int) -> int:
        """Return where a picture goes: as far after the last as it was taken, or came, after it."""
        with self._lock:
            if self._last is None:
                self._last = (pts, 0, now_us)
                return 0
            last_pts, last_place, last_us = self._last
            step = pts - last_pts
            if not 0 < step <= _MAX_JUMP_TICKS:
                step = max(1, (now_us - last_us) * 9 // 100)
            self._last = (pts, last_place + step, now_us)
            return last_place + step
