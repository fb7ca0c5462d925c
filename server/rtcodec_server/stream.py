"""
One publisher's frames, from decoded picture to every subscriber.

    DecodedFrame -> planes -> EngineHost -> packets -> LatentSender of each subscriber

Everything here runs on the event loop and none of it waits. Nothing is encoded while nobody
watches, but the engine is kept ready for the first who does. Every frame that
the receiver counted ends as encoded or as dropped for one reason.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, cast

import av
import numpy as np
from numpy.typing import NDArray

from rtcodec.codec.reference import NewestReference
from rtcodec.engine.api import StateId
from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.payload import FrameTiming
from rtcodec.quality import PlanePsnr
from rtcodec.rate_control import Plan
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.types import Planes
from rtcodec.webrtc import DecodedFrame, LatentSender, OutgoingFrame, monotonic_us, to_unix_us
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import CodedFrame, FrameRequest
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.prediction import StreamPrediction

_log = logging.getLogger(__name__)

_stream_ids = count()

UNWATCHED: Final = "unwatched"
"Why a frame was dropped that there was nobody to encode for."

CaptureTime = Callable[[DecodedFrame], int | None]
"When the publisher took a frame, Unix microseconds, if it said so."


@dataclass(slots=True)
class _Delivery:
    """A coded frame on its way to the subscribers it was given to."""

    n_left: int
    arrived_us: int
    coded_us: int
    frame_number: int


@dataclass(slots=True)
class _Format:
    width: int
    height: int
    state: StateId | None = None
    "None while the engine gets ready."
    prediction: StreamPrediction | None = None
    "None where the model has intra frames only."


class Stream:
    """What one publisher sends, encoded once for all subscribers of its room."""

    def __init__(
        self,
        host: EngineHost,
        *,
        qp: int,
        frame_deadline_us: int,
        stats: tuple[StreamStats, ...],
        capture_time: CaptureTime = lambda frame: None,
        tap: FrameTapWriter | None = None,
        rate: LiveRate | None = None,
    ) -> None:
        """
        Args:
            host: Encodes.
            qp: Of every frame, 0 to 63, unless *rate* chooses it.
            frame_deadline_us: From the picture being there to a frame being useless.
            stats: Filled alike: those of the room and those of the relay.
            capture_time: Looks up when a frame was taken.
            tap: Gets a copy of every frame that is encoded.
            rate: Chooses the qp of each frame.
        """
        self.qp = qp
        "Of the last frame, or of all."
        self.rate = rate
        self.subscribers: dict[str, LatentSender] = {}
        "Session -> sender."
        self.on_delivery: Callable[[], None] = lambda: None
        "Called when a frame was handed to the subscribers."
        self._host = host
        self._frame_deadline_us = frame_deadline_us
        self._stats = stats
        self._capture_time = capture_time
        self._tap = tap
        self._id = next(_stream_ids)
        self._format: _Format | None = None
        self._waiting: DecodedFrame | None = None  # while the engine gets ready
        self._next_number = 0
        self._n_in_flight = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False
        self._has_failed = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the frames, or None before the first."""
        return (self._format.width, self._format.height) if self._format is not None else None

    @property
    def frames(self) -> FrameLedger:
        """What became of the frames."""
        return self._stats[0].frames

    def heed_subscribers(self) -> None:
        """Let the target follow what subscribers say they can receive; now and then."""
        if self.rate is not None:
            self.rate.limit(sender.counters.remb_bps for sender in self.subscribers.values())

    def receive(self) -> None:
        """Count one frame that reached the relay."""
        for stats in self._stats:
            stats.frames.received += 1

    def drop(self, reason: str) -> None:
        """Count one received frame that will not be encoded."""
        for stats in self._stats:
            stats.frames.drop(reason)

    def add_subscriber(self, name: str, sender: LatentSender) -> None:
        """Send frames to one more; it starts with a frame that can be started from."""
        self.subscribers[name] = sender
        if self._prediction is not None:
            self._prediction.join(name)

    def remove_subscriber(self, name: str) -> None:
        """Send nothing more to a subscriber; one that is not there is ignored."""
        self.subscribers.pop(name, None)
        if self._prediction is not None:
            self._prediction.leave(name)

    def restart(self, name: str) -> None:
        """Let a subscriber start afresh that can make nothing of what it gets."""
        if self._prediction is not None:
            self._prediction.lost_all(name)

    def report(self, name: str, report: FrameReport) -> None:
        """Take a subscriber's word for which frames it holds."""
        if self._prediction is not None:
            self._prediction.report(name, report)

    @property
    def _prediction(self) -> StreamPrediction | None:
        return None if self._format is None else self._format.prediction

    def put(self, frame: DecodedFrame) -> None:
        """Encode *frame* for the subscribers, unless newer ones overtake it."""
        for stats in self._stats:
            stats.add_latency("receive", frame.assembled_us - frame.arrived_us)
            stats.add_latency("decode", frame.decoded_us - frame.assembled_us)
        if self._is_closed:
            self.drop("closing")
            return
        width, height = frame.picture.width, frame.picture.height
        if self._format is None or (self._format.width, self._format.height) != (width, height):
            self._change_format(width, height)
        assert self._format is not None
        if self._format.state is None:
            self._hold(frame)
        else:
            self._submit(frame, self._format, self._format.state)

    async def close(self) -> None:
        """Drop what waits, let what runs come out, let go of the engine's state."""
        self._is_closed = True
        if self._waiting is not None:
            self._waiting = None
            self.drop("closing")
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        self._host.close_stream(self._id)
        await self._is_idle.wait()
        if self._format is not None and self._format.state is not None:
            await self._host.close_state(self._format.state)
        if self._tap is not None:
            self._tap.close()
        self._capture_time = lambda frame: None  # it knows the peer, which knows this

    # ---- getting ready

    def _change_format(self, width: int, height: int) -> None:
        old, self._format = self._format, _Format(width, height)
        self._opening = asyncio.ensure_future(self._open(self._format, old, self._opening))

    async def _open(
        self, new: _Format, old: _Format | None, previous: asyncio.Task[None] | None
    ) -> None:
        if previous is not None:
            await asyncio.gather(previous, return_exceptions=True)
        if old is not None and old.state is not None:
            await self._is_idle.wait()
            self._host.drop_measurement(self._id)
            await self._host.close_state(old.state)
            old.state = None
        if new is not self._format or self._is_closed:
            return  # the size changed again
        try:
            new.state = await self._host.open_state(new.width, new.height)
            if self._host.info.references >= NewestReference.SLOTS:
                slots = self._host.info.references
                before = 0 if old is None or old.prediction is None else old.prediction.next_frame
                new.prediction = StreamPrediction(slots, self.subscribers, first_frame=before)
        except Exception as error:  # whatever the engine does, the relay goes on
            if not self._has_failed:
                _log.error("no engine state for %dx%d: %s", new.width, new.height, error)
            self._has_failed = True
        frame, self._waiting = self._waiting, None
        if frame is None:
            return
        if new.state is None:
            self._format = None  # the next frame tries again
            self.drop("engine_error")
        elif new is self._format:
            self._submit(frame, new, new.state)
        else:
            self.drop("superseded")

    def _hold(self, frame: DecodedFrame) -> None:
        if self._waiting is not None:
            self.drop("starting")
        self._waiting = frame

    # ---- encoding

    def _submit(self, frame: DecodedFrame, form: _Format, state: StateId) -> None:
        if not self.subscribers:
            self.drop(UNWATCHED)  # whoever comes first starts with the next frame
            return
        try:
            planes = picture_planes(frame.picture)
        except ValueError as error:
            _log.warning("a picture cannot be used: %s", error)
            self.drop("unusable_picture")
            return
        number, self._next_number = self._next_number, (self._next_number + 1) & 0xFFFF
        self._n_in_flight += 1
        self._is_idle.clear()
        plan = self.rate.plan(frame.pts) if self.rate is not None else None
        self._host.submit(
            FrameRequest(
                stream=self._id,
                state=state,
                planes=planes,
                qp=self.qp if plan is None else plan.qp,
                deadline_us=monotonic_us() + self._frame_deadline_us,
                on_coded=lambda coded: self._on_coded(frame, planes, plan, coded),
                on_dropped=lambda reason: self._on_dropped(plan, reason),
                on_psnr=self._on_psnr,
                frame_number=number,
                before_send=lambda number: self._tap_frame(number, frame, planes),
                retry=self.rate.retry(plan) if self.rate is not None and plan is not None else None,
                prediction=form.prediction,
            )
        )

    def _tap_frame(self, number: int, frame: DecodedFrame, planes: Planes) -> None:
        if self._tap is not None:
            self._tap.put(
                frame_number=number,
                rtp_timestamp=frame.rtp_timestamp,
                received_us=frame.arrived_us,
                planes=planes,
            )

    def _on_dropped(self, plan: Plan | None, reason: str) -> None:
        self._leave_flight()
        if self.rate is not None and plan is not None:
            self.rate.dropped(plan)
        self.drop(reason)
        if reason == "late":
            for stats in self._stats:
                stats.deadline_misses += 1

    def _on_psnr(self, psnr: PlanePsnr | None) -> None:
        for stats in self._stats:
            if psnr is None:
                stats.psnr_skipped += 1
            else:
                stats.add_psnr(psnr.as_dict())

    def _on_coded(
        self,
        frame: DecodedFrame,
        planes: Planes,
        plan: Plan | None,
        coded: CodedFrame,
    ) -> None:
        self._leave_flight()
        if self.rate is not None and plan is not None:
            self.rate.done(plan, coded)
            self.qp = coded.tries[-1].qp
        n_pixels = planes.width * planes.height
        is_late = coded.coded_us > frame.decoded_us + self._frame_deadline_us
        for stats in self._stats:
            stats.frames.encoded += 1
            stats.bitstream_bytes += coded.size_bytes
            stats.bits_per_pixel.add(coded.size_bytes * 8 / n_pixels)
            stats.deadline_misses += is_late
            stats.add_latency("queue", coded.taken_us - frame.decoded_us)
            stats.add_latency("batch", coded.started_us - coded.taken_us)
            stats.add_latency("engine", coded.engine_us - coded.started_us)
            stats.add_latency("entropy", coded.coded_us - coded.engine_us)
        self._deliver(frame, coded)

    def _leave_flight(self) -> None:
        self._n_in_flight -= 1
        if self._n_in_flight == 0:
            self._is_idle.set()

    # ---- sending

    def _deliver(self, frame: DecodedFrame, coded: CodedFrame) -> None:
        delivery = _Delivery(
            len(self.subscribers), frame.arrived_us, coded.coded_us, coded.frame_number
        )
        if not self.subscribers:
            for stats in self._stats:
                stats.add_latency("total", coded.coded_us - frame.arrived_us)
            return
        received_unix_us = to_unix_us(frame.arrived_us)
        outgoing = OutgoingFrame(
            packets=coded.packets,
            pts=frame.pts,
            timing=FrameTiming(
                pts=frame.pts & 0xFFFFFFFF,
                received_us=received_unix_us,
                capture_us=self._capture_time(frame),
                receive_us=frame.assembled_us - frame.arrived_us,
                decode_us=frame.decoded_us - frame.assembled_us,
                queue_us=coded.taken_us - frame.decoded_us,
                batch_us=coded.started_us - coded.taken_us,
                engine_us=coded.engine_us - coded.started_us,
                entropy_us=coded.coded_us - coded.engine_us,
            ),
            is_keyframe=coded.is_keyframe,
            token=(self, delivery),
        )
        for sender in self.subscribers.values():
            sender.send(outgoing)
        self.on_delivery()

    def sent(self, delivery: _Delivery, at_us: int) -> None:
        """Note that a subscriber's last packet of a frame left at *at_us*."""
        for stats in self._stats:
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
        for stats in self._stats:
            stats.frames.unsent += 1


def picture_planes(picture: av.VideoFrame) -> Planes:
    """
    View a decoded picture's planes without copying them.

    Raises:
        ValueError: If it is not planar 4:2:0 of 8 bits, or too large.
    """
    if picture.format.name not in ("yuv420p", "yuvj420p"):
        raise ValueError(f"{picture.format.name} is not yuv420p")
    planes: list[NDArray[np.uint8]] = []
    for plane in picture.planes:
        rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[: plane.height, : plane.width])
    y, u, v = planes
    return Planes(y, u, v)
