"""
The trainable network of a shipped model, to train it further: the inverse of `export`.

Integers and gains are read back at the qp of the anchors, exactly; only the prior of the
hyper-latents is fitted to its frozen tables, and training soon has it right again.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.bundle import Bundle, installed_bundles
from rtcodec.entropy.cdf import PROB_SCALE
from rtcodec.errors import ConfigError, InputError
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.inference import FLOAT_MODULES
from rtcodec.models.layer import qp_to_step
from rtcodec.models.network import Codec
from rtcodec.models.prior import HyperPrior
from rtcodec.models.spatial import SpatialCodec
from rtcodec.models.tier import QP_ANCHORS, QP_COUNT, Z_LIMIT, Tier

_ANCHOR_QPS = np.arange(QP_ANCHORS) * (QP_COUNT - 1) // (QP_ANCHORS - 1)


def thaw(path: Path, tier: Tier) -> Codec:
    """
    The networks of a bundle's intra frames.

    Args:
        path: A `.rtcm` file.
        tier: What its sizes must be.

    Raises:
        InputError: If there is no such bundle, or its sizes or weights are not the tier's.
    """
    bundle = _load(path, tier)
    net = Codec(tier)
    _fill(net, bundle, f"{path}: its weights are not those of today's networks")
    return net


def thaw_delta(path: Path, tier: Tier) -> DeltaCodec:
    """The networks of a bundle's delta frames; as `thaw`, and InputError if it has none."""
    bundle = _load(path, tier)
    if bundle.delta is None:
        raise InputError(f"{path}: a model of intra frames only")
    net = DeltaCodec(tier)
    _fill(net, bundle.delta, f"{path}: its weights are not those of today's networks")
    return net


def thaw_spatial(path: Path, tier: Tier) -> SpatialCodec:
    """
    The networks of a bundle's frames predicted from themselves.

    Where it has none, those of its delta frames: they say the same of other predictions, and are
    most of the way there.

    Raises:
        InputError: As `thaw`, and if it has neither.
    """
    bundle = _load(path, tier)
    part = bundle.spatial or bundle.delta
    if part is None:
        raise InputError(f"{path}: a model of intra frames only")
    net = SpatialCodec(tier)
    _fill(net, part, f"{path}: its weights are not those of today's networks")
    return net


NETWORKS: Final[Mapping[str, type[Codec | DeltaCodec]]] = {
    "intra": Codec,
    "delta": DeltaCodec,
    "spatial": SpatialCodec,
}
"By kind of frames."


def thaw_kind(path: Path, tier: Tier, kind: str) -> Codec | DeltaCodec:
    """The networks of a bundle's frames of one kind."""
    if kind == "delta":
        return thaw_delta(path, tier)
    return thaw_spatial(path, tier) if kind == "spatial" else thaw(path, tier)


def _load(path: Path, tier: Tier) -> Bundle:
    try:
        bundle = Bundle.load(path)
    except ConfigError as error:
        raise InputError(str(error)) from None
    if {key: bundle.dims.get(key) for key in tier.dims} != tier.dims:
        raise InputError(f"{path}: its sizes are not those of tier {tier.name}")
    return bundle


def _fill(net: Codec | DeltaCodec, bundle: Bundle, refusal: str) -> None:
    """Give *net* the weights of *bundle*."""
    tensors = {name: np.asarray(value) for name, value in bundle.tensors.items()}
    state = {
        name: _tensor(value) for name, value in tensors.items() if name.startswith(FLOAT_MODULES)
    }
    state |= _scale_network(net, tensors) | _hyper_prior(tensors["z_cdf"])
    if isinstance(net, Codec):
        state |= _gains(net, tensors["gains"])
    else:
        state["contexts.offsets"] = _tensor(tensors["contexts"]) / net.contexts.UNIT
        net.costs.keep(tensors["y_cdf"].astype(np.uint16))
    try:
        net.load_state_dict(state)
    except RuntimeError:
        raise InputError(refusal) from None


def installed(tier: str) -> Path:
    """The shipped model of a tier; InputError if there is none."""
    found = [path for path in installed_bundles() if path.stem == tier]
    if not found:
        raise InputError(f"no model {tier} is installed: train intra frames first, give --intra")
    return found[0]


def _tensor(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _scale_network(
    net: Codec | DeltaCodec, tensors: dict[str, NDArray[np.generic]]
) -> dict[str, Tensor]:
    network = net.scale_network
    shifts = [int(s) for s in tensors["scale_net.shifts"].astype(np.int64)]
    state = {}
    for number, layer in enumerate((network.layer1, network.layer2, network.layer3), 1):
        if layer.shift != shifts[number - 1]:
            raise InputError(f"shift {shifts[number - 1]} of its scale network is not today's")
        weight = _tensor(tensors[f"scale_net.w{number}"]) / 2.0**layer.shift
        state[f"layer{number}.weight"] = weight[:, :, None, None]
    b1, b2, b3 = (_tensor(tensors[f"scale_net.b{i}"]) / network.BIAS_UNIT for i in (1, 2, 3))
    state["bias1"] = b1[_ANCHOR_QPS] / 2.0 ** shifts[0]
    state["bias2"] = b2 / 2.0 ** shifts[1]
    state["bias3"] = b3[_ANCHOR_QPS]
    return {f"scale_network.{name}": value for name, value in state.items()}


def _gains(net: Codec, table: NDArray[np.generic]) -> dict[str, Tensor]:
    """Invert `GainVectors` at the anchors."""
    step = qp_to_step(torch.from_numpy(_ANCHOR_QPS).float())[:, None]
    root = (step / 20.0).sqrt()
    factors = {
        "encoder_trunk_gain": torch.ones_like(step),
        "encoder_gain": 255.0 / step,
        "decoder_gain": step / 255.0,
        "decoder_trunk_gain": 1.0 / root,
        "decoder_head_gain": root,
    }
    parts = torch.split(_tensor(table)[_ANCHOR_QPS], list(net.tier.gain_sizes), 1)
    return {
        f"gain_vectors.{name}.log_gain": (part / factor).log()
        for (name, factor), part in zip(factors.items(), parts, strict=True)
    }


def _hyper_prior(z_cdf: NDArray[np.generic]) -> dict[str, Tensor]:
    """Logistics with the mean and the variance of the tables."""
    cdf = z_cdf[_ANCHOR_QPS].astype(np.float64)
    mass = np.diff(cdf, axis=2) / PROB_SCALE  # [anchors, Cz, 31]
    values = np.arange(-Z_LIMIT, Z_LIMIT + 1)
    mean = (mass * values).sum(2)
    variance = (mass * (values - mean[..., None]) ** 2).sum(2)
    # A logistic's variance is (pi s)^2 / 3; rounding adds 1/12.
    log_scale = 0.5 * np.log(np.maximum(variance - 1 / 12, 0.01) * 3 / math.pi**2)
    fitted = {
        "location": mean,
        "log_scale": log_scale - 0.2,
        "log_wide": log_scale + 0.5,
        "mix": np.full_like(mean, -1.5),
    }
    return {f"hyper_prior.{k}": _tensor(v) / HyperPrior.UNIT for k, v in fitted.items()}
