"""
Where batches run: the only place that knows CUDA, and what stands in for it on a CPU.

A device has lanes. A lane runs one batch at a time through programs that were prepared for it, each
with host buffers of its own; two lanes overlap. Nothing here knows what a frame is.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.errors import EngineError

_log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
Call = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"A program: tensors on the device in and out, of fixed shapes."

Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]

_GONE = ("cuda error", "cudnn_status", "cublas_status", "device-side assert", "driver shutting")


class Fault(Enum):
    """What an exception of a device means."""

    MEMORY = "out of memory"
    "Less at once may do."

    GONE = "the device failed"
    "Nothing will run on it again in this process."

    OTHER = "a program failed"


def fault_of(error: BaseException) -> Fault:
    """Say what an exception from torch means."""
    chain, link = [error], error.__context__
    while link is not None:  # what broke a recording comes before what ending it says
        chain.append(link)
        link = link.__context__
    if any(_is_memory(link) for link in chain):
        return Fault.MEMORY
    accelerator_error = getattr(torch, "AcceleratorError", ())  # from torch 2.8 on
    text = str(error).lower()
    if isinstance(error, accelerator_error) or any(part in text for part in _GONE):
        return Fault.GONE
    return Fault.OTHER


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()


class Lane(ABC):
    """Runs prepared programs, one at a time. All but `wait` belong to one thread."""

    @abstractmethod
    def prepare(self, key: Hashable, call: Call, shapes: Shapes) -> None:
        """Make a program ready under a key, unless it is."""

    @abstractmethod
    def inputs(self, key: Hashable) -> Arrays:
        """Return the buffers that a program reads, to be filled before `launch`."""

    @abstractmethod
    def launch(self, key: Hashable) -> None:
        """Start a program on what is in its buffers."""

    @abstractmethod
    def wait(self) -> Arrays:
        """Block until what was launched is done; its outputs, which nobody else writes to."""

    def device_ms(self, key: Hashable, passes: int) -> float | None:
        """Milliseconds of a program on the device alone; None where nobody knows."""
        return None

    @abstractmethod
    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Let go of the programs whose key is *unwanted*."""


class Device(ABC):
    """A processor that runs torch."""

    torch_device: torch.device
    name: str
    "In words, such as the model of the GPU."

    autocast: torch.dtype | None = None
    "Type of trunks."

    lanes: int = 1
    "How many batches run at a time."

    @abstractmethod
    def lane(self) -> Lane:
        """Return a new lane."""

    def memory_bytes(self) -> int:
        """What this process has of the device's memory; 0 where nobody counts."""
        return 0


class CpuDevice(Device):
    """Runs programs where they are launched: for tests, and to compare with."""

    def __init__(self, *, autocast: torch.dtype | None = None) -> None:
        self.torch_device = torch.device("cpu")
        self.name = "CPU"
        self.autocast = autocast

    def lane(self) -> Lane:
        return CpuLane()


class CpuLane(Lane):
    """No streams and no graphs; buffers are the tensors themselves."""

    def __init__(self) -> None:
        self._programs: dict[Hashable, tuple[Call, dict[str, Tensor]]] = {}
        self._outputs: Arrays = {}

    def prepare(self, key: Hashable, call: Call, shapes: Shapes) -> None:
        if key not in self._programs:
            self._programs[key] = call, _zeros(shapes)

    def inputs(self, key: Hashable) -> Arrays:
        return _arrays(self._programs[key][1])

    def launch(self, key: Hashable) -> None:
        call, inputs = self._programs[key]
        self._outputs = {name: out.numpy() for name, out in call(inputs).items()}

    def wait(self) -> Arrays:
        return self._outputs

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        self._programs = {k: v for k, v in self._programs.items() if not unwanted(k)}


class CudaDevice(Device):
    """An NVIDIA GPU: each lane has its streams, its CUDA graphs and pinned buffers."""

    def __init__(
        self,
        index: int = 0,
        *,
        graphs: bool = True,
        lanes: int = 2,
        autocast: torch.dtype | None = torch.bfloat16,
    ) -> None:
        """
        Args:
            index: Which GPU.
            graphs: Whether programs are recorded and replayed; off to find faults.
            lanes: How many batches run at a time.
            autocast: Type of trunks.

        Raises:
            EngineError: If torch finds no such GPU.
        """
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise EngineError(f"torch finds no CUDA device {index}")
        self.torch_device = torch.device("cuda", index)
        self.name = torch.cuda.get_device_name(index)
        self.autocast, self.lanes, self._graphs = autocast, lanes, graphs
        # Linear paths and means stay float32: TF32 would cap quality as bf16 does.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def lane(self) -> Lane:
        return CudaLane(self.torch_device, graphs=self._graphs)

    def memory_bytes(self) -> int:
        return torch.cuda.max_memory_reserved(self.torch_device)


class CudaLane(Lane):
    """
    Three streams in a row: copies in, programs, copies out, tied by events.

    A program is recorded when it is prepared, after warm-up, with thread-local capture: other
    threads may go on using the device. Graphs of a lane share memory, since only one of them runs.
    """

    WARM_UPS = 3

    def __init__(self, device: torch.device, *, graphs: bool) -> None:
        self._device = device
        # Typed as Any: torch's stubs do not know what its classes take.
        cuda: Any = torch.cuda
        self._in, self._out = cuda.Stream(device), cuda.Stream(device)
        self._run = cuda.Stream(device, priority=-1)
        self._arrived, self._ran, self._left = (cuda.Event() for _ in range(3))
        self._pool: Any = cuda.graph_pool_handle() if graphs else None
        self._programs: dict[Hashable, _CudaProgram] = {}
        self._launched: dict[str, Tensor] = {}

    def prepare(self, key: Hashable, call: Call, shapes: Shapes) -> None:
        if key in self._programs:
            return
        hosts = {name: host.pin_memory() for name, host in _zeros(shapes).items()}
        inputs = {name: host.to(self._device) for name, host in hosts.items()}
        torch.cuda.synchronize(self._device)
        program = _CudaProgram(call, hosts, inputs)
        with torch.cuda.stream(self._run):
            for _ in range(self.WARM_UPS):
                program.outputs = dict(call(inputs))
        self._run.synchronize()
        if self._pool is not None:
            self._record(program, key)
        self._programs[key] = program

    def _record(self, program: "_CudaProgram", key: Hashable) -> None:
        graph: Any = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._run, capture_error_mode="thread_local"
            ):
                program.outputs = dict(program.call(program.inputs))
        except RuntimeError as error:
            if "captur" not in str(error).lower() or fault_of(error) is Fault.MEMORY:
                raise
            # Slower, and right; nothing more is recorded in a lane that has failed at it.
            _log.warning("no CUDA graph of %s: %s", key, str(error).partition("\n")[0])
            self._pool = None
        else:
            program.graph = graph

    def inputs(self, key: Hashable) -> Arrays:
        return _arrays(self._programs[key].hosts)

    def launch(self, key: Hashable) -> None:
        program = self._programs[key]
        with torch.cuda.stream(self._in):
            for name, host in program.hosts.items():
                program.inputs[name].copy_(host, non_blocking=True)
            self._arrived.record(self._in)
        with torch.cuda.stream(self._run):
            self._run.wait_event(self._arrived)
            program.start()
            self._ran.record(self._run)
        with torch.cuda.stream(self._out):
            self._out.wait_event(self._ran)
            # New each time, from torch's cache of pinned memory: frames are handed out as they are.
            self._launched = {
                name: torch.empty(out.shape, dtype=out.dtype, pin_memory=True).copy_(
                    out, non_blocking=True
                )
                for name, out in program.outputs.items()
            }
            self._left.record(self._out)

    def wait(self) -> Arrays:
        self._left.synchronize()  # lets go of the GIL
        outputs, self._launched = self._launched, {}
        return _arrays(outputs)

    def device_ms(self, key: Hashable, passes: int) -> float | None:
        program = self._programs[key]
        cuda: Any = torch.cuda
        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._run):
            begin.record(self._run)
            for _ in range(passes):
                program.start()
            end.record(self._run)
        end.synchronize()
        return float(begin.elapsed_time(end)) / passes

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        self._programs = {k: v for k, v in self._programs.items() if not unwanted(k)}


class _CudaProgram:
    """A call with its buffers on both sides, and its graph."""

    def __init__(self, call: Call, hosts: dict[str, Tensor], inputs: dict[str, Tensor]) -> None:
        self.call, self.hosts, self.inputs = call, hosts, inputs
        self.outputs: dict[str, Tensor] = {}
        self.graph: Any = None

    def start(self) -> None:
        """Enqueue it on the current stream."""
        if self.graph is None:
            self.outputs = dict(self.call(self.inputs))
        else:
            self.graph.replay()


def _zeros(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.zeros(shape, dtype=kind) for name, (shape, kind) in shapes.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
