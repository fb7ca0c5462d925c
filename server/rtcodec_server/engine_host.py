"""
Runs an engine on its own thread, and the entropy coder on another.

    event loop --submit--> scheduler --> engine thread --> pack thread --> event loop
                                              |
                                              +--> PSNR of coded frames, when there is time

The engine has one submitting thread. Results and drops come back as callbacks
on the event loop; every submitted frame gets exactly one.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from rtcodec.bitstream.packet import Description, Geometry, state_slot, write_packet
from rtcodec.bundle import Bundle
from rtcodec.codec.cost import FrameCosts
from rtcodec.codec.encoder import FrameLabel, FramePacker
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.codec.planner import FramePlan
from rtcodec.codec.reference import NewestReference, live_intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, Engine, StateId
from rtcodec.engine.scheduler import Batch, DeadlineScheduler, FrameJob, JobKind
from rtcodec.errors import EngineError
from rtcodec.media.scale import PlanesScaler
from rtcodec.packet.payload import MAX_PACKET_BYTES
from rtcodec.quality import picture_psnr
from rtcodec.size_model import Try
from rtcodec.stats import SIZE_BOUNDS, Histogram
from rtcodec.types import TILE_PX, LayerId, Planes, tile_grid
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.frame_request import CodedFrame, FrameRequest
from rtcodec_server.measure import MeasureGate
from rtcodec_server.prediction import StreamPrediction

_log = logging.getLogger(__name__)

_MEASURE_POLL_S = 0.02
_WARM_FRAMES = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Measurement:
    request: FrameRequest
    output: EncodeOutput


class EngineHost:
    """The only user of one engine."""

    def __init__(
        self, engine: Engine, bundle: Bundle, *, max_batch: int, gate: MeasureGate
    ) -> None:
        """
        Start the threads; call it on the event loop.

        Args:
            engine: Runs *bundle*; closed with the host.
            bundle: Whose tables the entropy coder uses.
            max_batch: Frames that may run together.
            gate: Says when to measure PSNR.
        """
        self.info = engine.info
        self.batch_size = Histogram(SIZE_BOUNDS)
        self.failures = 0
        "Batches that the engine failed at."
        self._engine = engine
        self._bundle = bundle
        self._gate = gate
        self._scheduler = DeadlineScheduler(max_batch=max_batch)
        self._packer = FramePacker(
            bundle.entropy_tables,
            Slicing(target_bytes=MAX_PACKET_BYTES, dispersed=True),
            delta_tables=bundle.delta_tables,
        )
        self._scaler = PlanesScaler()  # of the engine's thread
        self._costs = FrameCosts(bundle.entropy_tables, bundle.delta_tables)
        self._model_tag = int.from_bytes(engine.info.model_id[:2], "big")
        self._requests: dict[int, tuple[FrameRequest, ...]] = {}
        self._measurements: dict[tuple[int, int], _Measurement] = {}  # stream, rung -> newest
        self._ids = count()
        self._wake = threading.Condition()
        self._n_packing = 0
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._pack_pool = ThreadPoolExecutor(1, "pack")
        self._state_pool = ThreadPoolExecutor(1, "state")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # ---- for the event loop

    @property
    def is_alive(self) -> bool:
        """Whether frames are still encoded."""
        return self._thread.is_alive()

    async def open_state(self, width: int, height: int) -> StateId:
        """
        Get the engine ready for a size; may take a second, blocks nothing.

        Raises:
            EngineError: If the engine has no room or failed.
        """
        return await self._loop.run_in_executor(
            self._state_pool, self._engine.open_state, width, height
        )

    async def close_state(self, state: StateId) -> None:
        """Forget a state of which no frame is in flight."""
        await self._loop.run_in_executor(self._state_pool, self._engine.close_state, state)

    def new_decoder(self) -> PictureDecoder:
        """Return what decodes one stream of this model, on any one thread; close it before this."""
        return PictureDecoder(self._engine, self._bundle)

    async def warm(self, width: int, height: int) -> None:
        """
        Run frames of a size through all of it: one to start from, and what follows it.

        What runs for the first time takes twice as long or more, and a call's first frames would
        come late and push out the next.
        """
        state = await self.open_state(width, height)
        predicted = self.info.references >= NewestReference.SLOTS
        prediction = StreamPrediction(self.info.references, ["nobody"]) if predicted else None
        for number in range(_WARM_FRAMES if predicted else 1):
            done = asyncio.Event()
            self.submit(
                FrameRequest(
                    stream=-1,
                    state=state,
                    planes=moving_planes(width, height, number),
                    qp=32,
                    deadline_us=monotonic_us() + 60_000_000,
                    on_coded=lambda coded, done=done: done.set(),  # type: ignore[misc]
                    on_dropped=lambda reason, done=done: done.set(),  # type: ignore[misc]
                    on_psnr=lambda psnr: None,
                    frame_number=number,
                    prediction=prediction,
                )
            )
            await done.wait()
        self.close_stream(-1)
        await self.close_state(state)

    def submit(self, request: FrameRequest, *rungs: FrameRequest) -> None:
        """
        Queue one frame; never blocks for longer than a plan takes.

        Args:
            request: The frame.
            rungs: Other codings of it. They run in the same batch, in this order, or are dropped
                together with it.
        """
        rows, columns = tile_grid(request.planes.width, request.planes.height)
        job = FrameJob(
            job_id=next(self._ids),
            stream=request.stream,
            kind=JobKind.ENCODE,
            shape=(rows * TILE_PX, columns * TILE_PX),
            deadline_us=request.deadline_us,
        )
        with self._wake:
            if self._is_stopping:
                for each in (request, *rungs):
                    self._call(each.on_dropped, "closed")
                return
            self._requests[job.job_id] = (request, *rungs)
            self._gate.note_frame(request.stream, now_us=monotonic_us())
            self._scheduler.submit(job)
            self._report_drops()
            self._wake.notify()

    def close_stream(self, stream: int) -> None:
        """Drop what waits of a stream; what runs still comes back."""
        with self._wake:
            self._scheduler.close_stream(stream)
            self._report_drops()
            self._gate.forget(stream)
        self.drop_measurement(stream)

    def drop_measurement(self, stream: int) -> None:
        """Measure no frame of a stream that was encoded so far."""
        with self._wake:
            dropped = [self._measurements.pop(k) for k in [*self._measurements] if k[0] == stream]
        for measurement in dropped:
            self._call(measurement.request.on_psnr, None)

    async def close(self) -> None:
        """Finish what runs, drop what waits, close the engine."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        await self._loop.run_in_executor(self._state_pool, self._shut_down)
        self._state_pool.shutdown()

    # ---- engine thread

    def _run(self) -> None:
        try:
            self._work()
        except Exception:  # our own fault, or the relay would not notice that nothing runs
            _log.exception("the engine thread failed")
        with self._wake:
            self._is_stopping = True
        self._drop_rest()

    def _work(self) -> None:
        while True:
            with self._wake:
                work = self._next_work()
                while work is None and not self._is_stopping:
                    self._wake.wait(_MEASURE_POLL_S if self._measurements else None)
                    work = self._next_work()
            if work is None:
                break
            if isinstance(work, Batch):
                self._encode(work)
            else:
                self._measure(work)

    def _next_work(self) -> Batch | _Measurement | None:
        if self._is_stopping:
            return None
        now_us = monotonic_us()
        if self._measurements and self._gate.comes_first(now_us=now_us):
            return self._take_measurement()
        # An engine that is faster than the entropy coder waits for it: frames wait where newer
        # ones push them out, not between the two.
        batch = self._scheduler.plan(now_us=now_us) if self._n_packing <= 1 else None
        self._report_drops()
        if batch is not None:
            return batch
        if self._measurements and self._gate.may_run(now_us=now_us):
            return self._take_measurement()
        return None

    def _take_measurement(self) -> _Measurement:
        return self._measurements.pop(next(iter(self._measurements)))

    def _encode(self, batch: Batch) -> None:
        taken_us = monotonic_us()
        requests = [each for job in batch.jobs for each in self._requests.pop(job.job_id)]
        plans = [_plan(request) for request in requests]
        requests = [_finer(*planned) for planned in zip(requests, plans, strict=True)]
        for places in _by_shape(requests):
            self._encode_alike([requests[i] for i in places], [plans[i] for i in places], taken_us)
        with self._wake:
            self._scheduler.done(batch)

    def _encode_alike(
        self, requests: list[FrameRequest], plans: Sequence[FramePlan], taken_us: int
    ) -> None:
        """Code those frames of a batch that have one padded size."""
        started_us = monotonic_us()
        try:
            requests = [self._scaled(request) for request in requests]
            outputs = self._run_engine(requests, plans)
            self._run_again(requests, plans, outputs)
        except Exception as error:  # whatever the device does, the relay goes on
            self._fail(requests, error)
            outputs = []
        engine_us = monotonic_us()
        times_us = (taken_us, started_us, engine_us)
        # No outputs if it failed.
        for request, plan, output in zip(requests, plans, outputs, strict=False):
            if request.prediction is not None:
                request.prediction.sent(plan)
            if request.on_picture is not None and output.reconstruction is not None:
                request.on_picture(output.reconstruction)
            with self._wake:
                self._n_packing += 1
            self._pack_pool.submit(self._pack, request, plan, output, times_us)
        with self._wake:
            self.batch_size.add(len(requests))
            if not self._gate.is_off:
                for request, output in zip(requests, outputs, strict=False):
                    self._queue_measurement(_Measurement(request, output))

    def _scaled(self, request: FrameRequest) -> FrameRequest:
        if request.size is None:
            return request
        return replace(request, planes=self._scaler.scale(request.planes, *request.size))

    def _run_engine(
        self, requests: Sequence[FrameRequest], plans: Sequence[FramePlan]
    ) -> list[EncodeOutput]:
        jobs = [self._job(*planned) for planned in zip(requests, plans, strict=True)]
        outputs = self._engine.encode(jobs)
        if len(outputs) != len(requests):
            raise EngineError(f"{len(outputs)} outputs for {len(requests)} frames")
        return list(outputs)

    def _job(self, request: FrameRequest, plan: FramePlan) -> EncodeJob:
        # Where a picture is stored it is painted anyway, and measuring costs no decoding. One that
        # is predicted and not stored could not be decoded later: what it stands on may be gone.
        is_painted = plan.store is not None or plan.reference is not None
        return EncodeJob(
            request.state,
            request.planes,
            request.qp,
            reference=_slot(plan.reference),
            store=_slot(plan.store),
            reconstruct=request.on_picture is not None or (is_painted and not self._gate.is_off),
        )

    def _run_again(
        self,
        requests: list[FrameRequest],
        plans: Sequence[FramePlan],
        outputs: list[EncodeOutput],
    ) -> None:
        """Replace, in place, the frames of a batch that came out too big; each once at most."""
        again: dict[int, FrameRequest] = {}
        for place, (request, output) in enumerate(zip(requests, outputs, strict=True)):
            if request.retry is None or monotonic_us() > request.deadline_us:
                continue
            if plans[place].reference is not None and _slot(plans[place].store) == _slot(
                plans[place].reference
            ):
                continue  # what it was predicted from is gone
            tried = Try(request.qp, self._costs.frame_bits(output, request.qp))
            if (qp := request.retry([tried])) is not None:
                again[place] = replace(request, qp=qp, rejected=(tried,))
        if not again:
            return
        better = self._run_engine(list(again.values()), [plans[place] for place in again])
        for (place, request), output in zip(again.items(), better, strict=True):
            requests[place], outputs[place] = request, output

    def _queue_measurement(self, measurement: _Measurement) -> None:
        coding = measurement.request.stream, measurement.request.rung
        older = self._measurements.pop(coding, None)
        self._measurements[coding] = measurement
        if older is not None:
            self._call(older.request.on_psnr, None)

    def _measure(self, measurement: _Measurement) -> None:
        started_us = monotonic_us()
        request, output = measurement.request, measurement.output
        planes, decoded = request.planes, output.reconstruction
        psnr = None
        try:
            if decoded is None:
                job = DecodeJob(
                    request.state, output.z, output.symbols, request.qp, planes.width, planes.height
                )
                (decoded,) = self._engine.decode([job])
            psnr = picture_psnr(planes, decoded)
        except Exception as error:  # as above
            self._fail([], error)
        self._gate.note_measurement(started_us=started_us, ended_us=monotonic_us())
        self._call(request.on_psnr, psnr)

    def _fail(self, requests: Sequence[FrameRequest], error: Exception) -> None:
        self.failures += 1
        if self.failures & (self.failures - 1) == 0:  # 1, 2, 4, 8 ...
            _log.error("engine failure %d: %s", self.failures, error)
        for request in requests:
            self._call(request.on_dropped, "engine_error")

    def _drop_rest(self) -> None:
        with self._wake:
            for request in (each for rungs in self._requests.values() for each in rungs):
                self._call(request.on_dropped, "closed")
            self._requests.clear()
            for measurement in self._measurements.values():
                self._call(measurement.request.on_psnr, None)
            self._measurements.clear()

    # ---- pack thread

    def _pack(
        self,
        request: FrameRequest,
        plan: FramePlan,
        output: EncodeOutput,
        times_us: tuple[int, int, int],
    ) -> None:
        try:
            coded = self._code(request, plan, output, times_us)
            request.before_send(coded.frame_number)
        except Exception as error:  # a frame that cannot be coded must not stop the others
            self._fail([request], error)
        else:
            self._call(request.on_coded, coded)
        with self._wake:
            self._n_packing -= 1
            self._wake.notify()

    def _code(
        self,
        request: FrameRequest,
        plan: FramePlan,
        output: EncodeOutput,
        times_us: tuple[int, int, int],
    ) -> CodedFrame:
        planes = request.planes
        label = FrameLabel(
            frame_number=plan.frame_number & 0xFFFF,
            qp=request.qp,
            keyframe=plan.keyframe,
            reference=plan.reference,
            store=plan.store,
            layer=LayerId(request.rung, plan.temporal),
            description=Description(self._model_tag, Geometry(planes.width, planes.height)),
        )
        packets = self._packer.pack(output, label, planes.width, planes.height)
        written = tuple(write_packet(packet) for packet in packets)
        return CodedFrame(
            written,
            *times_us,
            coded_us=monotonic_us(),
            is_measured=not self._gate.is_off,
            tries=(*request.rejected, Try(request.qp, 8 * sum(map(len, written)))),
            is_delta=plan.reference is not None,
            is_keyframe=plan.keyframe,
            frame_number=label.frame_number,
            temporal=plan.temporal,
        )

    # ---- any thread

    def _report_drops(self) -> None:
        while (dropped := self._scheduler.next_drop()) is not None:
            for request in self._requests.pop(dropped.job.job_id):
                self._call(request.on_dropped, dropped.reason.value)

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(action, *arguments)

    def _shut_down(self) -> None:
        self._thread.join()
        self._pack_pool.shutdown()
        self._engine.close()


def _plan(request: FrameRequest) -> FramePlan:
    if request.prediction is None:
        temporal = request.frame_number & 1 if request.half_rate else 0
        return FramePlan(request.frame_number, None, None, keyframe=True, temporal=temporal)
    return request.prediction.plan(half_rate=request.half_rate)


def _by_shape(requests: Sequence[FrameRequest]) -> list[list[int]]:
    """Return the places of requests of one padded size, in the order of their first."""
    places: dict[tuple[int, int], list[int]] = {}
    for place, request in enumerate(requests):
        size = request.size or (request.planes.width, request.planes.height)
        places.setdefault(tile_grid(*size), []).append(place)
    return list(places.values())


def _finer(request: FrameRequest, plan: FramePlan) -> FrameRequest:
    """Code a frame finer that others will lean on, unless a rate decides on qp."""
    if request.prediction is None or plan.reference is not None or request.retry is not None:
        return request
    return replace(request, qp=live_intra_qp(request.qp, first=plan.frame_number == 0))


def _slot(state: int | None) -> int | None:
    return None if state is None else state_slot(state)


def moving_planes(width: int, height: int, number: int) -> Planes:
    """Return picture *number* of a texture that moves: nothing is at rest, so everything runs."""
    rows, columns = np.ogrid[:height, :width]
    luma = (rows * rows // 5 + columns * (3 + rows // 16) + 3 * number) & 0xFF
    chroma = luma[::2, ::2] // 2 + 64
    return Planes(luma.astype(np.uint8), chroma.astype(np.uint8), chroma.astype(np.uint8))
