"""
Train a network that takes coding artefacts out of pictures.

    python -m rtcodec.models.train_restorer --data DATA/train --out runs/jpeg \\
        --validate DATA/dev/images

Stops after --minutes of training time in total and resumes from --out when started again; an
interrupt or SIGTERM lets the current step finish and saves. See `rtcodec.models.training` for the
files: the curve is of decibels gained, and on --validate by quality; `ema.safetensors` is what
`rtcodec.models.export_restorer` takes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rtcodec.errors import InputError
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Batch, Crops, drawn_screens, load_pictures
from rtcodec.models.degradation import JpegSupply, Supply
from rtcodec.models.loop import Stop, closing, train_on
from rtcodec.models.restoration import Restorer
from rtcodec.models.restorer_shape import Shape
from rtcodec.models.restorer_validation import jpeg_validation, luma_gain_db, validate
from rtcodec.models.training import CHECKPOINT, Training, first_line, read_saved, resumed


@dataclass(frozen=True, kw_only=True)
class RestorerConfig(TrainConfig):
    """What decides a run; of `TrainConfig` data, optimiser and time."""

    crop_px: int = 192
    "A multiple of 16. Places at the rim, which see nothing beyond it, are a sixth of a crop."
    screens: int = 60

    shape: Shape = field(default_factory=Shape)
    "Of the network."

    qualities: tuple[tuple[int, int], ...] = ((5, 20), (5, 60), (15, 45), (30, 95))
    "Of JPEG, from and to; each range as often as the others."

    floor: float = 0.3
    """Added to a crop's squared error before its logarithm: a flat crop that is off by half a level
    is as good as done."""


def log_error(restored: Batch, clean: Batch, floor: float) -> Tensor:
    """
    What is made small: logarithms of crops' squared errors, 6:1:1, as decibels are averaged.

    Returns:
        A scalar in nepers of squared error.
    """
    loss = torch.zeros(())
    for share, a, b in zip((0.75, 0.125, 0.125), restored, clean, strict=True):
        loss = loss + share * ((a - b).square().mean((1, 2, 3)) + floor).log().mean()
    return loss


class RestorerRun(Training):
    """
    A training of one restorer.

    Raises:
        InputError: If the checkpoint in *out*, or *init*, is not of a run of the same shape.
    """

    net: Restorer
    config: RestorerConfig

    def __init__(
        self, config: RestorerConfig, out: Path, supply: Supply, *, init: Path | None = None
    ) -> None:
        """
        Args:
            config: The settings.
            out: Folder of the run's files; it exists.
            supply: What it trains on.
            init: Averages of a run of the same shape, to start from where *out* has no checkpoint.
        """
        self.supply = supply
        net = Restorer(config.shape)
        checkpoint = out / CHECKPOINT
        saved = read_saved(checkpoint) if checkpoint.exists() else None
        if saved is None and init is not None:
            _begin(net, init)
        super().__init__(net, config, out, torch.device("cpu"), saved)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        sample = self.supply.next()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            restored = self.net(*sample.coded, sample.levels)
        loss = log_error(restored, sample.clean, self.config.floor)
        return loss, {"luma_gain_db": luma_gain_db(sample, restored)}

    def averaged(self) -> Restorer:
        """The network with averaged weights."""
        net = Restorer(self.config.shape)
        net.load_state_dict(self.averages)
        return net.eval()


def _begin(net: Restorer, init: Path) -> None:
    try:
        net.load_state_dict(load_file(init))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{init}: not averages of such a run: {first_line(error)}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Train; 128 plus the signal's number when one ended it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with images/ and video/")
    add("--validate", type=Path, metavar="FOLDER", help="PNG images for the curve")
    add("--out", type=Path, required=True, metavar="FOLDER", help="files of the run")
    add("--channels", type=int, default=128, help="of the trunk (default 128)")
    add("--blocks", type=int, default=5, help="of the trunk (default 5)")
    add(
        "--crop",
        type=int,
        default=RestorerConfig.crop_px,
        help="side, a multiple of 16 (default 192)",
    )
    add("--init", type=Path, metavar="FILE", help="start from another run's ema.safetensors")
    add("--rate", type=float, default=1.0, help="of learning, part of the usual (default 1)")
    add("--minutes", type=float, default=30.0, help="training time in total (default 30)")
    add("--batch", type=int, default=8, help="crops per step (default 8)")
    add("--seed", type=int, default=1, help="of first weights, crops and tables (default 1)")
    add("--threads", type=int, default=0, help="CPU threads (default 0: torch decides)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    config = RestorerConfig(
        shape=Shape(args.channels, args.blocks),
        batch=args.batch,
        crop_px=args.crop,
        seed=args.seed,
        minutes=args.minutes,
        rate=args.rate,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    # A resumed run draws other crops than it began with, yet known ones.
    seed = config.seed + resumed(args.out)[0]
    run = RestorerRun(config, args.out, supply_of(config, args.data, seed), init=args.init)
    samples = jpeg_validation(args.validate) if args.validate else None
    validation = partial(validate, validation=samples) if samples else None
    with Stop().listening() as stop:
        train_on(run, validation, stop)
    return closing(run, stop)


def supply_of(config: RestorerConfig, data: Path, seed: int) -> Supply:
    """What a run trains on, from the training data in a folder."""
    pictures = load_pictures(data)
    pictures += drawn_screens(pictures, count=config.screens, seed=config.seed)
    crops = Crops(pictures, size=config.crop_px, seed=seed)
    return JpegSupply(crops, batch=config.batch, qualities=config.qualities, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
