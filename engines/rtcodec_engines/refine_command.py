"""`rtcodec refine`: fit what a model does to decoded pictures."""

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.errors import ConfigError
from rtcodec.models.data import Picture, clips_of, drawn_screens, load_pictures
from rtcodec.types import Planes
from rtcodec_engines.fit_refinement import Sums, fit_alone, fit_delta, refined_by
from rtcodec_engines.openvino_engine import OpenVinoEngine

SIDE = 512
"Of what is taken from a picture, at most."

KINDS: Final = ("intra", "spatial", "delta")
"Kinds of frames, in the order in which they are fitted: delta frames begin at one of the others."


def _cropped(picture: Picture) -> Planes:
    """The middle of a picture."""
    height, width = picture.y.shape
    top, left = (max(0, side - SIDE) // 4 for side in (height, width))  # of chroma
    half = SIDE // 2
    return Planes(
        picture.y[2 * top :, 2 * left :][:SIDE, :SIDE],
        picture.u[top:, left:][:half, :half],
        picture.v[top:, left:][:half, :half],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rtcodec refine`."""
    add = parser.add_argument
    add("--model", default="s128", help="installed name, or path of a .rtcm (default s128)")
    add("--data", type=Path, required=True, help="folder with images/ and video/, or a packed .npz")
    add("--out", type=Path, required=True, help="folder for the model and its graphs")
    add("--only", choices=KINDS, help="fit frames of this kind, keep the others (default: all)")
    add("--screens", type=int, default=120, help="screens drawn beside the data (default 120)")
    add("--clips", type=int, default=120, help="clips to look at, at most (default 120)")
    add("--seed", type=int, default=1, help="which qp and which cells (default 1)")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec refine`."""
    if args.clips < 0 or args.screens < 0:
        raise ConfigError("--clips and --screens are not negative")
    bundle = find_bundle(args.model)
    kinds = _kinds(bundle, args.only)
    args.out.mkdir(parents=True, exist_ok=True)
    seen = _load(args)
    facts = dict(bundle.card.get("refinement", {})) if args.only else {}
    for kind in kinds:
        bundle = refined_by(bundle, kind, None)
    for kind in kinds:
        started = time.monotonic()
        bundle = refined_by(bundle, kind, _fit(bundle, kind, seen, args.seed))
        seconds = round(time.monotonic() - started)
        facts[kind] = {"seed": args.seed, "seconds": seconds, **seen.counts(kind)}
    bundle = replace(bundle, card={**bundle.card, "refinement": facts})
    for graph in bundle.graphs:
        (args.out / f"{bundle.name}.{graph}.onnx").write_bytes(bundle.read_graph(graph))
    saved = bundle.save(args.out / f"{bundle.name}.rtcm")
    print(f"{saved.name} {saved.model_id.hex()[:16]}")
    return 0


@dataclass(frozen=True, slots=True)
class _Data:
    """What is fitted to."""

    pictures: Sequence[Planes]
    clips: Sequence[Sequence[Planes]]

    def counts(self, kind: str) -> dict[str, int]:
        """How much of it is of use for one kind of frames."""
        return {"clips": len(self.clips)} if kind == "delta" else {"pictures": len(self.pictures)}


def _kinds(bundle: Bundle, only: str | None) -> list[str]:
    """Which kinds of frames to fit: all that the model has, or one of them."""
    parts = {"intra": bundle, "spatial": bundle.spatial, "delta": bundle.delta}
    if only is not None and parts[only] is None:
        raise ConfigError(f"model {bundle.name} has no {only} frames")
    return [kind for kind in KINDS if parts[kind] is not None and only in (None, kind)]


def _load(args: argparse.Namespace) -> _Data:
    loaded = load_pictures(args.data)
    stills = [p for p in loaded if p.clip is None]
    stills += drawn_screens(loaded, count=args.screens, seed=args.seed)
    clips = clips_of(loaded)
    chosen = np.random.default_rng(args.seed).permutation(len(clips))[: args.clips]
    moving = [[Planes(*frame) for frame in clips[k]] for k in chosen]
    return _Data([_cropped(p) for p in stills], moving)


def _fit(bundle: Bundle, kind: str, seen: _Data, seed: int) -> Sums:
    """Look at frames of one kind; what is drawn for that does not depend on other kinds."""
    random = np.random.default_rng((seed, KINDS.index(kind)))
    with closing(OpenVinoEngine(bundle, threads=1)) as engine:
        if kind == "delta":
            return fit_delta(engine, seen.clips, random)
        return fit_alone(engine, kind, seen.pictures, random)
