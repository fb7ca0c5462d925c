"""numpy int64, numpy float32, C, ONNX Runtime and OpenVINO f32 agree on every scale index."""

import dataclasses
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from rtcodec.entropy import native_tiles
from rtcodec.entropy.scale_net import EXACT_LIMIT, ScaleNet
from rtcodec_engines.openvino_engine import openvino_core
from support.latents import make_hyper_latents, make_scale_net
from support.scale_net_onnx import as_input, scale_net_onnx

Run = Callable[[ScaleNet, NDArray[np.int8], int], NDArray[np.uint8]]


def run_openvino(net: ScaleNet, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
    core = openvino_core()
    model = core.read_model(scale_net_onnx(net, qp))
    # The default precision is bf16 where the CPU has it: never leave it to the default.
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    return as_indices(compiled([as_input(z)])[0])


def run_onnxruntime(
    net: ScaleNet, z: NDArray[np.int8], qp: int, *, optimised: bool
) -> NDArray[np.uint8]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        scale_net_onnx(net, qp), options, providers=["CPUExecutionProvider"]
    )
    return as_indices(session.run(None, {"z": as_input(z)})[0])


def as_indices(output: NDArray[np.float32]) -> NDArray[np.uint8]:
    assert output.dtype == np.float32
    indices: NDArray[np.uint8] = output[0].astype(np.uint8)
    assert (indices == output[0]).all()  # whole numbers already
    return indices


RUNS: dict[str, Run] = {
    "numpy float32": lambda net, z, qp: net.indices(z, qp),
    "C": native_tiles.scale_indices,
    "OpenVINO f32": run_openvino,
    "ONNX Runtime": lambda net, z, qp: run_onnxruntime(net, z, qp, optimised=True),
    "ONNX Runtime, no optimisation": lambda net, z, qp: run_onnxruntime(
        net, z, qp, optimised=False
    ),
}

NETS = {
    "small": make_scale_net(seed=3),
    "n64": make_scale_net(seed=1, hyper_channels=32, hidden=(64, 96), channels=192),
    "s128": make_scale_net(seed=2, hyper_channels=48, hidden=(64, 96), channels=320),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("tier", NETS)
def test_every_runtime_gives_the_integers_of_the_reference(tier: str, name: str) -> None:
    net = NETS[tier]
    z = make_hyper_latents(net.hyper_channels, 6, 10, seed=5)
    for qp in (0, 33, 63):
        reference = net.indices_reference(z, qp)
        assert len(np.unique(reference)) > 32  # not vacuous
        assert (RUNS[name](net, z, qp) == reference).all()


def net_at_the_bound() -> ScaleNet:
    """A network whose second layer reaches the largest sums that are accepted."""
    base = make_scale_net(seed=4, hyper_channels=8, hidden=(64, 16), channels=24)
    reach = np.abs(base.w2.astype(np.int32)).sum(axis=1) * 255
    highest = EXACT_LIMIT - 1 - (1 << 15) - reach
    net = dataclasses.replace(base, b2=highest.astype(np.int32), s2=16, s3=12)
    assert net.bounds()[1] == EXACT_LIMIT - 1
    return net


@pytest.mark.parametrize("name", RUNS)
def test_every_runtime_is_exact_up_to_the_bound(name: str) -> None:
    net = net_at_the_bound()
    z = make_hyper_latents(8, 5, 5, seed=6)
    reference = net.indices_reference(z, 7)
    assert len(np.unique(reference)) > 16
    assert (RUNS[name](net, z, 7) == reference).all()
