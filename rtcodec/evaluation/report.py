"""Results as files and text: `results.json`, `results.csv`, the BD-rate table."""

import csv
import io
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import features

import rtcodec
from rtcodec.evaluation.result import Comparison, Evaluation, Point

CONVENTIONS = {
    "planes": "8-bit yuv420p, the same for every codec; images converted once, full-range BT.601",
    "psnr": "per plane, peak 255; yuv is the planes' PSNR weighted 6:1:1; mean over frames; "
    "identical planes count as 100 dB",
    "size": "every byte of the file, or of all packets of the stream",
    "bd_rate": "bjontegaard package, pchip, log rate over the common 6:1:1 PSNR range of each "
    "clip, mean over clips; negative is fewer bits than the anchor",
    "times": "wall time per frame, one thread per codec, including container and entropy coding",
}

COLUMNS = (
    "clip", "kind", "width", "height", "frames", "frame_rate", "codec", "unit", "setting",
    "size_bytes", "bpp", "kbps", "psnr_y_db", "psnr_u_db", "psnr_v_db", "psnr_yuv_db",
    "encode_ms", "decode_ms",
)  # fmt: skip


def row(point: Point) -> dict[str, object]:
    """Return one line of `results.csv`, keyed by `COLUMNS`."""
    return {
        "clip": point.clip,
        "kind": point.kind,
        "width": point.width,
        "height": point.height,
        "frames": point.n_frames,
        "frame_rate": str(point.frame_rate),
        "codec": point.codec,
        "unit": point.unit,
        "setting": point.setting,
        "size_bytes": point.size_bytes,
        "bpp": round(point.bpp, 6),
        "kbps": round(point.kbps, 3),
        **{f"psnr_{plane}_db": round(db, 4) for plane, db in point.psnr_db.as_dict().items()},
        "encode_ms": round(point.encode_ms, 3),
        "decode_ms": round(point.decode_ms, 3),
    }


def as_json(result: Evaluation) -> dict[str, Any]:
    """Return everything, ready for `json.dump`."""
    return {
        "rtcodec": rtcodec.__version__,
        "hardware": {"machine": platform.machine(), "processor": _processor()},
        "versions": _versions(),
        "conventions": CONVENTIONS,
        "codecs": result.descriptions,
        "points": [row(point) for point in result.points],
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


def write_results(result: Evaluation, out: Path) -> None:
    """
    Write `results.json` and `results.csv` into folder *out*, made if missing.

    Raises:
        OSError: If they cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(result), indent=1) + "\n"
    (out / "results.json").write_text(text, encoding="utf-8")
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row(point) for point in result.points)


def table(result: Evaluation) -> str:
    """Return the BD-rate tables, one per kind of input, as text."""
    out = io.StringIO()
    for kind in result.kinds():
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


def _curve(result: Evaluation, kind: Any, codec: str) -> dict[str, list[float]]:
    curve = result.mean_curve(kind, codec)
    return {
        "bpp": [round(bpp, 6) for bpp, _ in curve],
        "psnr-yuv": [round(psnr_db, 4) for _, psnr_db in curve],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "numpy": np.__version__, "av": av.__version__}
    found["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    for name in ("jpg", "libjpeg_turbo", "avif"):
        number = features.version(name)
        if number:
            found[{"jpg": "libjpeg"}.get(name, name)] = number
    for name in ("pillow", "bjontegaard", "openvino", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
