"""
Where batches run: what a device and its lanes are, what their failures mean, and those of a CPU.

A device has lanes. A lane runs one batch at a time through programs that were prepared for it, each
with host buffers of its own; two lanes overlap. Nothing here knows what a frame is, nor CUDA.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[Any]]
Call = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"A program: tensors on the device in and out, of fixed shapes."

Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]

LISTED, LIST = "listed", "list_"
"""A mask that a program takes or gives, and what names of its lists begin with: of a list, as many
of the first rows are of use as the mask has places that are true, and no others are moved."""

_MEMORY = ("out of memory", "status_alloc_failed")
_GONE = (
    "cuda error", "device-side assert", "driver shutting", "status_execution_failed",
    "status_internal_error", "status_mapping_error", "illegal memory access",
    "unspecified launch failure", "misaligned address",
)  # fmt: skip
"What CUDA, cuBLAS, cuDNN and Triton say after which every call fails; the rest is one call's."


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
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _MEMORY)


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

    def settle(self) -> None:  # noqa: B027  # nothing to wait for where calls block
        """Block until what was done outside of lanes, such as filling memory, is done."""

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
            self._programs[key] = call, zeros(shapes)

    def inputs(self, key: Hashable) -> Arrays:
        return arrays_of(self._programs[key][1])

    def launch(self, key: Hashable) -> None:
        call, inputs = self._programs[key]
        outputs = arrays_of(call(inputs))
        self._outputs = {
            name: out[: n_listed(outputs)] if name.startswith(LIST) else out
            for name, out in outputs.items()
        }

    def wait(self) -> Arrays:
        return self._outputs

    def forget(self, unwanted: Callable[[Hashable], bool]) -> None:
        self._programs = {k: v for k, v in self._programs.items() if not unwanted(k)}


def zeros(shapes: Shapes) -> dict[str, Tensor]:
    """Make the tensors that a program takes, on the CPU."""
    return {name: torch.zeros(shape, dtype=kind) for name, (shape, kind) in shapes.items()}


def arrays_of(tensors: Mapping[str, Tensor]) -> Arrays:
    """See tensors of the CPU as arrays."""
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def n_listed(arrays: Arrays) -> int:
    """Return how many rows of the lists are of use."""
    return int(np.count_nonzero(arrays[LISTED]))
