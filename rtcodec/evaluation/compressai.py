"""
Results of images in the layout of CompressAI's own (`results/image/*/*.json` of its repository).

One file for each codec: `name`, `description`, and `results`, lists of the same length from few
bits to many, each figure the mean over images at one setting. PSNR is of yuv planes here and is
called so (`psnr-yuv`, `psnr-y`); theirs is of RGB (`psnr`). `ms-ssim` is of luma, theirs of RGB.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rtcodec.evaluation.figures import mean, rounded
from rtcodec.evaluation.result import Evaluation

COMPRESSAI: Final = "compressai"
"Folder of these files."

_MS_PER_S: Final = 1000


def write_compressai(result: Evaluation, folder: Path) -> None:
    """
    Write a file for each codec that images were coded with; without images nothing.

    Raises:
        OSError: If they cannot be written.
    """
    for codec in result.codecs("image") if "image" in result.kinds() else ():
        folder.mkdir(exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", codec)  # a codec may be the path of a model
        text = json.dumps(compressai_json(result, codec), indent=2) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def compressai_json(result: Evaluation, codec: str) -> dict[str, Any]:
    """Return what is in the file of one codec."""
    groups = result.mean_groups("image", codec)
    results = {
        "bpp": [rounded(mean(p.bpp for p in group), 6) for group in groups],
        "psnr-yuv": [rounded(mean(p.psnr_db.yuv for p in group), 4) for group in groups],
        "psnr-y": [rounded(mean(p.psnr_db.y for p in group), 4) for group in groups],
        "ms-ssim": [rounded(mean(p.ms_ssim for p in group), 6) for group in groups],
        "encoding_time": [_seconds(p.encode_ms for p in group) for group in groups],
        "decoding_time": [_seconds(p.decode_ms for p in group) for group in groups],
    }
    known = {name: values for name, values in results.items() if None not in values}
    return {"name": codec, "description": result.descriptions[codec], "results": known}


def _seconds(times_ms: Iterable[float | None]) -> float | None:
    value = mean(times_ms)
    return None if value is None else rounded(value / _MS_PER_S, 6)
