"""A restorer by OpenVINO: compiled for each size of tile, in bf16 where the CPU has that."""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import EngineError
from rtcodec.restorer_model import LEVELS, RestorerModel
from rtcodec_engines.graph_restorer import Arrays, GraphRestorer
from rtcodec_engines.openvino_engine import openvino_core

_DEVICE: Final = "CPU"
_SIZES: Final = 4
"Compiled graphs that are kept."

_OUTPUTS: Final = 3


class OpenVinoRestorer(GraphRestorer):
    """See `rtcodec.engine.restorer.Restorer`."""

    name = "openvino"

    def __init__(
        self, model: RestorerModel, *, threads: int = 1, precision: str | None = None
    ) -> None:
        """
        Args:
            model: The network.
            threads: For one picture.
            precision: `f32` or `bf16`; None for bf16 where the CPU has it: what is added to a
                picture is bounded, so that bf16 costs nothing (measured: docs/adr/048).
        """
        self._graph = model.graph
        self._threads = threads
        try:
            found = openvino_core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        except RuntimeError as error:
            raise EngineError(f"OpenVINO does not start: {error}") from error
        self.precision = precision or ("bf16" if "BF16" in found else "f32")
        self._compiled = lru_cache(_SIZES)(self._compile)

    def _run(self, planes: Arrays, levels: NDArray[np.float32]) -> Arrays:
        height, width = planes[0].shape[2:]
        request = self._compiled(height, width).create_infer_request()
        outputs = request.infer([*planes, levels])
        y, u, v = (np.asarray(outputs[i]) for i in range(_OUTPUTS))
        return y, u, v

    def _compile(self, height: int, width: int) -> Any:
        core = openvino_core()
        model = core.read_model(self._graph)
        half = [1, 1, height // 2, width // 2]
        model.reshape(
            {"y": [1, 1, height, width], "u": half, "v": half, "levels": [1, LEVELS, 1, 1]}
        )
        return core.compile_model(
            model,
            _DEVICE,
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            },
        )
