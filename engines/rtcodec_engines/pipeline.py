"""
What a runtime of the CPU engines fills in, and who has it when.

A `Pipeline` is the graphs of one model, compiled for one padded size, with their buffers. It runs
one frame at a time; a few are kept, the least recently used size goes first.
"""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import EngineError
from rtcodec.types import TILE_PX, tile_grid

Size = tuple[int, int]
"Padded (height, width) in pixels, multiples of 64."

KEPT_SIZES: Final = 4
"Sizes whose graphs are kept at least; those of all open streams are."


class Pipeline(ABC):
    """The graphs of one model for one padded size. Arrays given out hold until the next call."""

    @abstractmethod
    def inputs(self) -> NDArray[np.uint8]:
        """Return the blocks to fill, uint8 [4 Th, 4 Tw, 384]."""

    @abstractmethod
    def analyse(self, gains: NDArray[np.float32]) -> NDArray[np.int8]:
        """Run analysis on the input blocks; gains float32 [G]. Returns z, int8 [Cz, Th, Tw]."""

    @abstractmethod
    def residual(self, indices: NDArray[np.uint8]) -> NDArray[np.int16]:
        """
        Return the symbols of the analysed frame, 0 where indices are.

        Both are [4 Th, 4 Tw, M].
        """

    @abstractmethod
    def synthesise(
        self, z: NDArray[np.int8], symbols: NDArray[np.int16], gains: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return the blocks of z and symbols [4 Th, 4 Tw, M], uint8 [4 Th, 4 Tw, 384]."""


class PipelinePool:
    """Compiled pipelines by size, each leased to one caller at a time."""

    def __init__(
        self,
        compile_size: Callable[[Size], Pipeline],
        forget_size: Callable[[Size], None],
        sizes_in_use: Callable[[], int],
        most_of_a_size: int,
    ) -> None:
        """
        Args:
            compile_size: Makes a pipeline; whatever a runtime raises is an EngineError then.
            forget_size: Lets go of what is kept for a size besides.
            sizes_in_use: Says how many sizes there are streams of.
            most_of_a_size: Pipelines of one size at a time.
        """
        self._compile = compile_size
        self._forget = forget_size
        self._sizes_in_use = sizes_in_use
        self._most_of_a_size = most_of_a_size
        self._lock = threading.Condition()
        self._idle: OrderedDict[Size, list[Pipeline]] = OrderedDict()  # least recent first
        self._out: dict[Size, int] = {}

    @contextmanager
    def lease(self, size: Size) -> Iterator[Pipeline]:
        """
        Have a pipeline of a size for a while; waits where all of them are out.

        Raises:
            EngineError: If there was none and it could not be compiled.
        """
        pipeline = self._take(size)
        try:
            yield pipeline
        finally:
            with self._lock:
                self._out[size] -= 1
                self._idle.setdefault(size, []).append(pipeline)
                self._idle.move_to_end(size)
                kept = max(KEPT_SIZES, self._sizes_in_use())
                while len(self._idle) > kept:
                    self._forget(self._idle.popitem(last=False)[0])
                self._lock.notify_all()

    def _take(self, size: Size) -> Pipeline:
        with self._lock:
            while True:
                idle = self._idle.get(size)
                if idle:
                    self._out[size] = self._out.get(size, 0) + 1
                    return idle.pop()
                if self._out.get(size, 0) < self._most_of_a_size:
                    break
                self._lock.wait()
            self._out[size] = self._out.get(size, 0) + 1
        try:
            return self._compile(size)
        except BaseException as error:
            with self._lock:
                self._out[size] -= 1
                self._lock.notify_all()
            if isinstance(error, RuntimeError | MemoryError | ValueError):
                raise EngineError(
                    f"no graphs for {size[1]}x{size[0]}: {_one_line(error)}"
                ) from error
            raise

    def clear(self) -> None:
        """Let go of all that nobody has."""
        with self._lock:
            while self._idle:
                self._forget(self._idle.popitem()[0])


def padded_size(width: int, height: int) -> Size:
    """Return the multiples of 64 that hold a frame."""
    rows, columns = tile_grid(width, height)
    return rows * TILE_PX, columns * TILE_PX


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
