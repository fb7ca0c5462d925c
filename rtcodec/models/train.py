"""
Train one tier on a folder of pictures and clips.

    rtcodec train --tier s128 --data DATA/train --validate DATA/dev/images --out runs/s128
    rtcodec train --arch hyperprior --data DATA/train --out runs/hyperprior

Runs on a CPU (float32, or bf16 where the CPU has it) and on a GPU (bf16, compiled), stops after
--minutes of training time in total, and resumes from runs/s128 when started again. An interrupt or
SIGTERM lets the current step finish and saves. See `rtcodec.models.training` for the files.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from rtcodec.errors import ConfigError, InputError
from rtcodec.models.baselines import BASELINES
from rtcodec.models.config import OURS, TrainConfig
from rtcodec.models.data import Crops, Picture, drawn_screens, load_pictures
from rtcodec.models.loop import Clock, Stop, closing, train_on
from rtcodec.models.pack import pack
from rtcodec.models.run import Run
from rtcodec.models.spatial import spatial_supply
from rtcodec.models.supply import Supply, crop_supply, stream_supply
from rtcodec.models.thaw import installed, thaw
from rtcodec.models.tier import TIERS
from rtcodec.models.training import resumed
from rtcodec.models.validation import ClipValidation, Validation

PACK_LIMIT_MB = 40.0
"Leaves room in 64 MiB for the checkout and a checkpoint, where both travel with the data."


def train(
    config: TrainConfig,
    data: Path | Sequence[Picture],
    validate: Path | None,
    out: Path,
    device: torch.device,
    *,
    init: Path | None = None,
    intra: Path | None = None,
    stop: Stop | None = None,
    workers: int = 0,
    compiled: bool | None = None,
    clock: Clock = time.monotonic,
) -> Run:
    """
    Train until *config.minutes* are used up or *stop* is set; safe to kill and start again.

    Args:
        config: The settings.
        data: Folder or packed file of pictures, or what is in one.
        validate: Folder of PNG images, or of clips for delta frames, for the curve, if any.
        out: Folder of the run's files, made if there is none.
        device: Where to train.
        init: See `Run`.
        intra: For delta frames, the `.rtcm` that codes first frames; by default the installed one.
        stop: What ends the run early.
        workers: Threads that cut crops ahead; 0 cuts them between the steps.
        compiled: See `Run`.
        clock: What the minutes of *config* are measured by.

    Raises:
        InputError: If the data, the checkpoint or *init* is missing or of the wrong kind.
    """
    pictures = load_pictures(data) if isinstance(data, Path) else list(data)
    pictures += drawn_screens(pictures, count=config.screens, seed=config.seed)
    validation: Validation | ClipValidation | None = None
    if validate:
        validation = ClipValidation(validate) if config.delta else Validation(validate)
    out.mkdir(parents=True, exist_ok=True)
    # Crops and noise go on where a resumed run is: each start draws others, yet known ones.
    seed = config.seed + resumed(out)[0]
    torch.manual_seed(seed)
    with ExitStack() as stack:
        coder = thaw(intra or installed(config.tier), TIERS[config.tier]) if config.delta else None
        supply: Supply
        if config.spatial:
            supply = stack.enter_context(spatial_supply(pictures, config, seed=seed))
        elif coder is None:
            feed = crop_supply(pictures, config, seed=seed, workers=workers)
            supply = stack.enter_context(feed)
        else:
            supply = stack.enter_context(stream_supply(pictures, coder, config, seed=seed))
            if isinstance(validation, ClipValidation):
                validation.code_first_frames(coder)
        run = Run(
            config,
            out,
            supply,
            device,
            crops=Crops(pictures, size=config.crop_px, seed=seed),
            init=init,
            compiled=compiled,
        )
        train_on(run, validation, stop or Stop(), clock=clock)
    return run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec train`."""
    add = parser.add_argument
    add(
        "--arch",
        choices=(OURS, *BASELINES),
        default=OURS,
        help=f"ours, or one of the literature at its size (default {OURS})",
    )
    add("--tier", choices=sorted(TIERS), default="s128", help="model size (default s128)")
    add(
        "--data",
        type=Path,
        required=True,
        help="folder with images/ and video/, or a packed .npz",
    )
    add("--validate", type=Path, metavar="FOLDER", help="PNG images for the curve")
    add("--out", type=Path, metavar="FOLDER", help="files of the run; resumed if it has some")
    add("--init", type=Path, metavar="FILE", help="start from an ema.safetensors or .rtcm")
    add("--delta", action="store_true", help="train the networks of delta frames")
    add("--spatial", action="store_true", help="those of frames predicted from themselves")
    add("--intra", type=Path, metavar="FILE", help="the .rtcm for first frames (default: shipped)")
    add("--int8", action="store_true", help="train for trunks in 8-bit integers; do it last")
    add("--minutes", type=float, default=60.0, help="training time in total (default 60)")
    add("--batch", type=int, default=8, help="crops per step (default 8)")
    add("--crop", type=int, default=256, help="side of a crop, a multiple of 64 (default 256)")
    add("--rate", type=float, default=1.0, help="of learning, part of the usual (default 1)")
    add("--muon-lr", type=float, default=0.01, help="Muon's at its peak (default 0.01)")
    add("--seed", type=int, default=1, help="of first weights, crops and noise (default 1)")
    add("--screens", type=int, default=120, help="screens drawn beside the data (default 120)")
    add("--threads", type=int, default=0, help="CPU threads (default 0: torch decides)")
    add("--workers", type=int, default=0, help="threads that cut crops ahead (default 0: none)")
    add("--device", default="auto", help="cpu, cuda or auto (default auto)")
    add("--pack", type=Path, metavar="FILE.npz", help="only pack --data into one small file")
    add(
        "--pack-limit-mb",
        type=float,
        default=PACK_LIMIT_MB,
        help=f"largest size of that file in MB (default {PACK_LIMIT_MB:g})",
    )


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec train`; 128 plus the signal's number when one ended it."""
    if args.pack is not None:
        return _run_pack(args)
    if args.out is None:
        raise ConfigError("give --out FOLDER to train, or --pack FILE.npz")
    if args.batch < 1 or args.screens < 0 or args.crop < 64 or args.crop % 64:
        raise ConfigError("--batch is at least 1, --screens 0 and --crop a multiple of 64")
    if not 0 < args.rate <= 1 or not 0 < args.muon_lr <= 1:
        raise ConfigError("--rate and --muon-lr are above 0 and at most 1")
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: not a folder")
    if args.delta + args.spatial + args.int8 > 1:
        raise ConfigError("--delta, --spatial and --int8 are of different networks")
    if args.arch != OURS and args.delta + args.spatial + args.int8:
        raise ConfigError(f"--arch {args.arch} has networks of intra frames only, in floats")
    if args.threads:
        torch.set_num_threads(args.threads)
    config = TrainConfig(
        arch=args.arch,
        tier=args.tier,
        crop_px=args.crop,
        batch=args.batch,
        seed=args.seed,
        screens=args.screens,
        delta=args.delta,
        spatial=args.spatial,
        int8=args.int8,
        minutes=args.minutes,
        rate=args.rate,
        muon_lr=args.muon_lr,
    )
    device = device_of(args.device)
    with Stop().listening() as stop:
        done = train(
            config,
            args.data,
            args.validate,
            args.out,
            device,
            init=args.init,
            intra=args.intra,
            stop=stop,
            workers=args.workers,
        )
    return closing(done, stop)


def device_of(name: str) -> torch.device:
    """The device called *name*; `auto` is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"{name!r} is not a device") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here: --device cpu")
    return device


def _run_pack(args: argparse.Namespace) -> int:
    if args.pack.suffix != ".npz":
        raise ConfigError(f"{args.pack}: a packed file ends in .npz")
    count, size_bytes = pack(args.data, args.pack, limit_bytes=int(args.pack_limit_mb * 1e6))
    print(f"{args.pack}: {count} pictures, {size_bytes / 1e6:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
