"""
Those who watch a room without our codec, and the encoders that they share.

    pictures of the stream --> one transcoder a codec --> everybody who watches in that codec
    the same, uncoded -------> one VP8 transcoder -----> everybody who compares it with the latents
                                  ^ their rate

An encoder is there while somebody watches what it makes and no longer. Those who compare have one
of their own, which spends what the latents do: what others get does not change for it. Belongs to
the event loop, but for `put` and `compare`.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rtcodec.packet.vp8_carrier import carried_bytes
from rtcodec.session.ladder import MAX_RUNGS
from rtcodec.session.rate_match import ByteRate, RateMatch
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


@dataclass(frozen=True, slots=True)
class Encoding:
    """What one encoder makes."""

    codec: str
    matched_rung: int | None = None
    "Costs as much as the latents of this rung; None for the operator's rate."

    @property
    def name(self) -> str:
        """What figures call it."""
        return self.codec if self.matched_rung is None else f"{self.codec}-match"


COMPARED: Final = Encoding("VP8", matched_rung=0)
"What is put beside the latents of a room."


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


@dataclass(frozen=True, slots=True)
class _Member:
    sender: VideoSender
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class _Running:
    """An encoder, and what it goes by."""

    encoder: Transcoder
    timeline: Timeline = field(default_factory=Timeline)
    match: RateMatch = field(default_factory=RateMatch)

    def put(self, planes: Planes, pts: int, size: tuple[int, int] | None = None) -> None:
        self.encoder.put(planes, self.timeline.place(pts, monotonic_us()), size=size)


class LegacyAudience:
    """The ordinary viewers of one room."""

    def __init__(self, config: LegacyConfig) -> None:
        """
        Args:
            config: Codecs, rates and the least time between key frames.
        """
        self.gone: dict[Encoding, TranscodeCounters] = {}
        "Figures of encoders that are no more."
        self.decode_us = 0
        "What decoding pictures for them has taken."
        self._config = config
        self._members: dict[str, _Member] = {}
        self._encoders: dict[Encoding, _Running] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._raised_us = 0
        self._latent_bytes = [0] * MAX_RUNGS
        self._latent_rates = tuple(ByteRate() for _ in range(MAX_RUNGS))

    @property
    def is_wanted(self) -> bool:
        """Whether pictures are of use to anybody."""
        return bool(self._encoders)

    @property
    def is_watched(self) -> bool:
        """Whether there is somebody for whom pictures are coded at the operator's rate."""
        return any(encoding.matched_rung is None for encoding in self._encoders)

    def is_compared(self, rung: int) -> bool:
        """Return whether somebody compares a rung with VP8."""
        return any(encoding.matched_rung == rung for encoding in self._encoders)

    def join(self, name: str, sender: VideoSender, matched_rung: int | None = None) -> None:
        """
        Send to one more, from the next key frame on, which is asked for.

        Args:
            name: Of the session.
            sender: Sends to it, in the codec that it says.
            matched_rung: Rung whose latents it compares that with; None for an ordinary viewer.
        """
        encoding = Encoding(sender.codec, matched_rung)
        self._members[name] = _Member(sender, encoding)
        if encoding not in self._encoders:
            self._encoders = {**self._encoders, encoding: _Running(self._new_encoder(encoding))}
        self.need_keyframe(encoding)

    def encodes(self, encoding: Encoding) -> bool:
        """Return whether somebody watches that already."""
        return encoding in self._encoders

    def note_coded(self, rung: int, packets: Sequence[bytes]) -> None:
        """Count what the latents of a frame take on the way to a tab."""
        self._latent_bytes[rung] += carried_bytes(packets)

    def note_decoding(self, took_us: int) -> None:
        """Count the time that a picture took to decode; on the decoder's thread."""
        self.decode_us += took_us

    def leave(self, name: str) -> None:
        """Send nothing more to a viewer; one that is not there is ignored."""
        gone = self._members.pop(name, None)
        if gone is None or any(m.encoding == gone.encoding for m in self._members.values()):
            return
        encoders = dict(self._encoders)
        running = encoders.pop(gone.encoding)
        self._encoders = encoders
        closing = asyncio.ensure_future(self._close(gone.encoding, running.encoder))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def need_keyframe(self, encoding: Encoding) -> None:
        """Make a key frame soon."""
        running = self._encoders.get(encoding)
        if running is not None:
            running.encoder.request_keyframe()

    def put(self, planes: Planes, pts: int) -> None:
        """
        Encode a picture for who watches at the operator's rate; on any thread, returns at once.

        Args:
            planes: Not changed by anyone any more.
            pts: The stream's, 90 kHz ticks.
        """
        for encoding, running in self._encoders.items():  # replaced as a whole, never changed
            if encoding.matched_rung is None:
                running.put(planes, pts)

    def compare(
        self, rung: int, planes: Planes, pts: int, *, size: tuple[int, int] | None = None
    ) -> None:
        """
        Encode a picture for who compares a rung; on any thread, returns at once.

        Args:
            rung: Of the latents.
            planes: What they were made of, where that is here. Not changed by anyone any more.
            pts: The stream's, 90 kHz ticks.
            size: Width and height of the rung; those of *planes* if not given.
        """
        for encoding, running in self._encoders.items():
            if encoding.matched_rung == rung:
                running.put(planes, pts, size)

    def heed(self, now_us: int) -> None:
        """
        Let the rates follow; a few times a second.

        What is compared follows the latents, the other what viewers say they can receive.
        """
        for rate, n_bytes in zip(self._latent_rates, self._latent_bytes, strict=True):
            rate.sample(n_bytes, now_us=now_us)
        for encoding, running in self._encoders.items():
            if encoding.matched_rung is not None:
                self._match(encoding.matched_rung, running)
        if self._config.follow_remb:
            self._heed_viewers(now_us)

    def _match(self, rung: int, running: _Running) -> None:
        rate = self._latent_rates[rung].bps
        if rate is not None:
            aimed_bps = running.match.aim(
                rate,
                latent_bytes=self._latent_bytes[rung],
                video_bytes=running.encoder.counters.payload_bytes,
            )
            running.encoder.follow_bitrate(aimed_bps)

    def _heed_viewers(self, now_us: int) -> None:
        may_raise = now_us - self._raised_us >= _RAISE_EVERY_US
        for encoding, running in self._encoders.items():
            if encoding.matched_rung is not None:
                continue
            encoder = running.encoder
            known = [
                member.sender.counters.remb_bps
                for member in self._members.values()
                if member.encoding == encoding and member.sender.counters.remb_bps
            ]
            limit_bps = int(
                min([self._config.bitrate_kbps * 1000, *(_REMB_PART * k for k in known)])
            )
            if limit_bps < encoder.target_bps or may_raise:
                encoder.limit_bitrate(limit_bps)
        if may_raise:
            self._raised_us = now_us

    def figures(self) -> Iterator[tuple[Encoding, int, TranscodeCounters]]:
        """
        Yield encoding, viewers and figures since the room's start, of each ever used.

        Safe on another thread than the event loop's.
        """
        members, encoders = list(self._members.values()), self._encoders
        for encoding in sorted({*self.gone, *encoders}, key=lambda one: (one.name, str(one))):
            total = TranscodeCounters()
            if encoding in self.gone:
                total.add(self.gone[encoding])
            if encoding in encoders:
                total.add(encoders[encoding].encoder.counters)
            yield encoding, sum(member.encoding == encoding for member in members), total

    def report(self) -> list[dict[str, Any]]:
        """Return what `/api/rooms` says of the room's encoders."""
        return [
            {
                "codec": encoding.codec,
                "matched_rung": encoding.matched_rung,
                "subscribers": n_viewers,
                "target_kbps": (
                    round(self._encoders[encoding].encoder.target_bps / 1000, 1)
                    if encoding in self._encoders
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
            for encoding, n_viewers, counters in self.figures()
        ]

    async def settle(self) -> None:
        """Wait for the end of encoders that nobody needs any more."""
        await asyncio.gather(*self._closing)

    # ---- inside

    def _new_encoder(self, encoding: Encoding) -> Transcoder:
        rung, bitrate_bps = encoding.matched_rung, self._config.bitrate_kbps * 1000
        if rung is not None:
            bitrate_bps = round(self._latent_rates[rung].bps or bitrate_bps)
        return Transcoder(
            encoding.codec,
            bitrate_bps=bitrate_bps,
            keyframe_interval_us=self._config.keyframe_interval_ms * 1000,
            on_frame=lambda frame: self._send(encoding, frame),
        )

    def _send(self, encoding: Encoding, frame: VideoFrame) -> None:
        for member in self._members.values():
            if member.encoding == encoding:
                member.sender.send(frame)

    async def _close(self, encoding: Encoding, encoder: Transcoder) -> None:
        await encoder.close()
        self.gone.setdefault(encoding, TranscodeCounters()).add(encoder.counters)
