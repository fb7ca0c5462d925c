"""
The ONNX graphs of a model, written node by node from its weights: three of intra frames, and one of
delta frames where a model has those.

A graph built by hand keeps the batch, height and width dynamic, holds only operators that
OpenVINO, ONNX Runtime, its web build and TensorRT share, and does not change with an exporter's
version. Constant factors are folded into the weights: sample scaling, rounding offsets and the
residual scales of the blocks.

Tensors at 1/16 go in and out with channels last, [N, h16, w16, K]: runtimes for CPUs compute in
that order, and took a seventh of a frame's time to change planes into it and back. A frame is its
16x16 blocks, K = 384 samples: 256 of luma row by row, 64 of u, 64 of v.

Weights come in as numpy float32 by state-dict name; torch is not needed here.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from rtcodec.models.folding import Array, Layer, Weights, anchor_spread, int8_unit
from rtcodec.models.graph_builder import END, GraphBuilder, from_space_to_depth
from rtcodec.models.tier import (
    ANCHOR,
    ANCHORED,
    DELTA_LIKELY_OFFSET,
    PIXEL_CHANNELS,
    TILE_PLACES,
    TILE_SIDE,
    Z_LIMIT,
)


def _value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _gain_sizes(dims: Mapping[str, int]) -> dict[str, int]:
    c, m = dims["C"], dims["M"]
    return {"encoder_trunk": c, "encoder": m, "decoder": m, "decoder_trunk": c, "decoder_head": c}


def _blocks(name: str, kind: int) -> onnx.ValueInfoProto:
    """A frame as blocks [N, h16, w16, 384], samples 0..255."""
    return _value(name, kind, ["N", "h16", "w16", PIXEL_CHANNELS])


def _at_16(name: str, dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    """A float32 tensor [N, h16, w16, M]."""
    return _value(name, TensorProto.FLOAT, ["N", "h16", "w16", dims["M"]])


def _at_64(dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    """The hyper-latents z [N, Cz, h64, w64], integers in float32."""
    return _value("z", TensorProto.FLOAT, ["N", dims["Cz"], "h64", "w64"])


def _gains_input(dims: Mapping[str, int]) -> onnx.ValueInfoProto:
    return _value("gains", TensorProto.FLOAT, ["N", sum(_gain_sizes(dims).values())])


def analysis_graph(weights: Weights, dims: Mapping[str, int]) -> bytes:
    """Blocks (uint8) and gains -> latents and hyper-latents."""
    g = GraphBuilder()
    gains = g.gains(_gain_sizes(dims))
    x = _samples(g, "blocks")
    straight = g.of_bytes(x, weights["analysis.linear.weight"])
    trunk = g.of_bytes(x, *Layer.of(weights, "analysis.embed"))
    _hyper_analysis(g, weights, _latents(g, weights, dims, straight, trunk, gains))
    return g.model(
        "analysis",
        [_blocks("blocks", TensorProto.UINT8), _gains_input(dims)],
        [_at_16("latents", dims), _at_64(dims)],
    )


def delta_hyper_graph(weights: Weights, dims: Mapping[str, int]) -> bytes:
    """Latents and motion of a delta frame -> hyper-latents."""
    g = GraphBuilder()
    # Matrix products with channels last: fewer of them are left to be turned.
    weight = weights["hyper_analysis.first.weight"][:, :, 0, 0].T.astype(np.float32)
    parts = [
        g.node("MatMul", _soft(g, x), g.constant(rows))
        for x, rows in (
            (g.cut("latents", g.scalar(DELTA_LIKELY_OFFSET)), weight[:PIXEL_CHANNELS]),
            ("motion", weight[PIXEL_CHANNELS:]),
        )
    ]
    bias = g.constant(weights["hyper_analysis.first.bias"].astype(np.float32))
    _hyper_latents(g, weights, g.channels_first(g.node("Add", g.node("Add", *parts), bias)))
    latents = _value("latents", TensorProto.FLOAT, ["N", "h16", "w16", PIXEL_CHANNELS])
    motion = _value("motion", TensorProto.FLOAT, ["N", "h16", "w16", dims["motion"]])
    return g.model("delta_hyper", [latents, motion], [_at_64(dims)])


def _samples(g: GraphBuilder, blocks: str) -> str:
    """Blocks of bytes with their channels first, as floats that are integers."""
    one, zero = g.scalar(1.0), g.constant(np.array(0, np.uint8))
    return g.channels_first(g.node("DequantizeLinear", blocks, one, zero))


def _latents(
    g: GraphBuilder,
    weights: Weights,
    dims: Mapping[str, int],
    straight: str,
    trunk: str,
    gains: Mapping[str, str],
) -> str:
    """Add the nodes from the linear path and the embedded trunk to the output `latents`."""
    for i in range(dims["encoder_blocks"]):
        trunk = g.block(trunk, weights, f"analysis.blocks.{i}")
    out = int8_unit(weights, "analysis.out_input")
    trunk = g.in_units(g.node("Mul", trunk, gains["encoder_trunk"]), out)
    trunk = g.product(trunk, Layer.of(weights, "analysis.out"), out)
    latents = g.node("Mul", g.node("Add", straight, trunk), gains["encoder"])
    g.channels_last(latents, out="latents")
    return latents


def _hyper_analysis(g: GraphBuilder, weights: Weights, latents: str) -> None:
    """Add the nodes from *latents* to the output `z`."""
    _hyper_latents(g, weights, g.layer(_soft(g, latents), weights, "hyper_analysis.first"))


def _soft(g: GraphBuilder, x: str) -> str:
    """Add the nodes that compress the range of latents."""
    soft = g.node("Add", g.node("Mul", g.node("Abs", x), g.scalar(1 / 8)), g.scalar(1.0))
    return g.node("Div", x, soft)


def _hyper_latents(g: GraphBuilder, weights: Weights, h: str) -> None:
    """Add the nodes from the first layer's outputs to the output `z`."""
    h = g.leaky(h, -0.5)
    for name in ("second", "third"):
        weight = from_space_to_depth(weights[f"hyper_analysis.{name}.weight"])
        h = g.conv(
            g.node("SpaceToDepth", h, blocksize=2), weight, weights[f"hyper_analysis.{name}.bias"]
        )
        h = g.leaky(h) if name == "second" else h
    g.clip(g.node("Floor", g.node("Add", h, g.scalar(0.5))), -Z_LIMIT, Z_LIMIT, out="z")


class _Means:
    """
    The mean network's nodes, shared by the residual and the synthesis graph.

    Means and latents have their channels last in the one and first in the other: what a runtime
    need not reorder there. Depthwise layers and shuffles have them first in both.
    """

    def __init__(
        self,
        g: GraphBuilder,
        weights: Weights,
        dims: Mapping[str, int],
        like: str,
        *,
        channels_last: bool,
    ) -> None:
        self._g, self._weights, self._last = g, weights, channels_last
        features = "z"
        for name in ("first", "second"):
            features = g.layer(features, weights, f"means.{name}")
            features = g.leaky(g.node("DepthToSpace", features, blocksize=2, mode="CRD"))
        self._features_first = features
        self._features = self._laid_out(features)
        self._from_z = self._product(self._features, "step1")
        self.before = self._places(like, dims["M"])
        "1 at the places before step 2, 0 at the others; `after` the other way round."
        self.after = g.node("Sub", g.scalar(1.0), self.before)

    def _laid_out(self, x: str) -> str:
        """*x* with its channels first as means have them."""
        return self._g.channels_last(x) if self._last else x

    def _product(self, x: str, name: str, *, inputs: slice = slice(None), bias: bool = True) -> str:
        """The 1x1 layer called *name*, or its part for some of the *inputs*; laid out as means."""
        g = self._g
        weight = self._weights[f"means.{name}.weight"][:, inputs]
        offset = self._weights[f"means.{name}.bias"] if bias else None
        if not self._last:
            return g.conv(x, weight, offset)
        # A matrix product, or the runtime would compute channels first and turn the result.
        y = g.node("MatMul", x, g.constant(weight[:, :, 0, 0].T.astype(np.float32)))
        return y if offset is None else g.node("Add", y, g.constant(offset.astype(np.float32)))

    def _places(self, like: str, channels: int) -> str:
        g = self._g
        zero, one, two, side, anchor = (
            g.constant(np.array(v, np.int64)) for v in (0, 1, 2, TILE_SIDE, ANCHOR)
        )
        shape = g.node("Shape", like)
        last = int(self._last)  # one more axis behind rows and columns
        ranges = []
        for axis, behind in ((2 - last, 1 + last), (3 - last, last)):
            size = g.node("Gather", shape, g.constant(np.array(axis, np.int64)), axis=0)
            places = g.node("Range", zero, size, one)
            if behind:
                spread = g.constant(np.arange(1, 1 + behind, dtype=np.int64))
                places = g.node("Unsqueeze", places, spread)
            ranges.append(places)
        channel = np.arange(channels, dtype=np.int64) + 1
        every = g.constant(channel if self._last else channel.reshape(-1, 1, 1))
        odd = g.node("Mod", g.node("Add", every, g.node("Add", *ranges)), two)
        in_row, in_column = (
            g.node("Equal", g.node("Mod", places, side), anchor) for places in ranges
        )
        either = g.node(
            "Or", g.node("Cast", odd, to=TensorProto.BOOL), g.node("And", in_row, in_column)
        )
        return g.node("Cast", either, to=TensorProto.FLOAT)

    def anchors_of(self, x: str, *, channels_last: bool) -> str:
        """The first ANCHORED channels of *x* at the anchors, [N, ANCHORED, h64, w64]."""
        place, channel = (ANCHOR, END, TILE_SIDE), (0, ANCHORED, 1)
        spans = (place, place, channel) if channels_last else (channel, place, place)
        starts, ends, steps = (np.array(bound, np.int64) for bound in zip(*spans, strict=True))
        axes = np.array([1, 2, 3], np.int64)
        g = self._g
        part = g.node("Slice", x, *(g.constant(v) for v in (starts, ends, axes, steps)))
        return g.channels_first(part) if channels_last else part

    def at_anchors(self) -> str:
        """The means that the anchors are coded with, as `anchors_of` has them."""
        return self.anchors_of(self._from_z, channels_last=self._last)

    def step1(self, anchors: str) -> str:
        """Means of the places before step 2 from the symbols at the anchors."""
        g, w = self._g, self._weights
        weight = w["means.anchor_spread.weight"]
        weight = anchor_spread(weight, TILE_PLACES, ANCHOR * TILE_SIDE + ANCHOR)
        spread = g.conv(anchors, weight[:, :, None, None])
        spread = g.node("DepthToSpace", spread, blocksize=TILE_SIDE, mode="CRD")
        gate = g.clip(g.layer(self._features_first, w, "means.anchor_gate"), 0.0, 1.0)
        gated = self._laid_out(g.node("Mul", spread, gate))
        return g.node("Add", self._from_z, self._product(gated, "anchor_out", bias=False))

    def step2(self, known: str) -> str:
        """Means of the step-2 places from the latents of the places before (zero elsewhere)."""
        g, w = self._g, self._weights
        p = w["means.middle.weight"].shape[0]
        x = g.leaky(
            g.node(
                "Add",
                self._product(self._features, "context", inputs=slice(p)),
                self._product(known, "context", inputs=slice(p, None), bias=False),
            )
        )
        x = g.channels_first(x) if self._last else x
        x = g.leaky(g.layer(g.layer(x, w, "means.depthwise", depthwise=True), w, "means.middle"))
        x = g.layer(x, w, "means.depthwise2", depthwise=True)
        return self._product(self._laid_out(x), "step2")


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
    means = _Means(g, weights, dims, "latents", channels_last=True)
    index = g.node("Cast", "indices", to=TensorProto.INT32)
    offset = g.node("Gather", g.constant(rounding.astype(np.float32)), index, axis=0)

    def quantised(latents: str, means: str, offset: str) -> str:
        return g.cut(g.node("Sub", latents, means), offset)

    latents, offsets = (means.anchors_of(x, channels_last=True) for x in ("latents", offset))
    step1 = means.step1(quantised(latents, means.at_anchors(), offsets))
    before = g.node("Mul", quantised("latents", step1, offset), means.before)
    known = g.node("Add", before, g.node("Mul", step1, means.before))
    after = g.node("Mul", quantised("latents", means.step2(known), offset), means.after)
    g.node("Add", before, after, out="symbols")
    return g.model(
        "residual",
        [
            _at_16("latents", dims),
            _at_64(dims),
            _value("indices", TensorProto.UINT8, ["N", "h16", "w16", dims["M"]]),
        ],
        [_at_16("symbols", dims)],
    )


def synthesis_graph(weights: Weights, dims: Mapping[str, int]) -> bytes:
    """Hyper-latents, symbols and gains -> blocks (uint8)."""
    g = GraphBuilder()
    gains = g.gains(_gain_sizes(dims))
    symbols = g.channels_first("symbols")
    means = _Means(g, weights, dims, symbols, channels_last=False)
    step1 = means.step1(means.anchors_of("symbols", channels_last=True))
    known = g.node("Mul", g.node("Add", symbols, step1), means.before)
    rest = g.node("Mul", g.node("Add", symbols, means.step2(known)), means.after)
    latents = g.node("Mul", g.node("Add", known, rest), gains["decoder"])
    # Samples: (x + 1/2) * 255, and another 1/2 for rounding by Floor.
    straight = g.conv(latents, weights["synthesis.linear.weight"] * 255)
    corrections = _corrections(g, weights, dims, latents, gains, plus=128)
    samples = g.node("Floor", g.clip(g.node("Add", straight, corrections), 0.0, 255.0))
    g.node("Cast", g.channels_last(samples), to=TensorProto.UINT8, out="blocks")
    return g.model(
        "synthesis",
        [_at_64(dims), _at_16("symbols", dims), _gains_input(dims)],
        [_blocks("blocks", TensorProto.UINT8)],
    )


def _corrections(
    g: GraphBuilder,
    weights: Weights,
    dims: Mapping[str, int],
    latents: str,
    gains: Mapping[str, str],
    *,
    plus: float,
) -> str:
    """Add the nodes of the trunk, from scaled latents to sample values and *plus*."""
    embed, out = (int8_unit(weights, f"synthesis.{key}_input") for key in ("embed", "head"))
    trunk = g.product(g.in_units(latents, embed), Layer.of(weights, "synthesis.embed"), embed)
    trunk = g.node("Mul", trunk, gains["decoder_trunk"])
    for i in range(dims["decoder_blocks"]):
        trunk = g.block(trunk, weights, f"synthesis.blocks.{i}")
    trunk = g.in_units(g.node("Mul", trunk, gains["decoder_head"]), out)
    head = Layer.of(weights, "synthesis.head").scaled(np.full(PIXEL_CHANNELS, 255, np.float32))
    return g.product(trunk, head.plus(plus), out)


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


def build_delta_graphs(weights: Weights, dims: Mapping[str, int]) -> dict[str, bytes]:
    """The graphs of a model's delta frames by name."""
    return {"delta_hyper": delta_hyper_graph(weights, dims)}
