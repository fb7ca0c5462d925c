"""
Smaller and faster: pruning and distillation, what each costs and gains.

    nice python -m benchmarks.smaller [--minutes 6] [--data ../shared/data]

Channels of the shipped `s128` trunks are taken out and the rest is trained for --minutes of one
core's time, like `s128` itself; shipped `n64` is trained for as long, alone and with what `s128`
decodes as a second target. With --minutes 0 nothing is trained. Bits are estimated, on centre crops
of the images in dev/, as in the curve of a training. What 8-bit integers cost and gain is in
docs/adr/014. Writes `benchmarks/smaller.json`. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks._pruning import pruned
from benchmarks.arch import macs_per_pixel
from benchmarks.entropy import machine
from benchmarks.rate_distortion import commit
from rtcodec.evaluation.bd_rate import bd_rate
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops, drawn_screens, load_pictures
from rtcodec.models.loop import Stop, train_on
from rtcodec.models.loss import distortion
from rtcodec.models.network import Codec
from rtcodec.models.run import Run
from rtcodec.models.supply import CropSupply
from rtcodec.models.thaw import installed, thaw
from rtcodec.models.tier import TIERS
from rtcodec.models.training import AVERAGES
from rtcodec.models.validation import Validation

ROOT = Path(__file__).parents[1]
LARGE, SMALL = "s128", "n64"
WIDTHS = (144, 128, 96)
CROP_PX, BATCH = 128, 4
RATE = 0.4
"Of learning: these weights are trained ones."

TEACHING = 0.2
"Weight of the logarithm of the distance from what the teacher decodes."


class Distilled(Run):
    """A run with a second target: what a larger codec decodes of the same pictures."""

    teacher: Codec

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        loss, figures = super().loss()
        assert self._coded is not None
        x, qp = self.supply.last  # type: ignore[attr-defined]
        with torch.no_grad():
            taught = self.teacher(x, qp).x_hat
        distance = distortion(self._coded.x_hat, taught).log().mean()
        return loss + TEACHING * distance, figures | {"distance": distance.item()}


class Remembered(CropSupply):
    """Crops, of which the last batch is kept."""

    last: tuple[Tensor, ...]

    def next(self) -> tuple[Tensor, ...]:
        self.last = super().next()
        return self.last


def trained(net: Codec, minutes: float, crops: Crops, *, teacher: Codec | None = None) -> Codec:
    """*net* after so many minutes of one core, with averaged weights."""
    TIERS.setdefault(net.tier.name, net.tier)
    config = TrainConfig(
        tier=net.tier.name, crop_px=CROP_PX, batch=BATCH, minutes=minutes, rate=RATE
    )
    supply = Remembered(crops, batch=BATCH)
    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        facts = {"step": "0", "elapsed_s": "0", "tier": net.tier.name}
        init = out / AVERAGES
        weights = {name: p.detach().contiguous() for name, p in net.named_parameters()}
        save_file(weights, init, metadata=facts)
        kind = Run if teacher is None else Distilled
        run = kind(config, out, supply, torch.device("cpu"), init=init)
        if isinstance(run, Distilled):
            assert teacher is not None
            run.teacher = teacher.eval()
        train_on(run, None, Stop(), clock=time.process_time)
        found = run.averaged()
    assert isinstance(found, Codec)
    return found


def main(arguments: list[str]) -> int:
    """Prune, train, measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=6.0, help="for each (default 6)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "smaller.json")
    args = parser.parse_args(arguments)
    if not (args.data / "train").is_dir():
        print(f"skipped: no pictures in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    torch.set_num_threads(1)
    at = commit()
    pictures = load_pictures(args.data / "train")
    crops = Crops(pictures + drawn_screens(pictures, count=120, seed=1), size=CROP_PX, seed=1)
    validation = Validation(args.data / "dev" / "images")
    large, small = (thaw(installed(name), TIERS[name]) for name in (LARGE, SMALL))
    anchor: list[tuple[float, float]] = []
    rows: dict[str, Any] = {}

    def note(name: str, net: Codec) -> None:
        points = [(point["bpp"], point["psnr"]) for point in validation(net)]
        anchor[:] = anchor or points
        rate = bd_rate(anchor, points)
        rows[name] = {
            "kmac_per_pixel": round(macs_per_pixel(net) / 1000, 2),
            "bd_rate_percent": None if rate is None else round(rate.percent, 2),
            "points": [[round(bpp, 5), round(db, 3)] for bpp, db in points],
        }
        print(name, rows[name], file=sys.stderr, flush=True)

    note(LARGE, large)
    note(SMALL, small)
    supply = CropSupply(crops, batch=8, in_turns=True)
    for width in WIDTHS:
        note(f"{LARGE} pruned to {width}", pruned(large, width, supply))
    if args.minutes:
        note(f"{LARGE} trained on", trained(large, args.minutes, crops))
        narrow = pruned(large, TIERS[SMALL].channels, supply)
        note(f"{narrow.tier.name} trained on", trained(narrow, args.minutes, crops))
        note(f"{SMALL} trained on", trained(small, args.minutes, crops))
        note(f"{SMALL} distilled", trained(small, args.minutes, crops, teacher=large))
    document = {
        "command": " ".join(("python -m benchmarks.smaller", *arguments)),
        "commit": at,
        "machine": machine(),
        "rows": rows,
    }
    args.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
