"""
A model as browsers load it: one compact file with what a decoder needs, and nothing else.

    0      4         8              40              44
    +------+---------+--------------+---------------+--------+-----+---------+---------+---
    | RTCW | version | SHA-256 of   | length of     | header | pad | tensor, | tensor, | ...
    |      | u32     | what follows | header u32    | JSON   |     | padded  | padded  |
    +------+---------+--------------+---------------+--------+-----+---------+---------+---

Numbers are little-endian, tensors begin at multiples of 16 bytes from where the first does. The
header names each with its shape, where it begins, and a form: that of its elements, or `deltas`:
rows less the row before, zigzag varints, zeros in runs. Layers come folded as `graph` folds them;
those of the trunks in 8 bits, that beside them in float16. Means are in float32: what errs there is
rounded by the trunk, and comes out at a thousand times its size. Gains are those of every ninth qp;
between, their logarithms are on straight lines. The same bundle gives the same bytes.

Neither torch nor onnx is needed here.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.cursor import write_varint
from rtcodec.bundle import DELTA, SPATIAL, Bundle
from rtcodec.errors import ConfigError
from rtcodec.models.folding import (
    INT8_LIMIT,
    Array,
    Layer,
    Weights,
    anchor_spread,
    int8_weight,
)
from rtcodec.models.tier import (
    ANCHOR,
    PIXEL_CHANNELS,
    QP_ANCHORS,
    QP_COUNT,
    TILE_PLACES,
    TILE_SIDE,
)
from rtcodec.motion.steps import step_table

MAGIC: Final = b"RTCW"
VERSION: Final = 2
SUFFIX: Final = ".rtcw"

_ALIGNMENT = 16
_DELTAS = "deltas"
_MEANS = ("first", "second", "step1", "anchor_gate", "context", "middle", "step2")

Tensors = dict[str, tuple[str, NDArray[Any]]]
"Name to form and values."


def web_model(
    bundle: Bundle, *, stills: bool = False, head: Mapping[str, NDArray[Any]] | None = None
) -> bytes:
    """
    Write a model for browsers.

    Args:
        bundle: The model.
        head: Filters of a perceptual head, as `PerceptualHead` takes them, to be there beside it.
        stills: Whether spatial frames without a reference are all that is to be decoded: a seventh
            of the bytes. A model that has none is written whole.

    Raises:
        ConfigError: If its trunks are not in 8 bits: kernels are for those alone.
    """
    tensors = dict(_stills(bundle) if stills and bundle.spatial is not None else _tensors(bundle))
    if head is not None:
        tensors |= {f"refine.head.{name}": ("int16", values) for name, values in head.items()}
        tensors["refine.steps"] = ("int32", step_table())
    entries: dict[str, dict[str, Any]] = {}
    body = bytearray()
    for name in sorted(tensors):
        form, values = tensors[name]
        content = _deltas(values) if form == _DELTAS else _little(values.astype(form))
        entries[name] = {
            "form": form, "shape": list(values.shape), "at": len(body), "size": len(content)
        }  # fmt: skip
        body += content + bytes(-len(content) % _ALIGNMENT)
    header = {
        "dims": dict(bundle.dims),
        "model_id": bundle.model_id.hex(),
        "name": bundle.name,
        "tensors": entries,
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    start = len(MAGIC) + 4 + 32 + 4
    text += b" " * (-(start + len(text)) % _ALIGNMENT)
    rest = struct.pack("<I", len(text)) + text + body
    return MAGIC + struct.pack("<I", VERSION) + hashlib.sha256(rest).digest() + rest


def web_model_name(bundle: Bundle, content: bytes) -> str:
    """Return what to call the file: it changes whenever the *content* does."""
    return f"{bundle.name}.{hashlib.sha256(content).hexdigest()[:16]}{SUFFIX}"


def _stills(bundle: Bundle) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    yield from _part(SPATIAL, bundle.spatial)
    yield from _refinement(bundle, f"{SPATIAL}.")


def _tensors(bundle: Bundle) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    yield from _integers("", bundle)
    yield from _part(DELTA, bundle.delta)
    yield from _part(SPATIAL, bundle.spatial)
    yield from _refinement(bundle, "")
    if "synthesis.linear.weight" in bundle.tensors:
        if not bundle.is_int8:
            raise ConfigError(f"model {bundle.name}: its trunks are not in 8 bits")
        yield from _networks(bundle.tensors, bundle.dims)
        yield "gains", ("float32", _gain_anchors(bundle))


def _part(kind: str, part: Bundle | None) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    if part is not None:
        yield from _integers(f"{kind}.", part)
        yield f"{kind}.contexts", ("int8", part.tensor("contexts"))
        yield f"{kind}.steps", ("int32", part.steps)


def _refinement(bundle: Bundle, prefix: str) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """Filters of frames of the kinds whose names begin so."""
    filters = {k: v for k, v in bundle.group("refine").items() if k.startswith(prefix)}
    for name, values in filters.items():
        yield f"refine.{name}", ("int16", values)
    if filters:
        yield "refine.steps", ("int32", step_table())


def _integers(prefix: str, bundle: Bundle) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """Tables as frequencies, and the scale network."""
    tables, net = bundle.entropy_tables, bundle.scale_net
    y = np.diff(tables.y_cdf.astype(np.int64), axis=1)
    yield f"{prefix}y_frequencies", (_DELTAS, y)
    yield f"{prefix}z_frequencies", (_DELTAS, np.diff(tables.z_cdf.astype(np.int64), axis=2))
    for name in ("w1", "w2", "w3"):
        yield f"{prefix}scale_net.{name}", ("int8", getattr(net, name))
    for name in ("b1", "b2", "b3"):
        yield f"{prefix}scale_net.{name}", (_DELTAS, getattr(net, name).astype(np.int64))
    yield f"{prefix}scale_net.shifts", ("int32", np.array([net.s1, net.s2, net.s3]))


def _gain_anchors(bundle: Bundle) -> Array:
    """The decoder's gains, of latents, trunk and head, [8, M + 2 C]: where they were trained."""
    gains = bundle.gains[:, bundle.dims["C"] + bundle.dims["M"] :]
    apart = (QP_COUNT - 1) // (QP_ANCHORS - 1)
    anchors = gains[::apart].astype(np.float64)
    for j in range(1, apart):
        between = anchors[:-1] ** (1 - j / apart) * anchors[1:] ** (j / apart)
        if not np.allclose(between, gains[j::apart], rtol=1e-5, atol=0):
            raise ConfigError(f"model {bundle.name}: its gains are not on lines between anchors")
    return gains[::apart]


def _networks(
    weights: Weights, dims: Mapping[str, int]
) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """The networks between symbols and samples, as `graph.synthesis_graph` has them."""
    for name in _MEANS:
        yield f"means.{name}.weight", ("float32", weights[f"means.{name}.weight"][:, :, 0, 0])
        yield f"means.{name}.bias", ("float32", weights[f"means.{name}.bias"])
    spread = weights["means.anchor_spread.weight"]
    spread = anchor_spread(spread, TILE_PLACES, ANCHOR * TILE_SIDE + ANCHOR)
    yield "means.anchor_spread.weight", ("float32", spread)
    yield "means.anchor_out.weight", ("float32", weights["means.anchor_out.weight"][:, :, 0, 0])
    for name in ("depthwise", "depthwise2"):
        yield from _depthwise(f"means.{name}", Layer.of(weights, f"means.{name}"))
    linear = weights["synthesis.linear.weight"][:, :, 0, 0] * 255
    yield "synthesis.linear.weight", ("float16", linear)
    embed, head = (_unit(weights, f"synthesis.{key}_input") for key in ("embed", "head"))
    yield from _int8("synthesis.embed", Layer.of(weights, "synthesis.embed"), embed)
    for i in range(dims["decoder_blocks"]):
        yield from _block(weights, f"synthesis.blocks.{i}")
    # Samples: (x + 1/2) * 255, and another 1/2 for rounding by floor.
    layer = Layer.of(weights, "synthesis.head").scaled(np.full(PIXEL_CHANNELS, 255, np.float32))
    yield from _int8("synthesis.head", layer.plus(128), head)


def _block(weights: Weights, name: str) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """As `GraphBuilder.block`."""
    parts = ("mix_in", "depthwise", "mix_out", "value", "gate", "project")
    layers = {part: Layer.of(weights, f"{name}.{part}") for part in parts}
    to_mix, mixed, to_gate, gated = (
        _unit(weights, f"{name}.{key}_input") for key in ("mix", "mixed", "gate", "gated")
    )
    yield from _int8(f"{name}.mix_in", layers["mix_in"], to_mix)
    yield from _depthwise(f"{name}.depthwise", layers["depthwise"].in_units(mixed))
    scaled = layers["mix_out"].scaled(weights[f"{name}.mix_scale"])
    yield from _int8(f"{name}.mix_out", scaled, mixed)
    yield from _int8(f"{name}.value", layers["value"], to_gate, out=gated)
    yield from _int8(f"{name}.gate", layers["gate"].plus(0.5), to_gate)
    scaled = layers["project"].scaled(weights[f"{name}.gate_scale"])
    yield from _int8(f"{name}.project", scaled, gated)


def _unit(weights: Weights, name: str) -> Array:
    log_range = weights.get(f"{name}.log_range")
    if log_range is None:
        raise ConfigError(f"{name} of the model is not in 8 bits")
    # In double precision, or the last bit would depend on the machine.
    return np.exp(log_range.astype(np.float64)).astype(np.float32) / INT8_LIMIT


def _int8(
    name: str, layer: Layer, unit: Array, *, out: Array | None = None
) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """As `GraphBuilder.product`: integers, what 1 is in each row, offsets, 1 / units of inputs."""
    weight, step = int8_weight(layer.weight[:, :, 0, 0] * unit)
    if out is not None:
        layer, step = layer.in_units(out), step / out
    yield f"{name}.weight", ("int8", weight)
    yield f"{name}.step", ("float32", step)
    yield f"{name}.bias", ("float32", layer.bias)
    yield f"{name}.per_unit", ("float32", 1 / unit)


def _depthwise(name: str, layer: Layer) -> Iterator[tuple[str, tuple[str, NDArray[Any]]]]:
    """A 3x3 layer with its channels last, [9, C]."""
    yield f"{name}.weight", ("float32", layer.weight.reshape(-1, 9).T)
    yield f"{name}.bias", ("float32", layer.bias)


def _little(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _deltas(values: NDArray[np.int64]) -> bytes:
    """Rows less the row before, as zigzag varints; 0 is followed by how many more there are."""
    rows = values.reshape(len(values), -1)
    steps = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1])).ravel()
    zigzag = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    out = bytearray()
    ends = np.append(np.flatnonzero(zigzag), zigzag.size)
    at = 0
    for end in ends.tolist():
        if end > at:
            out += b"\x00" + write_varint(end - at - 1)
        if end < zigzag.size:
            out += write_varint(int(zigzag[end]))
        at = end + 1
    return bytes(out)
