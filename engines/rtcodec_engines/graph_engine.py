"""
What the CPU engines share: streams, padding, the order of the graphs, buffers kept per size.

    encode   planes --pad, blocks--> analysis --> z --exact scale network--> residual --> symbols
    decode   z, symbols --> synthesis --blocks, crop--> planes

    delta frames, whose prediction comes from a stored picture:
    encode   blocks --motion search--> prediction --transform--> latents --hyper--> z, symbols
    decode   motion --> prediction; symbols --inverse transform--> added to it: planes, integers

A runtime fills in a `Pipeline`: the graphs of one model, compiled for one padded size.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.codec.rest import RestDecision
from rtcodec.engine.api import DecodeJob, EncodeJob, EncodeOutput, EngineInfo, StateId
from rtcodec.engine.blocks import planes_of as planes_in
from rtcodec.entropy.cdf import SYMBOL_MAX, Z_MAX
from rtcodec.entropy.contexts import LUMA_PARTS, PARTS
from rtcodec.entropy.native import scale_indices, scatter_tiles, tile_indices
from rtcodec.entropy.tile import scatter_hyper
from rtcodec.errors import LocalProtocolError
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.motion.latents import Latents, quantise, transform
from rtcodec.motion.layout import fill_blocks, planes_of
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
from rtcodec.types import TILE_PX, Planes, tile_grid
from rtcodec_engines.finish import Blocks, Finish, Finishing, Past
from rtcodec_engines.pipeline import Pipeline, PipelinePool, Size

_Coded = tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.uint8], Blocks | None, Past | None]
"z, symbols with channels last, indices, the painted blocks, if wanted, and what they lean on."

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
        """Make room for one stream and compile the graphs for its size."""
        self._check_open()
        state = StateId(next(self._ids))
        self._states[state] = _Stream(width, height)  # so that its graphs are kept
        try:
            with self._pool.lease(padded_size(width, height)):
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
        with self._pool.lease(padded_size(planes.width, planes.height)) as pipeline:
            fill_blocks(planes, pipeline.inputs())
            painted = job.reconstruct or job.store is not None
            coded = None
            if job.reference is not None:
                reference = _picture(stream, job.reference)
                coded = self._encode_delta(pipeline, stream, reference, job.qp, painted)
            coded = coded or self._encode_intra(pipeline, job.qp, painted)
            z, symbols, indices, blocks, past = coded
            seen = None
            if blocks is not None:
                finished = self.finish(
                    stream.pictures, job.store, blocks, job.qp, past, is_shown=job.reconstruct
                )
                if job.reconstruct:
                    seen = shown(finished, planes.width, planes.height)
        return EncodeOutput(z, symbols.transpose(2, 0, 1), indices, seen, past is not None)

    def _encode_intra(self, pipeline: Pipeline, qp: int, shown: bool) -> _Coded:
        gains = self._gains[qp]
        z = pipeline.analyse(gains)
        indices = scale_indices(self._net, z, qp)
        symbols = pipeline.residual(indices.transpose(1, 2, 0))
        painted = pipeline.synthesise(z, symbols, gains) if shown else None
        return z, symbols, indices, painted, None

    def _encode_delta(
        self, pipeline: Pipeline, stream: _Stream, reference: Reference, qp: int, shown: bool
    ) -> _Coded | None:
        """Code a frame from a picture; None where it is of another scene."""
        delta = self._delta_model()
        assert self._rest is not None
        assert self._hyper is not None
        blocks = pipeline.inputs()
        vectors, intra = find_motion(reference, blocks, nominal_step(qp), stream.vectors)
        stream.vectors = vectors
        if intra.mean() > NEW_SCENE:
            return None
        prediction = predict_best(reference, blocks, vectors, intra, nominal_step(qp))
        steps = _steps(delta, qp)
        latents = transform(blocks, prediction, steps)
        motion = motion_symbols(vectors, intra)
        z, indices, symbols, said, meant = _quantised(delta, self._hyper, latents, motion, qp)
        spared = self._rest.not_worth(meant, symbols, said, indices.transpose(2, 0, 1), z, qp)
        symbols[spread(spared, symbols)] = 0
        said = said.without(spared)
        still = said.count() == 0
        z.reshape(len(z), -1)[:, still] = 0  # nothing is sent of those tiles
        painted = _paint(prediction, vectors, intra, symbols, still, steps) if shown else None
        past = Past(reference, still.reshape(z.shape[1:]))
        return z, symbols, indices.transpose(2, 0, 1), painted, past

    def _decode(self, job: DecodeJob) -> Planes:
        stream = self._stream(job.state, job.width, job.height)
        symbols = job.symbols.transpose(1, 2, 0)
        with self._pool.lease(padded_size(job.width, job.height)) as pipeline:
            blocks: Blocks
            past = None
            if job.reference is None:
                blocks = pipeline.synthesise(job.z, symbols, self._gains[job.qp])
            else:
                delta = self._delta_model()
                reference = _picture(stream, job.reference)
                vectors, intra = vectors_of(symbols[..., -delta.dims["motion"] :])
                prediction = reference.predict(vectors, intra)
                symbols = np.ascontiguousarray(symbols)
                still = Said.of(symbols).count() == 0
                past = Past(reference, still.reshape(job.z.shape[1:]))
                steps = _steps(delta, job.qp)
                blocks = _paint(prediction, vectors, intra, symbols, still, steps)
            painted = self.finish(stream.pictures, job.store, blocks, job.qp, past)
            return shown(painted, job.width, job.height)

    def _n_sizes(self) -> int:
        streams = [*self._states.values()]
        return len({padded_size(stream.width, stream.height) for stream in streams})

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


def _steps(delta: Bundle, qp: int) -> Steps:
    luma, chroma = (int(step) for step in delta.steps[qp])
    return luma, chroma


def _quantised(
    delta: Bundle, hyper: HyperAnalysis, latents: Latents, motion: NDArray[np.int16], qp: int
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.int16], Said, NDArray[np.float32]]:
    """Return z; indices and symbols, channels last; what is said of them, and what was meant."""
    motion[..., SPLIT_CHANNEL] = latents.split
    tiles, z_of_tiles = hyper.describe(latents, motion)
    z, indices = _scales(delta, tiles, z_of_tiles, qp, latents.ends.shape)
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


def _scales(
    delta: Bundle,
    tiles: NDArray[np.uint32],
    hyper: NDArray[np.int8],
    qp: int,
    places: tuple[int, ...],
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Spread z of some tiles over a frame, with the scale indices, channels last; 0 elsewhere."""
    h, w = places
    z = np.zeros((delta.hyper_channels, h // 4, w // 4), np.int8)
    scatter_hyper(hyper, tiles, z)
    indices = np.zeros((h, w, delta.latent_channels), np.uint8)
    scatter_tiles(tile_indices(delta.scale_net, hyper, qp), tiles, indices.transpose(2, 0, 1))
    return z, indices


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


def padded_size(width: int, height: int) -> Size:
    """Return the multiples of 64 that hold a frame."""
    rows, columns = tile_grid(width, height)
    return rows * TILE_PX, columns * TILE_PX


def shown(blocks: Blocks, width: int, height: int) -> Planes:
    """Return new planes of *width* x *height* from the blocks of a padded frame."""
    if blocks.dtype == np.uint16:
        return planes_of(blocks.astype(np.uint16, copy=False), width, height)
    y, u, v = planes_in(blocks.astype(np.uint8, copy=False))
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    return Planes(
        np.ascontiguousarray(y[:height, :width]),
        np.ascontiguousarray(u[:half_height, :half_width]),
        np.ascontiguousarray(v[:half_height, :half_width]),
    )


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
