"""
Train a network that takes coding artefacts out of pictures.

    python -m rtcodec.models.train_restorer --data DATA/train --out runs/jpeg \\
        --validate DATA/dev/images

Stops after --minutes of training time in total and resumes from --out when started again; an
interrupt or SIGTERM lets the current step finish and saves. Writes to --out:

    config.json        the settings
    metrics.jsonl      the curve: decibels gained, and on --validate by quality
    last.safetensors   weights net/*, averages ema/*, optimiser state opt/<which>/<parameter>/*
    ema.safetensors    averaged weights: what `rtcodec.models.export_restorer` takes
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtcodec.errors import InputError
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Batch, Crops, drawn_screens, load_pictures
from rtcodec.models.degradation import JpegSupply, Supply
from rtcodec.models.optimiser import build_optimisers, schedule
from rtcodec.models.restoration import Restorer
from rtcodec.models.restorer_shape import Shape
from rtcodec.models.restorer_validation import (
    Validation,
    jpeg_validation,
    luma_gain_db,
    validate,
)
from rtcodec.models.run import AVERAGES, CHECKPOINT, cpu_has_bf16
from rtcodec.models.train import Stop


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


class RestorerRun:
    """The state of a run; `advance` is one step, `save` and a new one on its folder resume."""

    def __init__(
        self, config: RestorerConfig, out: Path, supply: Supply, *, init: Path | None = None
    ) -> None:
        """
        Args:
            config: The settings.
            out: Folder of the run's files; it exists.
            supply: What it trains on.
            init: Averages of a run of the same shape, to start from where *out* has no checkpoint.

        Raises:
            InputError: If *init* is none.
        """
        self.config, self.out, self.supply = config, out, supply
        self.net = Restorer(config.shape)
        self.step, self.elapsed_s = 0, 0.0
        saved = out / CHECKPOINT
        state = load_file(saved) if saved.exists() else {}
        if state:
            self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net/")})
        elif init is not None:
            self._begin(init)
        self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = build_optimisers(self.net, config)
        self.averages = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        if state:
            self._load_rest(saved, state)
        self.bf16 = cpu_has_bf16()

    def _begin(self, init: Path) -> None:
        try:
            self.net.load_state_dict(load_file(init))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{init}: not averages of such a run: {reason}") from None

    def _load_rest(self, path: Path, state: dict[str, Tensor]) -> None:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            facts = file.metadata()
        self.step, self.elapsed_s = int(facts["step"]), float(facts["elapsed_s"])
        self.averages = {k[4:]: v for k, v in state.items() if k.startswith("ema/")}
        for i, optimiser in enumerate(self.optimisers):
            own = optimiser.state_dict()
            for key, value in state.items():
                parts = key.split("/")
                if parts[:2] == ["opt", str(i)]:
                    own["state"].setdefault(int(parts[2]), {})[parts[3]] = value
            optimiser.load_state_dict(own)

    def advance(self, progress: float) -> dict[str, float]:
        """One optimiser step at *progress* 0..1 of the run; returns figures for the log."""
        config = self.config
        rate = schedule(progress, self.step, config)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * rate
        sample = self.supply.next()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            restored = self.net(*sample.coded, sample.levels)
        loss = log_error(restored, sample.clean, config.floor)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), config.clip)
        if torch.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self._average()
        self.step += 1
        return {"luma_gain_db": luma_gain_db(sample, restored), "norm": norm.item(), "rate": rate}

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.net.named_parameters():
            self.averages[name].lerp_(parameter, 1 - decay)

    def averaged(self) -> Restorer:
        """The network with averaged weights."""
        net = Restorer(self.config.shape)
        net.load_state_dict(self.averages)
        return net.eval()

    def save(self) -> None:
        """Write the checkpoint and the averages, each by rename."""
        state: dict[str, Tensor] = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"ema/{k}": v for k, v in self.averages.items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, values in optimiser.state_dict()["state"].items():
                state |= {f"opt/{i}/{j}/{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        facts = {"step": str(self.step), "elapsed_s": str(self.elapsed_s)}
        write = {k: v.detach().contiguous().clone() for k, v in state.items()}
        averages = {k[4:]: v for k, v in write.items() if k.startswith("ema/")}
        for name, tensors in ((CHECKPOINT, write), (AVERAGES, averages)):
            part = self.out / f"{name.partition('.')[0]}.part"
            save_file(tensors, part, metadata=facts)
            os.replace(part, self.out / name)


def train(run: RestorerRun, validation: Validation | None, stop: Stop) -> None:
    """Train until the minutes of its settings are used up or *stop* is set."""
    with (run.out / "metrics.jsonl").open("a") as log:
        for row in _loop(run, validation, stop):
            print(json.dumps(row), file=log, flush=True)
            print(json.dumps(row), file=sys.stderr, flush=True)


def _loop(
    run: RestorerRun, validation: Validation | None, stop: Stop
) -> Iterator[dict[str, object]]:
    config, budget_s = run.config, run.config.minutes * 60
    saved = validated = run.elapsed_s
    means: dict[str, float] = {}

    def row(**figures: object) -> dict[str, object]:
        return {"step": run.step, "elapsed_s": round(run.elapsed_s, 1), **figures}

    while run.elapsed_s < budget_s and not stop.is_set():
        begun = time.monotonic()
        figures = run.advance(run.elapsed_s / budget_s)
        run.elapsed_s += time.monotonic() - begun
        means = {k: 0.98 * means.get(k, v) + 0.02 * v for k, v in figures.items()}
        if run.step % 100 == 0:
            yield row(**{k: round(v, 4) for k, v in means.items()})
        if run.elapsed_s - saved > config.save_every_s:
            run.save()
            saved = run.elapsed_s
        if validation and run.elapsed_s - validated > config.validate_every_s:
            yield row(validation=validate(run.averaged(), validation))
            validated = run.elapsed_s
    run.save()
    if validation and not stop.is_set():
        yield row(validation=validate(run.averaged(), validation))


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
    (args.out / "config.json").write_text(json.dumps(asdict(config), indent=2))
    torch.manual_seed(config.seed)
    # A resumed run draws other crops than it began with, yet known ones.
    seed = config.seed + resumed_steps(args.out)
    run = RestorerRun(config, args.out, supply_of(config, args.data, seed), init=args.init)
    validation = jpeg_validation(args.validate) if args.validate else None
    with Stop().listening() as stop:
        train(run, validation, stop)
    print(f"{run.step} steps in {run.elapsed_s / 60:.1f} min, {args.out}", file=sys.stderr)
    return 128 + stop.signal if stop.signal else 0


def supply_of(config: RestorerConfig, data: Path, seed: int) -> Supply:
    """What a run trains on, from the training data in a folder."""
    pictures = load_pictures(data)
    pictures += drawn_screens(pictures, count=config.screens, seed=config.seed)
    crops = Crops(pictures, size=config.crop_px, seed=seed)
    return JpegSupply(crops, batch=config.batch, qualities=config.qualities, seed=seed)


def resumed_steps(out: Path) -> int:
    """Steps that the checkpoint in *out* has behind it; 0 without one."""
    if not (out / CHECKPOINT).exists():
        return 0
    with safe_open(out / CHECKPOINT, "pt") as file:  # type: ignore[no-untyped-call]
        return int(file.metadata()["step"])


if __name__ == "__main__":
    sys.exit(main())
