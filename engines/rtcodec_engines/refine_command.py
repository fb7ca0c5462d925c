"""`rtcodec refine`: fit what a model does to decoded pictures."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from rtcodec.bundle import find_bundle
from rtcodec.errors import ConfigError
from rtcodec.models.data import Picture, clips_of, drawn_screens, load_pictures
from rtcodec.types import Planes
from rtcodec_engines.fit_refinement import fit_delta, fit_intra, refined_by
from rtcodec_engines.openvino_engine import OpenVinoEngine

SIDE = 512
"Of what is taken from a picture, at most."


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
    add("--screens", type=int, default=120, help="screens drawn beside the data (default 120)")
    add("--clips", type=int, default=120, help="clips to look at, at most (default 120)")
    add("--seed", type=int, default=1, help="which qp and which cells (default 1)")


def run(args: argparse.Namespace) -> int:
    """Run `rtcodec refine`."""
    if args.clips < 0 or args.screens < 0:
        raise ConfigError("--clips and --screens are not negative")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    random = np.random.default_rng(args.seed)
    bundle = find_bundle(args.model)
    bundle = refined_by(refined_by(bundle, "intra", None), "delta", None)
    loaded = load_pictures(args.data)
    stills = [p for p in loaded if p.clip is None]
    stills += drawn_screens(loaded, count=args.screens, seed=args.seed)
    pictures = [_cropped(p) for p in stills]
    engine = OpenVinoEngine(bundle, threads=1)
    bundle = refined_by(bundle, "intra", fit_intra(engine, pictures, random))
    clips = clips_of(loaded)
    chosen = random.permutation(len(clips))[: args.clips]
    engine = OpenVinoEngine(bundle, threads=1)
    moving = [[Planes(*frame) for frame in clips[k]] for k in chosen]
    bundle = refined_by(bundle, "delta", fit_delta(engine, moving, random))
    facts = {
        "pictures": len(pictures),
        "clips": len(moving),
        "seed": args.seed,
        "seconds": round(time.monotonic() - started),
    }
    bundle = replace(bundle, card={**bundle.card, "refinement": facts})
    for graph in bundle.graphs:
        (args.out / f"{bundle.name}.{graph}.onnx").write_bytes(bundle.read_graph(graph))
    saved = bundle.save(args.out / f"{bundle.name}.rtcm")
    print(f"{saved.name} {saved.model_id.hex()[:16]}")
    return 0
