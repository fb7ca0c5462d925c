"""
A room's stream whose frames come from a recording, coded long ago.

What a subscriber lost, and retransmission did not mend, cannot be made up for by another choice of
reference. Who comes late, or asks for a frame to start from, is sent all frames since the last of
those, faster than they were played (`catch_up`). The decoder for ordinary viewers is here and loses
nothing: it is given the same, and shows what is played at once. Counts each frame as received and
encoded, so that figures of rooms mean the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.payload import FrameTiming
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.webrtc import LatentSender, OutgoingFrame, monotonic_us, to_unix_us
from rtcodec_server.catch_up import CatchUp, PlayedFrame
from rtcodec_server.frame_queue import FrameRun
from rtcodec_server.latent_pictures import LatentPictures, PictureCalls
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.one_layer import OneLayer
from rtcodec_server.play_source import StoredFrame
from rtcodec_server.sink import FrameSink, PassingFrame
from rtcodec_server.viewer_pictures import ViewerPictures

_RESTART_US: Final = 1_000_000
"A subscriber that asks for a frame to start from more often than this waits for it."


@dataclass(slots=True)
class _Delivery:
    n_left: int
    at_us: int


class PlayedStream(OneLayer):
    """What `Stream` is for a publisher."""

    def __init__(
        self,
        *,
        qp: int,
        size: tuple[int, int],
        stats: tuple[StreamStats, ...],
        audience: LegacyAudience,
        pictures: Callable[[], LatentPictures],
    ) -> None:
        """
        Args:
            qp: What new streams are coded with, for the figures.
            size: Width and height.
            stats: Filled alike: those of the room and those of the relay.
            audience: Those who want pictures.
            pictures: Makes what decodes for them; its queue keeps a `FrameRun`.
        """
        self.qp = qp
        self.size = size
        self.subscribers: dict[str, LatentSender] = {}
        self.sinks: dict[str, FrameSink] = {}
        self._stats = stats
        self._waiting: set[str] = set()  # for a frame to start from
        self._catching_up: dict[str, CatchUp] = {}
        self._restarted_us: dict[str, int] = {}
        self._lead: FrameRun[PlayedFrame] = FrameRun()
        self._pictures = ViewerPictures(
            audience, pictures, PictureCalls(on_ready=self._catch_up_pictures)
        )

    @property
    def frames(self) -> FrameLedger:
        """What became of the frames."""
        return self._stats[0].frames

    def heed_subscribers(self) -> None:
        """Decode no longer than somebody wants pictures; what was coded is coded."""
        self._pictures.end_unwanted()

    def add_subscriber(self, name: str, sender: LatentSender, wish: LayerWish = ANY_LAYER) -> None:
        """Send frames to one more, from the next on that can be started from, or `restart`."""
        self.subscribers[name] = sender
        self._waiting.add(name)

    def remove_subscriber(self, name: str) -> None:
        """Send nothing more to a subscriber; one that is not there is ignored."""
        self.subscribers.pop(name, None)
        self._waiting.discard(name)
        self._restarted_us.pop(name, None)
        self._stop_catching_up(name)

    def add_sink(self, name: str, sink: FrameSink) -> None:
        """Give the frames to something else as well."""
        self.sinks[name] = sink

    def remove_sink(self, name: str) -> None:
        """Give it nothing more."""
        self.sinks.pop(name, None)

    def restart(self, name: str) -> None:
        """Send a subscriber that can make nothing of what it gets what that leans on."""
        if name not in self.subscribers:
            return
        now_us = monotonic_us()
        if now_us - self._restarted_us.get(name, -_RESTART_US) < _RESTART_US:
            return
        self._stop_catching_up(name)
        if not len(self._lead):
            self._waiting.add(name)
            return
        self._restarted_us[name] = now_us
        self._waiting.discard(name)
        self._catching_up[name] = CatchUp(
            self._lead,
            send=lambda frame, pts: self._send(frame, pts, [self.subscribers[name]]),
            on_done=lambda: self._stop_catching_up(name),
        )

    def report(self, name: str, report: FrameReport) -> None:
        """Do nothing: frames refer to what they refer to."""

    def deliver(self, frame: StoredFrame, *, pts: int, now_us: int) -> None:
        """
        Give a frame to everybody.

        Args:
            frame: As it was coded.
            pts: 90 kHz ticks since the playback's start.
            now_us: Monotonic microseconds.
        """
        size_bytes = sum(map(len, frame.packets))
        for stats in self._stats:
            stats.frames.received += 1
            stats.frames.encoded += 1
            stats.bitstream_bytes += size_bytes
            stats.bits_per_pixel.add(size_bytes * 8 / (self.size[0] * self.size[1]))
        passing = PassingFrame(frame.packets, pts, now_us, frame.is_keyframe, frame.frame_number)
        for sink in tuple(self.sinks.values()):
            sink.take(passing)
        if frame.is_keyframe:
            self._waiting.clear()
            self._stop_catching_up(*self._catching_up)
        if self._lead.add((frame, pts), size_bytes=size_bytes, is_keyframe=frame.is_keyframe):
            self._give_up_catching_up()
        self._pictures.put(frame, pts, self.size)
        for catch_up in self._catching_up.values():
            catch_up.add(frame, pts)
        left_out = self._waiting | self._catching_up.keys()
        senders = [s for name, s in self.subscribers.items() if name not in left_out]
        self._send(frame, pts, senders)

    def sent(self, delivery: _Delivery, at_us: int) -> None:
        """Note that a subscriber's last packet of a frame left at *at_us*."""
        for stats in self._stats:
            stats.frames.sent += 1
        delivery.n_left -= 1
        if delivery.n_left == 0:
            for stats in self._stats:
                stats.add_latency("send", at_us - delivery.at_us)

    def unsent(self, delivery: _Delivery) -> None:
        """Note that a subscriber was too slow for a frame, or left before it."""
        delivery.n_left -= 1
        for stats in self._stats:
            stats.frames.unsent += 1

    async def close(self) -> None:
        """Forget everybody and stop decoding."""
        self.sinks.clear()
        self._stop_catching_up(*self._catching_up)
        await self._pictures.close()

    def _send(self, frame: StoredFrame, pts: int, senders: Sequence[LatentSender]) -> None:
        if not senders:
            return
        now_us = monotonic_us()
        outgoing = OutgoingFrame(
            packets=frame.packets,
            pts=pts,
            timing=FrameTiming(pts=pts & 0xFFFFFFFF, received_us=to_unix_us(now_us)),
            is_keyframe=frame.is_keyframe,
            size=self.size,
            token=(self, _Delivery(len(senders), now_us)),
        )
        for sender in senders:
            sender.send(outgoing)

    def _stop_catching_up(self, *names: str) -> None:
        """Let subscribers have what is played from now on."""
        for name in names:
            if (catch_up := self._catching_up.pop(name, None)) is not None:
                catch_up.stop()

    def _give_up_catching_up(self) -> None:
        """Let those wait who cannot be given all that they need, if it is not kept any more."""
        if not len(self._lead):
            self._waiting |= self._catching_up.keys()
            self._stop_catching_up(*self._catching_up)

    def _catch_up_pictures(self) -> None:
        """Decode all that the next frame leans on; what was played before is not shown again."""
        n_left = len(self._lead)
        for frame, pts in self._lead:
            n_left -= 1
            self._pictures.put(frame, pts, self.size, is_shown=not n_left)
