"""
Exact pictures beside other lossless codecs: ratio and speed on one core.

    python -m benchmarks.exact [--data ../shared/data/dev/medical] [--own] [--output FILE]

Every DICOM file of 8 to 16 bits in the folder and, with --own, those that come with pydicom. Raw is
what the samples take as stored: 16 bits where so many are allocated. All codecs are given the
same integers, less the smallest, frame by frame; JPEG-LS colours by component, the others as RGB.
Ours is the whole .rtc but for notes: header, fits, hash, check words. `files` has the same of what
`encode --exact-codec` writes. Speeds are by processor time, the best of a few runs; of .rtc files
with proof, both ways, and without the search for fits, which is given apart.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactReader, ExactWriter, FrameKind
from rtcodec.codec.exact_codecs import (
    EXACT_CODECS,
    OWN,
    decode_frame,
    encode_whole,
    whole_format,
)
from rtcodec.codec.exact_files import read_picture
from rtcodec.console import say
from rtcodec.dicom.picture import Picture
from rtcodec.errors import RtcodecError
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven
from rtcodec.exact.plan import plan_picture

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "dev" / "medical"
OUTPUT = Path(__file__).with_suffix(".json")
RUNS = 7
ENOUGH_S = 1.0  # of runs of one kind

OWN_FILES = (
    "CT_small.dcm", "MR_small.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm",
    "examples_palette.dcm", "examples_rgb_color.dcm",
)  # fmt: skip
"""Of pydicom's files those with a real picture that was never coded with loss, as far as they say,
and is not in the folder."""

Image = NDArray[Any]
"[H, W] or [H, W, 3], unsigned."

Encode = Callable[[Image], bytes | bytearray]
Decode = Callable[[bytes], Image]

RIVALS: dict[str, tuple[bool, Encode, Decode]] = {
    "jpeg_ls": (False, imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
    "jpeg_2000": (
        True,
        lambda image: imagecodecs.jpeg2k_encode(image, level=0, reversible=True),
        imagecodecs.jpeg2k_decode,
    ),
    "htj2k": (
        True,
        lambda image: imagecodecs.htj2k_encode(image, reversible=True),
        imagecodecs.htj2k_decode,
    ),
    "jpeg_xl": (
        True,
        lambda image: imagecodecs.jpegxl_encode(image, lossless=True, effort=7, numthreads=1),
        lambda data: imagecodecs.jpegxl_decode(data, numthreads=1),
    ),
}
"Name: whether colours go together, encoder, decoder."


def timed(work: Callable[[], Any], runs: int = RUNS) -> tuple[Any, float]:
    """Return what *work* gives and the shortest of its runs, in seconds of processor."""
    best, spent, result = float("inf"), 0.0, None
    while runs and spent < ENOUGH_S:
        start = time.process_time()
        result = work()
        took = time.process_time() - start
        best, spent, runs = min(best, took), spent + took, runs - 1
    return result, best


def measure_file(picture: Picture, codec: str = OWN, max_error: int = 0) -> dict[str, float]:
    """Measure `.rtc` files of a codec of `EXACT_CODECS`; every frame is proven."""
    kind = EXACT_CODECS[codec]

    def encode() -> bytes:
        stream = io.BytesIO()
        writer, coder = ExactWriter(stream, header), FrameCoder(header)
        for frame in picture.frames:
            if kind == FrameKind.TILES:
                writer.write(coder.encode(frame, encode_otherwise))
            else:
                writer.write(encode_whole(header, frame, kind))
        writer.close()
        return stream.getvalue()

    def decode() -> None:
        reader = ExactReader(io.BytesIO(data))
        coder = FrameCoder(reader.header)
        for coded in reader:
            assert coded.kind == kind
            assert is_proven(reader.header, coded, decode_frame(reader.header, coder, coded))

    plan_s = time.process_time()
    if kind == FrameKind.TILES:
        header = plan_picture(
            picture.frames, bits=picture.bits, signed=picture.signed, max_error=max_error
        )
    else:
        header = whole_format(picture, kind, b"")
    plan_s = time.process_time() - plan_s
    data, encode_s = timed(encode)
    _, decode_s = timed(decode)
    return {**figures(picture, len(data), encode_s, decode_s), "plan_s": round(plan_s, 3)}


def measure_rival(
    picture: Picture,
    together: bool,
    encode: Encode,
    decode: Decode,
) -> dict[str, float]:
    """Measure another codec; every image is compared."""
    least = min(int(frame.min()) for frame in picture.frames)
    kind = np.uint8 if picture.frames[0].dtype.itemsize == 1 else np.uint16
    images = []
    for frame in picture.frames:
        unsigned = (frame.astype(np.int32) - least).astype(kind)
        is_whole = together and unsigned.shape[2] == 3
        parts = [unsigned] if is_whole else [unsigned[..., k] for k in range(unsigned.shape[2])]
        images += [np.ascontiguousarray(part) for part in parts]
    coded, encode_s = timed(lambda: [bytes(encode(image)) for image in images])
    decoded, decode_s = timed(lambda: [decode(data) for data in coded])
    assert all(np.array_equal(a, b) for a, b in zip(images, decoded, strict=True))
    return figures(picture, sum(map(len, coded)), encode_s, decode_s)


def figures(picture: Picture, size: int, encode_s: float, decode_s: float) -> dict[str, float]:
    """Return what one codec did with one picture."""
    raw = sum(frame.nbytes for frame in picture.frames)
    return {
        "bytes": size,
        "ratio": round(raw / size, 4),
        "encode_mb_per_s": round(raw / encode_s / 1e6, 1),
        "decode_mb_per_s": round(raw / decode_s / 1e6, 1),
    }


def measure(path: Path) -> dict[str, Any] | None:
    """Measure all codecs on one file; None if it is not for them."""
    try:
        picture = read_picture(path, keep_identity=False, allow_burned_in=True)
    except RtcodecError as error:
        say(f"left out: {path.name} ({type(error).__name__})")
        return None
    rows, columns, components = picture.frames[0].shape
    result: dict[str, Any] = {
        "file": path.name,
        "shape": [len(picture.frames), rows, columns, components],
        "bits": picture.bits,
        "ours": measure_file(picture),
        **{name: measure_rival(picture, *rival) for name, rival in RIVALS.items()},
        "files": {codec: measure_file(picture, codec) for codec in EXACT_CODECS if codec != OWN},
        "ours_max_error": {k: measure_file(picture, OWN, k)["ratio"] for k in (1, 2, 5)},
    }
    line = ", ".join(f"{name} {result[name]['ratio']:.3f}" for name in ("ours", *RIVALS))
    say(f"{path.name}: {line}; ours decodes {result['ours']['decode_mb_per_s']} MB/s")
    for codec, row in {OWN: result["ours"], **result["files"]}.items():
        speeds = f"{row['encode_mb_per_s']} / {row['decode_mb_per_s']} MB/s"
        say(f"  {codec}: .rtc {row['ratio']:.2f}, {speeds}, fits {row['plan_s']} s")
    return result


def own_files() -> list[Path]:
    """Return where OWN_FILES lie."""
    from pydicom import data

    folder = Path(data.__file__).parent / "test_files"
    return [folder / name for name in OWN_FILES]


def commit() -> str:
    """Return the checkout's commit."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def mean_ratio(results: Sequence[dict[str, Any]], name: str) -> float:
    """Return the geometric mean of what one codec reached."""
    return round(float(np.exp(np.mean([np.log(result[name]["ratio"]) for result in results]))), 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of DICOM files")
    parser.add_argument("--own", action="store_true", help="also the files that come with pydicom")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    paths = sorted(options.data.glob("*.dcm")) + (own_files() if options.own else [])
    results = [result for path in paths if (result := measure(path)) is not None]
    means = {name: mean_ratio(results, name) for name in ("ours", *RIVALS)}
    say(f"geometric means: {means}")
    report = {
        "hardware": hardware(),
        "commit": commit(),
        "versions": {**versions(), "imagecodecs": imagecodecs.__version__},
        "geometric_mean_ratio": means,
        "files": results,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
