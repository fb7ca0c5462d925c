"""
Fit what takes the artefacts of VP8 and H.264 out of calls.

    python -m rtcodec_engines.fit_call_restorer --data DATA/train --out rtcodec/models/weights

Every clip is coded some times at rates of calls, there and back again, and the filters of
refinement are fitted to some of its frames by least squares (`fit_refinement`). Minutes on one
core; the same seed gives the same weights.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtcodec.codec.call_restorer import LEVEL, qp_of
from rtcodec.errors import InputError
from rtcodec.models.coded_clips import CodedFrame, coded_frames
from rtcodec.models.data import find_clips, read_clip
from rtcodec.models.export import LICENCE
from rtcodec.motion.layout import blocks_of
from rtcodec.motion.refine import FIRST_QP, QP_APART, set_of
from rtcodec.restorer_model import CALLS, RestorerModel
from rtcodec.types import Planes, tile_grid
from rtcodec_engines.fit_refinement import Painted, Sums


def fit(clips: Sequence[Sequence[Planes]], codec: str, *, codings: int, seed: int) -> Sums:
    """
    Look at frames of *clips* as a codec makes them.

    Args:
        clips: Frames in order.
        codec: `vp8` or `h264`.
        codings: Of each clip, at rates of their own.
        seed: Of the rates, and of which cells are looked at.
    """
    # each class for itself, as the filters that come with the package were fitted and measured
    sums, random = Sums(LEVEL, leans=False), np.random.default_rng(seed)
    for frame in coded_frames(clips, codec, codings=codings, seed=seed):
        add(sums, frame, random)
    return sums


def add(sums: Sums, frame: CodedFrame, random: np.random.Generator) -> None:
    """Look at one frame, as if it were of the qp that stands for those with weights like its."""
    k = set_of(qp_of(frame.step))
    tiles = tile_grid(frame.coded.width, frame.coded.height)
    qps = np.full(tiles, FIRST_QP + QP_APART * k, np.uint8)
    sums.add(Painted(blocks_of(frame.coded), qps, is_delta=True), frame.clean, k, random)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit both codecs' filters and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, help="folder with video/")
    option("--out", type=Path, required=True, metavar="FOLDER", help="where the file goes")
    option("--clips", type=int, default=240, help="to look at, at most (default 240)")
    option("--codings", type=int, default=2, help="of each clip with each codec (default 2)")
    option("--seed", type=int, default=1, help="of rates and cells (default 1)")
    option("--trained-on", default="not stated", metavar="TEXT", help="what the card says of it")
    args = parser.parse_args(argv)
    paths = find_clips(args.data)
    if not paths:
        raise InputError(f"{args.data}: no clips in its video/")
    some = paths[:: -(-len(paths) // args.clips)]
    clips = [[Planes(*frame) for frame in read_clip(path)] for path in some]
    started, tensors = time.monotonic(), {}
    for codec in ("vp8", "h264"):
        sums = fit(clips, codec, codings=args.codings, seed=args.seed)
        tensors[f"{codec}.luma"], tensors[f"{codec}.chroma"] = sums.weights()
    card: dict[str, Any] = {
        "licence": LICENCE,
        "data": args.trained_on,
        "clips": len(clips),
        "codings": args.codings,
        "seed": args.seed,
        "seconds": round(time.monotonic() - started),
    }
    model = RestorerModel(CALLS, {}, tensors, b"", card)
    model.save(args.out)
    print(f"{model.name} {model.model_id[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
