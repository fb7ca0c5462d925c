"""
Measures what frames cost on an engine: a few made-up ones, a second at most.

A part of the picture moves and the rest stands still, as in a call. Each cost is the least of
several tries: what the code takes, not what else the machine did meanwhile. The clocks are
arguments.
"""

from typing import Final

import numpy as np

from rtcodec.bundle import Bundle
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import EncodeJob, Engine, StateId
from rtcodec.engine.batch_curve import WORTH
from rtcodec.engine.capacity import Capacity, Clocks, TileCosts, tiles_of
from rtcodec.types import Planes

QP: Final = 32
_PACKET_BYTES: Final = 1150
_TRIES: Final = 8
_LEAST_TRIES: Final = 3
_MOVING_PART: Final = 0.6
"Of the rows, whose content moves. # measured: as costly as `call_two_people`, within a fifth"
_MAX_BATCH: Final = 8


def call_planes(width: int, height: int, number: int) -> Planes:
    """Return picture *number* of something like a call: a band in the middle moves."""
    rows, columns = np.ogrid[:height, :width]
    shift = np.where(abs(2 * rows / height - 1) < _MOVING_PART, 2 * number, 0)
    luma = 128 + 50 * np.sin((columns + shift) / 9 + rows / 23) + 30 * np.sin(rows * columns / 4e3)
    chroma = 128 + 30 * np.sin((columns + shift)[::2, ::2] / 31)
    planes = [np.ascontiguousarray(plane.astype(np.uint8)) for plane in (luma, chroma)]
    return Planes(planes[0], planes[1], planes[1])


def measure_capacity(
    engine: Engine,
    bundle: Bundle,
    *,
    clocks: Clocks,
    cores: int,
    size: tuple[int, int] = (640, 360),
    budget_us: float = 1e6,
) -> Capacity:
    """
    Measure an engine that nobody else uses meanwhile.

    Args:
        engine: Runs *bundle*.
        bundle: The model.
        clocks: Tell the time.
        cores: That there are for everything.
        size: Width and height of the frames.
        budget_us: How long it may take, once the engine is ready for the size; a little more
            where a frame takes long.

    Raises:
        EngineError: If the engine fails.
    """
    test = _SelfTest(engine, bundle, clocks, size)
    try:
        return test.run(cores, budget_us)
    finally:
        test.close()


class _SelfTest:
    def __init__(
        self, engine: Engine, bundle: Bundle, clocks: Clocks, size: tuple[int, int]
    ) -> None:
        self._engine = engine
        self._bundle = bundle
        self._clocks = clocks
        self._size = size
        self._is_delta = engine.info.references >= NewestReference.SLOTS
        self._frames = [call_planes(*size, number) for number in range(4)]
        self._encoder = FrameEncoder(
            engine,
            FramePacker(
                bundle.entropy_tables,
                Slicing(target_bytes=_PACKET_BYTES),
                delta_tables=bundle.delta_tables,
                spatial_tables=bundle.spatial_tables,
            ),
            *size,
            references=NewestReference() if self._is_delta else None,
        )
        self._decoder = FrameDecoder(
            engine,
            bundle,
            *size,
            references=NewestReference.SLOTS if self._is_delta else 0,
        )
        self._states: list[StateId] = []

    def close(self) -> None:
        self._encoder.close()
        self._decoder.close()
        for state in self._states:
            self._engine.close_state(state)

    def run(self, cores: int, budget_us: float) -> Capacity:
        self._run_frame(0)
        until_us = self._clocks.wall_us() + budget_us
        tries = []
        for number in range(1, 1 + _TRIES):
            if number > _LEAST_TRIES and self._clocks.wall_us() > until_us:
                break
            tries.append(self._run_frame(number))
        least = [min(column) for column in zip(*tries, strict=True)]
        n_tiles = tiles_of(*self._size)
        costs = TileCosts(*(least_us / n_tiles for least_us in least))
        batches = self._batches(until_us)
        return Capacity(costs, self._engine.info.lanes, cores, batches, self._size)

    def _run_frame(self, number: int) -> tuple[float, float, float, float]:
        """Return what a frame takes: the engine, that on cores, the entropy coder, decoding."""
        planes, is_first = self._frames[number % len(self._frames)], number == 0
        wall_us, core_us = self._clocks.wall_us(), self._clocks.core_us()
        output = self._encoder.run(planes, qp=QP, keyframe=is_first)
        encode_us, encode_core_us = (
            self._clocks.wall_us() - wall_us,
            self._clocks.core_us() - core_us,
        )
        wall_us = self._clocks.wall_us()
        coded = self._encoder.pack(output, qp=QP, pts=number, keyframe=is_first)
        code_us = self._clocks.wall_us() - wall_us
        wall_us = self._clocks.wall_us()
        self._decoder.decode(coded.unit.packets)
        return encode_us, encode_core_us, code_us, self._clocks.wall_us() - wall_us

    def _batches(self, until_us: float) -> tuple[tuple[int, float], ...]:
        """
        Let more and more frames run together, as long as that is worth it.

        An engine that runs the frames of a call one after the other has other lanes for them.
        """
        info = self._engine.info
        if info.lanes > 1 and not info.batched:
            return ((2, 2.0),)
        points: list[tuple[int, float]] = []
        alone_us = self._run_batch(1)
        size, each = 2, 1.0
        while size <= _MAX_BATCH and self._clocks.wall_us() < until_us:
            together = max(1.0, self._run_batch(size) / max(alone_us, 1.0))
            points.append((size, together))
            if together / size > WORTH * each:
                break
            size, each = 2 * size, together / size
        return tuple(points) or ((2, 2.0),)

    def _run_batch(self, size: int) -> float:
        """Return the least time that a batch took."""
        while len(self._states) < size:
            state = self._engine.open_state(*self._size)
            self._states.append(state)
            store = 0 if self._is_delta else None
            self._engine.encode([EncodeJob(state, self._frames[0], QP, store=store, neural=True)])
        kept = 0 if self._is_delta else None
        took_us = []
        for number in (1, 2, 1, 2):
            planes = self._frames[number]
            started_us = self._clocks.wall_us()
            states = self._states[:size]
            jobs = [EncodeJob(state, planes, QP, kept, kept, neural=True) for state in states]
            self._engine.encode(jobs)
            took_us.append(self._clocks.wall_us() - started_us)
        return min(took_us)
