"""
Watches a room over WHEP: receives latents, decodes them, keeps the figures.

    aiortc -> LatentReceiver (newest wins) -> decode thread -> figures, outputs

With the taps of a relay and a publisher on this machine, every decoded frame
is compared with what went in and timed from the publisher's hands on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtcodec.bundle import Bundle
from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.engine.api import Engine
from rtcodec.errors import BitstreamError, InputError, RemoteProtocolError
from rtcodec.media.scale import PlanesScaler
from rtcodec.packet.feedback import FrameReporter, write_report
from rtcodec.quality import PlanePsnr, picture_psnr
from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us, unwrap
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us, unix_us
from rtcodec.webrtc.connection import add_latent_receiver
from rtcodec.webrtc.latent_receiver import LatentFrame, LatentReceiver
from rtcodec.webrtc.sdp import is_same_model
from rtcodec.webrtc.tap import FrameTapReader, TappedFrame
from rtcodec_client.barcode import read_barcode
from rtcodec_client.connection import RelayClosed, RelayConnection, Session
from rtcodec_client.frame_record import FrameRecord, WatchFigures
from rtcodec_client.output import OutputThread
from rtcodec_client.sample import FrameSample, SampleKeeper

_QUEUE_FRAMES = 2
_OPENING_FRAMES = 60
"While a decoder is opened: as long as a dozen frames last, and later ones lean on every one."
_PTS_START = 1 << 32
"Unwrapped time stamps start near here, so that reordering never makes them negative."


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """When to stop and what to compare with."""

    seconds: float | None = None
    "After the first picture."

    frames: int | None = None
    "Stop after this many pictures."

    wait_s: float | None = None
    "Longest wait for the first picture; None waits for ever."

    relay_tap: Path | None = None
    "Ring of the frames that the relay encodes."

    source_tap: Path | None = None
    "Ring of the frames that the publisher sends; of use only with that of the relay."

    warm: tuple[int, int] | None = None
    "Width and height to get ready for before connecting."

    barcode: bool = False
    "Whether the publisher draws barcodes, to be checked against what the taps say."

    samples: int = 0
    "Frames to keep for a contact sheet."


@dataclass(slots=True)
class WatchTimeline:
    """Figures of every frame, for a chart."""

    psnr_db: list[float] = field(default_factory=list)
    size_bytes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Timed:
    """A decoded frame and when that began and ended, monotonic."""

    picture: DecodedPicture
    started_us: int
    decoded_us: int


class Watcher:
    """
    One subscriber.

    Args:
        connection: To a WHEP endpoint, offering the engine's model.
        engine: Runs the model.
        bundle: That model.
        options: See there.
        outputs: Where pictures go.
        show: Called with every picture, on a thread of ours; must not block.
    """

    def __init__(
        self,
        connection: RelayConnection,
        engine: Engine,
        bundle: Bundle,
        options: WatchOptions,
        *,
        outputs: OutputThread,
        show: Callable[[Planes], None] = lambda _planes: None,
    ) -> None:
        self.figures = WatchFigures()
        self.timeline = WatchTimeline()
        self.samples = SampleKeeper(options.samples)
        self.rungs: Counter[int] = Counter()
        "Rung -> pictures decoded of it."

        self.prepared = asyncio.Event()
        "Set when pictures of every size that the relay tells of can be decoded at once."

        self.barcodes_checked = 0
        "Pictures whose barcode could be compared with what the taps say of them."

        self.barcodes_wrong = 0
        "Of those, pictures that are not the frame that they were taken for."

        self._connection = connection
        self._model_id = engine.info.model_id.hex()
        self._decoder = PictureDecoder(engine, bundle)
        self._options = options
        self._outputs = outputs
        self._show = show
        self._relay_tap = _reader(options.relay_tap)
        self._source_tap = _reader(options.source_tap)
        self._pts = _PTS_START
        self._first_pts: int | None = None
        self._started = asyncio.Event()
        self._enough = asyncio.Event()
        self._receiver: LatentReceiver | None = None
        self._reporter = FrameReporter()
        self._scaler = PlanesScaler()  # of the measuring thread

    @property
    def bytes_received(self) -> int:
        """Bytes of whole bitstream packets that arrived, decoded or not."""
        return self._receiver.bitstream_bytes if self._receiver is not None else 0

    async def run(
        self,
        stop: asyncio.Event,
        *,
        on_connected: Callable[[], None] = lambda: None,
        before_leaving: Callable[[Session], Any] | None = None,
    ) -> None:
        """
        Watch until *stop*, the end of the stream, or what the options say.

        Args:
            stop: Set by anyone to end.
            on_connected: Called once media can flow.
            before_leaving: Awaited while the session still exists.

        Raises:
            RelayUnreachable, RemoteProtocolError: If the relay is not there,
                refuses, goes away, or sends what we cannot decode.
            InputError: If no picture came in time.
            EngineError: If the engine failed.
        """
        ready = add_latent_receiver(self._connection.peer, max_frames=_QUEUE_FRAMES)
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        try:
            if self._options.warm is not None:
                await asyncio.to_thread(self._decoder.warm, *self._options.warm)
            async with self._connection.established(stop) as session:
                self._check_model(session)
                self._receiver = receiver = await ready
                on_connected()
                preparing = asyncio.ensure_future(self._prepare(session))
                try:
                    await self._watch(receiver, pool, stop)
                finally:
                    preparing.cancel()
                    await asyncio.gather(preparing, return_exceptions=True)
                if before_leaving is not None:
                    await before_leaving(session)
        finally:
            pool.shutdown()
            self._decoder.close()
            for tap in (self._relay_tap, self._source_tap):
                if tap is not None:
                    tap.close()

    async def _prepare(self, session: Session) -> None:
        """Get ready for the sizes that the stream may change to, while its first frames come."""
        if session.answer.layer_url is not None:
            await self._started.wait()
            for size in await self._connection.client.layer_sizes(session.answer.layer_url):
                await asyncio.to_thread(self._decoder.prepare, *size)
        self.prepared.set()

    async def _watch(
        self, receiver: LatentReceiver, pool: ThreadPoolExecutor, stop: asyncio.Event
    ) -> None:
        pump = asyncio.ensure_future(self._pump(receiver, pool))
        timers = asyncio.ensure_future(self._wait_enough(stop))
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for task in (pump, timers):
            task.add_done_callback(lambda done: _settle(ended, done))
        try:
            await self._connection.run_until(ended, stop)
        except RelayClosed:
            if not self.figures.decoded:
                raise
        finally:
            timers.cancel()
            receiver.close()  # what has arrived is still decoded
            await asyncio.gather(timers, return_exceptions=True)
            await pump
            self.figures.lose("late", receiver.frames_dropped)

    async def _wait_enough(self, stop: asyncio.Event) -> None:
        options = self._options
        try:
            async with asyncio.timeout(options.wait_s):
                await self._started.wait()
        except TimeoutError:
            raise InputError(
                f"{self._connection.client.url}: no picture within {options.wait_s:g} s"
            ) from None
        if options.seconds is None:
            await self._enough.wait()
        else:
            try:
                async with asyncio.timeout(options.seconds):
                    await self._enough.wait()
            except TimeoutError:
                return

    async def _pump(self, receiver: LatentReceiver, pool: ThreadPoolExecutor) -> None:
        """Decode frame after frame; what follows from one overlaps with decoding the next."""
        loop = asyncio.get_running_loop()
        decoded = 0
        measuring: asyncio.Future[None] | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="measure") as measure_pool:
            async for frame in receiver:
                self._connection.note_alive()
                if frame.is_keyframe and not self._decoder.is_ready_for(frame.packets):
                    receiver.widen(_OPENING_FRAMES)
                self.figures.lose("network", frame.n_frames_lost_before)
                if not frame.packets:
                    self.figures.lose("network")
                    continue
                timed = await loop.run_in_executor(pool, self._decode, frame)
                if timed is None:
                    receiver.request_keyframe()  # there is nothing to predict from at all
                    self.figures.lose("undecodable")
                    continue
                self._report(receiver, frame, timed.picture)
                if measuring is not None:
                    await measuring
                measuring = loop.run_in_executor(measure_pool, self._measure, frame, timed)
                decoded += 1
                self._started.set()
                if decoded == self._options.frames:
                    break
            if measuring is not None:
                await measuring
        self._enough.set()

    def _report(
        self, receiver: LatentReceiver, frame: LatentFrame, picture: DecodedPicture
    ) -> None:
        """Tell the relay now and then which frames are held, so that it predicts from those."""
        now_us = monotonic_us()
        self._reporter.decided(
            picture.frame_number,
            is_held=picture.is_complete and frame.is_complete,
            concealed=picture.concealed,
            now_us=now_us,
        )
        report = self._reporter.take_due(now_us=now_us)
        if report is not None:
            receiver.send_feedback(write_report(report))

    def _decode(self, frame: LatentFrame) -> _Timed | None:
        """Decode one frame, or return None if nothing of it can be; on the decode thread."""
        started_us = monotonic_us()
        try:
            picture = self._decoder.decode(frame.packets)
        except BitstreamError:
            return None
        return _Timed(picture, started_us, monotonic_us())

    def _measure(self, frame: LatentFrame, timed: _Timed) -> None:
        """Do everything that follows from a decoded frame; on the measuring thread."""
        picture = timed.picture
        self.rungs[picture.rung] += 1
        pts = self._unwrap(frame)
        relay_frame, source_frame = self._tapped(picture)
        record = FrameRecord(
            number=frame.number,
            pts=pts,
            decoded_us=timed.decoded_us,
            n_bytes=sum(map(len, frame.packets)),
            stages_ms=_stages_ms(frame, timed, source_frame),
            is_complete=picture.is_complete and frame.is_complete,
            psnr_db=self._compare(relay_frame, picture),
            source_psnr_db=self._compare(source_frame, picture),
            source_index=source_frame.frame_number if source_frame is not None else None,
        )
        self._sample(record, picture, source_frame or relay_frame)
        self.figures.add(record)
        if self._options.barcode:
            self._check_barcode(record, picture)
        self._outputs.write(pts - self._zero_pts(pts), picture)
        self._show(picture.planes)

    def _compare(self, tapped: TappedFrame | None, picture: DecodedPicture) -> PlanePsnr | None:
        """Compare a picture with what it was made from, which a lower rung first makes smaller."""
        if tapped is None:
            return None
        planes = picture.planes
        original = self._scaler.scale(tapped.planes, planes.width, planes.height)
        return picture_psnr(original, planes)

    def _check_barcode(self, record: FrameRecord, picture: DecodedPicture) -> None:
        barcode = read_barcode(picture.planes)
        if barcode is not None and record.source_index is not None:
            self.barcodes_checked += 1
            self.barcodes_wrong += barcode & 0xFFFF != record.source_index

    def _unwrap(self, frame: LatentFrame) -> int:
        low = frame.timing.pts if frame.timing is not None else None
        if low is None:  # its first payload was lost: a frame later than the last
            return self._pts + 1
        self._pts = unwrap(low, near=self._pts, bits=32)
        return self._pts

    def _zero_pts(self, pts: int) -> int:
        if self._first_pts is None:
            self._first_pts = pts
        return self._first_pts

    def _tapped(self, picture: DecodedPicture) -> tuple[TappedFrame | None, TappedFrame | None]:
        """Find the frame as the relay had it, and through its time stamp as it was published."""
        relay = source = None
        if self._relay_tap is not None:
            relay = self._relay_tap.by_frame_number(picture.frame_number)
        if self._source_tap is not None and relay is not None:
            source = self._source_tap.by_rtp_timestamp(relay.rtp_timestamp)
        return relay, source

    def _sample(
        self, record: FrameRecord, picture: DecodedPicture, original: TappedFrame | None
    ) -> None:
        psnr_db = record.source_psnr_db or record.psnr_db
        if psnr_db is None or original is None:
            return
        is_smaller = original.planes.y.shape != picture.planes.y.shape  # of a lower rung
        if len(self.timeline.psnr_db) < 1_000_000:
            self.timeline.psnr_db.append(psnr_db.yuv)
            self.timeline.size_bytes.append(record.n_bytes)
        number = self.figures.decoded
        if self._options.samples and self.samples.wants(number) and not is_smaller:
            time_us = ticks_to_us(record.pts - self._zero_pts(record.pts), RTP_TIME_BASE)
            self.samples.keep(
                FrameSample(
                    number, time_us, original.planes, picture.planes, record.n_bytes, psnr_db
                )
            )

    def _check_model(self, session: Session) -> None:
        video: Sequence[Any] = session.description.of_kind("video")
        parameters = video[0].latent_parameters if video else None
        model = (parameters or {}).get("model", "")
        if not is_same_model(model, self._model_id):
            raise RemoteProtocolError(
                f"{self._connection.client.url}: the relay sends model {model or 'unknown'}, "
                f"not {self._model_id[:16]}"
            )


def _reader(path: Path | None) -> FrameTapReader | None:
    return FrameTapReader(path) if path is not None else None


def _settle(ended: asyncio.Future[None], task: asyncio.Future[None]) -> None:
    """Let the first task that ends, well or badly, settle *ended*."""
    if ended.done() or task.cancelled():
        return
    error = task.exception()
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(None)


def _stages_ms(frame: LatentFrame, timed: _Timed, source: TappedFrame | None) -> dict[str, float]:
    """
    Split the frame's way.

    The relay writes the time of day into its frames; it is brought to this
    machine's monotonic clock, which is exact on one machine and as good as
    the clocks agree between two.
    """
    stages = {
        "peer_queue": (timed.started_us - frame.released_us) / 1000,
        "peer_decode": (timed.decoded_us - timed.started_us) / 1000,
    }
    timing = frame.timing
    if timing is None:
        return stages
    offset_us = monotonic_us() - unix_us()
    received_us = timing.received_us + offset_us
    for stage in ("receive", "decode", "queue", "batch", "engine", "entropy"):
        stages[stage] = getattr(timing, f"{stage}_us") / 1000
    stages["deliver"] = (frame.released_us - timing.coded_us - offset_us) / 1000
    if source is not None:
        captured_us = source.received_us
    elif timing.capture_us is not None:
        captured_us = timing.capture_us + offset_us
    else:
        return stages
    stages["publish"] = (received_us - captured_us) / 1000
    stages["total"] = (timed.decoded_us - captured_us) / 1000
    return stages
