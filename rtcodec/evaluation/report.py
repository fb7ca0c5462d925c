"""
Results as files and text.

    results.json   everything, and what `Reuse` needs
    results.csv    a line per point
    compressai/    for each codec a file in the layout of CompressAI's results, images alone
    frames/        a CSV per clip of a video, codec and setting: a line per frame

and the BD-rate tables.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rtcodec
from rtcodec.evaluation.anchor import anchor_json, find_anchor, markdown, standings
from rtcodec.evaluation.compressai import COMPRESSAI, write_compressai
from rtcodec.evaluation.conventions import CONVENTIONS
from rtcodec.evaluation.figures import mean, rounded, write_frames
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.evaluation.result import Comparison, Evaluation
from rtcodec.evaluation.reuse import FRAMES
from rtcodec.evaluation.row import COLUMNS, frames_name, write_row
from rtcodec.evaluation.vmaf import why_not


def as_json(result: Evaluation, *, anchor: str | None = None) -> dict[str, Any]:
    """
    Return everything, ready for `json.dump`.

    Args:
        result: All points.
        anchor: Codec for the tables against one; see `find_anchor`.
    """
    anchors = [(kind, find_anchor(result, kind, anchor)) for kind in result.kinds()]
    return {
        "rtcodec": rtcodec.__version__,
        "hardware": hardware(),
        "versions": versions(),
        "conventions": CONVENTIONS,
        "missing": {} if why_not() is None else {"vmaf": why_not()},
        "clips": {clip: {"sha256": digest} for clip, digest in result.digests.items()},
        "codecs": result.descriptions,
        "points": [write_row(point) for point in result.points],
        "anchored": [anchor_json(result, kind, name) for kind, name in anchors if name],
        "bd_rate": [_comparison(each) for each in result.comparisons()],
        "curves": [
            {
                "name": codec,
                "kind": kind,
                "description": result.descriptions[codec],
                "results": _curve(result, kind, codec),
            }
            for kind in result.kinds()
            for codec in result.codecs(kind)
        ],
        "failures": [
            {"clip": f.clip, "codec": f.codec, "setting": f.setting, "reason": f.reason}
            for f in result.failures
        ],
    }


def write_results(result: Evaluation, out: Path, *, anchor: str | None = None) -> None:
    """
    Write the files of results into folder *out*, made if missing.

    Args:
        result: All points.
        out: Files of an earlier run in it are replaced, others left.
        anchor: As in `as_json`.

    Raises:
        OSError: If they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(result, anchor=anchor), indent=1) + "\n"
    (out / "results.json").write_text(text, encoding="utf-8")
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(write_row(point) for point in result.points)
    write_compressai(result, out / COMPRESSAI)
    for point in result.points:
        if point.kind == "video" and point.frames:
            (out / FRAMES).mkdir(exist_ok=True)
            write_frames(out / FRAMES / frames_name(point), point.frames)


def table(result: Evaluation, *, anchor: str | None = None) -> str:
    """
    Return the BD-rate tables, one per kind of input, as text.

    Args:
        result: All points.
        anchor: Compare with this codec; without it, images are compared all with
            all, and videos with the usual anchor.
    """
    out = io.StringIO()
    for kind in result.kinds():
        name = find_anchor(result, kind, anchor)
        if name is not None and (kind == "video" or name == anchor):
            print(markdown(standings(result, kind, name), kind, name) + "\n", file=out)
            continue
        comparisons = {
            (each.codec, each.anchor): each for each in result.comparisons() if each.kind == kind
        }
        names = [name for name in result.codecs(kind) if any(name in pair for pair in comparisons)]
        if not names:
            continue
        clips = len(result.clips(kind))
        print(
            f"{kind}s: BD-rate in percent at 6:1:1 PSNR (pchip), mean over {clips}, "
            "row against column",
            file=out,
        )
        _matrix(out, names, comparisons)
        _ranges(out, names, comparisons, clips)
        print(file=out)
    return out.getvalue().rstrip("\n")


def _matrix(
    out: io.StringIO, names: list[str], comparisons: Mapping[tuple[str, str], Comparison]
) -> None:
    width = max(8, *(len(name) + 2 for name in names))
    print(" " * width + "".join(f"{name:>{width}}" for name in names), file=out)
    for codec in names:
        cells = []
        for anchor in names:
            each = comparisons.get((codec, anchor))
            percent = each.percent if each is not None else None
            cells.append("-" if percent is None else f"{percent:+.1f}")
        print(f"{codec:<{width}}" + "".join(f"{cell:>{width}}" for cell in cells), file=out)


def _ranges(
    out: io.StringIO,
    names: list[str],
    comparisons: Mapping[tuple[str, str], Comparison],
    clips: int,
) -> None:
    """Say over which PSNR range the first codec's figures hold."""
    codec = names[0]
    for anchor in names[1:]:
        each = comparisons.get((codec, anchor))
        if each is None or each.range_db is None:
            continue
        low, high = each.range_db
        count = "" if len(each.valid) == clips else f", {len(each.valid)} of {clips} have one"
        print(f"{codec} and {anchor} share {low:.1f} to {high:.1f} dB{count}", file=out)


def _comparison(each: Comparison) -> dict[str, Any]:
    percent, ends = each.percent, each.range_db
    return {
        "kind": each.kind,
        "codec": each.codec,
        "anchor": each.anchor,
        "percent": None if percent is None else round(percent, 3),
        "mean_overlap_db": None if ends is None else [round(end, 2) for end in ends],
        "clips": {
            clip: None
            if rate is None
            else {
                "percent": round(rate.percent, 3),
                "overlap_db": [round(rate.low_db, 2), round(rate.high_db, 2)],
            }
            for clip, rate in each.per_clip.items()
        },
    }


def _curve(result: Evaluation, kind: Any, codec: str) -> dict[str, list[float | None]]:
    groups = result.mean_groups(kind, codec)
    return {
        "bpp": [rounded(mean(p.bpp for p in group), 6) for group in groups],
        "kbps": [rounded(mean(p.kbps for p in group), 3) for group in groups],
        "psnr-yuv": [rounded(mean(p.psnr_db.yuv for p in group), 4) for group in groups],
        "ms-ssim": [rounded(mean(p.ms_ssim for p in group), 6) for group in groups],
    }
