"""
The ONNX graph of a network that takes coding artefacts out, written from its weights.

    y, u, v                 uint8 [N, 1, H, W], [N, 1, H/2, W/2] twice; sides multiples of 16
    levels                  float32 [N, 128, 1, 1]
    y_out, u_out, v_out     uint8, the planes restored

What `rtcodec.models.restoration` is in torch, node by node. Weights come in as numpy float32 by
state-dict name; torch is not needed here.
"""

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from rtcodec.models.folding import Layer, Weights
from rtcodec.models.graph_builder import GraphBuilder, from_space_to_depth
from rtcodec.models.restorer_shape import (
    CHROMA_READ,
    LEVELS,
    RATIO_LIMIT,
    SIDE,
    STEP_SCALE,
    Shape,
    block_transform,
)

PLANES = ("y", "u", "v")

_AROUND = 4
_READ_SCALE = 1 / 64
_LOG_SCALE = 1 / (4 * np.log(2))


def build_restorer_graph(weights: Weights, shape: Shape) -> bytes:
    """Return the ONNX file of a `Restorer` from its state dict."""
    writer = _Writer(weights, shape)
    names = writer.write()
    rows = [["N", 1, "H", "W"], *([["N", 1, "H2", "W2"]] * 2)]
    inputs = [
        *(_value(name, TensorProto.UINT8, row) for name, row in zip(PLANES, rows, strict=True)),
        _value("levels", TensorProto.FLOAT, ["N", LEVELS, 1, 1]),
    ]
    outputs = [_value(n, TensorProto.UINT8, row) for n, row in zip(names, rows, strict=True)]
    return writer.model("restorer", inputs, outputs)


class _Writer(GraphBuilder):
    """One graph."""

    def __init__(self, weights: Weights, shape: Shape) -> None:
        super().__init__()
        self._weights, self._shape = weights, shape
        transform = block_transform()
        self._transform = transform.astype(np.float32)[:, :, None, None]
        self._back = transform.T.astype(np.float32)[:, :, None, None]
        self._grey = (-128 * transform.sum(1)).astype(np.float32)

    def write(self) -> list[str]:
        """Append every node; return the names of the outputs."""
        y, u, v = (self.node("Cast", name, to=TensorProto.FLOAT) for name in PLANES)
        luma, chroma = self._part("levels", 0, LEVELS // 2), self._part("levels", LEVELS // 2)
        embedded = self._embed([y], luma, "lapped", "ratio")
        pair = self._embed([u, v], chroma, "chroma_lapped", "chroma_ratio")
        pair = self.node("DepthToSpace", pair, blocksize=2, mode="CRD")
        x = self._blocks(self.node("Concat", embedded, pair, axis=1))
        head = self._corrected(self.layer(x, self._weights, "head"), luma)
        read = self.node("SpaceToDepth", self._part(x, 0, CHROMA_READ), blocksize=2)
        weight = from_space_to_depth(self._weights["chroma_head.weight"])
        read = self.conv(read, weight, self._weights["chroma_head.bias"])
        both = [self._part(read, 0, SIDE**2), self._part(read, SIDE**2)]
        return [
            self._samples(plane, correction, f"{name}_out")
            for name, plane, correction in zip(
                PLANES, (y, u, v), (head, *(self._corrected(c, chroma) for c in both)), strict=True
            )
        ]

    def _blocks(self, x: str) -> str:
        log = self.node("Mul", self.node("Log", "levels"), self.scalar(_LOG_SCALE))
        led = self.leaky(self.layer(log, self._weights, "lead_in"))
        led = self.conv(led, *Layer.of(self._weights, "lead").scaled(np.full(1, STEP_SCALE)))
        c = self._shape.channels
        for block in range(self._shape.blocks):
            at = 2 * c * block
            gain = self.node("Add", self._part(led, at, at + c), self.scalar(1.0))
            x = self.node("Mul", x, gain)
            x = self.node("Add", x, self._part(led, at + c, at + 2 * c))
            x = self.block(x, self._weights, f"blocks.{block}")
        return x

    def _embed(self, planes: list[str], levels: str, lapped: str, ratio: str) -> str:
        pads = self.constant(np.array([0, 0, *[_AROUND] * 2] * 2, np.int64))
        around = [
            self.node("SpaceToDepth", self.node("Pad", p, pads, mode="edge"), blocksize=SIDE)
            for p in planes
        ]
        inputs = [
            self._joined(around),
            self.constant(self._weights[f"{lapped}.weight"] * np.float32(_READ_SCALE)),
            self.constant(self._weights[f"{lapped}.bias"]),
        ]
        read = self.node("Conv", *inputs, kernel_shape=[2, 2])
        ratios = []
        for plane in planes:
            blocks = self.node("SpaceToDepth", plane, blocksize=SIDE)
            coefficients = self.conv(blocks, self._transform, self._grey)
            ratios.append(self.node("Div", coefficients, levels))
        bounded = self.clip(self._joined(ratios), -RATIO_LIMIT, RATIO_LIMIT)
        return self.node("Add", read, self.layer(bounded, self._weights, ratio))

    def _corrected(self, head: str, levels: str) -> str:
        limit = self._shape.limit
        scaled = self.node("Mul", head, self.scalar(STEP_SCALE))
        bounded = self.node("Mul", self.clip(scaled, -limit, limit), levels)
        blocks = self.conv(bounded, self._back)
        return self.node("DepthToSpace", blocks, blocksize=SIDE, mode="CRD")

    def _samples(self, plane: str, correction: str, out: str) -> str:
        x = self.clip(self.node("Add", plane, correction), 0.0, 255.0)
        x = self.node("Floor", self.node("Add", x, self.scalar(0.5)))
        return self.node("Cast", x, out=out, to=TensorProto.UINT8)

    def _joined(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=1)

    def _part(self, x: str, start: int, end: int = 2**31 - 1) -> str:
        """Channels of *x* from *start* to *end*."""
        bounds = [self.constant(np.array([n], np.int64)) for n in (start, end, 1)]
        return self.node("Slice", x, *bounds)


def _value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)
