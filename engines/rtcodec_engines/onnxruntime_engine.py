"""
The fallback CPU engine: the model's graphs in ONNX Runtime, float32.

Also the runtime that browsers have, so its symbols and OpenVINO's must be interchangeable. Its
threads do not spin: they would starve the event loop that they share cores with.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from rtcodec.bundle import GRAPHS, Bundle
from rtcodec.engine.api import EngineInfo
from rtcodec.engine.blocks import BLOCK_SAMPLES
from rtcodec.engine.loader import EngineReport
from rtcodec.errors import EngineError
from rtcodec_engines.graph_engine import (
    REFERENCES,
    GraphEngine,
    cpu_name,
    to_hyper_latents,
    to_symbols,
)
from rtcodec_engines.pipeline import Pipeline, Size

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(GraphEngine):
    """ONNX Runtime on the CPU."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """
        Args:
            bundle: The model.
            threads: Cores that one frame may use.
        """
        super().__init__(bundle, lanes=max(1, threads))
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, threads)
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._sessions = {
                graph: ort.InferenceSession(bundle.read_graph(graph), options, [_PROVIDER])
                for graph in GRAPHS
            }
        except RuntimeError as error:
            raise EngineError(f"ONNX Runtime does not start: {error}") from error
        self.info = EngineInfo(
            name="onnxruntime",
            device=cpu_name(),
            precision="f32",
            model=bundle.name,
            model_id=bundle.model_id,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            versions={"onnxruntime": str(ort.__version__)},
            references=REFERENCES if bundle.delta else 0,
            lanes=max(1, threads),
        )

    @staticmethod
    def probe() -> EngineReport:
        """Say whether ONNX Runtime has its CPU provider."""
        versions = {"onnxruntime": str(ort.__version__)}
        if _PROVIDER not in ort.get_available_providers():
            return EngineReport("onnxruntime", False, f"no {_PROVIDER}", versions)
        return EngineReport("onnxruntime", True, f"{cpu_name()} (fp32)", versions)

    def _compile(self, size: Size) -> Pipeline:
        return _OnnxRuntimePipeline(self._sessions, size)

    def _forget(self, size: Size) -> None:
        """Sessions take any size: nothing is kept for one."""


class _OnnxRuntimePipeline(Pipeline):
    """Input blocks of one size over sessions that take any."""

    def __init__(self, sessions: dict[str, ort.InferenceSession], size: Size) -> None:
        self._sessions = sessions
        self._blocks = np.zeros((1, size[0] // 16, size[1] // 16, BLOCK_SAMPLES), np.uint8)
        self._latents: NDArray[np.float32] = np.zeros(0, np.float32)
        self._z: NDArray[np.float32] = np.zeros(0, np.float32)

    def inputs(self) -> NDArray[np.uint8]:
        """Return the blocks to fill."""
        blocks: NDArray[np.uint8] = self._blocks[0]
        return blocks

    def analyse(self, gains: NDArray[np.float32]) -> NDArray[np.int8]:
        """Run analysis on the input blocks and return z."""
        feed: dict[str, NDArray[Any]] = {"blocks": self._blocks, "gains": gains[None]}
        self._latents, z = self._run("analysis", ["latents", "z"], feed)
        hyper = to_hyper_latents(z[0])
        self._z = hyper[None].astype(np.float32)
        return hyper

    def residual(self, indices: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return the symbols of the analysed frame."""
        feed: dict[str, NDArray[Any]] = {
            "latents": self._latents,
            "z": self._z,
            "indices": indices[None],
        }
        return to_symbols(self._run("residual", ["symbols"], feed)[0][0])

    def synthesise(
        self, z: NDArray[np.int8], symbols: NDArray[np.int16], gains: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return the blocks."""
        feed: dict[str, NDArray[Any]] = {
            "z": z[None].astype(np.float32),
            "symbols": symbols[None].astype(np.float32),
            "gains": gains[None],
        }
        blocks: NDArray[np.uint8] = self._run("synthesis", ["blocks"], feed)[0][0]
        return blocks

    def _run(
        self, graph: str, outputs: list[str], feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        try:
            results: list[NDArray[Any]] = self._sessions[graph].run(outputs, feed)
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"ONNX Runtime failed in {graph}: {error}") from error
        return results
