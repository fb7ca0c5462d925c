"""
One publisher's frames, from decoded picture to every subscriber.

    DecodedFrame -> planes -> EngineHost -> packets -> LatentSender of each subscriber

Everything here runs on the event loop and none of it waits. Nothing is encoded while nobody
watches, but the engine is kept ready for the first who does. Every frame that
the receiver counted ends as encoded or as dropped for one reason.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final

from rtcodec.codec.denoiser import OFF, Denoiser
from rtcodec.media.scale import planes_of_picture
from rtcodec.packet.feedback import FrameReport
from rtcodec.rate_control import Plan
from rtcodec.session.layer import ANY_LAYER, LayerWish
from rtcodec.session.seat import FrameCodings
from rtcodec.session.shedding import StreamLoad
from rtcodec.stats import FrameLedger, StreamStats
from rtcodec.types import Planes
from rtcodec.webrtc import DecodedFrame, LatentSender, monotonic_us
from rtcodec.webrtc.tap import FrameTapWriter
from rtcodec_server.audience import Audience
from rtcodec_server.demand import Demand
from rtcodec_server.engine_host import EngineHost
from rtcodec_server.frame_request import CodedFrame, FrameRequest
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.prediction import FrameNumbers, StreamPrediction
from rtcodec_server.rung import LadderSetup, StreamRung
from rtcodec_server.sink import FrameSink
from rtcodec_server.stream_figures import StreamFigures
from rtcodec_server.stream_format import StreamFormat, new_format
from rtcodec_server.stream_output import CaptureTime, StreamOutput, Work

_log = logging.getLogger(__name__)

_stream_ids = count()

UNWATCHED: Final = "unwatched"
"Why a frame was dropped that there was nobody to encode for."

SHED: Final = "shed"
"Why a frame was dropped that the engine had no room for."


class Stream:
    """What one publisher sends, encoded once for all subscribers of its room."""

    def __init__(
        self,
        host: EngineHost,
        *,
        qp: int,
        frame_deadline_us: int,
        denoise: str = OFF,
        stats: tuple[StreamStats, ...],
        capture_time: CaptureTime = lambda frame: None,
        tap: FrameTapWriter | None = None,
        rate: LiveRate | None = None,
        rungs: LadderSetup | None = None,
        viewers: LegacyAudience | None = None,
        may_add: Callable[[float], bool] = lambda tiles_per_s: True,
    ) -> None:
        """
        Args:
            host: Encodes.
            qp: Of every frame, 0 to 63, unless *rate* chooses it.
            frame_deadline_us: From the picture being there to a frame being useless.
            denoise: Of `DENOISE_MODES`.
            stats: Filled alike: those of the room and those of the relay.
            capture_time: Looks up when a frame was taken.
            tap: Gets a copy of every frame that is encoded.
            rate: Chooses the qp of each frame, where there is no ladder.
            rungs: Codes frames at several rungs, for whoever needs them; None at their size.
            viewers: Those who want pictures, not latents: those of the finest rung.
            may_add: Says whether the engine has room for a rung of so many tiles a second.
        """
        self.qp = qp
        "Of the last frame, or of all."
        self.rate = rate
        self._host = host
        self._frame_deadline_us = frame_deadline_us
        self._denoiser = None if denoise == OFF else Denoiser(denoise, thorough=False)
        self._figures = StreamFigures(stats, deadline_us=frame_deadline_us)
        self._ladder = rungs
        self.demand = Demand()
        self._may_add = may_add
        self._audience = None if rungs is None else Audience(rungs, self._may_code)
        self._output = StreamOutput(
            stats, audience=self._audience, tap=tap, capture_time=capture_time
        )
        self._rung_stats = tuple(StreamStats() for _ in (rungs.totals if rungs else ()))
        self._numbers = FrameNumbers()
        self._viewers = viewers
        self._id = next(_stream_ids)
        self._format: StreamFormat | None = None
        self._waiting: DecodedFrame | None = None  # while the engine gets ready
        self._next_number = 0
        self._n_in_flight = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False
        self._has_failed = False

    @property
    def subscribers(self) -> dict[str, LatentSender]:
        """Session -> sender."""
        return self._output.subscribers

    @property
    def sinks(self) -> dict[str, FrameSink]:
        """What else takes the frames of the finest rung; each is a receiver that loses nothing."""
        return self._output.sinks

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the frames, or None before the first."""
        return (self._format.width, self._format.height) if self._format is not None else None

    @property
    def frames(self) -> FrameLedger:
        """What became of the frames."""
        return self._figures.frames

    @property
    def rates(self) -> list[LiveRate]:
        """What keeps to a target: of the stream, or of each rung that somebody gets."""
        if self._audience is None:
            return [] if self.rate is None else [self.rate]
        return [rung.rate for rung in self._wanted() if rung.rate is not None]

    @property
    def rungs(self) -> tuple[StreamRung, ...]:
        """What frames are coded at where there is a ladder; none before the first frame."""
        return () if self._format is None or self._ladder is None else self._format.rungs

    def heed_subscribers(self) -> None:
        """Let rate and rungs follow what subscribers can receive; now and then."""
        if self.rate is not None:
            ways_bps = {name: sender.available_bps for name, sender in self.subscribers.items()}
            self.rate.limit(ways_bps, now_us=monotonic_us())
        if self._audience is not None:
            self._audience.shed = self.demand.shed
            self._audience.advance(now_us=monotonic_us())

    def receive(self) -> None:
        """Count one frame that reached the relay."""
        self._figures.received()

    def drop(self, reason: str) -> None:
        """Count one received frame that will not be encoded."""
        self._figures.dropped(reason)

    def add_subscriber(self, name: str, sender: LatentSender, wish: LayerWish = ANY_LAYER) -> None:
        """Send frames to one more; it starts with a frame that can be started from."""
        self._output.add(name, sender)
        if self._audience is not None:
            self._audience.join(name, sender, wish, now_us=monotonic_us())
        elif (prediction := self._prediction) is not None:
            prediction.join(name)

    def remove_subscriber(self, name: str) -> None:
        """Send nothing more to a subscriber; one that is not there is ignored."""
        self._output.remove(name)
        if self._audience is not None:
            self._audience.leave(name)
        elif (prediction := self._prediction) is not None:
            prediction.leave(name)

    def choose_layer(self, name: str, wish: LayerWish) -> None:
        """Heed which layer a subscriber wants; without a ladder there is no choice."""
        if self._audience is not None:
            self._audience.choose(name, wish, now_us=monotonic_us())

    def add_sink(self, name: str, sink: FrameSink) -> None:
        """Give frames to something else as well, from one on that can be started from."""
        self.sinks[name] = sink
        if self._format is not None:
            self._format.rungs[0].join(name)

    def remove_sink(self, name: str) -> None:
        """Give it nothing more; one that is not there is ignored."""
        self.sinks.pop(name, None)
        if self._format is not None:
            self._format.rungs[0].leave(name)

    def restart(self, name: str) -> None:
        """Let a subscriber start afresh that can make nothing of what it gets."""
        if self._audience is not None and name not in self.sinks:
            self._audience.restart(name)
        elif (prediction := self._prediction) is not None:
            prediction.lost_all(name)

    def report(self, name: str, report: FrameReport) -> None:
        """Take a subscriber's word for which frames it holds."""
        if self._audience is not None and name not in self.sinks:
            self._audience.report(name, report)
        elif (prediction := self._prediction) is not None:
            prediction.report(name, report)

    def describe_subscriber(self, name: str) -> dict[str, Any]:
        """Return which rung a subscriber gets, as JSON values; nothing without a ladder."""
        return {} if self._audience is None else self._audience.describe(name)

    def n_subscribers_of(self, rung: int) -> int:
        """Return how many get a rung."""
        seats = self._audience.seats if self._audience is not None else {}
        return sum(seat.rung == rung for seat in list(seats.values()))

    def describe_rungs(self) -> list[dict[str, Any]]:
        """Return the rungs with their figures, as JSON values."""
        return [rung.report(n_subscribers=self.n_subscribers_of(rung.index)) for rung in self.rungs]

    @property
    def _prediction(self) -> StreamPrediction | None:
        return None if self._format is None else self._format.rungs[0].prediction

    def put(self, frame: DecodedFrame) -> None:
        """Encode *frame* for the subscribers, unless newer ones overtake it."""
        self._figures.decoded(frame)
        if self._is_closed:
            self.drop("closing")
            return
        if not self.demand.note_frame(now_us=monotonic_us()):
            self.drop(SHED)
            return
        width, height = frame.picture.width, frame.picture.height
        if self._format is None or (self._format.width, self._format.height) != (width, height):
            self._change_format(width, height)
        assert self._format is not None
        if self._can_code(self._format):
            self._submit(frame)
        else:
            self._hold(frame)

    async def close(self) -> None:
        """Let frames that are in time come out, drop others, let go of the engine's state."""
        self._is_closed = True
        if self._waiting is not None:
            self._waiting = None
            self.drop("closing")
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._frame_deadline_us / 1_000_000):
                await self._is_idle.wait()
        self._host.close_stream(self._id)
        await self._is_idle.wait()
        self._host.drop_measurement(self._id)
        if self._format is not None:
            await self._format.close(self._host)
        self._output.close()

    # ---- getting ready

    def _change_format(self, width: int, height: int) -> None:
        old, self._format = (
            self._format,
            new_format(width, height, self._ladder, rate=self.rate, stats=self._rung_stats),
        )
        if self._audience is not None:
            self._audience.change_rungs(self._format.rungs)
        self._opening = asyncio.ensure_future(self._open(self._format, old, self._opening))

    async def _open(
        self, new: StreamFormat, old: StreamFormat | None, previous: asyncio.Task[None] | None
    ) -> None:
        if previous is not None:
            await asyncio.gather(previous, return_exceptions=True)
        if old is not None and old.is_open:
            await self._is_idle.wait()
            self._host.drop_measurement(self._id)
            await old.close(self._host)
        for rung in new.rungs:
            if new is not self._format or self._is_closed:
                return  # the size changed again
            await self._open_rung(rung)
            self._use_waiting(new, is_last=rung is new.rungs[-1])

    async def _open_rung(self, rung: StreamRung) -> None:
        try:
            await rung.open(self._host, self._numbers, lambda: self._followers(rung))
        except Exception as error:  # whatever the engine does, the relay goes on
            if not self._has_failed:
                size = f"{rung.rung.width}x{rung.rung.height}"
                _log.error("no engine state for %s: %s", size, error)
            self._has_failed = True

    def _followers(self, rung: StreamRung) -> Iterable[str]:
        sinks = self.sinks if rung.index == 0 else ()
        audience = self._audience
        followers = self.subscribers if audience is None else audience.followers(rung.index)
        return (*followers, *sinks)

    def _can_code(self, form: StreamFormat) -> bool:
        """Say whether the engine is ready for what somebody wants, or for anything."""
        if self._audience is not None and (self.subscribers or self._needs_finest):
            return bool(self._wanted())
        return form.is_open

    def _use_waiting(self, new: StreamFormat, *, is_last: bool) -> None:
        """Code the frame that waited for a rung, once there is one; or give it up."""
        is_current = new is self._format
        if is_last and is_current and not new.is_open:
            self._format = None  # the next frame tries again
        if is_current and not is_last and not self._can_code(new):
            return
        frame, self._waiting = self._waiting, None
        if frame is None:
            return
        if not is_current:
            self.drop("superseded")
        elif self._can_code(new):
            self._submit(frame)
        else:
            self.drop("engine_error")

    def _hold(self, frame: DecodedFrame) -> None:
        if self._waiting is not None:
            self.drop("starting")
        self._waiting = frame

    # ---- what it asks of the engine

    @property
    def key(self) -> int:
        """Tells this stream from others."""
        return self._id

    def load(self, per_tile: float, *, now_us: int) -> StreamLoad | None:
        """Return what it takes of the engine now; None if nothing of it is coded."""
        needed = frozenset({0}) if self._needs_finest else frozenset[int]()
        wanted = [rung.rung for rung in self._wanted()]
        return self.demand.load(self._id, wanted, per_tile=per_tile, needed=needed, now_us=now_us)

    def next_load(self, per_tile: float, *, now_us: int) -> float:
        """Return what it would take with its finest rung alone."""
        rungs = [] if self._format is None else [self._format.rungs[0].rung]
        return self.demand.tiles_per_s(rungs, now_us=now_us) * per_tile

    def _may_code(self, rung: StreamRung) -> bool:
        return self._may_add(self.demand.tiles_per_s([rung.rung], now_us=monotonic_us()))

    # ---- encoding

    def _wanted(self) -> list[StreamRung]:
        """Return what to code the next frame at, of what the engine is ready for."""
        rungs = () if self._format is None else self._format.rungs
        if self._audience is None:
            is_watched = self.subscribers or self._needs_finest
            return [rung for rung in rungs if is_watched and rung.is_open]
        wanted = self._audience.wanted()
        if self._needs_finest and rungs and rungs[0].is_open and rungs[0] not in wanted:
            wanted.append(rungs[0])
        return wanted

    @property
    def _needs_finest(self) -> bool:
        """Whether the finest rung is of use to others than subscribers."""
        viewers = self._viewers
        return bool(self.sinks) or (
            viewers is not None and (viewers.is_watched or viewers.is_compared(0))
        )

    def _submit(self, frame: DecodedFrame) -> None:
        rungs = self._wanted()
        if not rungs:
            self.drop(UNWATCHED)  # whoever comes first starts with the next frame
            return
        try:
            planes = planes_of_picture(frame.picture)
        except ValueError as error:
            _log.warning("a picture cannot be used: %s", error)
            self.drop("unusable_picture")
            return
        number, self._next_number = self._next_number, (self._next_number + 1) & 0xFFFF
        self._n_in_flight += 1
        self._is_idle.clear()
        work = Work(frame, FrameCodings(rung.index for rung in rungs))
        self._host.submit(*(self._request(work, rung, planes, number) for rung in rungs))

    def _request(self, work: Work, rung: StreamRung, planes: Planes, number: int) -> FrameRequest:
        assert rung.state is not None
        rate, size = rung.rate, (rung.rung.width, rung.rung.height)
        plan = rate.plan(work.frame.pts) if rate is not None else None
        half_rate = self._audience is not None and self._audience.wants_half_rate(rung.index)
        return FrameRequest(
            stream=self._id,
            state=rung.state,
            planes=planes,
            qp=self.qp if plan is None else plan.qp,
            deadline_us=monotonic_us() + self._frame_deadline_us,
            on_coded=lambda coded: self._on_coded(work, rung, plan, coded),
            on_dropped=lambda reason: self._on_dropped(work, rung, plan, reason),
            on_psnr=lambda psnr: self._figures.measured(psnr, rung.stats),
            frame_number=number,
            before_send=lambda number: self._output.tap(number, work, planes),
            retry=rate.retry(plan) if rate is not None and plan is not None else None,
            prediction=rung.prediction,
            rung=rung.index,
            size=None if size == (planes.width, planes.height) else size,
            half_rate=half_rate,
            on_picture=self._on_picture(work.frame, rung),
            denoiser=self._denoiser,
        )

    def _on_picture(self, frame: DecodedFrame, rung: StreamRung) -> Callable[[Planes], None] | None:
        viewers = self._viewers
        if rung.index or viewers is None or not viewers.is_watched:
            return None
        return partial(viewers.put, pts=frame.pts)

    def _compare(self, frame: DecodedFrame, rung: StreamRung, coded: CodedFrame) -> None:
        """Let those who compare see what an ordinary codec makes of the same picture."""
        viewers = self._viewers
        if viewers is None:
            return
        viewers.note_coded(rung.index, coded.packets)
        if viewers.is_compared(rung.index):
            size = (rung.rung.width, rung.rung.height)
            viewers.compare(rung.index, planes_of_picture(frame.picture), frame.pts, size=size)

    def _on_dropped(self, work: Work, rung: StreamRung, plan: Plan | None, reason: str) -> None:
        if rung.rate is not None and plan is not None:
            rung.rate.dropped(plan)
        for stats in rung.stats:
            stats.frames.drop(reason)
        work.codings.failed(rung.index)
        if work.codings.is_complete and not work.codings.has_any:
            self.drop(reason)
            if reason == "late":
                self._figures.missed()
        self._output.serve(work)
        self._leave_flight(work)

    def _on_coded(self, work: Work, rung: StreamRung, plan: Plan | None, coded: CodedFrame) -> None:
        frame = work.frame
        if rung.rate is not None and plan is not None:
            rung.rate.done(plan, coded)
            if rung.index == 0:
                self.qp = coded.tries[-1].qp
        is_first, n_pixels = not work.codings.has_any, rung.rung.n_pixels
        self._figures.coded(frame, coded, n_pixels=n_pixels, is_first=is_first)
        rung.note(frame.pts, 8 * coded.size_bytes, is_clean=coded.is_clean)
        for stats in rung.stats:
            stats.frames.encoded += 1
            stats.bitstream_bytes += coded.size_bytes
        self._compare(frame, rung, coded)
        for name in self._output.deliver(work, rung, coded):
            self.report(name, FrameReport(coded.frame_number, held=1))
        self._leave_flight(work)

    def _leave_flight(self, work: Work) -> None:
        if work.codings.is_complete:
            self._n_in_flight -= 1
            if self._n_in_flight == 0:
                self._is_idle.set()
