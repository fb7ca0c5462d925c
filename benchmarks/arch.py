"""
What each idea gains: architectures trained alike, each frozen and measured as real files.

    nice python -m benchmarks.arch [--minutes 4] [--data ../shared/data] [--runs FOLDER]

Every one of `rtcodec train --arch` trains on the same crops in the same order, with the same loss
and optimisers, for --minutes of one core's time: processor seconds, for other work on the machine
not to count. Pixels are reported as well. Then `rtcodec export`, and `rtcodec eval` on the images
of dev/ beside JPEG; those files are in CompressAI's layout, too, under --runs.

Runs that are there already are resumed, or taken as they are. Writes `benchmarks/arch.json` and
`docs/arch.png`, and prints the table of `docs/arch.md`. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.entropy import machine
from benchmarks.rate_distortion import commit
from rtcodec.console import Progress
from rtcodec.evaluation import Evaluation, evaluate, plot_curves, write_results
from rtcodec.evaluation.latent import Latent, open_latent_codec

ROOT = Path(__file__).parents[1]
CROP_PX, BATCH = 128, 4
"Small: in a few minutes many small steps teach all of them more than a few large ones."

TIER = "s128"
QPS = (63, 54, 45, 36, 27, 18, 9, 0)
RIVAL = "jpeg"
AT_BPP = (0.25, 0.5, 1.0)

TABLE_BATCHES = 64
"Batches of 8 crops that entropy tables are fitted to."


@dataclass(frozen=True, slots=True)
class Entrant:
    """One row."""

    name: str
    arch: str
    transform_start: bool
    idea: str


ENTRANTS = (
    Entrant("mlp", "mlp", False, "a learned block transform, a table for each latent"),
    Entrant("cae", "cae", False, "convolutions that overlap blocks"),
    Entrant("hyperprior", "hyperprior", False, "means and scales told by hyper-latents"),
    Entrant(
        "ours-cold", "rtcodec", False, "trunks at 1/16 with linear paths, means in three steps"
    ),
    Entrant("ours", "rtcodec", True, "linear paths that start as a transform"),
)
"From the oldest idea to the last; each row adds to the one above."


def train_one(
    entrant: Entrant, minutes: float, pictures: Callable[[], list[Any]], out: Path
) -> None:
    """Train, or go on with what is there, and freeze."""
    import torch

    from rtcodec.models.config import TrainConfig
    from rtcodec.models.data import Crops
    from rtcodec.models.export import export, load_run
    from rtcodec.models.train import train

    torch.set_num_threads(1)
    config = TrainConfig(
        arch=entrant.arch,
        tier=TIER,
        crop_px=CROP_PX,
        batch=BATCH,
        minutes=minutes,
        transform_start=entrant.transform_start,
    )
    train(config, pictures(), None, out, torch.device("cpu"), clock=time.process_time)
    net, card = load_run(out)
    crops = Crops(pictures(), size=CROP_PX, seed=7)
    export(net, crops, out, batches=TABLE_BATCHES, card=card)  # type: ignore[arg-type]


def is_ready(out: Path, minutes: float) -> bool:
    """Whether a folder has a run of so many minutes, frozen."""
    from rtcodec.models.training import resumed

    return resumed(out)[1] >= 60 * minutes and any(out.glob("*.rtcm"))


def taken(out: Path) -> dict[str, Any]:
    """What the run in a folder took, and what came of it takes."""
    from rtcodec.models.export import load_run
    from rtcodec.models.training import resumed

    net, _ = load_run(out)
    steps, seconds = resumed(out)
    return {
        "steps": steps,
        "processor_s": round(seconds, 1),
        "megapixels": round(steps * BATCH * CROP_PX**2 / 1e6, 1),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "kmac_per_pixel": round(macs_per_pixel(net) / 1000, 2),
    }


def macs_per_pixel(net: Any, side: int = 256) -> float:
    """Products that encoder, decoder and priors take for each pixel of a picture."""
    import torch
    from torch import nn

    from rtcodec.models.layer import Int8Input
    from rtcodec.models.prior import QuantisedLayer
    from rtcodec.models.tier import PIXEL_CHANNELS

    products = 0

    def count(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal products
        places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        products += layer.weight.numel() * places.shape[2] * places.shape[3]

    def count_int8(module: Any, inputs: Any, output: Any) -> None:
        if module.log_range is not None:  # else the layers are called, and counted, themselves
            for layer, result in zip(inputs[1:], output, strict=True):
                count(layer, inputs, result)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, QuantisedLayer)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    hooks += [
        m.register_forward_hook(count_int8) for m in net.modules() if isinstance(m, Int8Input)
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(1, PIXEL_CHANNELS, side // 16, side // 16), torch.tensor([30]))
    for hook in hooks:
        hook.remove()
    return products / side**2


def opened(entrant: Entrant, runs: Path) -> Latent:
    """The frozen model as a codec called as its row."""
    [path] = (runs / entrant.name).glob("*.rtcm")
    codec = open_latent_codec(str(path))
    codec.name, codec.settings = entrant.name, QPS
    return codec


def rows(result: Evaluation, entrants: Sequence[Entrant]) -> dict[str, dict[str, Any]]:
    """Figures of each row: against JPEG, against the row above, and PSNR at some rates."""
    against = {(each.codec, each.anchor): each for each in result.comparisons()}
    found: dict[str, dict[str, Any]] = {}
    above: str | None = None
    for entrant in entrants:
        row: dict[str, Any] = {"idea": entrant.idea}
        for label, anchor in (("above", above), (RIVAL, RIVAL)):
            each = None if anchor is None else against.get((entrant.name, anchor))
            percent = None if each is None else each.percent
            row[f"bd_rate_{label}_percent"] = None if percent is None else round(percent, 1)
            row[f"clips_{label}"] = 0 if each is None else len(each.valid)
        bpps, decibels = zip(*sorted(result.mean_curve("image", entrant.name)), strict=True)
        row["psnr_db"] = {
            str(bpp): round(float(np.interp(np.log(bpp), np.log(bpps), decibels)), 2)
            if bpps[0] <= bpp <= bpps[-1]
            else None
            for bpp in AT_BPP
        }
        found[entrant.name] = row
        above = entrant.name
    return found


def markdown(document: dict[str, Any]) -> str:
    """Return the table of `docs/arch.md`."""
    head = (
        "| | what it adds | kMAC a pixel | parameters | steps | Mpixel | against the row above | "
        f"against {RIVAL.upper()} | dB at {', '.join(map(str, AT_BPP))} bpp |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, row in document["rows"].items():
        taken = document["training"][name]
        at = ", ".join("-" if db is None else f"{db:.1f}" for db in row["psnr_db"].values())
        lines.append(
            f"| `{name}` | {row['idea']} | {taken['kmac_per_pixel']} "
            f"| {taken['parameters'] / 1e6:.2f} M | {taken['steps']} | {taken['megapixels']:.0f} "
            f"| {_percent(row['bd_rate_above_percent'])} "
            f"| {_percent(row[f'bd_rate_{RIVAL}_percent'])} | {at} |"
        )
    return "\n".join(lines)


def _pictures(folder: Path) -> list[Any]:
    from rtcodec.models.data import load_pictures  # torch takes seconds

    return load_pictures(folder)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0f} %"


def main(arguments: list[str]) -> int:
    """Train, freeze, measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = ",".join(entrant.name for entrant in ENTRANTS)
    parser.add_argument("--minutes", type=float, default=4.0, help="for each (default 4)")
    parser.add_argument("--only", default=names, metavar="LIST", help=f"rows (default {names})")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=Path, help="kept there (default: a temporary folder)")
    parser.add_argument("--images", default="", metavar="PREFIX", help="only images called so")
    parser.add_argument("--train-only", action="store_true", help="leave measuring for later")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "arch.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "arch.png")
    args = parser.parse_args(arguments)
    images = sorted((args.data / "dev" / "images").glob(f"{args.images}*.png"))
    if not images:
        print(f"skipped: no images in {args.data}/dev/images (choose with --data)", file=sys.stderr)
        return 0
    at = commit()
    chosen = [entrant for entrant in ENTRANTS if entrant.name in args.only.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        runs: Path = args.runs or Path(folder)
        pictures = cache(partial(_pictures, args.data / "train"))
        training = {}
        for entrant in chosen:
            out = runs / entrant.name
            if not is_ready(out, args.minutes):
                train_one(entrant, args.minutes, pictures, out)
            training[entrant.name] = taken(out)
            print(entrant.name, training[entrant.name], file=sys.stderr, flush=True)
        if args.train_only:
            return 0
        codecs = [opened(entrant, runs) for entrant in chosen]
        total = len(images) * (len(QPS) * len(codecs) + 9)  # JPEG has nine qualities
        with Progress("measuring", total) as bar:
            result = evaluate(images, [*codecs, RIVAL], progress=lambda _, label: bar.step(label))
        write_results(result, runs / "eval")
        for codec in codecs:
            codec.close()
    document = {
        "command": " ".join(("python -m benchmarks.arch", *arguments)),
        "commit": at,
        "machine": machine(),
        "tier": TIER,
        "crop_px": CROP_PX,
        "batch": BATCH,
        "training": training,
        "rows": rows(result, chosen),
        "curves": {
            name: [[round(bpp, 5), round(db, 3)] for bpp, db in result.mean_curve("image", name)]
            for name in result.codecs("image")
        },
    }
    args.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    title = f"Trained alike: {args.minutes:g} min of one core each"
    plot_curves(result, args.plot, title=title)
    print(markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
