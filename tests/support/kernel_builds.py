"""
Compiles every Triton kernel for an NVIDIA H200 as the engine launches them; needs no GPU.

    python -m support.kernel_builds MODEL    prints a line for each: name, bytes of shared memory

A process of its own: what a test runs by Triton's interpreter cannot be compiled any more.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from rtcodec.bundle import find_bundle
from rtcodec_engines.batch_rows import (
    DECODE_DELTA,
    DECODE_INTRA,
    ENCODE_DELTA,
    ENCODE_INTRA,
    shapes_of,
)
from rtcodec_engines.kernel import edge, motion, refinement, sight, trunk
from rtcodec_engines.kernel.fused import FusedFrames
from rtcodec_engines.tensor.slab import Slab

TARGET = GPUTarget("cuda", 90, 32)
SIZE, BATCH = (128, 192), 2
POINTERS = {
    torch.int16: "*i16", torch.int32: "*i32", torch.int64: "*i64", torch.uint8: "*u8",
    torch.int8: "*i8", torch.bool: "*i1", torch.float32: "*fp32",
}  # fmt: skip

Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


class Recorded:
    """Stands for a kernel: notes how it is launched."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self._kernel, self._launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *given, **named: self._launches.append((self._kernel, given, named))


def launches_of(model: str) -> list[Launch]:
    """Run all operations of a model with kernels that only note how they are launched."""
    launches: list[Launch] = []
    for module in (edge, motion, refinement, sight, trunk):
        for name, value in list(vars(module).items()):
            if isinstance(value, JITFunction) and name.endswith("_kernel"):
                setattr(module, name, Recorded(value, launches))
    bundle = find_bundle(model)
    frames = FusedFrames(bundle).eval()
    slab = Slab(SIZE, states=BATCH, references=1, device=torch.device("cpu"))
    for operation in (ENCODE_INTRA, DECODE_INTRA, ENCODE_DELTA, DECODE_DELTA):
        shapes = shapes_of(bundle, operation, SIZE, BATCH)
        given = {name: torch.zeros(shape, dtype=kind) for name, (shape, kind) in shapes.items()}
        getattr(frames, operation)(slab, given)
    return launches


def source_of(kernel: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any, str]:
    """What a launch makes the compiler compile, its options, and a key for both."""
    options = {name: value for name, value in named.items() if name not in kernel.arg_names}
    values = {**dict(zip(kernel.arg_names, given, strict=False)), **named}
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    hints: dict[tuple[int, ...], Any] = {}
    for place, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            constants[place,] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
            hints[place,] = [["tt.divisibility", 16]]
        else:
            assert parameter.do_not_specialize, f"{parameter.name}: compiled again for each size"
            signature[parameter.name] = "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=hints)
    return source, options, f"{kernel.__name__} {signature} {constants} {options}"


def main(model: str) -> None:
    """Compile what a model needs."""
    done: set[str] = set()
    for launch in launches_of(model):
        source, options, key = source_of(*launch)
        if key not in done:
            done.add(key)
            compiled = triton.compile(source, target=TARGET, options=options)
            assert compiled.asm["cubin"]
            print(launch[0].__name__, compiled.metadata.shared)


if __name__ == "__main__":
    main(sys.argv[1])
