"""
`rtcodec train-head`: train the perceptual head on what the codec shows.

    rtcodec train-head --data DATA/train --out rtcodec/models/weights

Codes every clip at a few qp and decodes it as a viewer does, then finds weights of filters by class
(`class_filters`) by gradient descent on structure (`structure`). Chroma stays as it is. Writes the
file that ships; the same settings make the same file on the same machine.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.bundle import find_bundle
from rtcodec.codec.perceptual_head import LEVEL
from rtcodec.engine.loader import open_engine
from rtcodec.errors import InputError
from rtcodec.models.class_filters import ClassFilters, Classified
from rtcodec.models.data import find_clips, read_clip
from rtcodec.models.export import LICENCE
from rtcodec.models.shown_clips import shown_frames
from rtcodec.models.structure import error_loss, gradient_loss, structure_losses
from rtcodec.motion.refine import CELL
from rtcodec.motion.refinement import CHROMA_SHAPE
from rtcodec.restorer_model import PERCEPTUAL, RestorerModel
from rtcodec.types import Planes

QPS = tuple(range(22, 50, 3))
"Of delta frames; first frames are finer, so that all sets of weights but the coarsest are met."

PLAYED, EVERY, QPS_OF_CLIP = 13, 6, 3
"Frames of a coding, each how manieth is kept, and at how many qp a clip is coded."

CROP_PX, BATCH, STEPS = 128, 6, 1000

RATE, WARM_STEPS = 2e-3, 50
"Peak of Adam's, then a cosine to a twentieth."

AVERAGE = 0.998
"Part of the averaged weights that a step leaves as they are."

PARTS = {"structure": 1.0, "gradient": 0.5, "texture": 0.01, "error": 0.01}
"Weights of what is aimed at."


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One frame before and after."""

    clean: NDArray[np.uint8]
    "Luma [H, W]."

    shown: Classified


def samples_of(paths: Sequence[Path], model: str, seed: int) -> Iterator[Sample]:
    """Code clips with a model, each at some qp, and yield what of them is trained on."""
    bundle, rng = find_bundle(model), random.Random(seed)
    with closing(open_engine("auto", bundle, threads=1)) as engine:
        for path in paths:
            clip = [Planes(*frame) for frame in read_clip(path)]
            for qp in rng.sample(QPS, QPS_OF_CLIP):
                frames = shown_frames(
                    engine, bundle, clip, qp=qp, played=PLAYED, every=EVERY,
                    neural=rng.random() < 0.5,
                )  # fmt: skip
                for frame in frames:
                    if min(frame.clean.y.shape) >= CROP_PX:
                        yield Sample(frame.clean.y, Classified.of(frame.shown.y, frame.qps, LEVEL))


def batch_of(
    samples: Sequence[Sample], rng: random.Random
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Clean crops [N, 1, H, W], and what `ClassFilters` takes."""
    clean, crops = [], []
    for sample in rng.choices(samples, k=BATCH):
        height, width = (CELL * side for side in sample.shown.kinds.shape)
        top = CELL * rng.randint(0, (height - CROP_PX) // CELL)
        left = CELL * rng.randint(0, (width - CROP_PX) // CELL)
        clean.append(sample.clean[top : top + CROP_PX, left : left + CROP_PX])
        crops.append(sample.shown.crop(top, left, CROP_PX))
    wide, kinds, steps = (
        torch.from_numpy(np.stack(parts))
        for parts in zip(*((c.wide, c.kinds, c.steps) for c in crops), strict=True)
    )
    return torch.from_numpy(np.stack(clean)).float()[:, None], (wide.float(), kinds, steps)


def train(samples: Sequence[Sample], *, steps: int, seed: int) -> ClassFilters:
    """Return averaged filters."""
    torch.manual_seed(seed)
    rng, net, averaged = random.Random(seed), ClassFilters(), ClassFilters()
    optimiser = torch.optim.Adam(net.parameters())
    means: dict[str, float] = {}
    for step in range(1, steps + 1):
        cosine = 0.525 + 0.475 * math.cos(math.pi * (step - 1) / steps)
        for group in optimiser.param_groups:
            group["lr"] = RATE * cosine * min(1.0, step / WARM_STEPS)
        clean, picture = batch_of(samples, rng)
        shown = net(*picture)
        structure, texture = structure_losses(shown, clean)
        parts = {
            "structure": structure,
            "gradient": gradient_loss(shown, clean),
            "texture": texture,
            "error": error_loss(shown, clean, picture[0]),
        }
        loss = torch.stack([PARTS[name] * part for name, part in parts.items()]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for kept, now in zip(averaged.parameters(), net.parameters(), strict=True):
                kept.lerp_(now, 1 - min(AVERAGE, step / (step + 9)))
        means = {k: 0.98 * means.get(k, v.item()) + 0.02 * v.item() for k, v in parts.items()}
        if step % 50 == 0:
            figures = {k: round(v, 5) for k, v in means.items()}
            print(json.dumps({"step": step, **figures}), file=sys.stderr, flush=True)
    return averaged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec train-head`."""
    add = parser.add_argument
    add("--model", default="s128", help="installed name, or path of a .rtcm (default s128)")
    add("--data", type=Path, required=True, help="folder with video/")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the file goes")
    add("--steps", type=int, default=STEPS, help="of training (default 1000)")
    add("--seed", type=int, default=1, help="of qp and crops (default 1)")
    add("--hold-out", type=int, default=0, metavar="N", help="leave each Nth clip out (default 0)")
    add("--trained-on", default="not stated", metavar="TEXT", help="what the card says of the data")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec train-head`."""
    torch.set_num_threads(1)
    paths = find_clips(args.data)
    if args.hold_out:
        paths = [path for n, path in enumerate(paths) if n % args.hold_out]
    if not paths:
        raise InputError(f"{args.data}: no clips in its video/")
    samples = list(samples_of(paths, args.model, args.seed))
    if not samples:
        raise InputError(f"{args.data}: no clip has sides of {CROP_PX} pixels")
    started = time.monotonic()
    net = train(samples, steps=args.steps, seed=args.seed)
    card: dict[str, Any] = {
        "licence": LICENCE,
        "data": args.trained_on,
        "model": args.model,
        "clips": len(paths),
        "frames": len(samples),
        "steps": args.steps,
        "training_minutes": round((time.monotonic() - started) / 60, 1),
        "seed": args.seed,
    }
    tensors = {"luma": net.weights(), "chroma": np.zeros(CHROMA_SHAPE, np.int16)}
    model = RestorerModel(PERCEPTUAL, {}, tensors, b"", card)
    model.save(args.out)
    print(f"{model.name} {model.model_id[:16]}")
    return 0
