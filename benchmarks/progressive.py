"""
Measure what any beginning of a progressive picture is worth, on the development images.

    python -m benchmarks.progressive [--data ../shared/data/dev/images]

One file of each image is cut at `CUTS` sizes from that of the coarsest to that of the finest file
that is not progressive, and decoded. What those are worth at every seventh qp is in
`benchmarks/rate_distortion.json`; between them the curve is a monotone cubic, as for BD-rates.
Beside it a progressive JPEG, cut too, and whole JPEG XL files: its library decodes no part of one.
Writes `benchmarks/progressive.json` and `docs/progressive.png`. Skips itself without the data.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFile
from scipy.interpolate import PchipInterpolator

from benchmarks.rate_distortion import ROOT, commit
from rtcodec.bitstream.progressive_file import read_progressive
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.bundle import find_bundle
from rtcodec.console import Progress
from rtcodec.evaluation.bd_rate import RatePoint, rising
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.panel import Palette, style
from rtcodec.evaluation.still import Jpeg
from rtcodec.media.color import FULL_BT601
from rtcodec.progressive.picture import decode_picture, encode_picture
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes

CUTS: Final = 32
FINEST_STEP: Final = 0.5
JPEG_QUALITY: Final = 95
PROMISED_DB: Final = -1.0

Curve = list[RatePoint]
"Bytes and PSNR 6:1:1 in dB, from few to many."


def main() -> int:
    """Measure, write the files, print a line for each image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev" / "images"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--model", default="s128")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "progressive.json")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no images in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = commit()
    paths = sorted(path for path in args.data.iterdir() if path.suffix == ".png")
    plain = read_curves(args.model)
    with Progress("measuring", len(paths)) as progress:
        images = {}
        for path in paths:
            images[path.name] = measure(read_clip(path), plain[path.name])
            print(f"{path.name}: {words(images[path.name])}", flush=True)
            progress.step(path.name)
    summary = {
        "command": "python -m benchmarks.progressive",
        "commit": at,
        "processor": platform.processor() or platform.machine(),
        "model": args.model,
        "model_id": find_bundle(args.model).model_id.hex(),
        "worst_db": min(image["worst_db"] for image in images.values()),
        "mean_db": round(float(np.mean([image["mean_db"] for image in images.values()])), 3),
        "promised_db": PROMISED_DB,
        "images": images,
    }
    args.output.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    plot(images, args.output.parents[1] / "docs" / "progressive.png")
    print(f"worst {summary['worst_db']:+.2f} dB, mean {summary['mean_db']:+.2f} dB")
    return 0


def read_curves(model: str) -> dict[str, Curve]:
    """
    Return bits per pixel and PSNR of files that are not progressive, by image.

    Raises:
        SystemExit: If they are those of another model.
    """
    measured = json.loads((ROOT / "benchmarks" / "rate_distortion.json").read_text())
    if measured["models"].get(model) != find_bundle(model).model_id.hex():
        raise SystemExit(f"curves of {model} are old: run python -m benchmarks.rate_distortion")
    return {name: rising(curves[model]) for name, curves in measured["curves"].items()}


def measure(clip: Clip, bpp_curve: Curve) -> dict[str, Any]:
    """Return curves of one image, and how far below those files any beginning is."""
    [planes] = clip.frames
    plain = [(bpp * planes.y.size / 8, psnr) for bpp, psnr in bpp_curve]
    at = PchipInterpolator(*np.array([(np.log(size), psnr) for size, psnr in plain]).T)
    begin = time.perf_counter()
    whole = encode_picture(
        (planes.y, planes.u, planes.v),
        color_range=ColorRange.FULL,
        color_matrix=FULL_BT601.matrix,
        finest_step=FINEST_STEP,
    )
    encoded = time.perf_counter()
    decode_picture(read_progressive(whole))
    decoded = time.perf_counter()
    last = min(len(whole), plain[-1][0])
    cuts = np.unique(np.geomspace(plain[0][0], last, CUTS).astype(int))
    curve = [(float(cut), _quality(planes, whole[:cut])) for cut in cuts]
    apart = [psnr - float(at(np.log(size))) for size, psnr in curve]
    return {
        "width": clip.width,
        "height": clip.height,
        "transform": read_progressive(whole).header.transform.name.lower(),
        "whole_bytes": len(whole),
        "encode_s": round(encoded - begin, 2),
        "decode_s": round(decoded - encoded, 2),
        "worst_db": round(min(apart), 3),
        "worst_at_bytes": int(curve[int(np.argmin(apart))][0]),
        "mean_db": round(float(np.mean(apart)), 3),
        "curves": {
            "progressive": _rounded(curve),
            "not progressive": _rounded(plain),
            "jpeg progressive": _rounded(_jpeg(planes, cuts.tolist())),
            "jpeg xl, whole files": _rounded(_jpeg_xl(planes)),
        },
    }


def words(image: dict[str, Any]) -> str:
    """Say how one image did."""
    return (
        f"worst {image['worst_db']:+.2f} dB at {image['worst_at_bytes']} bytes, mean "
        f"{image['mean_db']:+.2f} dB, {image['transform']}, encode {image['encode_s']} s, "
        f"decode {image['decode_s']} s ({image['whole_bytes']} bytes)"
    )


def _quality(planes: Planes, data: bytes) -> float:
    return picture_psnr(planes, Planes(*decode_picture(read_progressive(data)))).yuv


def _jpeg(planes: Planes, cuts: list[int]) -> Curve:
    """Cut a progressive JPEG; what of it cannot be opened yet is left out."""
    jpeg, whole = Jpeg(), io.BytesIO()
    with Image.open(io.BytesIO(jpeg.write(planes, JPEG_QUALITY))) as image:
        image.save(whole, "JPEG", quality="keep", progressive=True, optimize=True)
    strict, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        curve: Curve = []
        for cut in cuts:
            try:
                picture = jpeg.read(whole.getvalue()[:cut], planes.width, planes.height)
            except OSError:
                continue
            curve.append((cut, picture_psnr(planes, picture).yuv))
        return curve
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict


def _jpeg_xl(planes: Planes) -> Curve:
    if find_spec("imagecodecs") is None:
        return []
    from rtcodec.evaluation.baseline import JpegXl

    codec = JpegXl()
    points = []
    for setting in codec.settings:
        data = codec.write(planes, setting)
        picture = codec.read(data, planes.width, planes.height)
        points.append((len(data), picture_psnr(planes, picture).yuv))
    return rising(points)


def _rounded(curve: Curve) -> list[list[float]]:
    return [[int(size), round(psnr, 3)] for size, psnr in curve]


def plot(images: dict[str, Any], path: Path) -> None:
    """Draw a panel for each image: bits per pixel against PSNR."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(next(iter(images.values()))["curves"])
    palette = Palette(dict.fromkeys(names, ""))
    rows = -(-len(images) // 2)
    figure = Figure(figsize=(9.5, 3 * rows + 0.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False)
    for axes, (name, image) in zip(panels.flat, images.items(), strict=False):
        pixels = image["width"] * image["height"]
        for label, curve in image["curves"].items():
            palette.draw(axes, [(8 * size / pixels, db) for size, db in curve], label, small=True)
        axes.set_xscale("log")
        style(axes)
        axes.set_title(f"{Path(name).stem}, worst {image['worst_db']:+.2f} dB", fontsize=9)
        axes.set_ylabel("PSNR 6:1:1, dB", fontsize=8)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
