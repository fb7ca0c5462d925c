"""
Measure what the perceptual head gains, loses and takes.

    python -m benchmarks.look [--data ../shared/data/dev] [--frames 40]

Calls of the development set, coded by `s128` at three qp and shown by both heads: the same bits.
Measures that the head was not trained on (`_perceptual`), PSNR and MS-SSIM, on every eighth frame;
flicker over all frames; times of one thread here and in node. Writes `benchmarks/look.json` and,
of a drawn scene, `docs/look.png`. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._perceptual import IS_BETTER_HIGHER, distances
from benchmarks._web_decoder import MISSING, WebDecoder
from benchmarks.entropy import machine
from rtcodec.bitstream.packet import Description, Geometry, write_packet
from rtcodec.bitstream.sequence import model_tag
from rtcodec.bundle import Bundle, find_bundle
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.perceptual_head import PerceptualHead
from rtcodec.codec.reference import NewestReference
from rtcodec.codec.slicing import Slicing
from rtcodec.console import Progress
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import open_engine
from rtcodec.evaluation.ms_ssim import ms_ssim, ms_ssim_db
from rtcodec.media.color import FULL_BT601, planes_to_rgb
from rtcodec.media.reader import MediaReader
from rtcodec.models.shown_clips import ShownFrame, shown_frames
from rtcodec.quality import picture_psnr
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec.types import Planes
from rtcodec_client.scene import Scene

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks" / "look.json"
PICTURE = ROOT / "docs" / "look.png"

MODEL, QPS, JUDGED_EVERY = "s128", (32, 38, 44), 8
CALLS = ("call_", "two_people_call", "talking_head")

STILL = 1.5
"Samples whose standard deviation over the source's frames is below this stand still."

SCENE_QP, SCENE_FRAME, SCENE_PART = 44, 12, (90, 230, 220)
"Of the drawn scene: qp, frame, and row, column and side of what the picture shows."

TIMED, WARM_UP = 30, 5
"Frames that are timed, and before that some that are not."


def main() -> int:
    """Measure and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no {args.data} (choose with --data)", file=sys.stderr)
        return 0
    bundle, head = find_bundle(MODEL), PerceptualHead.load()
    rows = []
    with closing(open_engine("auto", bundle, threads=1)) as engine:
        draw(engine, bundle, head)
        paths = [p for p in sorted((args.data / "video").glob("*.mkv")) if p.name.startswith(CALLS)]
        with Progress("look", len(paths) * len(QPS)) as bar:
            for path in paths:
                with MediaReader(path) as reader:
                    clip = [planes for _, planes in islice(reader.frames(), args.frames)]
                    rate = float(reader.frame_rate or 25)
                for qp in QPS:
                    coded = shown_frames(
                        engine, bundle, clip, qp=qp, played=len(clip), every=1, neural=False
                    )
                    rows.append({"clip": path.stem, "qp": qp, **row(list(coded), head, rate)})
                    bar.step(path.stem)
    result = {
        "command": "python -m benchmarks.look",
        "model": MODEL,
        "head": load_restorer_model(PERCEPTUAL).model_id[:16],
        "summary": {str(qp): summary([r for r in rows if r["qp"] == qp]) for qp in QPS},
        "ms_640x360": times(bundle, head),
        "machine": machine(),
        "rows": rows,
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: result[k] for k in ("summary", "ms_640x360")}, indent=1))
    return 0


def row(frames: Sequence[ShownFrame], head: PerceptualHead, rate: float) -> dict[str, Any]:
    """Return the figures of one clip at one qp, by head."""
    shown = {
        "psnr": [frame.shown for frame in frames],
        "perceptual": [head.show(frame.shown, frame.qps) for frame in frames],
    }
    clean = [frame.clean for frame in frames]
    n_bytes = sum(frame.size_bytes for frame in frames[1:])
    still = np.stack([planes.y for planes in clean]).std(0) < STILL
    return {
        "kbps": round(8e-3 * rate * n_bytes / (len(frames) - 1), 1),
        "still_share": round(float(still.mean()), 3),
        "source": {"flicker": flicker([planes.y for planes in clean], still)},
        **{
            name: {
                **judged(clean[::JUDGED_EVERY], pictures[::JUDGED_EVERY]),
                "flicker": flicker([planes.y for planes in pictures], still),
                "error_flicker": error_flicker(clean, pictures, still),
            }
            for name, pictures in shown.items()
        },
    }


def judged(clean: Sequence[Planes], shown: Sequence[Planes]) -> dict[str, float]:
    """Return the means over frames of all measures."""
    rows = []
    for a, b in zip(clean, shown, strict=True):
        psnr = picture_psnr(a, b)
        similarity = ms_ssim_db(ms_ssim(a.y, b.y))
        own = {"psnr_y": psnr.y, "psnr_yuv": psnr.yuv, "ms_ssim_db": similarity}
        rows.append({**own, **distances(a.y, b.y)})
    return {key: round(mean(row[key] for row in rows), 5) for key in rows[0]}


def flicker(luma: Sequence[NDArray[np.uint8]], still: NDArray[np.bool_]) -> float:
    """Return how far samples that stand still change from frame to frame: root mean square."""
    changes = np.diff(np.stack(luma).astype(np.int16), axis=0)[:, still]
    return round(float(np.sqrt(np.square(changes, dtype=np.float64).mean())), 4)


def error_flicker(
    clean: Sequence[Planes], shown: Sequence[Planes], still: NDArray[np.bool_]
) -> float:
    """Return the standard deviation over time of the error of samples that stand still, mean."""
    errors = np.stack(
        [b.y.astype(np.int16) - a.y for a, b in zip(clean, shown, strict=True)]
    )  # fmt: skip
    return round(float(errors[:, still].std(0).mean()), 4)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over clips by head, and in how many clips the perceptual one is better."""
    measures = rows[0]["psnr"]
    return {
        "kbps": round(mean(r["kbps"] for r in rows), 1),
        **{
            name: {key: round(mean(r[name][key] for r in rows), 4) for key in measures}
            for name in ("psnr", "perceptual")
        },
        "source_flicker": round(mean(r["source"]["flicker"] for r in rows), 4),
        "better_in": {
            key: sum((r["perceptual"][key] > r["psnr"][key]) == is_higher for r in rows)
            for key, is_higher in IS_BETTER_HIGHER.items()
        },
        "clips": len(rows),
    }


def times(bundle: Bundle, head: PerceptualHead) -> dict[str, float]:
    """Return milliseconds that the head takes for a frame of 640x360, the least of some."""
    scene, packets, found = Scene(640, 360), list[list[bytes]](), dict[str, float]()
    packer = FramePacker(
        bundle.entropy_tables,
        Slicing(slices=1),
        delta_tables=bundle.delta_tables,
        spatial_tables=bundle.spatial_tables,
    )
    with closing(open_engine("auto", bundle, threads=1)) as engine:
        encoder = FrameEncoder(
            engine, packer, 640, 360, references=NewestReference(), neural=False,
            description=Description(model_tag(bundle.model_id), Geometry(640, 360)),
        )  # fmt: skip
        for t in range(TIMED):
            unit = encoder.encode(scene.planes(t), qp=36, pts=t, keyframe=t == 0).unit
            packets.append([write_packet(packet) for packet in unit.packets])
        encoder.close()
    planes, qps = scene.planes(0), np.full((6, 10), 36, np.uint8)
    spent = []
    for _ in range(TIMED):
        started = time.process_time()
        head.show(planes, qps)
        spent.append((time.process_time() - started) * 1e3)
    found["native"] = round(min(spent[WARM_UP:]), 2)
    if MISSING is None:
        tensors = load_restorer_model(PERCEPTUAL).tensors
        with (
            tempfile.TemporaryDirectory() as folder,
            WebDecoder(bundle, Path(folder), head=tensors) as web,
        ):
            frames = [web.decode(unit, perceptual=True).ms for unit in packets]
        for stage in ("head", "decode"):
            found[f"node {stage}"] = round(min(f[stage] for f in frames[WARM_UP:]), 2)
    return found


def draw(engine: Engine, bundle: Bundle, head: PerceptualHead) -> None:
    """Write a drawn picture: source, PSNR head, perceptual head, side by side."""
    scene = Scene(640, 360)
    clip = [scene.planes(t) for t in range(SCENE_FRAME + 1)]
    *_, last = shown_frames(
        engine, bundle, clip, qp=SCENE_QP, played=len(clip), every=1, neural=False
    )
    top, left, side = SCENE_PART
    crops = [
        planes_to_rgb(planes, FULL_BT601)[top : top + side, left : left + side]
        for planes in (last.clean, last.shown, head.show(last.shown, last.qps))
    ]
    picture = Image.fromarray(np.concatenate(crops, 1))
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(
        PICTURE, optimize=True
    )


if __name__ == "__main__":
    sys.exit(main())
