"""A restorer on the CPU by ONNX Runtime, in float32."""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtcodec.errors import EngineError
from rtcodec.restorer_model import RestorerModel
from rtcodec_engines.graph_restorer import Arrays, GraphRestorer


class OnnxRuntimeRestorer(GraphRestorer):
    """See `rtcodec.engine.restorer.Restorer`."""

    name = "onnxruntime"
    precision = "f32"

    def __init__(self, model: RestorerModel, *, threads: int = 1) -> None:
        """
        Args:
            model: The network.
            threads: For one picture.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model.graph, options, ["CPUExecutionProvider"])
        except RuntimeError as error:
            raise EngineError(f"ONNX Runtime does not start: {error}") from error

    def _run(self, planes: Arrays, levels: NDArray[np.float32]) -> Arrays:
        feed = dict(zip(("y", "u", "v", "levels"), (*planes, levels), strict=True))
        y, u, v = self._session.run(None, feed)
        return y, u, v
