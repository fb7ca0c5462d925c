"""
The CPU engine: the model's graphs in OpenVINO; float32, with trunks in 8-bit integers if the model
was trained for those.

Float32 is set explicitly: OpenVINO's own default is bf16 where the CPU has it, and the linear paths
of analysis and synthesis lose up to half a decibel in it (measured: docs/adr/009). A graph runs in
bf16 only if a bundle's card says so and the CPU has the instructions. Conversions between integers
and floats are compiled into the graphs.
"""

import threading
from collections.abc import Collection
from functools import cache
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from rtcodec.bundle import GRAPHS, Bundle
from rtcodec.engine.api import EngineInfo
from rtcodec.engine.blocks import BLOCK_SAMPLES
from rtcodec.engine.loader import EngineReport
from rtcodec.entropy.cdf import SYMBOL_MAX, Z_MAX
from rtcodec.errors import EngineError
from rtcodec_engines.graph_engine import REFERENCES, GraphEngine, cpu_name
from rtcodec_engines.pipeline import Pipeline, Size

_DEVICE = "CPU"
_BF16_SAFE: tuple[str, ...] = ()
"Unless the bundle's card has a list of its own under `bf16_safe`."


class OpenVinoEngine(GraphEngine):
    """OpenVINO on the CPU."""

    def __init__(
        self, bundle: Bundle, *, threads: int = 1, bf16: Collection[str] | None = None
    ) -> None:
        """
        Args:
            bundle: The model.
            threads: Cores that one frame may use.
            bf16: Graphs to run in bf16 whatever the CPU is, to measure what it costs; None for
                those that the card lists, where the CPU has it.
        """
        super().__init__(bundle, lanes=max(1, threads))
        try:
            self._core = openvino_core()
            can_bf16 = "BF16" in self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        except RuntimeError as error:
            raise EngineError(f"OpenVINO does not start: {_first_line(error)}") from error
        if bf16 is None:
            bf16 = bundle.card.get("bf16_safe", _BF16_SAFE) if can_bf16 else ()
        self._precision = {graph: "bf16" if graph in bf16 else "f32" for graph in GRAPHS}
        self._threads = max(1, threads)
        self._onnx = {graph: bundle.read_graph(graph) for graph in GRAPHS}
        # a model is compiled once per size and shared by the pipelines of that size
        self._compiled: dict[Size, dict[str, Any]] = {}
        self._compile_lock = threading.Lock()
        kinds = {*self._precision.values(), *(("int8",) if bundle.is_int8 else ())}
        self.info = EngineInfo(
            name="openvino",
            device=cpu_name(),
            precision="+".join(sorted(kinds)),
            model=bundle.name,
            model_id=bundle.model_id,
            latent_channels=bundle.latent_channels,
            hyper_channels=bundle.hyper_channels,
            versions={"openvino": _version()},
            references=REFERENCES if bundle.delta else 0,
            lanes=max(1, threads),
        )

    @staticmethod
    def probe() -> EngineReport:
        """Say whether OpenVINO finds the CPU."""
        versions = {"openvino": _version()}
        devices = openvino_core().available_devices
        if _DEVICE not in devices:
            return EngineReport("openvino", False, f"no CPU device among {devices}", versions)
        found = openvino_core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        kinds = ", ".join(sorted(k.lower() for k in found if k in ("FP32", "BF16", "FP16", "INT8")))
        return EngineReport("openvino", True, f"{cpu_name()} ({kinds})", versions)

    def _compile(self, size: Size) -> Pipeline:
        with self._compile_lock:
            graphs = self._compiled.get(size)
            if graphs is None:
                graphs = {graph: self._compile_graph(graph, size) for graph in self._onnx}
                self._compiled[size] = graphs
        return _OpenVinoPipeline(graphs)

    def _forget(self, size: Size) -> None:
        with self._compile_lock:
            self._compiled.pop(size, None)

    def _compile_graph(self, graph: str, size: Size) -> Any:
        model = self._core.read_model(self._onnx[graph])
        model.reshape(_shapes(graph, size, self._bundle))
        model = _with_integers(graph, model)
        return self._core.compile_model(
            model,
            _DEVICE,
            {
                "INFERENCE_PRECISION_HINT": self._precision[graph],
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                # Or what is left in floats beside weights of 8 bits would be rounded as well.
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            },
        )


class _OpenVinoPipeline(Pipeline):
    """One infer request per graph; the latents go from one to the next without a copy."""

    def __init__(self, graphs: dict[str, Any]) -> None:
        self._analysis = graphs["analysis"].create_infer_request()
        self._residual = graphs["residual"].create_infer_request()
        self._synthesis = graphs["synthesis"].create_infer_request()
        self._residual.set_tensor("latents", self._analysis.get_tensor("latents"))
        self._residual.set_tensor("z", self._analysis.get_tensor("z"))

    def inputs(self) -> NDArray[np.uint8]:
        """Return the blocks to fill."""
        blocks: NDArray[np.uint8] = self._analysis.get_tensor("blocks").data[0]
        return blocks

    def analyse(self, gains: NDArray[np.float32]) -> NDArray[np.int8]:
        """Run analysis on the input blocks and return a copy of z."""
        self._analysis.get_tensor("gains").data[0] = gains
        self._analysis.infer()
        return np.array(self._analysis.get_tensor("z").data[0])

    def residual(self, indices: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Return the symbols, a new array."""
        self._residual.get_tensor("indices").data[0] = indices
        self._residual.infer()
        # Integers but for their type; numpy is five times as fast at this as the runtime.
        symbols: NDArray[np.int16] = self._residual.get_tensor("symbols").data[0].astype(np.int16)
        return symbols

    def synthesise(
        self, z: NDArray[np.int8], symbols: NDArray[np.int16], gains: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return a view of the blocks."""
        self._synthesis.get_tensor("z").data[0] = z
        self._synthesis.get_tensor("symbols").data[0] = symbols
        self._synthesis.get_tensor("gains").data[0] = gains
        self._synthesis.infer()
        blocks: NDArray[np.uint8] = self._synthesis.get_tensor("blocks").data[0]
        return blocks


@cache
def openvino_core() -> Any:
    """
    Return the only core of the process, which lives as long as it does.

    OpenVINO's CPU plugin puts a signal stack of its own under the thread that starts it. When
    plugins end in the order in which they began, or on other threads, that thread is left with a
    stack that is unmapped, and the next signal kills the process.
    """
    return ov.Core()


def _shapes(graph: str, size: Size, bundle: Bundle) -> dict[str, list[int]]:
    """Return the input shapes of a graph for one frame of a padded size."""
    rows, columns = size[0] // 16, size[1] // 16
    blocks = [1, rows, columns, BLOCK_SAMPLES]
    latents = [1, rows, columns, bundle.latent_channels]
    hyper = [1, bundle.hyper_channels, rows // 4, columns // 4]
    gains = [1, bundle.gains.shape[1]]
    return {
        "analysis": {"blocks": blocks, "gains": gains},
        "residual": {"latents": latents, "z": hyper, "indices": latents},
        "synthesis": {"z": hyper, "symbols": latents, "gains": gains},
    }[graph]


def _with_integers(graph: str, model: Any) -> Any:
    """Let a graph take and give integers, clipped to what the entropy coder can hold."""
    steps = PrePostProcessor(model)

    def clip_output(name: str, limit: int) -> Any:
        output = steps.output(name)
        output.postprocess().custom(lambda value: ops.clamp(value, -limit, limit).output(0))
        return output.tensor()

    if graph == "analysis":
        clip_output("z", Z_MAX).set_element_type(ov.Type.i8)
    elif graph == "residual":
        steps.input("z").tensor().set_element_type(ov.Type.i8)
        clip_output("symbols", SYMBOL_MAX)
    elif graph == "synthesis":
        steps.input("z").tensor().set_element_type(ov.Type.i8)
    return steps.build()


def _version() -> str:
    return str(ov.get_version()).partition("-")[0]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
