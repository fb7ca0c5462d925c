"""
Latents that another relay made, passed on as they are.

    LatentFrame --> the same packets --> LatentSender of each subscriber
         \\--> decoder thread --> pictures for those without our codec, while there are any

What subscribers say they hold, and that they need a key frame, goes back as if one had said it.
Belongs to the event loop. It takes the place of a `Stream` in a room.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from rtcodec.bitstream.packet import Packet, read_packet
from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import FrameReport, FrameReporter, write_report
from rtcodec.packet.feedback_merge import FeedbackMerger
from rtcodec.packet.payload import FrameTiming
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.timebase import unwrap
from rtcodec.webrtc import LatentFrame, LatentSender, OutgoingFrame, monotonic_us, unix_us
from rtcodec_server.latent_pictures import LatentPictures, PictureCalls
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.one_layer import OneLayer
from rtcodec_server.sink import FrameSink, PassingFrame
from rtcodec_server.viewer_pictures import ViewerPictures

_DECODER: Final = "."
"Holds what is decoded here for those without our codec; no session is called so."

_REPORT_EVERY_S: Final = 0.05
_PTS_START: Final = 1 << 32


class Source(Protocol):
    """Where the latents come from: a `LatentReceiver`."""

    def request_keyframe(self) -> None:
        """Ask for a key frame, unless that was done within the last half second."""

    def send_feedback(self, data: bytes) -> None:
        """Send application layer feedback."""


@dataclass(slots=True)
class _Delivery:
    arrived_us: int
    released_us: int


class LatentStream(OneLayer):
    """What another relay sends, for all subscribers of a room here."""

    def __init__(
        self,
        source: Source,
        *,
        stats: StreamStats,
        audience: LegacyAudience,
        pictures: Callable[[], LatentPictures],
        on_frame: Callable[[LatentFrame], None] = lambda frame: None,
    ) -> None:
        """
        Args:
            source: Is told what subscribers need.
            stats: Of the room; frames count as encoded, which they were elsewhere.
            audience: Those who want pictures.
            pictures: Makes what decodes for them.
            on_frame: Called with every frame that came.
        """
        self.qp = 0
        "Of the last frame."
        self.size: tuple[int, int] | None = None
        self.subscribers: dict[str, LatentSender] = {}
        self.sinks: dict[str, FrameSink] = {}
        "What else takes the frames that came whole."
        self.stats = stats
        self._source = source
        self._on_frame = on_frame
        self._pictures = ViewerPictures(
            audience,
            pictures,
            PictureCalls(
                on_ready=self.need_keyframe,
                on_keyframe_needed=self.need_keyframe,
                on_report=lambda report: self.report(_DECODER, report),
            ),
        )
        self._waiting: set[str] = set()  # for a key frame
        self._wants_keyframe = True
        self._merger = FeedbackMerger()
        self._reporter = FrameReporter()
        self._report_timer: asyncio.TimerHandle | None = None
        self._pts = _PTS_START
        self._is_closed = False

    @property
    def frames(self) -> FrameLedger:
        """What became of the frames."""
        return self.stats.frames

    def enter(self, stats: StreamStats, audience: LegacyAudience) -> None:
        """Serve another stay of the room."""
        self.stats = stats
        self._pictures.audience = audience

    # ---- subscribers

    def add_subscriber(self, name: str, sender: LatentSender, wish: LayerWish = ANY_LAYER) -> None:
        """Pass frames on to one more, from the next key frame on."""
        self.subscribers[name] = sender
        self.restart(name)

    def remove_subscriber(self, name: str) -> None:
        """Send nothing more to a subscriber; one that is not there is ignored."""
        self.subscribers.pop(name, None)
        self._waiting.discard(name)
        self._merger.leave(name)

    def add_sink(self, name: str, sink: FrameSink) -> None:
        """Give frames to something else as well; a key frame is asked for."""
        self.sinks[name] = sink
        self.need_keyframe()

    def remove_sink(self, name: str) -> None:
        """Give it nothing more; one that is not there is ignored."""
        self.sinks.pop(name, None)

    def restart(self, name: str) -> None:
        """Let a subscriber start afresh that can make nothing of what it gets."""
        if name in self.subscribers:
            self._waiting.add(name)
            self._merger.leave(name)
        if name in self.subscribers or name in self.sinks:
            self.need_keyframe()

    def report(self, name: str, report: FrameReport) -> None:
        """Take a subscriber's word for which frames it holds."""
        if name in self.subscribers or name == _DECODER:
            self._merger.report(name, report, now_us=monotonic_us())
            self._schedule_report(is_urgent=not report.holds(0))

    def need_keyframe(self) -> None:
        """Ask for a key frame, once for all who need it, and again until one comes."""
        self._wants_keyframe = True
        self._source.request_keyframe()

    def heed_subscribers(self) -> None:
        """Repeat what was not answered; a few times a second."""
        if self._wants_keyframe:
            self._source.request_keyframe()
        if self._pictures.end_unwanted():
            self._merger.leave(_DECODER)

    # ---- frames

    def drop(self, reason: str) -> None:
        """Count one frame that came and is not passed on."""
        self.stats.frames.received += 1
        self.stats.frames.drop(reason)

    def receive(self, frame: LatentFrame) -> None:
        """Pass a frame on, or what came of it."""
        self._on_frame(frame)
        if not frame.packets or self._is_closed:
            self.drop("closing" if self._is_closed else "incomplete")
            return
        self.stats.frames.received += 1
        number = self._note(frame)
        if frame.is_keyframe:
            self._wants_keyframe = False
            self._waiting.clear()
        timing = frame.timing or FrameTiming(pts=self._pts & 0xFFFFFFFF, received_us=unix_us())
        self._pts = unwrap(timing.pts, near=self._pts, bits=32)
        if frame.is_complete and number is not None:
            self._pour(frame, number)
        outgoing = OutgoingFrame(
            packets=frame.packets,
            pts=self._pts,
            timing=timing,
            is_keyframe=frame.is_keyframe,
            size=self.size or (0, 0),
            token=(self, _Delivery(frame.arrived_us, frame.released_us)),
        )
        for name, sender in self.subscribers.items():
            if name not in self._waiting:
                sender.send(outgoing)
        self._pictures.put(frame, self._pts, self.size)

    def sent(self, delivery: _Delivery, at_us: int) -> None:
        """Note that a subscriber's last packet of a frame left at *at_us*."""
        self.stats.frames.sent += 1
        self.stats.add_latency("send", at_us - delivery.released_us)
        self.stats.add_latency("total", at_us - delivery.arrived_us)

    def unsent(self, delivery: _Delivery) -> None:
        """Note that a subscriber was too slow for a frame, or left before it."""
        self.stats.frames.unsent += 1

    async def close(self) -> None:
        """Pass nothing on any more and stop decoding."""
        self._is_closed = True
        if self._report_timer is not None:
            self._report_timer.cancel()
        self.sinks.clear()
        await self._pictures.close()

    # ---- inside

    def _note(self, frame: LatentFrame) -> int | None:
        """Take a frame into the figures; return its number, if it says that and its size."""
        n_bytes = sum(map(len, frame.packets))
        self.stats.frames.encoded += 1
        self.stats.bitstream_bytes += n_bytes
        self.stats.add_latency("receive", frame.released_us - frame.arrived_us)
        try:
            packet = read_packet(frame.packets[0])
        except BitstreamError:  # whoever decodes says so too
            return None
        if not isinstance(packet, Packet):
            return None
        self.qp = packet.header.qp
        if packet.header.description is not None:
            geometry = packet.header.description.geometry
            self.size = (geometry.width, geometry.height)
        if self.size is not None:
            self.stats.bits_per_pixel.add(n_bytes * 8 / (self.size[0] * self.size[1]))
        self._report_ourselves(packet.header.frame_number, frame)
        return None if packet.header.description is None else packet.header.frame_number

    def _pour(self, frame: LatentFrame, number: int) -> None:
        """Give a whole frame to the sinks; what one of them refuses it mends by a key frame."""
        passing = PassingFrame(
            frame.packets, self._pts, frame.arrived_us, frame.is_keyframe, number
        )
        for sink in tuple(self.sinks.values()):
            sink.take(passing)

    def _report_ourselves(self, frame_number: int, frame: LatentFrame) -> None:
        """
        Say what we hold while nobody is there to hold anything, so that the sender need not guess.

        Never for others: a frame that came here need not have come to them, or been decoded, and
        the sender would go on to predict from it. Who comes later starts with a key frame.
        """
        now_us = monotonic_us()
        self._reporter.decided(frame_number, is_held=frame.is_complete, now_us=now_us)
        report = self._reporter.take_due(now_us=now_us)
        if report is not None and not self.subscribers and not self._pictures.is_decoding:
            self._source.send_feedback(write_report(report))

    def _schedule_report(self, *, is_urgent: bool) -> None:
        if self._report_timer is None and not self._is_closed:
            delay_s = 0.0 if is_urgent else _REPORT_EVERY_S
            loop = asyncio.get_running_loop()
            self._report_timer = loop.call_later(delay_s, self._send_report)

    def _send_report(self) -> None:
        self._report_timer = None
        report = self._merger.merged(now_us=monotonic_us())
        if report is not None:
            self._source.send_feedback(write_report(report))
