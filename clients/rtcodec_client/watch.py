"""
Watches a room over WHEP: receives latents, decodes them, keeps the figures.

    aiortc -> LatentReceiver (newest wins) -> decode thread -> figures, outputs
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rtcodec.bundle import Bundle
from rtcodec.codec.perceptual_head import PerceptualHead
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.api import Engine
from rtcodec.errors import BitstreamError, InputError, RemoteProtocolError
from rtcodec.packet.feedback import FrameReporter, write_report
from rtcodec.types import Planes
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.connection import add_latent_receiver
from rtcodec.webrtc.latent_receiver import LatentFrame, LatentReceiver
from rtcodec.webrtc.sdp import is_same_model
from rtcodec_client.connection import RelayClosed, RelayConnection, Session
from rtcodec_client.measure import FrameMeasurer, TimedPicture
from rtcodec_client.output import OutputThread

_QUEUE_FRAMES = 2
_OPENING_FRAMES = 60
"While a decoder is opened: as long as a dozen frames last, and later ones lean on every one."


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
        head: What pictures pass on their way there and to *outputs*, after they were measured.
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
        head: PerceptualHead | None = None,
    ) -> None:
        self.measured = FrameMeasurer(
            relay_tap=options.relay_tap,
            source_tap=options.source_tap,
            barcode=options.barcode,
            samples=options.samples,
        )
        "What was found out about decoded frames."

        self.figures = self.measured.figures
        self.prepared = asyncio.Event()
        "Set when pictures of every size that the relay tells of can be decoded at once."

        self._connection = connection
        self._model_id = engine.info.model_id.hex()
        self._decoder = PictureDecoder(engine, bundle)
        self._options = options
        self._outputs = outputs
        self._show = show
        self._head = head
        self._started = asyncio.Event()
        self._enough = asyncio.Event()
        self._receiver: LatentReceiver | None = None
        self._reporter = FrameReporter()

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
            self.measured.close()

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
                if not isinstance(timed, TimedPicture):
                    if (unheld := timed.unheld_frame) is not None:
                        self._report(receiver, unheld, is_held=False, concealed=1.0)
                    receiver.request_keyframe()  # there is nothing to predict from at all
                    self.figures.lose("undecodable")
                    continue
                picture = timed.picture
                is_held = picture.is_complete and frame.is_complete
                number, concealed = picture.frame_number, picture.concealed
                self._report(receiver, number, is_held=is_held, concealed=concealed)
                if measuring is not None:
                    await measuring
                measuring = loop.run_in_executor(measure_pool, self._follow_up, frame, timed)
                decoded += 1
                self._started.set()
                if decoded == self._options.frames:
                    break
            if measuring is not None:
                await measuring
        self._enough.set()

    def _report(
        self, receiver: LatentReceiver, number: int, *, is_held: bool, concealed: float
    ) -> None:
        """Tell the relay now and then which frames are held, so that it predicts from those."""
        now_us = monotonic_us()
        self._reporter.decided(number, is_held=is_held, concealed=concealed, now_us=now_us)
        report = self._reporter.take_due(now_us=now_us)
        if report is not None:
            receiver.send_feedback(write_report(report))

    def _decode(self, frame: LatentFrame) -> TimedPicture | BitstreamError:
        """Decode one frame, or return why nothing of it can be; on the decode thread."""
        started_us = monotonic_us()
        try:
            picture = self._decoder.decode(frame.packets)
        except BitstreamError as error:
            return error
        return TimedPicture(picture, started_us, monotonic_us())

    def _follow_up(self, frame: LatentFrame, timed: TimedPicture) -> None:
        """Do everything that follows from a decoded frame; on the measuring thread."""
        time_ticks = self.measured.measure(frame, timed)
        picture = timed.picture
        if self._head is not None:
            picture = replace(picture, planes=self._head.show(picture.planes, picture.qps))
        self._outputs.write(time_ticks, picture)
        self._show(picture.planes)

    def _check_model(self, session: Session) -> None:
        video: Sequence[Any] = session.description.of_kind("video")
        parameters = video[0].latent_parameters if video else None
        model = (parameters or {}).get("model", "")
        if not is_same_model(model, self._model_id):
            raise RemoteProtocolError(
                f"{self._connection.client.url}: the relay sends model {model or 'unknown'}, "
                f"not {self._model_id[:16]}"
            )


def _settle(ended: asyncio.Future[None], task: asyncio.Future[None]) -> None:
    """Let the first task that ends, well or badly, settle *ended*."""
    if ended.done() or task.cancelled():
        return
    error = task.exception()
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(None)
