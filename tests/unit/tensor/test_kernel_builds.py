"""Kernels compile for the GPU that they are meant for, where Triton is installed; no GPU needed."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: torch)")
backends = pytest.importorskip(
    "triton.backends", reason="triton is not installed (it comes with torch for CUDA)"
).backends

KERNELS = {
    "_edge_kernel", "_part_kernel", "_class_kernel", "_refine_kernel", "_difference_kernel",
    "_mix_kernel", "_rest_kernel",
}  # fmt: skip
SHARED_MAX_BYTES = 227 * 1024  # of a program, CUDA C++ Programming Guide, compute capability 9.0


@pytest.mark.skipif("nvidia" not in backends, reason="this triton has no compiler for NVIDIA")
@pytest.mark.parametrize("model", ["n64", "s128"])
def test_kernels_compile_for_an_h200(model: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("TRITON_INTERPRET", None)
    run = subprocess.run(
        [sys.executable, "-m", "support.kernel_builds", model],
        check=False, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    shared = {}
    for line in run.stdout.splitlines():
        name, size_bytes = line.split()
        shared[name] = int(size_bytes)
    assert set(shared) == KERNELS
    assert max(shared.values()) <= SHARED_MAX_BYTES
