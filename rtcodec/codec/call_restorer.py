"""
What takes the artefacts of VP8 and H.264 out of a call's frames: filters by class, in C.

Those that refine what our own codec decoded (`motion.refine`), with weights fitted to what others
do to a picture. Each frame says how coarse it is; the nearest qp of that step chooses the weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import WEIGHTS_DIR
from rtcodec.errors import ConfigError
from rtcodec.motion.native import FINE
from rtcodec.motion.refine import DELTA_ACTIVITY
from rtcodec.motion.refinement import Refinement
from rtcodec.motion.steps import step_table
from rtcodec.restorer_model import CALLS, load_restorer_model
from rtcodec.types import Planes, tile_grid


class CallRestorer:
    """Filters of both codecs. Threads may share it."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """
        Args:
            tensors: `vp8.luma`, `vp8.chroma`, `h264.luma` and `h264.chroma`, as `Refinement` has
                them.

        Raises:
            ConfigError: If one is missing or of another shape.
        """
        try:
            self._of = {
                codec: Refinement(tensors[f"{codec}.luma"], tensors[f"{codec}.chroma"], LEVEL)
                for codec in ("vp8", "h264")
            }
        except KeyError as error:
            raise ConfigError(f"filters for calls have no tensor {error}") from None

    @classmethod
    def load(cls, folder: Path = WEIGHTS_DIR) -> Self:
        """
        Read those that ship.

        Raises:
            ConfigError: If they are missing or damaged.
        """
        return cls(load_restorer_model(CALLS, folder).tensors)

    def restore(self, planes: Planes, codec: str, step: float) -> Planes:
        """
        Return a frame without what its coding did, as far as the filters can tell.

        Args:
            planes: As decoded, any size; never changed.
            codec: `vp8` or `h264`.
            step: Of its quantiser, above 0: see `rtcodec.media.quantiser`.
        """
        tiles = tile_grid(planes.width, planes.height)
        return self._of[codec].planes(planes, np.full(tiles, qp_of(step), np.uint8))


LEVEL: Final = DELTA_ACTIVITY
"Of activity, the first: both codecs transform small blocks, as our delta frames do."


def qp_of(step: float) -> int:
    """Return our qp whose step for luma is nearest, on a logarithmic scale."""
    own = np.log(step_table()[:, 0] / FINE)
    return int(np.abs(own - np.log(step)).argmin())
