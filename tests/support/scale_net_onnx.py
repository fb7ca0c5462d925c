"""The scale network as an ONNX graph in float32, to run it on inference engines."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtcodec.entropy.scale_net import ScaleNet


def scale_net_onnx(net: ScaleNet, qp: int) -> bytes:
    """
    Export one qp: input `z` float32 [1, Cz, Th, Tw], output `indices` float32 [1, M, 4 Th, 4 Tw].

    Each layer is a 1x1 convolution scaled by 2**-s, a floor and a clamp: exact in
    float32, never in less.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for number, (w, b, shift, top) in enumerate(net.layers(qp), 1):
        weights = np.ldexp(w.astype(np.float32), -shift)[:, :, None, None]
        biases = np.ldexp((b + (1 << shift >> 1)).astype(np.float32), -shift)
        for name, array in (("w", weights), ("b", biases), ("top", np.float32(top))):
            constants.append(numpy_helper.from_array(np.asarray(array), f"{name}{number}"))
        source = "z" if number == 1 else f"a{number - 1}"
        result = "indices" if number == 3 else f"a{number}"
        clamped = result if number == 3 else f"clamped{number}"
        inputs = [source, f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Conv", inputs, [f"acc{number}"]))
        nodes.append(helper.make_node("Floor", [f"acc{number}"], [f"floor{number}"]))
        nodes.append(
            helper.make_node("Clip", [f"floor{number}", "zero", f"top{number}"], [clamped])
        )
        if number < 3:  # CRD is the channel order of pixel shuffle
            nodes.append(
                helper.make_node("DepthToSpace", [clamped], [result], blocksize=2, mode="CRD")
            )
    constants.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    graph = helper.make_graph(
        nodes,
        "scale_net",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, net.hyper_channels, "h", "w"])],
        [
            helper.make_tensor_value_info(
                "indices", TensorProto.FLOAT, [1, net.latent_channels, "H", "W"]
            )
        ],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10, producer_name="rtcodec"
    )
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def as_input(z: NDArray[np.int8]) -> NDArray[np.float32]:
    """[Cz, Th, Tw] to the graph's [1, Cz, Th, Tw]."""
    return z.astype(np.float32)[None]
