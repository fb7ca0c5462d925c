"""
What the CPU engines share: streams, padding, the order of the graphs.

    encode   planes --pad, blocks--> analysis --> z --exact scale network--> residual --> symbols
    decode   z, symbols --> synthesis --blocks, crop--> planes

    delta frames, whose prediction comes from a stored picture:
    encode   blocks --motion search--> prediction --transform--> latents --hyper--> z, symbols
    decode   motion --> prediction; symbols --inverse transform--> added to it: planes, integers

A runtime fills in a `Pipeline`. Frames predicted from themselves need none: see `spatial`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.codec.rest import RestDecision
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.engine.part import scales_of, steps_of
from rtcodec.entropy.cdf import SYMBOL_MAX, Z_MAX
from rtcodec.entropy.contexts import LUMA_PARTS, PARTS
from rtcodec.entropy.native_tiles import scale_indices
from rtcodec.errors import LocalProtocolError
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.motion.latents import Latents, quantise, transform
from rtcodec.motion.layout import blocks_of
from rtcodec.motion.native import (
    BLOCK_SAMPLES,
    Fine,
    Reference,
    Steps,
    Vectors,
    paint,
    smooth,
)
from rtcodec.motion.said import Said
from rtcodec.motion.search import find_motion, nominal_step, predict_best
from rtcodec.motion.smoothing import limits
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS
from rtcodec.motion.vectors import SPLIT_CHANNEL, motion_symbols, vectors_of
from rtcodec.types import Planes
from rtcodec_engines.finish import Blocks, Finish, Finishing, Past, cropped
from rtcodec_engines.pipeline import Pipeline, PipelinePool, Size, padded_size
from rtcodec_engines.spatial import SpatialFrames

REFERENCES: Final = 8
"Pictures of one stream that are kept, where the model has delta frames."

NEW_SCENE: Final = 0.5
"""Part of the blocks without a prediction from which on a frame is coded alone: intra networks say
a new scene in fewer bits. Cuts between calls have 0.8 to 0.9 of such blocks, others under 0.05."""

SPARE_PIPELINES: Final = 1
"Frames of one size that may run at once, beyond lanes: somebody decodes what others encode."


@dataclass(slots=True)
class _Stream:
    """What is kept between the frames of one stream."""

    width: int
    height: int
    pictures: dict[int, Reference] = field(default_factory=dict)
    "By slot."
    vectors: NDArray[np.int16] | None = None
    "Of the newest frame, where the search begins."

    @property
    def size(self) -> Size:
        return padded_size(self.width, self.height)


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """A frame before anything is done to its picture."""

    output: EncodeOutput
    painted: Blocks | None
    "If it is wanted."

    past: Past | None = None


class GraphEngine(ABC):
    """The `Engine` protocol over pipelines of a runtime."""

    info: EngineInfo

    def __init__(self, bundle: Bundle, *, lanes: int = 1) -> None:
        """
        Args:
            bundle: The model; its graphs are read and checked by the runtime.
            lanes: Frames that are encoded at a time.
        """
        self._bundle = bundle
        self._net = bundle.scale_net
        self._gains = bundle.gains
        self._delta = bundle.delta
        self._spatial = SpatialFrames(bundle)
        self._rest: RestDecision | None = None
        self._hyper: HyperAnalysis | None = None
        if self._delta is not None:
            self._rest = RestDecision(self._delta)
            self._hyper = HyperAnalysis(self._delta.tensors)
        self.finish: Finishing = Finish(bundle)
        "Others may look at pictures on their way, in its place."
        self._pool = PipelinePool(
            self._compile, self._forget, self._n_sizes, lanes + SPARE_PIPELINES
        )
        self._states: dict[StateId, _Stream] = {}
        self._ids = count()
        self._closed = False

    @abstractmethod
    def _compile(self, size: Size) -> Pipeline:
        """Make a pipeline for a padded size; EngineError if the runtime refuses."""

    @abstractmethod
    def _forget(self, size: Size) -> None:
        """Let go of what `_compile` keeps for a size, if anything."""

    def open_state(self, width: int, height: int) -> StateId:
        """
        Make room for one stream, and compile the graphs for its size.

        Frames predicted from themselves need none, but who opens a stream does not know what comes,
        and compiled for the first neural frame they would cost the next ten frames of a call.
        """
        self._check_open()
        state = StateId(next(self._ids))
        stream = self._states[state] = _Stream(width, height)  # so that its graphs are kept
        try:
            with self._pool.lease(stream.size):
                pass
        except BaseException:
            self.close_state(state)
            raise
        return state

    def close_state(self, state: StateId) -> None:
        """Forget a stream."""
        self._states.pop(state, None)

    def encode(self, jobs: Sequence[EncodeJob]) -> list[EncodeOutput]:
        """Turn frames into symbols, one after the other: a CPU gains nothing from a batch."""
        return [self._encode(job) for job in jobs]

    def decode(self, jobs: Sequence[DecodeJob]) -> list[Planes]:
        """Turn symbols into pictures, one after the other."""
        return [self._decode(job) for job in jobs]

    def scale_indices(self, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
        """Return the scale indices of z, uint8 [M, 4 Th, 4 Tw]; integers in C."""
        return scale_indices(self._net, z, qp)

    def close(self) -> None:
        """Forget every stream and let go of the compiled graphs."""
        self._closed = True
        self._states.clear()
        self._pool.clear()

    def _encode(self, job: EncodeJob) -> EncodeOutput:
        planes = job.planes
        stream = self._stream(job.state, planes.width, planes.height)
        blocks = blocks_of(planes)
        painted = job.reconstruct or job.store is not None
        coded = None
        if job.reference is not None:
            reference = _picture(stream, job.reference)
            coded = self._encode_delta(stream, reference, blocks, job.qp, painted)
        if coded is None and self._spatial.exist and not job.neural:
            output = self._spatial.encode(blocks, job)
            coded = _Coded(output, self._painted(output, job.qp) if painted else None)
        if coded is None:
            coded = self._encode_intra(stream, blocks, job.qp, painted)
        if coded.painted is None:
            return coded.output
        finished = self.finish(
            stream.pictures, job.store, coded.painted, job.qp, coded.past,
            is_shown=job.reconstruct, is_spatial=coded.output.is_spatial,
        )  # fmt: skip
        if not job.reconstruct:
            return coded.output
        return replace(coded.output, reconstruction=cropped(finished, planes.width, planes.height))

    def _painted(self, output: EncodeOutput, qp: int) -> Fine:
        return self._spatial.paint(output.symbols, qp, across_tiles=output.across_tiles)

    def _encode_intra(
        self, stream: _Stream, blocks: NDArray[np.uint8], qp: int, painted: bool
    ) -> _Coded:
        gains = self._gains[qp]
        with self._pool.lease(stream.size) as pipeline:
            np.copyto(pipeline.inputs(), blocks)
            z = pipeline.analyse(gains)
            indices = scale_indices(self._net, z, qp)
            symbols = pipeline.residual(indices.transpose(1, 2, 0))
            output = EncodeOutput(z, symbols.transpose(2, 0, 1), indices)
            return _Coded(
                output, pipeline.synthesise(z, symbols, gains).copy() if painted else None
            )

    def _encode_delta(
        self,
        stream: _Stream,
        reference: Reference,
        blocks: NDArray[np.uint8],
        qp: int,
        painted: bool,
    ) -> _Coded | None:
        """Code a frame from a picture; None where it is of another scene."""
        delta = self._delta_model()
        assert self._rest is not None
        assert self._hyper is not None
        vectors, intra = find_motion(reference, blocks, nominal_step(qp), stream.vectors)
        stream.vectors = vectors
        if intra.mean() > NEW_SCENE:
            return None
        prediction = predict_best(reference, blocks, vectors, intra, nominal_step(qp))
        steps = steps_of(delta, qp)
        latents = transform(blocks, prediction, steps)
        motion = motion_symbols(vectors, intra)
        z, indices, symbols, said, meant = _quantised(delta, self._hyper, latents, motion, qp)
        indices = indices.transpose(2, 0, 1)
        spared = self._rest.not_worth(meant, symbols, said, indices, z, qp)
        symbols[spread(spared, symbols)] = 0
        said = said.without(spared)
        still = said.count() == 0
        z.reshape(len(z), -1)[:, still] = 0  # nothing is sent of those tiles
        return _Coded(
            EncodeOutput(z, symbols.transpose(2, 0, 1), indices, is_delta=True, coded=~still),
            _paint(prediction, vectors, intra, symbols, still, steps) if painted else None,
            Past(reference, still.reshape(z.shape[1:])),
        )

    def _decode(self, job: DecodeJob) -> Planes:
        stream = self._stream(job.state, job.width, job.height)
        past = None
        if job.spatial:
            blocks: Blocks = self._spatial.paint(job.symbols, job.qp, across_tiles=job.across_tiles)
        elif job.reference is not None:
            blocks, past = self._decode_delta(_picture(stream, job.reference), job)
        else:
            symbols, gains = job.symbols.transpose(1, 2, 0), self._gains[job.qp]
            with self._pool.lease(stream.size) as pipeline:
                blocks = pipeline.synthesise(job.z, symbols, gains).copy()
        painted = self.finish(
            stream.pictures, job.store, blocks, job.qp, past, is_spatial=job.spatial
        )
        return cropped(painted, job.width, job.height)

    def _decode_delta(self, reference: Reference, job: DecodeJob) -> tuple[Fine, Past]:
        delta = self._delta_model()
        symbols = np.ascontiguousarray(job.symbols.transpose(1, 2, 0))
        vectors, intra = vectors_of(symbols[..., -delta.dims["motion"] :])
        prediction = reference.predict(vectors, intra)
        still = Said.of(symbols).count() == 0
        painted = _paint(prediction, vectors, intra, symbols, still, steps_of(delta, job.qp))
        return painted, Past(reference, still.reshape(job.z.shape[1:]))

    def _n_sizes(self) -> int:
        streams = [*self._states.values()]
        return len({stream.size for stream in streams})

    def _delta_model(self) -> Bundle:
        if self._delta is None:
            raise LocalProtocolError(f"model {self._bundle.name} has no delta frames")
        return self._delta

    def _stream(self, state: StateId, width: int, height: int) -> _Stream:
        self._check_open()
        stream = self._states.get(state)
        if stream is None or (stream.width, stream.height) != (width, height):
            raise LocalProtocolError(f"state {state} was not opened for {width}x{height}")
        return stream

    def _check_open(self) -> None:
        if self._closed:
            raise LocalProtocolError("the engine is closed")


def _quantised(
    delta: Bundle, hyper: HyperAnalysis, latents: Latents, motion: NDArray[np.int16], qp: int
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.int16], Said, NDArray[np.float32]]:
    """Return z; indices and symbols, channels last; what is said of them, and what was meant."""
    motion[..., SPLIT_CHANNEL] = latents.split
    tiles, z_of_tiles = hyper.describe(latents, motion)
    z, indices = scales_of(delta, tiles, z_of_tiles, qp, latents.ends.shape)
    symbols = np.zeros(indices.shape, np.int16)
    rounding, contexts = delta.tensor("rounding"), delta.tensor("contexts")
    at, meant = quantise(latents, indices, rounding, contexts, symbols)
    places, channels = np.divmod(at, np.uint32(delta.latent_channels))
    has_luma = np.zeros(latents.ends.size, np.bool_)
    has_luma[places[channels % PARTS < LUMA_PARTS]] = True
    motion[..., SPLIT_CHANNEL] *= has_luma.reshape(latents.ends.shape)
    symbols[..., -MOTION_CHANNELS:] = motion
    moving = np.flatnonzero(motion)
    moving += (moving // MOTION_CHANNELS + 1) * BLOCK_SAMPLES
    said = Said.listed(np.concatenate((at, moving.astype(np.uint32))), symbols.shape)
    return z, indices, symbols, said, meant


def _paint(
    prediction: Fine,
    vectors: Vectors,
    intra: NDArray[np.uint8],
    symbols: NDArray[np.int16],
    still: NDArray[np.bool_],
    steps: Steps,
) -> Fine:
    """The blocks of symbols with motion, over the prediction: integers, the same everywhere."""
    if still.all():
        return prediction
    resting = spread(still, symbols)
    coded = paint(symbols, prediction, resting, steps)
    smooth(prediction, coded, vectors, intra, resting, limits(steps))
    return prediction


def _picture(stream: _Stream, slot: int) -> Reference:
    try:
        return stream.pictures[slot]
    except KeyError:
        raise LocalProtocolError(f"nothing was stored in slot {slot}") from None


def spread(tiles: NDArray[np.bool_], symbols: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return [Th * Tw] for every place of the tiles of *symbols*, [4 Th, 4 Tw]."""
    rows, columns = symbols.shape[0] // 4, symbols.shape[1] // 4
    return tiles.reshape(rows, columns).repeat(4, 0).repeat(4, 1)


def to_symbols(values: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round and clip floats that are integers but for their type."""
    return np.clip(np.rint(values), -SYMBOL_MAX, SYMBOL_MAX).astype(np.int16)


def to_hyper_latents(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round and clip floats that are integers but for their type to -15..15."""
    return np.clip(np.rint(values), -Z_MAX, Z_MAX).astype(np.int8)


def cpu_name() -> str:
    """Return the model of the CPU in words."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()
