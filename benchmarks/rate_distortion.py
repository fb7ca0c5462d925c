"""
Measure our models against other codecs on the development images.

    python -m benchmarks.rate_distortion [--data ../shared/data/dev/images]

Writes `benchmarks/rate_distortion.json` and `docs/rd_images.png`. Real files,
the conventions of `rtcodec eval`. Skips itself where the data is not. Video is
`benchmarks.rate_distortion_video`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rtcodec.bundle import find_bundle
from rtcodec.console import Progress
from rtcodec.evaluation import Evaluation, evaluate, plot_curves, table
from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.report import as_json

ROOT = Path(__file__).parents[1]
IMAGE_CODECS = ["s128", "n64", "jpeg", "webp", "avif", "x264-intra"]


def main() -> int:
    """Measure, write the files, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev" / "images"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "rate_distortion.json")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no images in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = commit()  # before the plot is written, which would make the tree dirty
    result = measure(args.data, IMAGE_CODECS, args.threads)
    plot_curves(result, ROOT / "docs" / "rd_images.png", title="Still images, real files")
    summary = summarise(result, at)
    args.output.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    return 0


def measure(folder: Path, codecs: list[str], threads: int) -> Evaluation:
    """Run *codecs* on every file of *folder*, with a progress bar on a terminal."""
    total = sum(1 for path in folder.iterdir() if path.is_file()) * 9 * len(codecs)
    with Progress(f"measuring {folder.name}", total) as bar:
        return evaluate(
            [folder],
            codecs,
            threads=threads,
            progress=lambda _, label: bar.step(label),
        )


def summarise(result: Evaluation, at: str) -> dict[str, Any]:
    """Return what is worth keeping: conventions, curves, BD-rates, models; no file paths."""
    full = as_json(result)
    models = {name: find_bundle(name) for name in ("s128", "n64")}
    return {
        "command": "python -m benchmarks.rate_distortion",
        "commit": at,
        **{key: full[key] for key in ("rtcodec", "hardware", "versions", "conventions", "codecs")},
        "models": {name: bundle.model_id.hex() for name, bundle in models.items()},
        "bd_rate_percent": full["bd_rate"],
        "mean_curves": full["curves"],
        "curves": {
            clip: {
                codec: [[round(bpp, 5), round(db, 3)] for bpp, db in result.curve(clip, codec)]
                for codec in result.codecs(kind)
            }
            for kind in result.kinds()
            for clip in result.clips(kind)
        },
        "range_db": {name: _range_db(result, name) for name in models},
    }


def _range_db(result: Evaluation, codec: str) -> list[float]:
    """Return the PSNR that every clip reaches at the coarsest and at the finest setting."""
    kind: Kind = result.kinds()[0]
    curves = [result.curve(clip, codec) for clip in result.clips(kind)]
    return [
        round(max(curve[0][1] for curve in curves), 2),
        round(min(curve[-1][1] for curve in curves), 2),
    ]


def commit() -> str:
    """Return the commit that is checked out, with `-dirty` where a tracked file differs."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
