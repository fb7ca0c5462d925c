"""
Runs an engine on threads of its own, its lanes, and the entropy coder on at least as many others.

    event loop --submit--> scheduler --> a lane --> pack thread --> event loop
                                          |
                                          +--> PSNR of coded frames, when there is time

An engine has as many lanes as calls that it gains from. Results and drops come back as callbacks
on the event loop; every submitted frame gets exactly one. What is done to a frame is
`frame_coder`'s business.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from rtcodec.bundle import Bundle
from rtcodec.codec.picture_decoder import PictureDecoder
from rtcodec.engine.api import DecodeJob, EncodeOutput, Engine, StateId
from rtcodec.engine.capacity import Capacity, tiles_of
from rtcodec.engine.loader import GroupedEngine, WarmableEngine
from rtcodec.engine.scheduler import Batch, DeadlineScheduler, FrameJob, JobKind
from rtcodec.quality import picture_psnr
from rtcodec.stats import SIZE_BOUNDS, Histogram
from rtcodec.types import TILE_PX, tile_grid
from rtcodec.webrtc.clock import monotonic_us
from rtcodec_server.frame_coder import Coded, FrameCoder
from rtcodec_server.frame_request import FrameRequest
from rtcodec_server.loop_calls import LoopCalls
from rtcodec_server.measure import MeasureGate
from rtcodec_server.pack_thread import PackThread

_log = logging.getLogger(__name__)

_MEASURE_POLL_S = 0.02
_MAX_PACKING = 2
"Frames of a stream with the entropy coder while its next one runs."


@dataclass(frozen=True, slots=True, eq=False)
class _Measurement:
    request: FrameRequest
    output: EncodeOutput


class EngineHost:
    """The only user of one engine."""

    def __init__(
        self,
        engine: Engine,
        bundle: Bundle,
        *,
        max_batch: int,
        gate: MeasureGate,
        capacity: Capacity | None = None,
    ) -> None:
        """
        Start the threads; call it on the event loop.

        Args:
            engine: Runs *bundle*; closed with the host.
            bundle: Whose tables the entropy coder uses.
            max_batch: Frames that may run together.
            gate: Says when to measure PSNR.
            capacity: What frames cost, alone and together, if that was measured; by default those
                that run together cost no more than one.
        """
        n_lanes = engine.info.lanes
        self.info = engine.info
        self.batch_size = Histogram(SIZE_BOUNDS)
        self.failures = 0
        "Batches that the engine failed at."
        self.capacity = capacity
        self.tiles = 0
        "Tiles of 64x64 pixels that were encoded."
        self.busy_us = 0
        "Time that lanes have spent on that, together."
        self.core_us = 0
        "Processor time of this process's threads for that, the entropy coder's included."
        self._engine = engine
        self._bundle = bundle
        self._gate = gate
        self._scheduler = DeadlineScheduler(
            max_batch=max_batch, slots=n_lanes, curve=capacity.curve if capacity else None
        )
        # A lane of a CPU keeps one entropy coder busy; batches of a GPU as many as there are cores.
        cores = capacity.cores if capacity is not None and engine.info.batched else 1
        self._coders = [
            FrameCoder(engine, bundle, is_measured=not gate.is_off)
            for _ in range(max(n_lanes, cores))
        ]
        self._requests: dict[int, tuple[FrameRequest, ...]] = {}
        self._measurements: dict[tuple[int, int], _Measurement] = {}  # stream, rung -> newest
        self._ids = count()
        self._wake = threading.Condition()
        self._packing: Counter[int] = Counter()  # stream -> frames with the entropy coder
        self._measuring: set[int] = set()  # streams, but for those that ended meanwhile
        self._slow: set[int] = set()  # streams that wait for the entropy coder
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        self.calls = LoopCalls(self._loop)
        "What its threads have for the event loop."
        # A stream has one pack thread: its frames leave in order.
        self._pack_threads = [PackThread("pack") for _ in self._coders]
        self._state_pool = ThreadPoolExecutor(1, "state")
        self._lanes = [
            threading.Thread(target=self._run, args=(coder,), name="engine", daemon=True)
            for coder in self._coders[:n_lanes]
        ]
        for lane in self._lanes:
            lane.start()

    # ---- for the event loop

    @property
    def is_alive(self) -> bool:
        """Whether frames are still encoded."""
        return all(lane.is_alive() for lane in self._lanes)

    @property
    def group(self) -> GroupedEngine | None:
        """The engines that it has for one, if they are several or may be."""
        return self._engine if isinstance(self._engine, GroupedEngine) else None

    @property
    def n_lanes(self) -> int:
        """Calls that the engine has at a time."""
        return len(self._lanes)

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

    async def get_ready(self, width: int, height: int) -> None:
        """Get the engine ready for batches of a size, if it has any; may take minutes."""
        if isinstance(self._engine, WarmableEngine):
            await self._loop.run_in_executor(self._state_pool, self._engine.warm_up, width, height)

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
                    self.calls.add(each.on_dropped, "closed")
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
        """
        Measure no frame of a stream that was encoded so far.

        Before its states are closed this comes last, when none of its frames is in flight: what is
        being measured may fail from then on.
        """
        with self._wake:
            self._measuring.discard(stream)
            dropped = [self._measurements.pop(k) for k in [*self._measurements] if k[0] == stream]
        for measurement in dropped:
            self.calls.add(measurement.request.on_psnr, None)

    async def close(self) -> None:
        """Finish what runs, drop what waits, close the engine."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify_all()
        await self._loop.run_in_executor(self._state_pool, self._shut_down)
        self._state_pool.shutdown()

    # ---- lanes

    def _run(self, coder: FrameCoder) -> None:
        try:
            self._work(coder)
        except Exception:  # our own fault, or the relay would not notice that nothing runs
            _log.exception("an engine thread failed")
        with self._wake:
            self._is_stopping = True
            self._wake.notify_all()
        self._drop_rest()

    def _work(self, coder: FrameCoder) -> None:
        while True:
            with self._wake:
                work = self._next_work()
                while work is None and not self._is_stopping:
                    self._wake.wait(_MEASURE_POLL_S if self._measurements else None)
                    work = self._next_work()
            if work is None:
                break
            if isinstance(work, Batch):
                self._encode(coder, work)
            else:
                self._measure(work)

    def _next_work(self) -> Batch | _Measurement | None:
        if self._is_stopping:
            return None
        now_us = monotonic_us()
        if self._measurements and self._gate.comes_first(now_us=now_us):
            measurement = self._take_measurement()
            if measurement is not None:
                return measurement
        # An engine that is faster than the entropy coder waits for it: frames wait where newer
        # ones push them out, not between the two.
        has_room = self._packing.total() <= len(self._coders)
        batch = self._scheduler.plan(now_us=now_us) if has_room else None
        self._report_drops()
        if batch is not None:
            return batch
        if self._measurements and self._gate.may_run(now_us=now_us):
            return self._take_measurement()
        return None

    def _take_measurement(self) -> _Measurement | None:
        """Take one whose stream has no frame in flight; it has none until that is done."""
        for coding in self._measurements:
            if self._scheduler.hold(coding[0]):
                self._measuring.add(coding[0])
                return self._measurements.pop(coding)
        return None

    def _encode(self, coder: FrameCoder, batch: Batch) -> None:
        taken_us, cpu_us = monotonic_us(), _thread_us()
        requests = [each for job in batch.jobs for each in self._requests.pop(job.job_id)]
        for ran, became in coder.encode(requests, taken_us):
            if isinstance(became, Exception):
                self._fail(ran, became)
            else:
                for coded in became:
                    self._hand_on(coded)
            with self._wake:
                self.batch_size.add(len(ran))
        with self._wake:
            used_us = monotonic_us() - taken_us
            self.busy_us += used_us
            self.core_us += _thread_us() - cpu_us
            self.tiles += sum(
                tiles_of(*(each.size or (each.planes.width, each.planes.height)))
                for each in requests
            )
            self._scheduler.done(batch, used_us=used_us)
            for stream in {job.stream for job in batch.jobs}:
                if self._packing[stream] > _MAX_PACKING and self._scheduler.hold(stream):
                    self._slow.add(stream)
            self._wake.notify()

    def _hand_on(self, coded: Coded) -> None:
        """Let a frame be packed, and measured when there is time."""
        request, output = coded.request, coded.output
        if request.prediction is not None:
            request.prediction.sent(coded.plan)
        if request.on_picture is not None and output.reconstruction is not None:
            request.on_picture(output.reconstruction)
        place = request.stream % len(self._coders)
        with self._wake:
            self._packing[request.stream] += 1
            if not self._gate.is_off:
                self._queue_measurement(_Measurement(request, output))
        self._pack_threads[place].submit(self._pack, self._coders[place], coded)

    def _queue_measurement(self, measurement: _Measurement) -> None:
        coding = measurement.request.stream, measurement.request.rung
        older = self._measurements.pop(coding, None)
        self._measurements[coding] = measurement
        if older is not None:
            self.calls.add(older.request.on_psnr, None)

    def _measure(self, measurement: _Measurement) -> None:
        started_us = monotonic_us()
        request, output = measurement.request, measurement.output
        planes, decoded = request.planes, output.reconstruction
        psnr = None
        try:
            if decoded is None:
                job = DecodeJob(
                    request.state, output.z, output.symbols, request.qp,
                    planes.width, planes.height,
                    spatial=output.is_spatial, across_tiles=output.across_tiles,
                )  # fmt: skip
                (decoded,) = self._engine.decode([job])
            psnr = picture_psnr(planes, decoded)
        except Exception as error:  # whatever the device does, the relay goes on
            if request.stream in self._measuring:  # or its state was closed under our hands
                self._fail([], error)
        with self._wake:
            self._measuring.discard(request.stream)
            self._gate.note_measurement(started_us=started_us, ended_us=monotonic_us())
            self._scheduler.release(request.stream)
            self._wake.notify()
        self.calls.add(request.on_psnr, psnr)

    def _fail(self, requests: Sequence[FrameRequest], error: Exception) -> None:
        with self._wake:
            self.failures += 1
        if self.failures & (self.failures - 1) == 0:  # 1, 2, 4, 8 ...
            _log.error("engine failure %d: %s", self.failures, error)
        for request in requests:
            self.calls.add(request.on_dropped, "engine_error")

    def _drop_rest(self) -> None:
        with self._wake:
            for request in (each for rungs in self._requests.values() for each in rungs):
                self.calls.add(request.on_dropped, "closed")
            self._requests.clear()
            for measurement in self._measurements.values():
                self.calls.add(measurement.request.on_psnr, None)
            self._measurements.clear()

    # ---- pack thread

    def _pack(self, coder: FrameCoder, coded: Coded) -> None:
        request, cpu_us = coded.request, _thread_us()
        try:
            frame = coder.pack(coded)
            request.before_send(frame.frame_number)
        except Exception as error:  # a frame that cannot be coded must not stop the others
            self._fail([request], error)
        else:
            self.calls.add(request.on_coded, frame)
        with self._wake:
            self.core_us += _thread_us() - cpu_us
            self._packing[request.stream] -= 1
            if self._packing[request.stream] <= _MAX_PACKING and request.stream in self._slow:
                self._slow.discard(request.stream)
                self._scheduler.release(request.stream)
            self._packing += Counter()  # forgets those that have none
            self._wake.notify()

    # ---- any thread

    def _report_drops(self) -> None:
        while (dropped := self._scheduler.next_drop()) is not None:
            for request in self._requests.pop(dropped.job.job_id):
                self.calls.add(request.on_dropped, dropped.reason.value)

    def _shut_down(self) -> None:
        for lane in self._lanes:
            lane.join()
        for thread in self._pack_threads:
            thread.close()
        self._engine.close()


def _thread_us() -> int:
    return time.thread_time_ns() // 1000
