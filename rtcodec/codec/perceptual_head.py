"""
What makes decoded pictures look sharper on their way to a screen: filters by class, in C.

Those that refine what the codec decoded (`motion.refine`), with weights trained for structure
instead of squared errors (docs/adr/051). Nothing is predicted from what comes out, so bits and
states are those of the PSNR head, and a viewer may change heads between any two frames.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import WEIGHTS_DIR
from rtcodec.codec.tile_qp import TileQp
from rtcodec.errors import ConfigError
from rtcodec.motion.refine import DELTA_ACTIVITY
from rtcodec.motion.refinement import Refinement
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec.types import Planes

PSNR: Final = "psnr"
"The head that is the decoder itself."

HEADS: Final = (PSNR, PERCEPTUAL)

LEVEL: Final = DELTA_ACTIVITY
"Of activity, the first: most of what is watched are delta frames."


class PerceptualHead:
    """The filters. Threads may share it."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """
        Args:
            tensors: `luma` and `chroma`, as `Refinement` has them.

        Raises:
            ConfigError: If one is missing or of another shape.
        """
        try:
            self._filters = Refinement(tensors["luma"], tensors["chroma"], LEVEL)
        except KeyError as error:
            raise ConfigError(f"a perceptual head has no tensor {error}") from None

    @classmethod
    def load(cls, folder: Path = WEIGHTS_DIR) -> Self:
        """
        Read the one that ships.

        Raises:
            ConfigError: If it is missing or damaged.
        """
        return cls(load_restorer_model(PERCEPTUAL, folder).tensors)

    def show(self, planes: Planes, qps: TileQp) -> Planes:
        """
        Return new planes to look at.

        Args:
            planes: As decoded; never changed.
            qps: At which qp each of their tiles was last coded.
        """
        return self._filters.planes(planes, np.ascontiguousarray(qps))


def open_head(name: str) -> PerceptualHead | None:
    """
    Return what `--head` asks for; None for the decoder's own pictures.

    Raises:
        ConfigError: If its weights are missing or damaged.
    """
    return PerceptualHead.load() if name == PERCEPTUAL else None
