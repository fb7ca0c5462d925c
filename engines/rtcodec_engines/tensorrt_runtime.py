"""
What of TensorRT is called: plans are built, loaded and run, on the caller's CUDA stream.

The seam of the `tensorrt` engine: tests have a runtime of their own. Not run on hardware so far.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from rtcodec.errors import ConfigError, EngineError
from rtcodec_engines.tensorrt_graph import build_plan

Outputs = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


class Executable(Protocol):
    """A plan that was loaded; may be run by several streams at once."""

    def run(self, inputs: Mapping[str, Tensor], outputs: Outputs) -> dict[str, Tensor]:
        """Run on the current stream; new tensors come out."""
        ...


class Runtime(Protocol):
    """Builds and loads plans for one GPU."""

    library: str
    "Name and version."

    gpu: str
    "Name, compute capability and CUDA version."

    device: torch.device

    def build(self, content: bytes) -> bytes:
        """Build an ONNX graph; EngineError if it is refused."""
        ...

    def load(self, plan: bytes) -> Executable:
        """Load a plan; EngineError if it is not one for here."""
        ...


class TensorRtRuntime:
    """The library `tensorrt` on the first GPU."""

    def __init__(self, index: int = 0) -> None:
        """
        Args:
            index: Which GPU.

        Raises:
            ConfigError: If the library is not there, or does not load.
            EngineError: If there is no GPU.
        """
        self._trt = tensorrt_library()
        if not torch.cuda.is_available():
            raise EngineError("torch finds no CUDA device")
        self.device = torch.device("cuda", index)
        self.library = f"tensorrt {self._trt.__version__}"
        about = torch.cuda.get_device_properties(index)
        driver = torch.version.cuda  # of torch; a plan does not depend on the kernel's driver
        self.gpu = f"{about.name}, {about.major}.{about.minor}, CUDA {driver}"
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)

    def build(self, content: bytes) -> bytes:
        """Build a graph; takes a minute or more."""
        return build_plan(self._trt, content)

    def load(self, plan: bytes) -> Executable:
        """Load a plan."""
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError("TensorRT does not take the engine: of another version or GPU")
        return _TensorRtExecutable(self._trt, engine, self.device)


class _TensorRtExecutable:
    """
    An engine with an execution context for each stream: two of a context must not overlap.

    CUDA graphs hold a context's shapes, so each shape has a context of its own as well, with the
    memory for that shape: by itself each would take as much as the largest batch needs.
    """

    def __init__(self, trt: ModuleType, engine: Any, device: torch.device) -> None:
        self._engine, self._device = engine, device
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self._types = {
            trt.DataType.FLOAT: torch.float32,
            trt.DataType.UINT8: torch.uint8,
        }
        self._contexts: dict[Any, tuple[Any, Tensor]] = {}

    def run(self, inputs: Mapping[str, Tensor], outputs: Outputs) -> dict[str, Tensor]:
        stream = torch.cuda.current_stream(self._device).cuda_stream
        key = (stream, *(tuple(inputs[name].shape) for name in self._inputs))
        if key not in self._contexts:  # not while a graph is recorded: that stream has warmed up
            self._contexts[key] = self._new_context(inputs)
        context, _ = self._contexts[key]
        kept = []
        for name in self._inputs:
            wanted = self._types[self._engine.get_tensor_dtype(name)]
            value = inputs[name].to(wanted).contiguous()
            kept.append(value)  # until it is enqueued
            context.set_tensor_address(name, value.data_ptr())
        made = {}
        for name, (shape, kind) in outputs.items():
            made[name] = torch.empty(shape, dtype=kind, device=self._device)
            context.set_tensor_address(name, made[name].data_ptr())
        if not context.execute_async_v3(stream):
            raise EngineError("TensorRT failed")
        return made

    def _new_context(self, inputs: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        """Make a context for inputs of these shapes, and its memory."""
        context = self._engine.create_execution_context(self._strategy)
        for name in self._inputs:
            shape = tuple(inputs[name].shape)
            if not context.set_input_shape(name, shape):
                raise EngineError(f"TensorRT takes no {name} of {shape}")
        size_bytes = max(1, context.update_device_memory_size_for_shapes())
        memory = torch.empty(size_bytes, dtype=torch.uint8, device=self._device)
        context.set_device_memory(memory.data_ptr(), size_bytes)
        return context, memory


def tensorrt_library() -> ModuleType:
    """
    Import TensorRT.

    Raises:
        ConfigError: If it is not there, or lacks its libraries: it raises all kinds of errors then.
    """
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise ConfigError("tensorrt is not installed: pip install 'rtcodec[tensorrt]'") from None
    except Exception as error:
        raise ConfigError(f"tensorrt does not load: {str(error).partition(chr(10))[0]}") from None
    module: ModuleType = tensorrt
    return module
