"""
The three ONNX graphs of a model, written node by node from its weights.

A graph built by hand keeps the batch, height and width dynamic, holds only operators that
OpenVINO, ONNX Runtime, its web build and TensorRT share, and does not change with an exporter's
version. Constant factors are folded into the weights: sample scaling, rounding offsets and the
residual scales of the blocks.

Weights come in as numpy float32 by state-dict name; torch is not needed here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rtcodec.models.tier import Z_LIMIT

OPSET = 17
Array = NDArray[np.floating[Any]]
Weights = Mapping[str, NDArray[Any]]


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

    def clip(self, x: str, low: float, high: float, out: str = "") -> str:
        """Clamp to constants."""
        return self.node("Clip", x, self.scalar(low), self.scalar(high), out=out)

    def block(self, x: str, weights: Weights, name: str) -> str:
        """One `rtcodec.models.network.Block`, its residual scales folded into the last layers."""
        mix = self.leaky(self.layer(x, weights, f"{name}.mix_in"))
        mix = self.layer(mix, weights, f"{name}.depthwise", depthwise=True)
        x = self.node("Add", x, self._scaled(mix, weights, f"{name}.mix_out", f"{name}.mix_scale"))
        value = self.layer(x, weights, f"{name}.value")
        gate = self.conv(x, weights[f"{name}.gate.weight"], weights[f"{name}.gate.bias"] + 0.5)
        gated = self.node("Mul", value, self.clip(gate, 0.0, 1.0))
        return self.node(
            "Add", x, self._scaled(gated, weights, f"{name}.project", f"{name}.gate_scale")
        )

    def _scaled(self, x: str, weights: Weights, layer: str, scale: str) -> str:
        factor = weights[scale].reshape(-1)
        weight = weights[f"{layer}.weight"] * factor[:, None, None, None]
        return self.conv(x, weight, weights[f"{layer}.bias"] * factor)

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


def _value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _gain_sizes(dims: Mapping[str, int]) -> dict[str, int]:
    c, m = dims["C"], dims["M"]
    return {"encoder_trunk": c, "encoder": m, "decoder": m, "decoder_trunk": c, "decoder_head": c}


def _from_space_to_depth(weight: Array) -> Array:
    """Reorder a 1x1 weight's inputs from pixel_unshuffle's c*4+d to SpaceToDepth's d*C+c."""
    o, i = weight.shape[:2]
    return weight.reshape(o, i // 4, 4).transpose(0, 2, 1).reshape(o, i, 1, 1)


def _planes() -> list[onnx.ValueInfoProto]:
    """The uint8 planes y [N, 1, H, W] and u, v [N, 1, Hc, Wc], as inputs or outputs."""
    u8 = TensorProto.UINT8
    return [
        _value("y", u8, ["N", 1, "H", "W"]),
        _value("u", u8, ["N", 1, "Hc", "Wc"]),
        _value("v", u8, ["N", 1, "Hc", "Wc"]),
    ]


def _at_16(name: str, dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    """A float32 tensor [N, M, h16, w16]."""
    return _value(name, TensorProto.FLOAT, ["N", dims["M"], "h16", "w16"])


def _at_64(dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    """The hyper-latents z [N, Cz, h64, w64], integers in float32."""
    return _value("z", TensorProto.FLOAT, ["N", dims["Cz"], "h64", "w64"])


def _gains_input(dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    return _value("gains", TensorProto.FLOAT, ["N", sum(_gain_sizes(dims).values())])


def analysis_graph(weights: Weights, dims: Mapping[str, int]) -> bytes:
    """Planes and gains -> latents and hyper-latents."""
    g = GraphBuilder()
    gains = g.gains(_gain_sizes(dims))
    parts = [
        g.node("SpaceToDepth", g.node("Cast", plane, to=TensorProto.FLOAT), blocksize=size)
        for plane, size in (("y", 16), ("u", 8), ("v", 8))
    ]
    x = g.node("Concat", *parts, axis=1)  # [N, 384, h16, w16], samples 0..255
    linear = weights["analysis.linear.weight"]
    straight = g.conv(x, linear / 255, -0.5 * linear.sum((1, 2, 3)))
    embed = weights["analysis.embed.weight"]
    trunk = g.conv(x, embed / 255, weights["analysis.embed.bias"] - 0.5 * embed.sum((1, 2, 3)))
    for i in range(dims["encoder_blocks"]):
        trunk = g.block(trunk, weights, f"analysis.blocks.{i}")
    trunk = g.layer(g.node("Mul", trunk, gains["encoder_trunk"]), weights, "analysis.out")
    latents = g.node("Mul", g.node("Add", straight, trunk), gains["encoder"], out="latents")
    _hyper_analysis(g, weights, latents)
    return g.model(
        "analysis",
        [*_planes(), _gains_input(dims)],
        [_at_16("latents", dims), _at_64(dims)],
    )


def _hyper_analysis(g: GraphBuilder, weights: Weights, latents: str) -> None:
    """Add the nodes from *latents* to the output `z`."""
    soft = g.node("Add", g.node("Mul", g.node("Abs", latents), g.scalar(1 / 8)), g.scalar(1.0))
    h = g.leaky(g.layer(g.node("Div", latents, soft), weights, "hyper_analysis.first"), -0.5)
    for name in ("second", "third"):
        weight = _from_space_to_depth(weights[f"hyper_analysis.{name}.weight"])
        h = g.conv(
            g.node("SpaceToDepth", h, blocksize=2), weight, weights[f"hyper_analysis.{name}.bias"]
        )
        h = g.leaky(h) if name == "second" else h
    g.clip(g.node("Floor", g.node("Add", h, g.scalar(0.5))), -Z_LIMIT, Z_LIMIT, out="z")


class _Means:
    """The mean network's nodes, shared by the residual and the synthesis graph."""

    def __init__(
        self, g: GraphBuilder, weights: Weights, dims: Mapping[str, int], like: str
    ) -> None:
        self._g, self._weights = g, weights
        features = "z"
        for name in ("first", "second"):
            features = g.layer(features, weights, f"means.{name}")
            features = g.leaky(g.node("DepthToSpace", features, blocksize=2, mode="CRD"))
        self._features = features
        self.step1 = g.layer(features, weights, "means.step1")
        self.first = self._checkerboard(like, dims["M"])
        self.second = g.node("Sub", g.scalar(1.0), self.first)

    def _checkerboard(self, like: str, channels: int) -> str:
        """1 at the step-1 places [1, M, h, w] of the tensor *like*."""
        g = self._g
        zero, one = (g.constant(np.array(v, np.int64)) for v in (0, 1))
        shape = g.node("Shape", like)
        ranges = []
        for axis, spread in ((2, [1]), (3, [0])):
            size = g.node("Gather", shape, g.constant(np.array(axis, np.int64)), axis=0)
            places = g.node("Range", zero, size, one)
            ranges.append(g.node("Unsqueeze", places, g.constant(np.array(spread, np.int64))))
        channel = g.constant((np.arange(channels, dtype=np.int64) + 1).reshape(1, channels, 1, 1))
        total = g.node("Add", channel, g.node("Add", *ranges))
        odd = g.node("Mod", total, g.constant(np.array(2, np.int64)))
        return g.node("Cast", odd, to=TensorProto.FLOAT)

    def step2(self, latents_step1: str) -> str:
        """Means of the step-2 places from the latents of the step-1 places (zero elsewhere)."""
        g, w = self._g, self._weights
        x = g.leaky(
            g.layer(g.node("Concat", self._features, latents_step1, axis=1), w, "means.context")
        )
        x = g.leaky(g.layer(g.layer(x, w, "means.depthwise", depthwise=True), w, "means.middle"))
        return g.layer(g.layer(x, w, "means.depthwise2", depthwise=True), w, "means.step2")


def residual_graph(weights: Weights, dims: Mapping[str, int], rounding: Array) -> bytes:
    """
    Latents, hyper-latents and scale indices -> symbols.

    Args:
        weights: float32 arrays by state-dict name.
        dims: As in a bundle.
        rounding: [64], what is added to a modulus before it is cut to an integer, by scale
            index; see `rtcodec.models.prior.rounding_offsets`.
    """
    g = GraphBuilder()
    means = _Means(g, weights, dims, "latents")
    index = g.node("Cast", "indices", to=TensorProto.INT32)
    offset = g.node("Gather", g.constant(rounding.astype(np.float32)), index, axis=0)

    def symbols(mean: str, places: str) -> str:
        residual = g.node("Sub", "latents", mean)
        # Offsets are at most 1/2, so one of the two sides is always zero. (No Sign or Abs: Sign
        # made OpenVINO change layouts, 3 ms a frame.)
        up = g.node("Relu", g.node("Floor", g.node("Add", offset, residual)))
        down = g.node("Relu", g.node("Floor", g.node("Sub", offset, residual)))
        return g.node("Mul", g.node("Sub", up, down), places)

    symbols1 = symbols(means.step1, means.first)
    known = g.node("Add", symbols1, g.node("Mul", means.step1, means.first))
    g.node("Add", symbols1, symbols(means.step2(known), means.second), out="symbols")
    return g.model(
        "residual",
        [
            _at_16("latents", dims),
            _at_64(dims),
            _value("indices", TensorProto.UINT8, ["N", dims["M"], "h16", "w16"]),
        ],
        [_at_16("symbols", dims)],
    )


def synthesis_graph(weights: Weights, dims: Mapping[str, int]) -> bytes:
    """Hyper-latents and symbols -> planes."""
    g = GraphBuilder()
    gains = g.gains(_gain_sizes(dims))
    means = _Means(g, weights, dims, "symbols")
    known = g.node("Mul", g.node("Add", "symbols", means.step1), means.first)
    rest = g.node("Mul", g.node("Add", "symbols", means.step2(known)), means.second)
    latents = g.node("Mul", g.node("Add", known, rest), gains["decoder"])
    # Samples: (x + 1/2) * 255, and another 1/2 for rounding by Floor.
    straight = g.conv(latents, weights["synthesis.linear.weight"] * 255)
    trunk = g.node("Mul", g.layer(latents, weights, "synthesis.embed"), gains["decoder_trunk"])
    for i in range(dims["decoder_blocks"]):
        trunk = g.block(trunk, weights, f"synthesis.blocks.{i}")
    trunk = g.node("Mul", trunk, gains["decoder_head"])
    head = g.conv(
        trunk, weights["synthesis.head.weight"] * 255, weights["synthesis.head.bias"] * 255 + 128
    )
    # A cast to uint8 then drops the fraction.
    _split_planes(g, g.clip(g.node("Add", straight, head), 0.0, 255.0))
    return g.model(
        "synthesis",
        [_at_64(dims), _at_16("symbols", dims), _gains_input(dims)],
        _planes(),
    )


def _split_planes(g: GraphBuilder, samples: str) -> None:
    """Add the nodes from *samples* [N, 384, h16, w16] to the outputs `y`, `u` and `v`."""
    start = 0
    for plane, size in (("y", 16), ("u", 8), ("v", 8)):
        bounds = [g.constant(np.array([b], np.int64)) for b in (start, start + size * size)]
        part = g.node("Slice", samples, *bounds, g.constant(np.array([1], np.int64)))
        part = g.node("DepthToSpace", part, blocksize=size, mode="CRD")
        g.node("Cast", g.node("Floor", part), to=TensorProto.UINT8, out=plane)
        start += size * size


def build_graphs(weights: Weights, dims: Mapping[str, int], rounding: Array) -> dict[str, bytes]:
    """
    All graphs of a model by name, in the order in which a frame meets them.

    Args:
        weights: float32 arrays by state-dict name.
        dims: As in a bundle.
        rounding: float32 [64], see `residual_graph`.
    """
    return {
        "analysis": analysis_graph(weights, dims),
        "residual": residual_graph(weights, dims, rounding),
        "synthesis": synthesis_graph(weights, dims),
    }
