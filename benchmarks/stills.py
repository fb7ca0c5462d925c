"""
Compare codecs of still pictures at one quality, in one run: ratio, SSIM, MS-SSIM, times.

    python -m benchmarks.stills [--data ../shared/data/dev/images] [--psnr 40]

For each image and codec the setting nearest to the quality from either side is found, and what lies
between is read off the line between those two. Lossless codecs have a size and no more. Ratios
are to the 24 bits a pixel of RGB, and to the 12 of the planes that are coded. Writes
`benchmarks/stills.json`; skips itself where the data is not.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.rate_distortion import ROOT, commit
from rtcodec.console import Progress
from rtcodec.evaluation.clip import Clip, read_clip
from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.installation import versions
from rtcodec.evaluation.ms_ssim import LEAST_SIDE_PX, ms_ssim, ssim
from rtcodec.evaluation.registry import RIVALS, CodecShelf, available
from rtcodec.quality import picture_psnr

CODECS: Final = (
    "s128", "progressive", "jpeg", "webp", "avif", "jpeg2000", "jpegxl", "jpegls-near", "jpegls",
    "png",
)  # fmt: skip
RGB_BITS: Final = 24
PLANES_BITS: Final = 12


@dataclass(frozen=True, slots=True)
class Coding:
    """One image through one codec."""

    psnr_db: float
    "6:1:1."

    bpp: float
    ssim: float
    ms_ssim: float
    "Of luma."

    encode_ms: float
    decode_ms: float


def main() -> int:
    """Measure, write the file, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    data = ROOT.parent / "shared" / "data" / "dev" / "images"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--psnr", type=float, default=40.0, metavar="DB")
    parser.add_argument("--only", default="", help="images whose name has this")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "stills.json")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no images in {args.data} (choose with --data)", file=sys.stderr)
        return 0
    at = commit()
    names = [one for one in CODECS if one not in RIVALS or available(RIVALS[one]) is None]
    paths = [path for path in sorted(args.data.glob("*.png")) if args.only in path.name]
    shelf = CodecShelf()
    found: dict[str, dict[str, Coding]] = {name: {} for name in names}
    try:
        codecs = shelf.resolve(names, "image")
        with Progress("measuring", len(paths) * len(codecs)) as progress:
            for path in paths:
                clip = read_clip(path)
                for codec in codecs:
                    if (coding := at_quality(codec, clip, args.psnr)) is not None:
                        found[codec.name][path.name] = coding
                    progress.step(f"{path.name} {codec.name}")
    finally:
        shelf.close()
    only = ["--only", args.only] if args.only else []
    summary = {
        "command": " ".join(["python -m benchmarks.stills", *only]),
        "commit": at,
        "processor": platform.processor() or platform.machine(),
        "versions": versions(),
        "psnr_db": args.psnr,
        "images": [path.name for path in paths],
        "codecs": {name: summarise(each) for name, each in found.items()},
    }
    args.output.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(table(summary))
    return 0


def at_quality(codec: Codec, clip: Clip, psnr_db: float) -> Coding | None:
    """Return what a codec makes of an image at a quality; None where it does not reach it."""
    settings = list(codec.settings)
    codec.prepare(clip)
    if len(settings) == 1:
        return measure(codec, clip, settings[0])
    seen: dict[int, Coding] = {}

    def at(place: int) -> Coding:
        if place not in seen:
            seen[place] = measure(codec, clip, settings[place])
        return seen[place]

    low, high = 0, len(settings) - 1
    if at(low).psnr_db > psnr_db or at(high).psnr_db < psnr_db:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle).psnr_db <= psnr_db else (low, middle)
    return between(at(low), at(high), psnr_db)


def between(one: Coding, other: Coding, psnr_db: float) -> Coding:
    """Read a coding off the line between two; bits on a logarithmic scale."""
    apart = other.psnr_db - one.psnr_db
    share = (psnr_db - one.psnr_db) / apart if apart else 0.0

    def mix(name: str) -> float:
        a, b = getattr(one, name), getattr(other, name)
        return float(a + share * (b - a))

    return Coding(
        psnr_db,
        float(one.bpp * (other.bpp / one.bpp) ** share),
        *(mix(name) for name in ("ssim", "ms_ssim", "encode_ms", "decode_ms")),
    )


def measure(codec: Codec, clip: Clip, setting: int) -> Coding:
    """Code and decode an image once."""
    begin = perf_counter()
    encoded = codec.encode(clip, setting)
    middle = perf_counter()
    [picture] = codec.decode(encoded, clip)
    end = perf_counter()
    [planes] = clip.frames
    large = min(clip.width, clip.height) >= LEAST_SIDE_PX
    return Coding(
        picture_psnr(planes, picture).yuv,
        8 * encoded.size_bytes / clip.n_pixels,
        ssim(planes.y, picture.y),
        ms_ssim(planes.y, picture.y) if large else float("nan"),
        1000 * (middle - begin),
        1000 * (end - middle),
    )


def summarise(codings: dict[str, Coding]) -> dict[str, Any]:
    """Return means over images, and each image's."""
    if not codings:
        return {"images": {}}
    each = list(codings.values())

    def mean(name: str) -> float:
        return round(float(np.mean([getattr(coding, name) for coding in each])), 4)

    ratio = float(np.exp(np.mean([np.log(RGB_BITS / coding.bpp) for coding in each])))
    return {
        "n_images": len(each),
        "ratio_rgb": round(ratio, 2),
        "ratio_planes": round(ratio * PLANES_BITS / RGB_BITS, 2),
        "least_ratio_rgb": round(min(RGB_BITS / coding.bpp for coding in each), 2),
        **{name: mean(name) for name in ("bpp", "psnr_db", "ssim", "ms_ssim")},
        **{name: round(mean(name), 1) for name in ("encode_ms", "decode_ms")},
        "images": {
            name: {key: round(getattr(coding, key), 4) for key in Coding.__slots__}
            for name, coding in codings.items()
        },
    }


def table(summary: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| codec | images | ratio to RGB (least) | dB | SSIM | MS-SSIM | encode / decode, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in summary["codecs"].items():
        if one["images"]:
            lines.append(
                f"| {name} | {one['n_images']} | {one['ratio_rgb']} ({one['least_ratio_rgb']}) "
                f"| {one['psnr_db']:.1f} | {one['ssim']:.4f} | {one['ms_ssim']:.4f} "
                f"| {one['encode_ms']:.0f} / {one['decode_ms']:.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
