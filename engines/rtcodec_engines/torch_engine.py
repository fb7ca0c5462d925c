"""
The GPU engine: intra frames by the networks in torch, delta frames as integers on tensors.

    frame --padded--> pinned planes --Batching--> one CUDA graph for a batch --> symbols, planes
    spatial frame --C, on the caller's thread--> symbols, planes --Batching--> stored pictures

Frames of one operation and one padded size run together, whatever stream they are of; what streams
keep is in a slab on the device. The same code runs on a CPU in float32, for tests and parity.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.engine.blocks import planes_of
from rtcodec.engine.loader import EngineReport
from rtcodec.entropy.native_tiles import scale_indices
from rtcodec.errors import EngineError, LocalProtocolError, Overloaded
from rtcodec.motion.layout import blocks_of
from rtcodec.types import Planes
from rtcodec_engines.batch_rows import (
    DECODE_DELTA,
    DECODE_INTRA,
    ENCODE_DELTA,
    ENCODE_INTRA,
    KEEP,
    ListedTiles,
    Size,
    coded,
    padded_size,
    put_planes,
    reset,
    say,
    shapes_of,
    shown,
)
from rtcodec_engines.batching import BUCKETS, Again, Batching, Request
from rtcodec_engines.best_frames import MakeFrames, best_frames, plain_frames, switched_off
from rtcodec_engines.cuda import CudaDevice
from rtcodec_engines.device import Arrays, CpuDevice, Device, Fault, Lane, fault_of
from rtcodec_engines.finish import Blocks, Finish, cropped
from rtcodec_engines.spatial import SpatialFrames
from rtcodec_engines.tensor.frames import PLANES
from rtcodec_engines.tensor.slab import SCRATCH, Slab
from rtcodec_engines.torch_stream import TorchStream

_Job = TypeVar("_Job", EncodeJob, DecodeJob)

REFERENCES = 8
"Pictures of one stream that are kept, where the model has delta frames."

STATES = 128
"Streams of one padded size, both directions counted, that there is room for."

KEPT_SIZES = 4
"Sizes without a stream whose slabs and programs are kept."


class TorchEngine:
    """The `Engine` protocol over a `Device`."""

    info: EngineInfo

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        device: Device | None = None,
        frames: MakeFrames | None = None,
        states: int = STATES,
    ) -> None:
        """
        Args:
            bundle: The model.
            threads: For one frame; only a CPU asks.
            device: Where to run; None for the first GPU.
            frames: What makes the operations; None for kernels where they work, else plain torch.
            states: Streams of one padded size that there is room for.

        Raises:
            EngineError: If there is no GPU, or no memory for the weights.
        """
        off = switched_off()
        self._device = device or CudaDevice(graphs="graphs" not in off)
        if self._device.torch_device.type == "cpu":
            torch.set_num_threads(max(1, threads))
        self._bundle = bundle
        self._references = REFERENCES if bundle.delta is not None else 1
        self._n_states = states
        make = frames or (plain_frames if "kernels" in off else best_frames)
        try:
            self.frames = make(bundle, self._device)
        except RuntimeError as error:
            problem = "fit" if fault_of(error) is Fault.MEMORY else "load"
            raise EngineError(f"the model does not {problem}: {error}") from error
        self._spatial, self._finish = SpatialFrames(bundle), Finish(bundle)
        self._slabs: dict[Size, Slab] = {}  # least recently opened first
        self._streams: dict[StateId, TorchStream] = {}
        self._ids = count()
        self._lock = Lock()
        self.batching = Batching(self._device, self, reset=reset)
        kind = self._device.autocast
        kinds = {"f32", *(("int8",) if bundle.is_int8 else ())}
        if kind is not None:
            kinds.add("bf16" if kind is torch.bfloat16 else "f16")
        self.info = EngineInfo(
            name="torch",
            device=self._device.name,
            precision="+".join(sorted(kinds)),
            model=bundle.name,
            model_id=bundle.model_id,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            versions={"torch": str(torch.__version__)},
            references=REFERENCES if bundle.delta else 0,
            lanes=self._device.lanes,
            batched=True,
        )

    @staticmethod
    def probe() -> EngineReport:
        """Say whether torch finds a GPU."""
        versions = {"torch": str(torch.__version__)}
        if not torch.cuda.is_available():
            return EngineReport("torch", False, "torch finds no CUDA device", versions)
        return EngineReport("torch", True, torch.cuda.get_device_name(0), versions)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its device is gone."""
        return self.batching.is_closed

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Padded sizes that programs and pictures are kept for."""
        return tuple(self._slabs)

    def memory_bytes(self) -> int:
        """The most that this process ever had of the device's memory; 0 where nobody counts."""
        return self._device.memory_bytes()

    def open_state(self, width: int, height: int) -> StateId:
        """Make room for one stream, and have programs for single frames of its size ready."""
        size = padded_size(width, height)

        def work(lanes: Sequence[Lane]) -> TorchStream:
            slab = self._slab(size, lanes)
            row = slab.take()
            if row is None:
                raise Overloaded(f"{self._n_states} streams of {size[1]}x{size[0]} are open")
            try:
                for operation in self._operations():
                    self.prepare(lanes[0], (operation, size), BUCKETS[0])
                self._device.settle()  # the row was cleared, which lanes do not wait for
            except BaseException:
                slab.give_back(row)
                raise
            return TorchStream(width, height, slab, row)

        stream: TorchStream = self.batching.call(work)
        state = StateId(next(self._ids))
        self._streams[state] = stream
        return state

    def warm_up(self, width: int, height: int, *, largest: int = BUCKETS[-1]) -> None:
        """
        Have programs for all batches of a size ready, in every lane; takes minutes on a GPU.

        Those that nobody made ready are when they are first needed, while all others wait.
        """
        state = self.open_state(width, height)
        size = padded_size(width, height)

        def work(lanes: Sequence[Lane]) -> None:
            for lane in lanes:  # the largest first: the others then fit into its memory
                for bucket in reversed([size for size in BUCKETS if size <= largest]):
                    for operation in self._operations():
                        self.prepare(lane, (operation, size), bucket)

        try:
            self.batching.call(work)
        finally:
            self.close_state(state)

    def close_state(self, state: StateId) -> None:
        """Forget a stream."""
        with self._lock:
            stream = self._streams.pop(state, None)
            if stream is not None:
                stream.close()

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols, together with those of other callers."""
        outputs = self._run(jobs, self._encoding)
        scenes = [k for k, output in enumerate(outputs) if output is None]
        if scenes:
            alone = [replace(jobs[k], reference=None) for k in scenes]
            for k, output in zip(scenes, self._run(alone, self._encoding), strict=True):
                outputs[k] = output
        return outputs

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures, together with those of other callers."""
        return self._run(jobs, self._decoding)

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z, uint8 [M, 4 Th, 4 Tw]; integers, in C on the CPU."""
        return scale_indices(self._bundle.scale_net, z, qp)

    def close(self) -> None:
        """Forget every stream and let go of the device's memory."""
        self.batching.close()
        self._streams.clear()
        self._slabs.clear()

    # ---- programs -------------------------------------------------------------------------

    def prepare(self, lane: Lane, kind: Any, bucket: int) -> Any:
        """Have a lane ready for a batch of an (operation, size); on the launching thread."""
        operation, size = kind
        key = (operation, size, bucket)
        call, slab = getattr(self.frames, operation), self._slabs[size]
        lane.prepare(
            key, lambda given: call(slab, given), shapes_of(self._bundle, operation, size, bucket)
        )
        return key

    def _operations(self) -> tuple[str, ...]:
        delta = (ENCODE_DELTA, DECODE_DELTA) if self._bundle.delta is not None else ()
        alone = (KEEP,) if self._spatial.exist else (ENCODE_INTRA, DECODE_INTRA)
        return (*alone, *delta)

    def _slab(self, size: Size, lanes: Sequence[Lane]) -> Slab:
        slab = self._slabs.pop(size, None)
        if slab is None:
            slab = self._new_slab(size, lanes)
        self._slabs[size] = slab
        self._forget_idle(lanes, but=size, kept=KEPT_SIZES)
        return slab

    def _new_slab(self, size: Size, lanes: Sequence[Lane]) -> Slab:
        make = partial(
            Slab, size, states=self._n_states, references=self._references,
            device=self._device.torch_device,
        )  # fmt: skip
        try:
            return make()
        except RuntimeError as error:
            if fault_of(error) is not Fault.MEMORY or not self._forget_idle(lanes, kept=0):
                raise
        return make()

    def _forget_idle(
        self, lanes: Sequence[Lane], *, kept: int, but: Size | None = None
    ) -> list[Size]:
        """Let go of sizes without a stream, but for the *kept* that were used last; return them."""
        idle = [size for size, slab in self._slabs.items() if slab.is_idle and size != but]
        unwanted = idle[: len(idle) - kept] if len(idle) > kept else []
        for size in unwanted:
            del self._slabs[size]
            for lane in lanes:
                lane.forget(lambda key, gone=size: key[1] == gone)  # type: ignore[misc]
        return unwanted

    # ---- requests -------------------------------------------------------------------------

    def _run(self, jobs: Sequence[_Job], request_of: Callable[[_Job], Request]) -> list[Any]:
        with self._lock:  # before requests are made: those name rows
            held = [self._streams.get(job.state) for job in jobs]
            for stream in held:
                if stream is not None:
                    stream.n_running += 1
        is_asked = False
        results: list[Any] = [None] * len(jobs)
        try:
            requests = [request_of(job) for job in jobs]
            is_asked = True
            results = self.batching.run(requests)
            return results
        finally:
            with self._lock:
                for job, stream, result in zip(jobs, held, results, strict=True):
                    if stream is not None:
                        slot = job.store if is_asked else None
                        stream.let_go(slot, has_run=result is not None)

    def _encoding(self, job: EncodeJob) -> Request:
        """What codes a frame; comes to None where it is of a new scene and to be asked alone."""
        planes = job.planes
        stream = self._stream(job.state, planes.width, planes.height)
        reference = None
        if job.reference is not None:
            self._delta_model()
            row = stream.picture(job.reference)
            reference = None if job.reference in stream.lost else row
        is_spatial = self._spatial.exist and not job.neural
        if is_spatial and reference is None:
            output = self._spatial.encode(blocks_of(planes), job)
            return self._keeping(job, stream, output.symbols, partial(_with_picture, output, job))
        store = stream.row_to_store(job.store, self._references)

        def filler(reference: int) -> Callable[[Arrays, int], None]:
            def fill(inputs: Arrays, k: int) -> None:
                say(inputs, k, job.qp, reference, store, stream.row)
                put_planes(inputs, k, planes)

            return fill

        alone = Again(
            (ENCODE_INTRA, stream.size), filler(SCRATCH),
            lambda outputs, k: coded(outputs, k, job, is_delta=False),
        )  # fmt: skip
        if reference is None:
            return Request(alone.kind, job.state, alone.fill, alone.finish)

        def finish(outputs: Arrays, k: int) -> EncodeOutput | None:
            is_useless = is_spatial and outputs["is_scene"][k]
            return None if is_useless else coded(outputs, k, job, is_delta=True)

        def again(outputs: Arrays, k: int) -> Again | None:
            return alone if outputs["is_scene"][k] and not is_spatial else None

        return Request((ENCODE_DELTA, stream.size), job.state, filler(reference), finish, again)

    def _decoding(self, job: DecodeJob) -> Request:
        stream = self._stream(job.state, job.width, job.height)
        if job.spatial:
            seen = partial(cropped, width=job.width, height=job.height)
            return self._keeping(job, stream, job.symbols, seen)
        reference = SCRATCH
        if job.reference is not None:
            self._delta_model()
            reference = stream.picture(job.reference)
            if job.reference in stream.lost:
                raise EngineError("what the frame is predicted from was lost in a failed batch")
        store = stream.row_to_store(job.store, self._references)

        tiles = None if job.reference is None else ListedTiles(job.symbols)

        def fill(inputs: Arrays, k: int) -> None:
            say(inputs, k, job.qp, reference, store, stream.row)
            if tiles is not None:
                tiles.put(inputs, k)
                return
            np.copyto(inputs["symbols"][k], job.symbols.transpose(1, 2, 0))
            np.copyto(inputs["z"][k], job.z)

        def finish(outputs: Arrays, k: int) -> Planes:
            return shown(outputs, k, job.width, job.height)

        operation = DECODE_INTRA if job.reference is None else DECODE_DELTA
        return Request((operation, stream.size), job.state, fill, finish)

    def _keeping(
        self,
        job: EncodeJob | DecodeJob,
        stream: TorchStream,
        symbols: NDArray[np.int16],
        result: Callable[[Blocks], Any],
    ) -> Request:
        """Paint a spatial frame here; what stores it there, and what comes of its picture."""
        painted = self._spatial.paint(symbols, job.qp, across_tiles=job.across_tiles)
        blocks = self._finish({}, None, painted, job.qp, None, is_spatial=True)
        planes = planes_of(blocks)
        store = stream.row_to_store(job.store, self._references)

        def fill(inputs: Arrays, k: int) -> None:
            say(inputs, k, job.qp, SCRATCH, store, stream.row)
            for name, plane in zip(PLANES, planes, strict=True):
                inputs[name][k] = plane

        return Request((KEEP, stream.size), job.state, fill, lambda _, __: result(blocks))

    def _stream(self, state: StateId, width: int, height: int) -> TorchStream:
        stream = self._streams.get(state)
        if stream is None or (stream.width, stream.height) != (width, height):
            raise LocalProtocolError(f"state {state} was not opened for {width}x{height}")
        return stream

    def _delta_model(self) -> Bundle:
        if self._bundle.delta is None:
            raise LocalProtocolError(f"model {self._bundle.name} has no delta frames")
        return self._bundle.delta


class CpuTorchEngine(TorchEngine):
    """The same on a CPU: slow, for parity and tests."""

    def __init__(self, bundle: Bundle, *, threads: int = 1, states: int = STATES) -> None:
        """As `TorchEngine`."""
        super().__init__(bundle, threads=threads, device=CpuDevice(), states=states)


def _with_picture(output: EncodeOutput, job: EncodeJob, blocks: Blocks) -> EncodeOutput:
    if not job.reconstruct:
        return output
    return replace(output, reconstruction=cropped(blocks, job.planes.width, job.planes.height))
