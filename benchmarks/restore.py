"""
Measure what taking coding artefacts out gains: JPEG stills, VP8 and H.264 calls.

    python -m benchmarks.restore [--data ../shared/data/dev] [--only jpeg|calls|coded]

Writes `benchmarks/restore.json` and `docs/restore.jpg`. Beside the networks: FFmpeg's filters
`deblock` and `nlmeans`, each at the strength out of three that is best for the file. Luma PSNR of
8-bit planes, the mean over pictures, of clips over frames. Times are the
processor's, of one thread, the least of three. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.entropy import machine
from rtcodec.bitstream.packet import Packet
from rtcodec.bundle import find_bundle
from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.codec.coded_call import code_call
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.reference import NewestReference, intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.console import Progress
from rtcodec.engine.loader import open_engine
from rtcodec.engine.restorer import RESTORERS, Restorer, flat_levels, open_restorer
from rtcodec.evaluation.bd_rate import bd_rate
from rtcodec.media.color import FULL_BT601, gray_to_planes, planes_to_rgb, rgb_to_planes
from rtcodec.media.picture import frame_of, planes_of
from rtcodec.media.quantiser import jpeg_steps
from rtcodec.media.reader import MediaReader
from rtcodec.quality import mean_psnr, picture_psnr, psnr
from rtcodec.restorer_model import CALLS, JPEG, RestorerModel, load_restorer_model
from rtcodec.types import Planes
from rtcodec_client.scene import Scene

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks" / "restore.json"
PICTURE = ROOT / "docs" / "restore.jpg"

QUALITIES = (10, 20, 30, 40, 60, 80)
ASKED = (10, 20, 30, 40)
CALL_CLIPS = ("call_", "two_people_call", "talking_head")
KBPS = (150, 300, 600)
CODECS = ("vp8", "h264")
FILTERS = {
    "deblock": ("alpha=0.05:beta=0.03", "alpha=0.1:beta=0.05", "alpha=0.2:beta=0.1"),
    "nlmeans": ("s=3:p=5:r=9", "s=5:p=5:r=9", "s=8:p=5:r=9"),
}
"FFmpeg's filters that take blocks or noise out, from weak to strong."

CODED_CLIPS = ("call_news", "talking_head_studio2")
CODED_MODEL, CODED_KBPS, CODED_QPS, CODED_FRAMES = "s128", 300, (18, 24, 30, 36), 24
CALL_FRAMES, PEERS_EVERY = 40, 20
"Frames of a clip that are measured; those of them that FFmpeg's filters are."

SHOWN_FRAME, SHOWN_PART, SHOWN_QUALITY = 60, (120, 250, 200), 10
"Of the drawn scene: which frame, row, column and side of what the picture shows."

TIME_BASE = Fraction(1, 25)


class Filter:
    """One of FFmpeg's filters, for pictures of one size."""

    def __init__(self, name: str, options: str, planes: Planes) -> None:
        self._graph = av.filter.Graph()
        pixels = av.VideoFormat("yuv420p", planes.width, planes.height)
        self._source = self._graph.add_buffer(
            width=planes.width, height=planes.height, format=pixels, time_base=TIME_BASE
        )
        node, self._sink = self._graph.add(name, options), self._graph.add("buffersink")
        self._source.link_to(node)
        node.link_to(self._sink)
        self._graph.configure()
        self._count = 0

    def __call__(self, planes: Planes) -> Planes:
        """Return one picture filtered."""
        frame = frame_of(planes)
        frame.pts, frame.time_base = self._count, TIME_BASE
        self._count += 1
        self._source.push(frame)
        filtered = self._sink.pull()
        assert isinstance(filtered, av.VideoFrame)
        return planes_of(filtered)


def main() -> int:
    """Measure what is asked for and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--only", choices=tuple(PARTS), help="one part; others stay")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = machine()
    known: dict[str, Any] = json.loads(args.output.read_text()) if args.output.exists() else {}
    for name, measure in PARTS.items():
        if args.only in (None, name):
            known[name] = {**measure(args.data), "machine": at}
    result = {"command": "python -m benchmarks.restore", **known}
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    summaries = {name: known[name]["summary"] for name in PARTS if name in known}
    print(json.dumps(summaries, indent=1))
    return 0


def luma_gain(clean: Planes, before: Planes, after: Planes) -> float:
    """Return luma decibels gained."""
    return psnr(clean.y, after.y) - psnr(clean.y, before.y)


def about(model: RestorerModel) -> dict[str, Any]:
    """Return what the figures belong to."""
    return {"model_id": model.model_id[:16], "kmac_per_pixel": model.card["kmac_per_pixel"]}


def best_filter(name: str, clean: Sequence[Planes], coded: Sequence[Planes]) -> float:
    """Return what a filter gains at the best of its strengths, the mean over frames."""
    gains = []
    for options in FILTERS[name]:
        one = Filter(name, options, coded[0])
        gains.append(mean(luma_gain(a, b, one(b)) for a, b in zip(clean, coded, strict=True)))
    return max(gains)


def measure_jpeg(data: Path) -> dict[str, Any]:
    """Measure stills at some qualities, times, and draw the picture."""
    model = load_restorer_model(JPEG)
    restorer = open_restorer(model)
    rows = []
    paths = sorted((data / "images").glob("*.png"))
    with Progress("JPEG", len(paths) * len(QUALITIES)) as bar:
        for path in paths:
            rgb = np.asarray(Image.open(path).convert("RGB"))
            clean = rgb_to_planes(rgb)
            for quality in QUALITIES:
                rows.append({"image": path.stem, **still_row(rgb, clean, quality, restorer)})
                bar.step(path.stem)
    draw(restorer)
    by_quality = {
        str(q): {
            key: round(mean(row[key] for row in rows if row["quality"] == q), 3)
            for key in ("bpp", "psnr_y", "gain_y", "gain_yuv", *FILTERS)
            if all(row[key] is not None for row in rows if row["quality"] == q)
        }
        for q in QUALITIES
    }
    asked = mean(row["gain_y"] for row in rows if row["quality"] in ASKED)
    return {
        **about(model),
        "summary": {"luma_gain_db_10_to_40": round(asked, 3), "by_quality": by_quality},
        "ms": times(model),
        "rows": rows,
    }


def still_row(
    rgb: NDArray[np.uint8], clean: Planes, quality: int, restorer: Restorer
) -> dict[str, Any]:
    """Return the figures of one image at one quality."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    decoded, steps = decode_jpeg(file)
    after = picture_psnr(clean, restorer.restore(decoded, steps))
    before = picture_psnr(clean, decoded)
    peers = {
        name: round(best_filter(name, [clean], [decoded]), 3) if quality in ASKED else None
        for name in FILTERS
    }
    return {
        "quality": quality,
        "bpp": round(8 * file.tell() / clean.y.size, 4),
        "psnr_y": round(before.y, 3),
        "gain_y": round(after.y - before.y, 3),
        "gain_yuv": round(after.yuv - before.yuv, 3),
        **peers,
    }


def decode_jpeg(file: io.BytesIO) -> tuple[Planes, NDArray[np.float32]]:
    """Return planes and steps of a file in memory, by way of one on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        path.write_bytes(file.getvalue())
        steps = jpeg_steps(path)
        assert steps is not None
        with MediaReader(path) as reader:
            return next(reader.frames())[1], steps


def times(model: RestorerModel) -> dict[str, float]:
    """Return processor milliseconds: for a megapixel, and for a frame of 640x360."""
    found = {}
    for name in RESTORERS:
        one = open_restorer(model, name)
        for label, width, height in (("", 1024, 1024), (" 640x360", 640, 360)):
            samples = np.random.default_rng(1).integers(0, 256, (height, width), np.uint8)
            work = partial(one.restore, gray_to_planes(samples), flat_levels(20.0))
            work()
            least = min(timed(work) for _ in range(3))
            found[f"{name}{label}"] = round(least * (1 if label else 1e6 / samples.size), 1)
    return found


def timed(work: Callable[[], object]) -> float:
    """Return the processor's milliseconds for one call."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def draw(restorer: Restorer) -> None:
    """Write a drawn picture: source, JPEG at quality 10, restored, side by side."""
    rgb = planes_to_rgb(Scene(640, 360).planes(SHOWN_FRAME), FULL_BT601)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=SHOWN_QUALITY)
    decoded, steps = decode_jpeg(file)
    restored = restorer.restore(decoded, steps)
    shown = [rgb, *(planes_to_rgb(planes, FULL_BT601) for planes in (decoded, restored))]
    top, left, side = SHOWN_PART
    crops = [picture[top : top + side, left : left + side] for picture in shown]
    picture = Image.fromarray(np.concatenate(crops, 1))
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(
        PICTURE, quality=88
    )


def read_clip(path: Path, count: int | None = None) -> list[Planes]:
    """Return a clip's frames, or the first *count*."""
    with MediaReader(path) as reader:
        return [planes for _, planes in itertools.islice(reader.frames(), count)]


def measure_calls(data: Path) -> dict[str, Any]:
    """Measure clips of calls at some rates."""
    restorer = CallRestorer.load()
    rows = []
    paths = [p for p in sorted((data / "video").glob("*.mkv")) if p.name.startswith(CALL_CLIPS)]
    with Progress("calls", len(paths) * len(KBPS) * len(CODECS)) as bar:
        for path, codec, kbps in itertools.product(paths, CODECS, KBPS):
            rows.append(
                {"clip": path.stem, **call_row(read_clip(path, CALL_FRAMES), codec, kbps, restorer)}
            )
            bar.step(path.stem)
    keys = ("psnr_y", "gain_y", "gain_yuv", *FILTERS)
    summary: dict[str, Any] = {codec: {} for codec in CODECS}
    for codec, (label, rates) in itertools.product(
        CODECS, (*((str(kbps), (kbps,)) for kbps in KBPS), ("all", KBPS))
    ):
        some = [row for row in rows if row["codec"] == codec and row["kbps"] in rates]
        summary[codec][label] = {key: round(mean(row[key] for row in some), 3) for key in keys}
    model = load_restorer_model(CALLS)
    noise = np.random.default_rng(1).integers(0, 256, (360, 640), np.uint8)
    work = partial(restorer.restore, gray_to_planes(noise), "vp8", 20.0)
    least = min(timed(work) for _ in range(20))
    return {
        "model_id": model.model_id[:16],
        "summary": summary,
        "ms_640x360": round(least, 2),
        "rows": rows,
    }


def call_row(clip: list[Planes], codec: str, kbps: int, restorer: CallRestorer) -> dict[str, Any]:
    """Return the figures of one clip at one rate, means over its frames."""
    coded = list(code_call(clip, codec, 1000 * kbps))
    clean, decoded = [clip[at] for at, *_ in coded], [planes for _, planes, _ in coded]
    restored = [restorer.restore(planes, codec, step) for _, planes, step in coded]
    before = mean_psnr(picture_psnr(a, b) for a, b in zip(clean, decoded, strict=True))
    after = mean_psnr(picture_psnr(a, b) for a, b in zip(clean, restored, strict=True))
    every = slice(None, None, PEERS_EVERY)
    return {
        "codec": codec,
        "kbps": kbps,
        "frames": len(coded),
        "mean_step": round(mean(step for *_, step in coded), 2),
        "psnr_y": round(before.y, 3),
        "gain_y": round(after.y - before.y, 3),
        "gain_yuv": round(after.yuv - before.yuv, 3),
        **{name: round(best_filter(name, clean[every], decoded[every]), 3) for name in FILTERS},
    }


def measure_coded(data: Path) -> dict[str, Any]:
    """Measure what restoring VP8 is worth once our codec has coded it: BD-rate to the source."""
    restorer = CallRestorer.load()
    rows: dict[str, Any] = {}
    for name in CODED_CLIPS:
        clip = read_clip(next((data / "video").glob(f"{name}*.mkv")), CODED_FRAMES)
        coded = list(code_call(clip, "vp8", 1000 * CODED_KBPS))
        source = [clip[at] for at, *_ in coded]
        curves = {
            "plain": curve(source, [planes for _, planes, _ in coded]),
            "restored": curve(
                source, [restorer.restore(planes, "vp8", step) for _, planes, step in coded]
            ),
        }
        found = bd_rate(curves["plain"], curves["restored"])
        rows[name] = {
            "bd_rate_percent": None if found is None else round(found.percent, 2),
            "curves": curves,
        }
    return {
        "model": CODED_MODEL,
        "vp8_kbps": CODED_KBPS,
        "summary": {name: row["bd_rate_percent"] for name, row in rows.items()},
        "rows": rows,
    }


def curve(source: Sequence[Planes], shown: Sequence[Planes]) -> list[tuple[float, float]]:
    """Return bits per pixel and 6:1:1 PSNR against *source* of *shown*, coded at some qp."""
    bundle = find_bundle(CODED_MODEL)
    engine = open_engine("auto", bundle)
    packer = FramePacker(bundle.entropy_tables, Slicing(slices=1), delta_tables=bundle.delta_tables)
    width, height = shown[0].width, shown[0].height
    points = []
    for base in CODED_QPS:
        encoder = FrameEncoder(engine, packer, width, height, references=NewestReference())
        bits, quality = 0, []
        for number, (clean, planes) in enumerate(zip(source, shown, strict=True)):
            qp, keyframe = (base, False) if number else (intra_qp(base, neural=True), True)
            output = encoder.run(planes, qp=qp, keyframe=keyframe, reconstruct=True)
            unit = encoder.pack(output, qp=qp, pts=number, keyframe=keyframe).unit
            bits += 8 * sum(len(p.payload) for p in unit.packets if isinstance(p, Packet))
            assert output.reconstruction is not None
            quality.append(picture_psnr(clean, output.reconstruction))
        encoder.close()
        pixels = len(shown) * width * height
        points.append((round(bits / pixels, 5), round(mean_psnr(quality).yuv, 3)))
    engine.close()
    return points


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "jpeg": measure_jpeg,
    "calls": measure_calls,
    "coded": measure_coded,
}


if __name__ == "__main__":
    sys.exit(main())
