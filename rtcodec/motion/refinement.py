"""The weights that a model refines pictures with, and their use, in C."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.errors import ConfigError
from rtcodec.motion.layout import blocks_of, planes_of
from rtcodec.motion.native import Fine, Reference
from rtcodec.motion.refine import (
    CHROMA_PAIRS,
    CLASSES,
    CLIPS,
    DELTA_ACTIVITY,
    INTRA_ACTIVITY,
    LEVELS,
    LUMA_PAIRS,
    SETS,
    activity,
    clips,
    set_of,
)
from rtcodec.motion.steps import step_table
from rtcodec.types import QP_MAX, Planes

LUMA_SHAPE: Final = (SETS, CLASSES, len(LUMA_PAIRS), len(CLIPS))
CHROMA_SHAPE: Final = (SETS, 2, len(CHROMA_PAIRS), len(CLIPS))

FIRST_LEVELS: Final = {
    "intra": INTRA_ACTIVITY,
    "delta": DELTA_ACTIVITY,
    "spatial": INTRA_ACTIVITY,
}
"Kinds of pictures, and the first level of activity in each."


class _How(ctypes.Structure):
    """`rtc_refinement`."""

    _fields_ = (
        ("luma", ctypes.c_void_p),
        ("chroma", ctypes.c_void_p),
        ("clips", ctypes.c_int32 * len(CLIPS)),
        ("chroma_clips", ctypes.c_int32 * len(CLIPS)),
        ("activity", ctypes.c_int32 * (LEVELS - 1)),
    )


@dataclass(frozen=True, eq=False)
class Refinement:
    """What is done to pictures once they are decoded; see `refine` for what that is."""

    luma: NDArray[np.int16]
    "int16 [9, 40, 12, 4]."

    chroma: NDArray[np.int16]
    "int16 [9, 2, 6, 4]."

    first: int
    "Of the levels of activity."

    def __post_init__(self) -> None:
        """Refuse what C could not read."""
        for array, shape in ((self.luma, LUMA_SHAPE), (self.chroma, CHROMA_SHAPE)):
            if array.dtype != np.int16 or array.shape != shape or not array.flags.c_contiguous:
                raise ConfigError(f"weights of refinement are {array.dtype} {list(array.shape)}")

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]], kind: str) -> Self | None:
        """
        What a model says of a kind of pictures.

        Args:
            tensors: The model's, called `refine.*`, without that.
            kind: `intra`, `delta` or `spatial`.

        Returns:
            None if it says nothing.

        Raises:
            ConfigError: If it is no such thing.
        """
        if not any(name.startswith(f"{kind}.") for name in tensors):
            return None
        try:
            luma, chroma = tensors[f"{kind}.luma"], tensors[f"{kind}.chroma"]
        except KeyError as error:
            raise ConfigError(f"refinement of {kind} frames has no tensor {error}") from None
        return cls(luma, chroma, FIRST_LEVELS[kind])

    def __call__(self, picture: Reference, qps: NDArray[np.uint8]) -> Fine:
        """Return a picture refined, each tile for its qp; see `Reference.refine`."""
        return picture.refine(self._hows, qps)

    def planes(self, planes: Planes, qps: NDArray[np.uint8]) -> Planes:
        """
        Return new planes, of a picture in bytes.

        Args:
            planes: Any size; never changed.
            qps: Of its tiles, uint8 [Th, Tw]; those that are no qp stay as they are.
        """
        blocks = blocks_of(planes)
        picture = Reference(*blocks.shape[:2])
        picture.fill(blocks)
        return planes_of(self(picture, qps), planes.width, planes.height)

    @cached_property
    def _hows(self) -> "ctypes.Array[_How]":
        return (_How * (QP_MAX + 1))(*(self._how(qp) for qp in range(QP_MAX + 1)))

    def _how(self, qp: int) -> _How:
        of_luma, of_chroma = (int(step) for step in step_table()[qp])
        k = set_of(qp)
        return _How(
            address(self.luma[k]),
            address(self.chroma[k]),
            (ctypes.c_int32 * len(CLIPS))(*clips(of_luma)),
            (ctypes.c_int32 * len(CLIPS))(*clips(of_chroma)),
            (ctypes.c_int32 * (LEVELS - 1))(*activity(of_luma, self.first)),
        )
