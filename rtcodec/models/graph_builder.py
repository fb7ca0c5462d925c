"""
What the graphs of a model are built of: nodes, layers, and layers in 8-bit integers.

Knows ONNX, nothing of networks. Weights come in as numpy float32 by
state-dict name; torch is not needed here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rtcodec.models.folding import Array, Layer, Weights, int8_unit, int8_weight
from rtcodec.models.tier import BYTE_WEIGHT_LIMIT

OPSET = 17
END = 2**31 - 1
"For a slice: up to the end."

_BLOCK_LAYERS = ("mix_in", "depthwise", "mix_out", "value", "gate", "project")


class GraphBuilder:
    """Collects nodes; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Append one node with one output."""
        name = out or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        """Add an initializer."""
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def scalar(self, value: float) -> str:
        """Add a float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def conv(
        self, x: str, weight: Array, bias: Array | None = None, *, depthwise: bool = False
    ) -> str:
        """1x1 convolution [O, I, 1, 1], or depth-wise 3x3 [C, 1, 3, 3] with zero padding."""
        inputs = [x, self.constant(weight.astype(np.float32))]
        if bias is not None:
            inputs.append(self.constant(bias.astype(np.float32)))
        if depthwise:
            return self.node(
                "Conv", *inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=weight.shape[0]
            )
        return self.node("Conv", *inputs, kernel_shape=[1, 1])

    def layer(self, x: str, weights: Weights, name: str, *, depthwise: bool = False) -> str:
        """Apply the convolution called *name* in *weights*."""
        return self.conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], depthwise=depthwise)

    def leaky(self, x: str, slope: float = 0.1) -> str:
        """LeakyReLU."""
        return self.node("LeakyRelu", x, alpha=slope)

    def cut(self, x: str, offset: str) -> str:
        """*x* to integers: its modulus plus *offset*, at most 1/2, cut off."""
        # One of the two sides is always zero. (No Sign or Abs: Sign made OpenVINO change layouts,
        # 3 ms a frame.)
        up = self.node("Relu", self.node("Floor", self.node("Add", offset, x)))
        down = self.node("Relu", self.node("Floor", self.node("Sub", offset, x)))
        return self.node("Sub", up, down)

    def clip(self, x: str, low: float, high: float, out: str = "") -> str:
        """Clamp to constants."""
        return self.node("Clip", x, self.scalar(low), self.scalar(high), out=out)

    def block(self, x: str, weights: Weights, name: str) -> str:
        """
        One `rtcodec.models.network.Block`.

        Its residual scales are folded into the layers before the sums, the units of the inputs in
        8 bits into the layers that make these, where there are such layers.
        """
        part = {key: Layer.of(weights, f"{name}.{key}") for key in _BLOCK_LAYERS}
        to_mix, mixed, to_gate, gated = (
            int8_unit(weights, f"{name}.{key}_input") for key in ("mix", "mixed", "gate", "gated")
        )
        mix = self.leaky(self.product(self.in_units(x, to_mix), part["mix_in"], to_mix))
        mix = self.conv(mix, *part["depthwise"].in_units(mixed), depthwise=True)
        mix = self.product(
            self.rounded(mix, mixed), part["mix_out"].scaled(weights[f"{name}.mix_scale"]), mixed
        )
        x = self.node("Add", x, mix)
        read = self.in_units(x, to_gate)
        value = self.product(read, part["value"], to_gate, out=gated)
        gate = self.product(read, part["gate"].plus(0.5), to_gate)
        product = self.rounded(self.node("Mul", value, self.clip(gate, 0.0, 1.0)), gated)
        project = part["project"].scaled(weights[f"{name}.gate_scale"])
        return self.node("Add", x, self.product(product, project, gated))

    def in_units(self, x: str, unit: Array | None) -> str:
        """*x* [N, C, h, w] in units [C], rounded to 8 bits; *x* as it is without units."""
        if unit is None:
            return x
        factor = self.constant((1 / unit).astype(np.float32).reshape(-1, 1, 1))
        return self.rounded(self.node("Mul", x, factor), unit)

    def rounded(self, x: str, unit: Array | None) -> str:
        """*x*, which is in units already, rounded to 8 bits."""
        if unit is None:
            return x
        one, zero = self.scalar(1.0), self.constant(np.array(0, np.int8))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, one, zero), one, zero)

    def product(self, x: str, layer: Layer, unit: Array | None, *, out: Array | None = None) -> str:
        """
        A 1x1 layer that reads *x* in *unit* [C], in 8 bits; in floats where that is None.

        Args:
            x: Its input, from `in_units` or `rounded`.
            layer: The layer.
            unit: Of *x*.
            out: Units of the output; None for those of the layer.
        """
        if unit is None:
            return self.conv(x, *layer.in_units(out))
        weight, step = int8_weight(layer.weight[:, :, 0, 0] * unit)
        if out is not None:
            layer, step = layer.in_units(out), step / out
        return self._int8_conv(x, weight, step, layer.bias)

    def of_bytes(self, x: str, weight: Array, bias: Array | None = None) -> str:
        """
        A 1x1 layer for sample / 255 - 1/2, of samples 0..255 in *x*.

        Its weights take two integers of 7 bits each, the second for what the first leaves: two
        products in integers are faster than one in floats, and exact enough for the finest qp.
        """
        matrix = weight[:, :, 0, 0] / 255
        offset = -127.5 * matrix.sum(1) + (0 if bias is None else bias)
        coarse, step = int8_weight(matrix, BYTE_WEIGHT_LIMIT)
        fine, fine_step = int8_weight(matrix - coarse * step[:, None], BYTE_WEIGHT_LIMIT)
        return self.node(
            "Add",
            self._int8_conv(x, coarse, step, offset),
            self._int8_conv(x, fine, fine_step),
        )

    def _int8_conv(
        self, x: str, weight: NDArray[np.int8], step: Array, bias: Array | None = None
    ) -> str:
        """1x1 convolution with weights [O, I] in *step* [O]; *x* comes from 8 bits."""
        zero = self.constant(np.zeros(step.shape, np.int8))
        matrix = self.constant(weight[:, :, None, None])
        inputs = [
            x,
            self.node(
                "DequantizeLinear", matrix, self.constant(step.astype(np.float32)), zero, axis=0
            ),
        ]
        if bias is not None:
            inputs.append(self.constant(bias.astype(np.float32)))
        return self.node("Conv", *inputs, kernel_shape=[1, 1])

    def channels_first(self, x: str) -> str:
        """[N, h, w, K] -> [N, K, h, w]."""
        return self.node("Transpose", x, perm=[0, 3, 1, 2])

    def channels_last(self, x: str, out: str = "") -> str:
        """[N, K, h, w] -> [N, h, w, K]."""
        return self.node("Transpose", x, out=out, perm=[0, 2, 3, 1])

    def gains(self, sizes: Mapping[str, int]) -> dict[str, str]:
        """Split the input `gains` [N, G] into vectors [N, K, 1, 1], in the order of *sizes*."""
        outputs, start = {}, 0
        axis = self.constant(np.array([1], np.int64))
        spread = self.constant(np.array([2, 3], np.int64))
        for name, size in sizes.items():
            bounds = [self.constant(np.array([b], np.int64)) for b in (start, start + size)]
            part = self.node("Slice", "gains", *bounds, axis)
            outputs[name] = self.node("Unsqueeze", part, spread)
            start += size
        return outputs

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> bytes:
        """Check and serialise the graph."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="rtcodec",
            ir_version=9,
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def from_space_to_depth(weight: Array) -> Array:
    """Reorder a 1x1 weight's inputs from pixel_unshuffle's c*4+d to SpaceToDepth's d*C+c."""
    o, i = weight.shape[:2]
    return weight.reshape(o, i // 4, 4).transpose(0, 2, 1).reshape(o, i, 1, 1)
