"""
Models of CompressAI as codecs under evaluation.

    compressai:bmshj2018-hyperprior           with the weights that the package fetches
    compressai:bmshj2018-hyperprior:FOLDER    with FOLDER/1.safetensors to 8.safetensors

They take and give RGB, so their figures include a conversion to RGB and back, as AVIF's do.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from rtcodec.errors import ConfigError
from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.codec import Encoded, Unprepared
from rtcodec.evaluation.still import picture_of
from rtcodec.media.color import rgb_to_planes
from rtcodec.types import Planes

if TYPE_CHECKING:
    from rtcodec.models.baselines.compressai import CompressAiModel

PREFIX: Final = "compressai:"


class CompressAi(Unprepared):
    """One of the package's architectures at the qualities that there are weights of."""

    unit = "quality"
    kinds: frozenset[Kind] = frozenset({"image"})
    threaded = True

    def __init__(self, name: str, model: "CompressAiModel") -> None:
        """
        Args:
            name: In tables and plots.
            model: The networks.
        """
        self.name = name
        self.settings: Sequence[int] = model.qualities
        self._model = model

    @property
    def description(self) -> str:
        return f"{self.name}, float32 on the CPU; includes a conversion to RGB and back"

    def encode(self, clip: Clip, setting: int) -> Encoded:
        pictures = (np.asarray(picture_of(planes)) for planes in clip.frames)
        return Encoded(tuple(self._model.write(rgb, setting) for rgb in pictures))

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        for part in encoded.parts:
            yield rgb_to_planes(self._model.read(part))


def open_compressai(name: str) -> CompressAi:
    """
    Return the codec called *name*, as above.

    Raises:
        ConfigError: If the package, the architecture or weights are missing.
    """
    try:
        from rtcodec.models.baselines.compressai import CompressAiModel
    except ModuleNotFoundError as error:
        raise ConfigError(f"codec {name} needs {error.name}: rtcodec[train]") from None
    architecture, _, folder = name.removeprefix(PREFIX).partition(":")
    return CompressAi(name, CompressAiModel(architecture, Path(folder) if folder else None))
