"""
Freeze a trained network into a bundle: integer tables, gains, weights and ONNX graphs.

    rtcodec export --run runs/s128 --data DATA/train --out rtcodec/models/weights

The integer scale network's bound (every sum below 2**24) is asserted by `ScaleNet` itself.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rtcodec.bundle import CHROMA_FROM_LUMA, DELTA, SPATIAL, Bundle, integer_tensors
from rtcodec.errors import ConfigError, InputError
from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.config import ARCH, TrainConfig
from rtcodec.models.data import Crops, load_pictures
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.graph import build_delta_graphs, build_graphs
from rtcodec.models.inference import float_weights
from rtcodec.models.network import Codec
from rtcodec.models.rounding import round_scale_network
from rtcodec.models.run import CASES, build_networks, read_averages
from rtcodec.models.spatial import SpatialCodec, spatial_supply
from rtcodec.models.supply import CropSupply, Supply, stream_supply
from rtcodec.models.tables import fit_tables
from rtcodec.models.thaw import installed, thaw
from rtcodec.models.tier import QP_COUNT
from rtcodec.models.training import AVERAGES
from rtcodec.motion.steps import step_table
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS

SHIPPED_DATA = (
    "photographs and screen captures (Unsplash licence, CC BY-SA 4.0, CC0) and clips under "
    "permissive licences (Apache-2.0, MIT, BSD, CC BY 4.0, CC0); none of the evaluation set"
)
"What the models in `weights/` were trained on; see the README there."

LICENCE = "Apache-2.0"
"Of exported weights, as of the project."


@torch.no_grad()
def round_trained(net: Codec | DeltaCodec | Autoencoder, supply: Supply) -> None:
    """Make the scale network's weights integers, for what some batches of *supply* ask of it."""
    if net.scale_network is None:
        return
    cases, was_training = [], net.training
    net.train()
    for _ in range(CASES):
        inputs = supply.next()
        coded = net(*inputs)
        supply.done(coded.x_hat, coded.symbols)
        cases.append((coded.z, inputs[-1]))
    net.train(was_training)
    round_scale_network(net.scale_network, cases)


def gains_table(net: Codec | Autoencoder) -> NDArray[np.float32]:
    """[64, G] float32, one row per qp, in the order the graphs slice it."""
    with torch.no_grad():
        table: NDArray[np.float32] = (
            torch.cat(net.gain_vectors(torch.arange(QP_COUNT)), 1).float().numpy()
        )
    return table


def export(
    net: Codec | Autoencoder, crops: Crops, out: Path, *, batches: int, card: Mapping[str, Any]
) -> Bundle:
    """
    Write `<name>.rtcm` to *out*, and the graphs of a codec of ours.

    Args:
        net: The network, on the CPU; a baseline is called as *card* calls its `arch`.
        crops: What the entropy tables are fitted to.
        out: Folder; made if there is none.
        batches: Batches of 8 crops for the tables.
        card: What to say of the model, JSON.

    Returns:
        The bundle as read back.
    """
    # Integers first: where they cannot be frozen, nothing is written.
    supply = CropSupply(crops, batch=8, in_turns=True)
    round_trained(net, supply)
    dims, weights, rounding = net.tier.dims, float_weights(net), net.rounding.cpu().numpy()
    if isinstance(net, Codec):
        name, indices = net.tier.name, net.scale_network.integers()
        graphs = build_graphs(weights, dims, rounding)
    else:
        name, indices, graphs = card[ARCH], net.integer_indices(), {}
    tensors = integer_tensors(fit_tables(net, supply, batches), indices)
    out.mkdir(parents=True, exist_ok=True)
    for graph, content in graphs.items():
        (out / f"{name}.{graph}.onnx").write_bytes(content)
    bundle = Bundle(
        name=name,
        dims=dims,
        tensors={**tensors, "gains": gains_table(net), "rounding": rounding, **weights},
        card=card,
        versions={"torch": torch.__version__.split("+")[0]},
    )
    return bundle.save(out / f"{name}.rtcm")


def export_part(
    net: DeltaCodec,
    intra: Bundle,
    supply: Supply,
    out: Path,
    *,
    batches: int,
    card: Mapping[str, Any],
) -> Bundle:
    """
    Write a model of intra frames again, with networks for frames of another kind.

    Args:
        net: The networks of delta frames or of frames predicted from themselves, on the CPU.
        intra: The model; what it has of that kind is replaced.
        supply: Such frames, which the entropy tables are fitted to.
        out: Folder; made if there is none.
        batches: Batches for the tables.
        card: What to say of the networks, JSON.

    Returns:
        The bundle as read back.
    """
    round_trained(net, supply)
    network = net.scale_network.integers(always_coded=MOTION_CHANNELS)
    parts = integer_tensors(fit_tables(net, supply, batches), network)
    weights = float_weights(net)
    parts |= {"steps": step_table(), "rounding": net.rounding.cpu().numpy(), **weights}
    name, dims = intra.name, {**intra.dims, "motion": MOTION_CHANNELS}
    kind = SPATIAL if isinstance(net, SpatialCodec) else DELTA
    if kind == SPATIAL:
        dims[CHROMA_FROM_LUMA] = 1
    if net.tier.dims != {key: intra.dims[key] for key in net.tier.dims}:
        raise ConfigError(f"{kind} frames of tier {net.tier.name} do not fit model {name}")
    graphs = {graph: intra.read_graph(graph) for graph in intra.graphs}
    if kind == DELTA:
        graphs |= build_delta_graphs(weights, dims)
    out.mkdir(parents=True, exist_ok=True)
    for graph, content in graphs.items():
        (out / f"{name}.{graph}.onnx").write_bytes(content)
    own = {key: v for key, v in intra.tensors.items() if not key.startswith(f"{kind}.")}
    bundle = Bundle(
        name=name,
        dims=dims,
        tensors={**own, **{f"{kind}.{key}": value for key, value in parts.items()}},
        card={**intra.card, kind: dict(card)},
        versions={"torch": torch.__version__.split("+")[0]},
    )
    return bundle.save(out / f"{name}.rtcm")


def load_run(
    run: Path, *, trained_on: str = SHIPPED_DATA
) -> tuple[Codec | DeltaCodec | Autoencoder, dict[str, Any]]:
    """
    The averaged network of a training run, and its card.

    Args:
        run: Folder written by `rtcodec train`.
        trained_on: What the card says of the data.

    Raises:
        InputError: If the folder is missing or not such a folder.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such folder")
    weights, facts = read_averages(run / AVERAGES)
    net = build_networks(facts["tier"], facts["kind"], facts[ARCH])
    net.load_state_dict(weights)
    card: dict[str, Any] = {
        ARCH: facts[ARCH],
        "licence": LICENCE,
        "data": trained_on,
        "steps": int(facts["step"]),
        "training_minutes": round(float(facts["elapsed_s"]) / 60, 1),
        "config": _read_json(run / "config.json"),
    }
    validation = last_validation(run / "metrics.jsonl")
    if validation is not None:
        card["validation"] = validation
    return net, card


def last_validation(metrics: Path) -> dict[str, Any] | None:
    """The last validation of a run's curve: estimated bits and 6:1:1 PSNR at some qp."""
    if not metrics.is_file():
        return None
    rows = [json.loads(line) for line in metrics.read_text().splitlines() if line.strip()]
    rows = [row for row in rows if "validation" in row]
    if not rows:
        return None
    return {
        "what": "centre crops of the validation images; bpp estimated, mean 6:1:1 PSNR in dB",
        "step": rows[-1]["step"],
        "points": [
            {"qp": p["qp"], "bpp": round(p["bpp"], 4), "psnr": round(p["psnr"], 3)}
            for p in rows[-1]["validation"]
        ],
    }


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec export`."""
    add = parser.add_argument
    add(
        "--run",
        dest="run_folder",
        metavar="FOLDER",
        type=Path,
        required=True,
        help="folder written by rtcodec train",
    )
    add(
        "--data",
        type=Path,
        required=True,
        help="training pictures (folder or packed .npz), to fit the entropy tables",
    )
    add("--intra", type=Path, metavar="FILE", help="the .rtcm that delta frames are added to")
    add("--out", type=Path, required=True, help="folder for the bundle and its graphs")
    add("--batches", type=int, default=256, help="batches of 8 crops for the tables (default 256)")
    add("--seed", type=int, default=7, help="which crops (default 7)")
    add("--threads", type=int, default=0, help="CPU threads (default 0: torch decides)")
    add("--trained-on", default="not stated", metavar="TEXT", help="what the card says of the data")
    add(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="JSON that the card carries as its evaluation, such as a results.json",
    )


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec export`."""
    if args.batches < 1:
        raise ConfigError("--batches is at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    net, card = load_run(args.run_folder, trained_on=args.trained_on)
    if args.evaluation is not None:
        card["evaluation"] = _read_json(args.evaluation)
    config = TrainConfig(**card["config"])
    pictures = load_pictures(args.data)
    if isinstance(net, SpatialCodec):
        intra = Bundle.load(args.intra or installed(net.tier.name))
        with spatial_supply(pictures, config, seed=args.seed) as feed:
            bundle = export_part(net, intra, feed, args.out, batches=args.batches, card=card)
    elif isinstance(net, DeltaCodec):
        intra = Bundle.load(args.intra or installed(net.tier.name))
        coder = thaw(args.intra or installed(net.tier.name), net.tier)
        torch.manual_seed(args.seed)
        with stream_supply(pictures, coder, config, seed=args.seed) as supply:
            bundle = export_part(net, intra, supply, args.out, batches=args.batches, card=card)
    else:
        crops = Crops(pictures, size=config.crop_px, seed=args.seed)
        bundle = export(net, crops, args.out, batches=args.batches, card=card)
    print(f"{bundle.name} {bundle.model_id.hex()[:16]}")
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
