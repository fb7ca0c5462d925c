"""
Freeze a trained network into a bundle: integer tables, gains, weights and ONNX graphs.

    rtcodec export --run runs/s128 --data DATA/train --out rtcodec/models/weights

The entropy tables are re-fitted to what the quantised codec really produces on the training pictures, so no
distribution is assumed at run time. The integer scale network's bound is asserted by `ScaleNet` itself.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from rtcodec.bundle import Bundle, integer_tensors
from rtcodec.entropy.cdf import EntropyTables, tables_from_histograms, y_tables_from_histograms
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.models.data import Crops, load_pictures
from rtcodec.models.graph import analysis_graph, residual_graph, synthesis_graph
from rtcodec.models.network import (
    QP_COUNT,
    SCALE_LEVELS,
    TIERS,
    Z_LIMIT,
    Codec,
    index_to_scale,
    logistic_mass,
    pack_planes,
)

HISTOGRAM_RADIUS = 127
PRIOR_COUNTS = 400
"Weight, in symbols, of the trained distribution in each fitted table; steadies the rare ones."
FLOAT_MODULES = ("analysis.", "synthesis.", "hyper_analysis.", "means.")


def integer_scale_network(net: Codec) -> ScaleNet:
    """The scale network's integers, as training used them."""
    network = net.scale_network
    qp = torch.arange(QP_COUNT)
    with torch.no_grad():
        b1, b2, b3 = (b.flatten(1).round().to(torch.int32).numpy() for b in network.biases(qp))
        layers = (network.layer1, network.layer2, network.layer3)
        w1, w2, w3 = (layer.integer_weight().flatten(1).to(torch.int8).numpy() for layer in layers)
    s1, s2, s3 = (layer.shift for layer in layers)
    return ScaleNet(w1=w1, b1=b1, s1=s1, w2=w2, b2=b2[0], s2=s2, w3=w3, b3=b3, s3=s3)


@torch.no_grad()
def fit_tables(net: Codec, crops: Crops, batches: int) -> EntropyTables:
    """Tables from histograms of the coded symbols of *batches* of 8 crops, over all qp."""
    net.eval()
    width = 2 * HISTOGRAM_RADIUS + 1
    y_counts = np.zeros((SCALE_LEVELS, width), np.int64)
    z_counts = np.zeros((QP_COUNT, net.tier.hyper_latents, 2 * Z_LIMIT + 1), np.int64)
    for batch in range(batches):
        qp = (torch.arange(8) * 8 + batch) % QP_COUNT
        coded = net(pack_planes(*crops.batch(8)), qp)
        index = coded.index.clamp(0, SCALE_LEVELS - 1).long()
        symbols = coded.symbols.clamp(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS).long() + HISTOGRAM_RADIUS
        y_counts += (
            torch.bincount((index * width + symbols).flatten(), minlength=y_counts.size)
            .numpy()
            .reshape(y_counts.shape)
        )
        for q, z in zip(qp.tolist(), coded.z.long().numpy(), strict=True):
            for channel, values in enumerate(z.reshape(z.shape[0], -1) + Z_LIMIT):
                z_counts[q, channel] += np.bincount(values, minlength=2 * Z_LIMIT + 1)
    scales = index_to_scale(torch.arange(SCALE_LEVELS).float())
    places = torch.arange(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS + 1).float()
    y_prior = logistic_mass(places[None], scales[:, None]).double().numpy()
    return EntropyTables(
        y_cdf=y_tables_from_histograms(_blend(y_counts, y_prior)),
        z_cdf=tables_from_histograms(_blend(_smooth_over_qp(z_counts), _z_prior(net))),
    )


def _z_prior(net: Codec) -> NDArray[np.float64]:
    """The trained P(z) as [64, Cz, 31]."""
    values = torch.arange(-Z_LIMIT, Z_LIMIT + 1).float()
    z = values[None, None, :, None].expand(QP_COUNT, net.tier.hyper_latents, -1, 1)
    return net.hyper_prior.probability(z, torch.arange(QP_COUNT))[..., 0].double().numpy()


def _smooth_over_qp(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add neighbouring qp with falling weights: 64 qp share what few crops say."""
    out = np.zeros_like(counts)
    for offset in range(-4, 5):
        source = np.clip(np.arange(QP_COUNT) + offset, 0, QP_COUNT - 1)
        out += (5 - abs(offset)) * counts[source]
    return out


def _blend(counts: NDArray[np.int64], prior: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts plus PRIOR_COUNTS of the prior, in 1/256 counts."""
    share = prior / prior.sum(-1, keepdims=True)
    return counts * 256 + np.round(share * (PRIOR_COUNTS * 256)).astype(np.int64)


def gains_table(net: Codec) -> NDArray[np.float32]:
    """[64, G] float32, one row per qp, in the order the graphs slice it."""
    with torch.no_grad():
        return torch.cat(net.gains(torch.arange(QP_COUNT)), 1).float().numpy()


def export(net: Codec, crops: Crops, out: Path, *, batches: int, card: Mapping[str, Any]) -> Bundle:
    """Write `<name>.rtcm` and its graphs to *out* and return the bundle as read back."""
    tier = asdict(net.tier)
    name = str(tier.pop("name"))
    dims = {
        "C": tier["channels"],
        "M": tier["latents"],
        "Cz": tier["hyper_latents"],
        "P": tier["prior"],
        "encoder_blocks": tier["encoder_blocks"],
        "decoder_blocks": tier["decoder_blocks"],
    }
    weights = {
        k: v.detach().float().numpy()
        for k, v in net.state_dict().items()
        if k.startswith(FLOAT_MODULES)
    }
    out.mkdir(parents=True, exist_ok=True)
    for graph, build in (
        ("analysis", analysis_graph),
        ("residual", residual_graph),
        ("synthesis", synthesis_graph),
    ):
        (out / f"{name}.{graph}.onnx").write_bytes(build(weights, dims))
    tensors = integer_tensors(fit_tables(net, crops, batches), integer_scale_network(net))
    bundle = Bundle(
        name=name,
        dims=dims,
        tensors={**tensors, "gains": gains_table(net), **weights},
        card=card,
        versions={"torch": torch.__version__.split("+")[0]},
    )
    return bundle.save(out / f"{name}.rtcm")


def load_run(run: Path) -> tuple[Codec, dict[str, Any]]:
    """The averaged network of a training run, and what the card says of it."""
    path = run / "ema.safetensors"
    with safe_open(path, "pt") as handle:  # type: ignore[no-untyped-call]
        facts = handle.metadata()
    net = Codec(TIERS[facts["tier"]])
    net.load_state_dict(load_file(path))
    config = json.loads((run / "config.json").read_text())
    return net, {
        "steps": int(facts["step"]),
        "training_minutes": round(float(facts["elapsed_s"]) / 60, 1),
        "config": config,
        "data": "photographs and screen captures (Unsplash licence, CC BY-SA 4.0, CC0) and clips under permissive "
        "licences (Apache-2.0, MIT, BSD, CC BY 4.0, CC0); none of the evaluation set",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec export`."""
    parser.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="folder written by rtcodec train"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="training pictures, to fit the entropy tables"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the bundle and its graphs"
    )
    parser.add_argument(
        "--batches", type=int, default=256, help="batches of 8 crops for the tables (default 256)"
    )
    parser.add_argument("--seed", type=int, default=7, help="which crops (default 7)")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec export`."""
    net, card = load_run(args.run_folder)
    crops = Crops(load_pictures(args.data), size=256, seed=args.seed)
    bundle = export(net, crops, args.out, batches=args.batches, card=card)
    print(f"{bundle.name} {bundle.model_id.hex()[:16]}")
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
