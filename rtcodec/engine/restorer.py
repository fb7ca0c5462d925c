"""
What takes coding artefacts out of pictures: a network on some runtime, found by name.

rtcodec never imports its engines; shells ask here. No state from one picture to the next.
"""

import importlib
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import ConfigError
from rtcodec.restorer_model import LEVELS, RestorerModel
from rtcodec.types import Planes

AUTO: Final = "auto"

RESTORERS: Final[Mapping[str, str]] = {
    "openvino": "rtcodec_engines.openvino_restorer:OpenVinoRestorer",
    "onnxruntime": "rtcodec_engines.onnxruntime_restorer:OnnxRuntimeRestorer",
}
"Name to class, which takes (model, threads=N); best first."

RESTORER_NAMES: Final = (AUTO, *RESTORERS)


class Restorer(Protocol):
    """One network, ready to run. Threads may share it."""

    name: str
    "Of `RESTORERS`."

    def restore(self, planes: Planes, levels: NDArray[np.float32]) -> Planes:
        """
        Return a picture without what its coding did, as far as the network can tell.

        Args:
            planes: Any size; never changed.
            levels: float32 [128], above 0: see `rtcodec.media.quantiser`.
        """
        ...


def open_restorer(model: RestorerModel, name: str = AUTO, *, threads: int = 1) -> Restorer:
    """
    Start what runs *model*.

    Args:
        model: The network.
        name: Of `RESTORER_NAMES`; `auto` is the first that is installed.
        threads: For one picture.

    Raises:
        ConfigError: If there is none.
        EngineError: If it does not start.
    """
    missing = ""
    for candidate in RESTORERS if name == AUTO else (name,):
        if candidate not in RESTORERS:
            raise ConfigError(f"no restorer {candidate!r}; there are {', '.join(RESTORER_NAMES)}")
        module, _, attribute = RESTORERS[candidate].partition(":")
        try:
            found: Restorer = getattr(importlib.import_module(module), attribute)(
                model, threads=threads
            )
        except ModuleNotFoundError as error:
            missing = (error.name or module).partition(".")[0]
            continue
        return found
    raise ConfigError(f"this needs {missing}, which is not installed: pip install 'rtcodec[cpu]'")


def flat_levels(step: float) -> NDArray[np.float32]:
    """Levels [128] of a quantiser that has one step for all coefficients."""
    return np.full(LEVELS, step, np.float32)
