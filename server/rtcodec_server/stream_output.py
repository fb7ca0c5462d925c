"""
Where a stream's coded frames go: to subscribers, each at its rung where there are any, and sinks.

Belongs to the event loop; nothing here waits. What left, and when, is counted as senders say it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from rtcodec.packet.payload import FrameTiming
from rtcodec.session.seat import FrameCodings
from rtcodec.stats import StreamStats
from rtcodec.types import Planes
from rtcodec.webrtc import DecodedFrame, LatentSender, OutgoingFrame, to_unix_us
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec_server.audience import Audience, RungFrame
from rtcodec_server.frame_request import CodedFrame
from rtcodec_server.rung import StreamRung
from rtcodec_server.sink import FrameSink, PassingFrame

CaptureTime = Callable[[DecodedFrame], int | None]
"When the publisher took a frame, Unix microseconds, if it said so."


@dataclass(slots=True)
class Work:
    """A frame that is being coded."""

    frame: DecodedFrame
    codings: FrameCodings[RungFrame]
    is_tapped: bool = False


@dataclass(slots=True)
class _Delivery:
    """A coded frame on its way to the subscribers it was given to."""

    n_left: int
    arrived_us: int
    coded_us: int
    frame_number: int
    rung_stats: tuple[StreamStats, ...]


class StreamOutput:
    """Sends what one stream was coded to."""

    def __init__(
        self,
        stats: tuple[StreamStats, ...],
        *,
        audience: Audience | None,
        tap: FrameTapWriter | None,
        capture_time: CaptureTime,
    ) -> None:
        """
        Args:
            stats: Filled alike: those of the room and those of the relay.
            audience: Says who gets which rung; None where there is no ladder.
            tap: Gets a copy of every frame that is encoded.
            capture_time: Looks up when a frame was taken.
        """
        self.subscribers: dict[str, LatentSender] = {}
        "Session -> sender."
        self.sinks: dict[str, FrameSink] = {}
        "What else takes the frames of the finest rung; each is a receiver that loses nothing."
        self._starting: set[str] = set()  # have nothing yet; without a ladder
        self._stats = stats
        self._audience = audience
        self._tap = tap
        self._capture_time = capture_time

    def add(self, name: str, sender: LatentSender) -> None:
        """Send to one more, from a frame on that can be started from: others may be under way."""
        self.subscribers[name] = sender
        if self._audience is None:
            self._starting.add(name)

    def remove(self, name: str) -> None:
        """Send nothing more to a subscriber; one that is not there is ignored."""
        self.subscribers.pop(name, None)
        self._starting.discard(name)

    def tap(self, number: int, work: Work, planes: Planes) -> None:
        """Keep a copy of a frame, before it is sent under its number."""
        if self._tap is not None and not work.is_tapped:
            work.is_tapped = True
            self._tap.put(
                frame_number=number,
                rtp_timestamp=work.frame.rtp_timestamp,
                received_us=work.frame.arrived_us,
                planes=planes,
            )

    def deliver(self, work: Work, rung: StreamRung, coded: CodedFrame) -> list[str]:
        """Send one coding of a frame to those who get it; return the sinks that hold it now."""
        frame = work.frame
        holders = self._pour(frame, coded) if rung.index == 0 else []
        outgoing = OutgoingFrame(
            packets=coded.packets,
            pts=frame.pts,
            timing=FrameTiming(
                pts=frame.pts & 0xFFFFFFFF,
                received_us=to_unix_us(frame.arrived_us),
                capture_us=self._capture_time(frame),
                receive_us=frame.assembled_us - frame.arrived_us,
                decode_us=frame.decoded_us - frame.assembled_us,
                queue_us=coded.taken_us - frame.decoded_us,
                batch_us=coded.started_us - coded.taken_us,
                engine_us=coded.engine_us - coded.started_us,
                entropy_us=coded.coded_us - coded.engine_us,
            ),
            is_keyframe=coded.is_keyframe,
            size=(rung.rung.width, rung.rung.height),
            token=(
                self,
                _Delivery(0, frame.arrived_us, coded.coded_us, coded.frame_number, rung.stats),
            ),
        )
        work.codings.came(
            rung.index, RungFrame(rung.index, outgoing, coded.is_clean, coded.temporal)
        )
        if not self.subscribers:
            for stats in self._stats:
                stats.add_latency("total", coded.coded_us - frame.arrived_us)
        elif self._audience is None:
            self._send(outgoing, self._who_can_read(outgoing))
        else:
            self.serve(work)
        return holders

    def serve(self, work: Work) -> None:
        """Send what of a frame it is now known who gets it."""
        if self._audience is not None:
            for coding, senders in self._audience.serve(work.codings).items():
                self._send(coding.outgoing, senders)

    def sent(self, delivery: _Delivery, at_us: int) -> None:
        """Note that a subscriber's last packet of a frame left at *at_us*."""
        for stats in (*self._stats, *delivery.rung_stats):
            stats.frames.sent += 1
        if self._tap is not None:
            self._tap.mark_sent(delivery.frame_number, sent_us=at_us)
        delivery.n_left -= 1
        if delivery.n_left == 0:
            for stats in self._stats:
                stats.add_latency("send", at_us - delivery.coded_us)
                stats.add_latency("total", at_us - delivery.arrived_us)

    def unsent(self, delivery: _Delivery) -> None:
        """Note that a subscriber was too slow for a frame, or left before it."""
        delivery.n_left -= 1
        for stats in (*self._stats, *delivery.rung_stats):
            stats.frames.unsent += 1

    def close(self) -> None:
        """Take nothing more."""
        if self._tap is not None:
            self._tap.close()
        self._capture_time = lambda frame: None  # it knows the peer, which knows the stream
        self.sinks.clear()

    def _pour(self, frame: DecodedFrame, coded: CodedFrame) -> list[str]:
        passing = PassingFrame(
            coded.packets, frame.pts, frame.arrived_us, coded.is_keyframe, coded.frame_number
        )
        return [name for name, sink in tuple(self.sinks.items()) if sink.take(passing)]

    def _who_can_read(self, outgoing: OutgoingFrame) -> Collection[LatentSender]:
        if outgoing.is_keyframe:
            self._starting.clear()
        if not self._starting:
            return self.subscribers.values()
        return [s for name, s in self.subscribers.items() if name not in self._starting]

    def _send(self, outgoing: OutgoingFrame, senders: Collection[LatentSender]) -> None:
        _, delivery = outgoing.token
        delivery.n_left += len(senders)
        for sender in senders:
            sender.send(outgoing)
