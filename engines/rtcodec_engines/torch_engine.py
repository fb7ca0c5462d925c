"""
The GPU engine: intra frames by the networks in torch, delta frames as integers on tensors.

    frame --padded--> pinned planes --Batching--> one CUDA graph for a batch --> symbols, planes
    spatial frame --C, on the caller's thread--> symbols, planes --Batching--> stored pictures

Frames of one operation and one padded size run together, whatever stream they are of; what streams
keep is in a slab on the device. The same code runs on a CPU in float32, for tests and parity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.engine.blocks import planes_of
from rtcodec.engine.loader import EngineReport
from rtcodec.entropy.native import scale_indices
from rtcodec.errors import EngineError, LocalProtocolError, Overloaded
from rtcodec.motion.layout import blocks_of
from rtcodec.types import Planes, tile_grid
from rtcodec_engines.batching import BUCKETS, Again, Batching, Request
from rtcodec_engines.best_frames import MakeFrames, best_frames, plain_frames, switched_off
from rtcodec_engines.device import (
    Arrays,
    CpuDevice,
    CudaDevice,
    Device,
    Lane,
    Shapes,
)
from rtcodec_engines.finish import Blocks, Finish, cropped
from rtcodec_engines.spatial import SpatialFrames
from rtcodec_engines.tensor.frames import PLANES, QP, REFERENCE, STATE, STORE
from rtcodec_engines.tensor.slab import SCRATCH, Slab

Size = tuple[int, int]
"Padded (height, width) in pixels, multiples of 64."

REFERENCES = 8
"Pictures of one stream that are kept, where the model has delta frames."

STATES = 128
"Streams of one padded size, both directions counted, that there is room for."

KEPT_SIZES = 4
"Sizes without a stream whose slabs and programs are kept."

ENCODE_INTRA, DECODE_INTRA, ENCODE_DELTA, DECODE_DELTA = (
    "encode_intra", "decode_intra", "encode_delta", "decode_delta",
)  # fmt: skip

KEEP = "keep"
"Stores frames that the host painted."


@dataclass(slots=True)
class _Stream:
    """What is known of one state beside its rows on the device."""

    width: int
    height: int
    slab: Slab
    row: int
    slots: dict[int, int] = field(default_factory=dict)
    "Rows of pictures, by slot."

    @property
    def size(self) -> Size:
        return padded_size(self.width, self.height)


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
            raise EngineError(f"the model does not fit: {error}") from error
        self._spatial, self._finish = SpatialFrames(bundle), Finish(bundle)
        self._slabs: dict[Size, Slab] = {}  # least recently opened first
        self._streams: dict[StateId, _Stream] = {}
        self._ids = count()
        self.batching = Batching(self._device, self, reset=_reset)
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

        def work(lanes: Sequence[Lane]) -> _Stream:
            slab = self._slab(size, lanes)
            row = slab.take()
            if row is None:
                raise Overloaded(f"{self._n_states} streams of {size[1]}x{size[0]} are open")
            try:
                for operation in self._operations():
                    self.prepare(lanes[0], (operation, size), BUCKETS[0])
            except BaseException:
                slab.give_back(row)
                raise
            return _Stream(width, height, slab, row)

        stream: _Stream = self.batching.call(work)
        state = StateId(next(self._ids))
        self._streams[state] = stream
        return state

    def warm_up(self, width: int, height: int, *, largest: int = BUCKETS[-1]) -> None:
        """Have programs for all batches of a size ready, in every lane; takes minutes on a GPU."""
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
        stream = self._streams.pop(state, None)
        if stream is not None:
            stream.slab.give_back(stream.row)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols, together with those of other callers."""
        outputs = self.batching.run([self._encoding(job) for job in jobs])
        scenes = [k for k, output in enumerate(outputs) if output is None]
        alone = [self._encoding(replace(jobs[k], reference=None)) for k in scenes]
        for k, output in zip(scenes, self.batching.run(alone), strict=True):
            outputs[k] = output
        return outputs

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures, together with those of other callers."""
        return self.batching.run([self._decoding(job) for job in jobs])

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
            slab = Slab(
                size, states=self._n_states, references=self._references,
                device=self._device.torch_device,
            )  # fmt: skip
        self._slabs[size] = slab
        idle = [other for other, kept in self._slabs.items() if kept.is_idle and other != size]
        for unwanted in idle[:-KEPT_SIZES]:
            del self._slabs[unwanted]
            for lane in lanes:
                lane.forget(lambda key, gone=unwanted: key[1] == gone)  # type: ignore[misc]
        return slab

    # ---- requests -------------------------------------------------------------------------

    def _encoding(self, job: EncodeJob) -> Request:
        """What codes a frame; comes to None where it is of a new scene and to be asked alone."""
        planes = job.planes
        stream = self._stream(job.state, planes.width, planes.height)
        store = self._row_to_store(stream, job.store)
        is_spatial = self._spatial.exist and not job.neural
        if is_spatial and job.reference is None:
            output = self._spatial.encode(blocks_of(planes), job.qp)
            return self._keeping(job, stream, output.symbols, partial(_with_picture, output, job))

        def filler(reference: int) -> Callable[[Arrays, int], None]:
            def fill(inputs: Arrays, k: int) -> None:
                _say(inputs, k, job.qp, reference, store, stream.row)
                for name, plane in zip(PLANES, (planes.y, planes.u, planes.v), strict=True):
                    _pad(plane, inputs[name][k])

            return fill

        def finish_intra(outputs: Arrays, k: int) -> EncodeOutput:
            return _encoded(outputs, k, job, is_delta=False)

        def finish_delta(outputs: Arrays, k: int) -> EncodeOutput | Again | None:
            if outputs["is_scene"][k]:
                if is_spatial:
                    return None
                return Again((ENCODE_INTRA, stream.size), filler(SCRATCH), finish_intra)
            return _encoded(outputs, k, job, is_delta=True)

        if job.reference is None:
            kind = (ENCODE_INTRA, stream.size)
            return Request(kind, job.state, filler(SCRATCH), finish_intra)
        self._delta_model()
        reference = _picture(stream, job.reference)
        return Request((ENCODE_DELTA, stream.size), job.state, filler(reference), finish_delta)

    def _decoding(self, job: DecodeJob) -> Request:
        stream = self._stream(job.state, job.width, job.height)
        if job.spatial:
            shown = partial(cropped, width=job.width, height=job.height)
            return self._keeping(job, stream, job.symbols, shown)
        reference = SCRATCH
        if job.reference is not None:
            self._delta_model()
            reference = _picture(stream, job.reference)
        store = self._row_to_store(stream, job.store)

        def fill(inputs: Arrays, k: int) -> None:
            _say(inputs, k, job.qp, reference, store, stream.row)
            np.copyto(inputs["symbols"][k], job.symbols.transpose(1, 2, 0))
            if "z" in inputs:
                np.copyto(inputs["z"][k], job.z)

        def finish(outputs: Arrays, k: int) -> Planes:
            return _shown(outputs, k, job.width, job.height)

        operation = DECODE_INTRA if job.reference is None else DECODE_DELTA
        return Request((operation, stream.size), job.state, fill, finish)

    def _keeping(
        self,
        job: EncodeJob | DecodeJob,
        stream: _Stream,
        symbols: NDArray[np.int16],
        result: Callable[[Blocks], Any],
    ) -> Request:
        """Paint a spatial frame here; what stores it there, and what comes of its picture."""
        store = self._row_to_store(stream, job.store)
        painted = self._spatial.paint(symbols, job.qp)
        blocks = self._finish({}, None, painted, job.qp, None, is_spatial=True)
        planes = planes_of(blocks)

        def fill(inputs: Arrays, k: int) -> None:
            _say(inputs, k, job.qp, SCRATCH, store, stream.row)
            for name, plane in zip(PLANES, planes, strict=True):
                inputs[name][k] = plane

        return Request((KEEP, stream.size), job.state, fill, lambda _, __: result(blocks))

    def _row_to_store(self, stream: _Stream, slot: int | None) -> int:
        if slot is None:
            return SCRATCH
        if slot not in stream.slots:
            if len(stream.slots) == self._references:
                raise LocalProtocolError(f"more than {self._references} pictures of one stream")
            stream.slots[slot] = stream.slab.row(stream.row, len(stream.slots))
        return stream.slots[slot]

    def _stream(self, state: StateId, width: int, height: int) -> _Stream:
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


def shapes_of(bundle: Bundle, operation: str, size: Size, bucket: int) -> Shapes:
    """What an operation of `Frames` takes for a batch."""
    height, width = size
    h, w = height // 16, width // 16
    shapes: dict[str, Any] = {"numbers": ((bucket, 4), torch.int64)}
    if operation in (ENCODE_INTRA, ENCODE_DELTA, KEEP):
        sides = ((height, width), *((height // 2, width // 2),) * 2)
        for name, side in zip(PLANES, sides, strict=True):
            shapes[name] = ((bucket, *side), torch.int16 if operation == KEEP else torch.uint8)
        return shapes
    model = bundle.delta if operation == DECODE_DELTA and bundle.delta is not None else bundle
    shapes["symbols"] = ((bucket, h, w, model.latent_channels), torch.int16)
    if model is bundle:
        shapes["z"] = ((bucket, bundle.hyper_channels, h // 4, w // 4), torch.int8)
    return shapes


def padded_size(width: int, height: int) -> Size:
    """Return the multiples of 64 that hold a frame."""
    rows, columns = tile_grid(width, height)
    return rows * 64, columns * 64


def _reset(inputs: Arrays, k: int) -> None:
    inputs["numbers"][k] = SCRATCH  # every number


def _say(inputs: Arrays, k: int, qp: int, reference: int, store: int, state: int) -> None:
    own = inputs["numbers"][k]
    own[QP], own[REFERENCE], own[STORE], own[STATE] = qp, reference, store, state


def _pad(plane: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Copy a plane into a larger one and repeat its edges."""
    height, width = plane.shape
    np.copyto(out[:height, :width], plane)
    out[:height, width:] = plane[:, -1:]
    out[height:] = out[height - 1]


def _encoded(outputs: Arrays, k: int, job: EncodeJob, *, is_delta: bool) -> EncodeOutput:
    last = (2, 0, 1)
    seen = None
    if job.reconstruct:
        seen = _shown(outputs, k, job.planes.width, job.planes.height)
    return EncodeOutput(
        outputs["z"][k],
        outputs["symbols"][k].transpose(last),
        outputs["indices"][k].transpose(last),
        seen,
        is_delta,
    )


def _with_picture(output: EncodeOutput, job: EncodeJob, blocks: Blocks) -> EncodeOutput:
    if not job.reconstruct:
        return output
    return replace(output, reconstruction=cropped(blocks, job.planes.width, job.planes.height))


def _shown(outputs: Arrays, k: int, width: int, height: int) -> Planes:
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (
        np.ascontiguousarray(outputs[name][k, :rows, :columns])
        for name, (rows, columns) in zip(PLANES, ((height, width), half, half), strict=True)
    )
    return Planes(y, u, v)


def _picture(stream: _Stream, slot: int) -> int:
    try:
        return stream.slots[slot]
    except KeyError:
        raise LocalProtocolError(f"nothing was stored in slot {slot}") from None
