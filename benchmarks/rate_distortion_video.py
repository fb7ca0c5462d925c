"""
Measure our models against other video codecs on the development clips.

    python -m benchmarks.rate_distortion_video [--models LIST] [--data ../shared/data/dev/video]

Writes `benchmarks/rate_distortion_video.json` and `docs/rd_video.png`: every
frame, one key frame, the conventions of `rtcodec eval`. The others' points are
taken from the file of the last run where clips, settings and libraries are the
same, so that a rerun takes our models' time. Skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.rate_distortion import commit
from rtcodec.bundle import find_bundle
from rtcodec.console import Progress, say
from rtcodec.errors import InputError
from rtcodec.evaluation import Comparison, Evaluation, Reuse, evaluate, plot_curves, table
from rtcodec.evaluation.latent import installed_models
from rtcodec.evaluation.report import as_json
from rtcodec.evaluation.result import Quality
from rtcodec.evaluation.row import COLUMNS

ROOT = Path(__file__).parents[1]
RIVALS = ["vp8", "vp9", "x264-veryfast", "x264-medium", "x265", "svtav1", "svtav1-p12"]
ANCHORS = ("vp8", "x264-veryfast")
QUALITIES: tuple[Quality, ...] = ("psnr_yuv", "ms_ssim")
CALLS = ("call_", "two_people_call_", "talking_head_")
"How the names of clips begin that show a video call; the others show motion."


def main() -> int:
    """Measure, write the files, print the tables."""
    args = _arguments()
    if not args.data.is_dir():
        print(f"skipped: no clips in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = commit()  # before the plot is written, which would make the tree dirty
    models = [name for name in args.models.split(",") if name]
    clips = sorted(path for path in args.data.iterdir() if path.is_file())
    codecs = [*models, *RIVALS]
    with Progress("measuring video", len(clips) * 8 * len(codecs)) as bar:
        result = evaluate(
            clips,
            codecs,
            max_frames=args.frames or None,
            threads=args.threads,
            reuse=earlier(args.output),
            progress=lambda _, label: bar.step(label),
        )
    for each in result.failures:
        say(f"{each.clip}: {each.codec} at {each.setting} failed: {each.reason}")
    document = {
        "command": "python -m benchmarks.rate_distortion_video",
        "commit": at,
        "models": {name: find_bundle(name).model_id.hex() for name in models},
        "summary": summarise(result),
        **_kept(result),
    }
    write_document(args.output, document)
    title = "Video: one key frame, one pass, no frame waits for a later one"
    plot_curves(result, args.plot, title=title)
    print(table(result, anchor=ANCHORS[0]))
    return 1 if result.failures else 0


def summarise(result: Evaluation) -> dict[str, Any]:
    """Return BD-rates in percent: quality, anchor, codec, then calls, motion and each clip."""
    return {
        quality: {
            anchor: {
                codec: _groups(result.compare("video", anchor, codec, quality))
                for codec in result.codecs("video")
                if codec != anchor
            }
            for anchor in ANCHORS
        }
        for quality in QUALITIES
    }


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a document whose `points` take one line each, their columns named once."""
    points = document["points"]
    rows = [json.dumps([point[column] for column in COLUMNS]) for point in points]
    rest = {key: value for key, value in document.items() if key != "points"}
    head = json.dumps({**rest, "columns": COLUMNS}, indent=1).removesuffix("\n}")
    lines = ",\n  ".join(rows)
    path.write_text(f'{head},\n "points": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def read_document(path: Path) -> dict[str, Any]:
    """
    Read what `write_document` wrote.

    Raises:
        OSError: If there is no such file.
        KeyError: If it is another document.
        ValueError: If it is no JSON.
    """
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    columns = document.pop("columns")
    points = [dict(zip(columns, row, strict=True)) for row in document["points"]]
    return {**document, "points": points}


def _groups(comparison: Comparison) -> dict[str, Any]:
    per_clip = {
        clip: None if rate is None else round(rate.percent, 2)
        for clip, rate in comparison.per_clip.items()
    }
    calls = [percent for clip, percent in per_clip.items() if clip.startswith(CALLS)]
    motion = [percent for clip, percent in per_clip.items() if not clip.startswith(CALLS)]
    return {"calls": _mean(calls), "motion": _mean(motion), "clips": per_clip}


def _mean(percents: list[float | None]) -> float | None:
    """Return the mean over the clips that share a range with the anchor."""
    known = [percent for percent in percents if percent is not None]
    return round(sum(known) / len(known), 2) if known else None


def _kept(result: Evaluation) -> dict[str, Any]:
    """Return what `Reuse` needs, and the machine."""
    full = as_json(result, anchor=ANCHORS[0])
    keys = "rtcodec hardware versions conventions missing clips codecs failures points"
    return {key: full[key] for key in keys.split()}


def earlier(path: Path) -> Reuse | None:
    """Return the last run's points, or None with a word if there are none."""
    try:
        return Reuse(read_document(path))
    except FileNotFoundError:
        return None
    except (InputError, KeyError, ValueError) as error:
        say(f"{path.name} is measured anew: {error}")
        return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev" / "video"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument(
        "--models",
        default=",".join(installed_models()),
        help="comma-separated names; empty measures the others alone (default: %(default)s)",
    )
    parser.add_argument("--frames", type=int, default=0, help="of each clip; 0 is all (default)")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks" / "rate_distortion_video.json"
    )
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "rd_video.png")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
