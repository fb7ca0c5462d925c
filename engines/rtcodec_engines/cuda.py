"""
A GPU's lanes: the only place that knows CUDA.

    pinned inputs --copy in--> program (a CUDA graph) --copy out--> pinned outputs
                      event                              event

What is copied and what runs are on streams of their own, so lanes overlap; within a lane events
keep the order. No frames here, and no threads.
"""

import logging
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from rtcodec.errors import EngineError
from rtcodec_engines.device import (
    LIST,
    Arrays,
    Call,
    Device,
    Fault,
    Lane,
    Shapes,
    arrays_of,
    fault_of,
    n_listed,
    zeros,
)

_log = logging.getLogger(__name__)

WARM_UPS = 3
"""Runs of a program before it is recorded: libraries load code and take memory in the first ones.
The last is on the stream that it is recorded on, since some of that is kept stream by stream."""


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
        stream: Any = torch.cuda.Stream  # torch's stubs do not know what it takes
        self._ready = stream(self.torch_device, priority=0)
        # Linear paths and means stay float32: TF32 would cap quality as bf16 does.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def lane(self) -> Lane:
        return CudaLane(self.torch_device, self._ready, graphs=self._graphs)

    def settle(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def memory_bytes(self) -> int:
        return torch.cuda.max_memory_reserved(self.torch_device)


class CudaLane(Lane):
    """
    Three streams in a row: copies in, programs, copies out, tied by events.

    A program is recorded when it is prepared, after warm-up, with thread-local capture: other
    threads may go on using the device. Graphs of a lane share memory, since only one of them runs.
    What is prepared gives way to what runs: it warms up on a stream of low priority, and graphs
    keep the high one of the stream that they are recorded on.
    """

    def __init__(
        self, device: torch.device, ready: Any, *, graphs: bool, cuda: Any = torch.cuda
    ) -> None:
        """
        Args:
            device: Which GPU.
            ready: The stream for warming up; all lanes have it, since one of them prepares at a
                time.
            graphs: Whether programs are recorded.
            cuda: torch's module, or what stands in for it.
        """
        self._device, self._cuda = device, cuda
        self._in, self._out = cuda.Stream(device), cuda.Stream(device)
        self._run, self._ready = cuda.Stream(device, priority=-1), ready
        # Whoever waits for what left sleeps: a thread that spins takes a core from the coder.
        self._arrived, self._ran, self._left = (cuda.Event(blocking=k == 2) for k in range(3))
        self._pool: Any = cuda.graph_pool_handle() if graphs else None
        self._programs: dict[Hashable, _CudaProgram] = {}
        self._launched: dict[str, Tensor] = {}
        self._lists: dict[str, Tensor] = {}

    def prepare(self, key: Hashable, call: Call, shapes: Shapes) -> None:
        if key in self._programs:
            return
        hosts = {name: self.pinned(host).copy_(host) for name, host in zeros(shapes).items()}
        inputs = {name: torch.zeros_like(h, device=self._device) for name, h in hosts.items()}
        self._cuda.synchronize(self._device)
        program = _CudaProgram(call, hosts, inputs)
        try:
            with self._cuda.stream(self._ready):
                for _ in range(WARM_UPS - 1):
                    call(inputs)
            self._run.wait_stream(self._ready)
            with self._cuda.stream(self._run):
                call(inputs)
        finally:  # even if it fails: what still runs reads inputs whose memory is about to be free
            self._ready.synchronize()
            self._run.synchronize()
        if self._pool is not None:
            self._record(program, key)
        self._programs[key] = program

    def _record(self, program: "_CudaProgram", key: Hashable) -> None:
        graph: Any = self._cuda.CUDAGraph()
        try:
            with self._cuda.graph(
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
        return arrays_of(self._programs[key].hosts)

    def launch(self, key: Hashable) -> None:
        program = self._programs[key]
        try:
            self._enqueue(program)
        except BaseException:  # whoever has the lane next fills the same buffers
            for stream in (self._in, self._run, self._out):
                stream.synchronize()
            raise

    def _enqueue(self, program: "_CudaProgram") -> None:
        with self._cuda.stream(self._in):
            for name, host in _of_use(program.hosts, arrays_of(program.hosts)).items():
                program.inputs[name][: len(host)].copy_(host, non_blocking=True)
            self._arrived.record(self._in)
        with self._cuda.stream(self._run):
            self._run.wait_event(self._arrived)
            program.start()
            self._ran.record(self._run)
        with self._cuda.stream(self._out):
            self._out.wait_event(self._ran)
            # New each time, from torch's cache of pinned memory: frames are handed out as they are.
            self._launched = {
                name: self._copied(out)
                for name, out in program.outputs.items()
                if not name.startswith(LIST)
            }
            self._left.record(self._out)
        self._lists = {n: out for n, out in program.outputs.items() if n.startswith(LIST)}

    def wait(self) -> Arrays:
        self._left.synchronize()  # lets go of the GIL
        outputs, self._launched = self._launched, {}
        lists, self._lists = self._lists, {}
        if lists:  # how long they are is known by now
            with self._cuda.stream(self._out):
                for name, out in _of_use(lists, arrays_of(outputs)).items():
                    outputs[name] = self._copied(out)
                self._left.record(self._out)
            self._left.synchronize()
        return arrays_of(outputs)

    def device_ms(self, key: Hashable, passes: int) -> float | None:
        program = self._programs[key]
        begin, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        with self._cuda.stream(self._run):
            begin.record(self._run)
            for _ in range(passes):
                program.start()
            end.record(self._run)
        end.synchronize()
        return float(begin.elapsed_time(end)) / passes

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        self._programs = {k: v for k, v in self._programs.items() if not unwanted(k)}

    def pinned(self, like: Tensor) -> Tensor:
        """Return new memory of the host, of the shape and type of a tensor, for copies."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def _copied(self, out: Tensor) -> Tensor:
        return self.pinned(out).copy_(out, non_blocking=True)


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


def _of_use(tensors: dict[str, Tensor], arrays: Arrays) -> dict[str, Tensor]:
    """Tensors, lists only as far as the mask in *arrays* says."""
    return {
        name: tensor[: n_listed(arrays)] if name.startswith(LIST) else tensor
        for name, tensor in tensors.items()
    }
