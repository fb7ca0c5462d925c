"""
One synthetic subscriber: a WHEP client that counts access units, or decodes them.

Counting costs the processor a tenth of decoding: what came, when, how much of it
was missing, and what the relay says of each frame. Decoding adds what only pixels
tell: the time from the publisher's camera to the picture, and its PSNR.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from rtcodec.bundle import Bundle
from rtcodec.codec.picture_decoder import DecodedPicture, PictureDecoder
from rtcodec.engine.api import Engine
from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import FrameReporter, write_report
from rtcodec.quality import PlanePsnr, picture_psnr
from rtcodec.webrtc.clock import monotonic_us, unix_us
from rtcodec.webrtc.connection import add_latent_receiver
from rtcodec.webrtc.latent_receiver import LatentFrame, LatentReceiver
from rtcodec_client.barcode import read_barcode
from rtcodec_client.load.feed import Pictures, frame_of_barcode
from rtcodec_client.load.peer import LoadPeer, PeerPlace, PeerSpec
from rtcodec_client.load.recorder import Recorder
from rtcodec_client.load.seen import HeldFrames, SubscriberFigures

_QUEUE_FRAMES: Final = 2
_RELAY_STAGES: Final = ("receive", "decode", "queue", "batch", "engine", "entropy")
_LATENCY_MAX_US: Final = 30_000_000
"A frame that seems older than this, or from the future, was misread."

_PSNR_EVERY_FRAMES: Final = 15
"Drawing the original again and comparing takes as long as a tenth of decoding."


_CONCEALED: Final = 0.1
"What a subscriber that only counts says of a frame that came with holes."


@dataclass(frozen=True, slots=True)
class Viewer:
    """What decodes in one process: one engine, one thread, for all its decoding subscribers."""

    engine: Engine
    bundle: Bundle
    pictures: Pictures
    frame_us: int
    size: tuple[int, int]
    "Width and height of the frames to come."

    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decoded frame; times are monotonic."""

    picture: DecodedPicture
    started_us: int
    decoded_us: int
    captured_us: int | None = None
    "When the publisher's camera took it, as its pixels say; None if they cannot be read."

    psnr_db: PlanePsnr | None = None


class LoadSubscriber(LoadPeer):
    """Watches one room."""

    def __init__(
        self,
        spec: PeerSpec,
        place: PeerPlace,
        recorder: Recorder,
        viewer: Viewer | None,
        *,
        reports: bool,
    ) -> None:
        """
        Args:
            spec: See there.
            place: See there.
            recorder: Of the process.
            viewer: Decodes; None counts.
            reports: Whether the relay predicts frames and wants to know which are held.
        """
        super().__init__(spec, place)
        self.figures = SubscriberFigures()
        self._recorder = recorder
        self._viewer = viewer
        self._decoder = PictureDecoder(viewer.engine, viewer.bundle) if viewer else None
        self._reporter = FrameReporter() if reports else None
        self._held = HeldFrames()
        self._is_measuring = False
        self._receiver: LatentReceiver | None = None
        self._arrived_us: int | None = None
        self._dropped_before = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until *stop*; raises as `RelayConnection.established`."""
        if self._viewer is not None and self._decoder is not None:
            # An engine may take seconds for the first frame of a size: not while frames come.
            await asyncio.get_running_loop().run_in_executor(
                self._viewer.pool, self._decoder.warm, *self._viewer.size
            )
        async with self.connection() as connection:
            ready = add_latent_receiver(connection.peer, max_frames=_QUEUE_FRAMES)
            try:
                async with connection.established(stop):
                    self.note_connected(connection)
                    self._receiver = receiver = await ready
                    pump = asyncio.ensure_future(self._pump(receiver, connection.note_alive))
                    try:
                        await connection.run_until(pump, stop)
                    finally:
                        receiver.close()
                        await pump
                        self._count_late(receiver)
            finally:
                if self._decoder is not None:
                    self._decoder.close()

    def measure(self, *, on: bool) -> None:
        """Begin or end the soak."""
        if self._is_measuring and not on:
            self.figures.freezes.end(now_us=monotonic_us())
        self._is_measuring = on
        if on:
            # A subscriber that sees nothing at all during the soak is frozen for all of it.
            self.figures.freezes.last_us = monotonic_us() if self.has_joined.is_set() else None

    async def _pump(self, receiver: LatentReceiver, note_alive: Any) -> None:
        loop = asyncio.get_running_loop()
        async for frame in receiver:
            note_alive()
            self._count_late(receiver)
            if not self._arrive(frame):
                continue
            if self._viewer is None:
                self._see(monotonic_us())
                self._report_header(receiver, frame)
                continue
            seen = await loop.run_in_executor(
                self._viewer.pool, self._decode, frame, self._wants_psnr()
            )
            if not isinstance(seen, _Seen):
                self.figures.units -= 1  # it came, but to nothing: each frame is counted once
                self._recorder.count("units", -1)
                self._lose("undecodable", 1)
                if seen.unheld_frame is not None:
                    self._send_report(receiver, seen.unheld_frame, False, 1.0)
                receiver.request_keyframe()
            else:
                self._note_seen(frame, seen)
                is_held = seen.picture.is_complete and frame.is_complete
                number, concealed = seen.picture.frame_number, seen.picture.concealed
                self._send_report(receiver, number, is_held, concealed)

    # ---- what came

    def _arrive(self, frame: LatentFrame) -> bool:
        """Count a frame; say whether there is anything in it."""
        figures, recorder = self.figures, self._recorder
        self._lose("network", frame.n_frames_lost_before)
        if not frame.packets:
            self._lose("network", 1)
            return False
        size = sum(map(len, frame.packets))
        self.note_first(frame.released_us)
        figures.units += 1
        figures.size_bytes += size
        figures.damaged += not frame.is_complete
        recorder.count("units")
        recorder.count("unit_bytes", size)
        if self._is_measuring:
            figures.soak_units += 1
            figures.soak_bytes += size
            recorder.count("soak_units")
            if self._arrived_us is not None:
                gap_ms = (frame.released_us - self._arrived_us) / 1000
                figures.gap.add(gap_ms)
                recorder.time("gap", gap_ms)
        self._arrived_us = frame.released_us
        self._time_stages(frame)
        return True

    def _time_stages(self, frame: LatentFrame) -> None:
        """Record what the relay wrote into the frame, and when it came."""
        timing = frame.timing
        if timing is None:
            return
        offset_us = monotonic_us() - unix_us()
        recorder = self._recorder
        if self.spec.is_lead:
            for stage in _RELAY_STAGES:
                recorder.time(stage, getattr(timing, f"{stage}_us") / 1000)
        recorder.time("deliver", max(0, frame.released_us - timing.coded_us - offset_us) / 1000)
        arrive_ms = max(0, frame.released_us - timing.received_us - offset_us) / 1000
        recorder.time("arrive", arrive_ms)
        if self._viewer is None and self._is_measuring:
            self.figures.latency.add(arrive_ms)

    def _see(self, at_us: int) -> None:
        """Count a new picture, or what stands for one where nothing is decoded."""
        if not self._is_measuring:
            return
        before = self.figures.freezes.freeze_count
        self.figures.freezes.shown(now_us=at_us)
        self._recorder.count("freezes", self.figures.freezes.freeze_count - before)

    def _lose(self, reason: str, n_frames: int) -> None:
        if n_frames > 0:
            self.figures.lost[reason] += n_frames
            self._recorder.count("lost", n_frames)
            self._recorder.count(f"lost_{reason}", n_frames)

    def _count_late(self, receiver: LatentReceiver) -> None:
        self._lose("late", receiver.frames_dropped - self._dropped_before)
        self._dropped_before = receiver.frames_dropped

    # ---- decoding

    def _wants_psnr(self) -> bool:
        return self._is_measuring and self.figures.decoded % _PSNR_EVERY_FRAMES == 0

    def _decode(self, frame: LatentFrame, wants_psnr: bool) -> _Seen | BitstreamError:
        """Decode a frame and read its stamp; on the viewer's thread, so it changes nothing here."""
        assert self._decoder is not None
        assert self._viewer is not None
        viewer, delay_us = self._viewer, self.spec.delay_us
        started_us = monotonic_us()
        try:
            picture = self._decoder.decode(frame.packets)
        except BitstreamError as error:
            return error
        decoded_us = monotonic_us()
        code = read_barcode(picture.planes)
        if code is None:
            return _Seen(picture, started_us, decoded_us)
        number = frame_of_barcode(code, near=(decoded_us - delay_us) // viewer.frame_us)
        captured_us = number * viewer.frame_us + delay_us
        if not 0 <= decoded_us - captured_us < _LATENCY_MAX_US:
            return _Seen(picture, started_us, decoded_us)
        psnr_db = None
        if wants_psnr:
            original = viewer.pictures.planes(number)
            if original.y.shape == picture.planes.y.shape:
                psnr_db = picture_psnr(original, picture.planes)
        return _Seen(picture, started_us, decoded_us, captured_us, psnr_db)

    def _note_seen(self, frame: LatentFrame, seen: _Seen) -> None:
        figures, recorder = self.figures, self._recorder
        figures.decoded += 1
        recorder.count("decoded")
        recorder.time("peer_queue", (seen.started_us - frame.released_us) / 1000)
        recorder.time("peer_decode", (seen.decoded_us - seen.started_us) / 1000)
        self._see(seen.decoded_us)
        if seen.captured_us is None:
            figures.unstamped += 1
            recorder.count("unstamped")
            return
        total_ms = (seen.decoded_us - seen.captured_us) / 1000
        recorder.time("total", total_ms)
        if frame.timing is not None:
            received_us = frame.timing.received_us + monotonic_us() - unix_us()
            recorder.time("publish", max(0, received_us - seen.captured_us) / 1000)
        if self._is_measuring:
            figures.latency.add(total_ms)
        if seen.psnr_db is not None:
            figures.psnr_db.append(seen.psnr_db)

    # ---- telling the relay which frames are held

    def _report_header(self, receiver: LatentReceiver, frame: LatentFrame) -> None:
        """Report as a decoder would that decodes whatever came whole."""
        if self._reporter is None:
            return
        followed = self._held.follow(frame.packets[0], is_complete=frame.is_complete)
        if followed is not None:
            self._send_report(receiver, *followed, 0.0 if followed[1] else _CONCEALED)

    def _send_report(
        self, receiver: LatentReceiver, number: int, is_held: bool, concealed: float
    ) -> None:
        if self._reporter is None:
            return
        now_us = monotonic_us()
        self._reporter.decided(number, is_held=is_held, concealed=concealed, now_us=now_us)
        report = self._reporter.take_due(now_us=now_us)
        if report is not None:
            receiver.send_feedback(write_report(report))

    # ---- figures

    def report(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        out = self.figures.report() | self.link_counters
        if self._receiver is not None:
            counters = self._receiver.counters
            out |= {
                "packets": counters.packets_received,
                "packets_lost": counters.packets_lost,
                "packets_recovered": counters.packets_recovered,
                "nacks": counters.nack_count,
            }
        return out
