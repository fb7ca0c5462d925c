"""
Train one tier on a folder of pictures and clips.

    rtcodec train --tier s128 --data DATA/train --validate DATA/dev/images --out runs/s128

Runs on a CPU (float32, or bf16 where the CPU has it) and on a GPU (bf16, compiled), stops after
--minutes of training time in total, and resumes from runs/s128 when started again. An interrupt or
SIGTERM lets the current step finish and saves. See `rtcodec.models.run` for the files.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch

from rtcodec.errors import ConfigError, InputError
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops, drawn_screens, load_pictures
from rtcodec.models.pack import pack
from rtcodec.models.run import CHECKPOINT, Run, read_tensors
from rtcodec.models.spatial import spatial_supply
from rtcodec.models.supply import Supply, crop_supply, stream_supply
from rtcodec.models.thaw import installed, thaw
from rtcodec.models.tier import TIERS
from rtcodec.models.validation import ClipValidation, Validation

PACK_LIMIT_MB = 40.0
"Leaves room in 64 MiB for the checkout and a checkpoint, where both travel with the data."


class Stop:
    """Set by the first SIGINT or SIGTERM, or at a deadline; a second signal ends the process."""

    def __init__(self, deadline_s: float = math.inf) -> None:
        """
        Args:
            deadline_s: When to stop, on the clock of `time.monotonic`.
        """
        self.signal = 0
        "Number of the signal; 0 while there was none."
        self._deadline_s = deadline_s

    def is_set(self) -> bool:
        """Whether to end after the current step."""
        return self.signal != 0 or time.monotonic() > self._deadline_s

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Catch the two signals in the body."""
        before = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def train(
    config: TrainConfig,
    data: Path,
    validate: Path | None,
    out: Path,
    device: torch.device,
    *,
    init: Path | None = None,
    intra: Path | None = None,
    stop: Stop | None = None,
    workers: int = 0,
    compiled: bool | None = None,
) -> Run:
    """
    Train until *config.minutes* are used up or *stop* is set; safe to kill and start again.

    Args:
        config: The settings.
        data: Folder or packed file of pictures.
        validate: Folder of PNG images, or of clips for delta frames, for the curve, if any.
        out: Folder of the run's files, made if there is none.
        device: Where to train.
        init: See `Run`.
        intra: For delta frames, the `.rtcm` that codes first frames; by default the installed one.
        stop: What ends the run early.
        workers: Threads that cut crops ahead; 0 cuts them between the steps.
        compiled: See `Run`.

    Raises:
        InputError: If the data, the checkpoint or *init* is missing or of the wrong kind.
    """
    pictures = load_pictures(data)
    pictures += drawn_screens(pictures, count=config.screens, seed=config.seed)
    validation: Validation | ClipValidation | None = None
    if validate:
        validation = ClipValidation(validate) if config.delta else Validation(validate)
    out.mkdir(parents=True, exist_ok=True)
    steps = resumed_steps(out, config.tier, config.kind)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2))
    # Crops and noise go on where a resumed run is: each start draws others, yet known ones.
    torch.manual_seed(config.seed + steps)
    seed = config.seed + steps
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
        log = stack.enter_context((out / "metrics.jsonl").open("a"))
        for row in _loop(run, validation, stop or Stop()):
            print(json.dumps(row), file=log, flush=True)
            print(_line(row), file=sys.stderr, flush=True)
    return run


def resumed_steps(out: Path, tier: str, kind: str | None = None) -> int:
    """Steps that the checkpoint in *out* has behind it; 0 without one."""
    checkpoint = out / CHECKPOINT
    return int(read_tensors(checkpoint, tier, kind)[0]["step"]) if checkpoint.exists() else 0


def resumed_seconds(out: Path) -> float:
    """Training time that the checkpoint in *out* has behind it; 0 without one."""
    checkpoint = out / CHECKPOINT
    return float(read_tensors(checkpoint)[0]["elapsed_s"]) if checkpoint.exists() else 0.0


def _loop(
    run: Run, validation: Validation | ClipValidation | None, stop: Stop
) -> Iterator[dict[str, object]]:
    """Rows for the log, until the time is up."""
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
        if run.step % 50 == 0:
            yield row(**means)
        if run.elapsed_s - saved > config.save_every_s:
            run.save()
            saved = run.elapsed_s
        if validation and run.elapsed_s - validated > config.validate_every_s:
            yield row(validation=validation(run.averaged()))
            validated = run.elapsed_s
    run.save()
    if validation and not stop.is_set():
        yield row(validation=validation(run.averaged()))


def _line(row: dict[str, object]) -> str:
    return " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec train`."""
    add = parser.add_argument
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
    if args.threads:
        torch.set_num_threads(args.threads)
    config = TrainConfig(
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
    print(f"{done.step} steps in {done.elapsed_s / 60:.1f} min, {args.out}", file=sys.stderr)
    return 128 + stop.signal if stop.signal else 0


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
