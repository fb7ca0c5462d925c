"""
What the side of a tile costs in bytes, and what of a file a region of interest takes.

    python -m benchmarks.study_tiles [--data ../shared/data/dev/medical] [--places 200]

Pictures are coded as `rtcodec serve --studies` does, with tiles of other sides. Of squares at so
many places, drawn evenly over the picture, the share of the file's bytes that has to come before
the square is exact: header, head, and all payloads of each tile that it touches; mean and worst.
The preview, and what had left before the square was asked for, come on top on a link
(`python -m benchmarks.study`). Writes `benchmarks/study_tiles.json`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.rate_distortion import commit
from benchmarks.study import DATA
from rtcodec.bitstream.exact_file import ExactFrame, place_of
from rtcodec.bitstream.exact_format import ExactFormat, write_exact_header
from rtcodec.bitstream.exact_index import region_of
from rtcodec.codec.exact_files import read_picture
from rtcodec.console import say
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder
from rtcodec.exact.plan import plan_picture

OUTPUT = Path(__file__).with_suffix(".json")
SOURCES: Final = ("ct_512_16bit", "mr_1024_12bit")
TILE_BITS: Final = (8, 7, 6, 5)
SIDES: Final = (100, 200)
"Of squares, in samples."

_HEAD_BYTES: Final = 1 + 32
_CHECK_BYTES: Final = 4


def share_of(
    header: ExactFormat, coded: ExactFrame, box: tuple[int, int, int, int], total_bytes: int
) -> float:
    """Return the share of a file of one frame that has to come before *box* is exact."""
    region = region_of(header, *box)
    assert region is not None
    wanted = sum(
        len(coded.payloads[place_of(header, step, component, row * header.tiles[1] + column)])
        for step in range(header.steps)
        for component in range(len(header.components))
        for row in range(region.top, region.bottom)
        for column in range(region.left, region.right)
    )
    payloads = sum(map(len, coded.payloads))
    return (total_bytes - payloads + wanted) / total_bytes


def size_of(header: ExactFormat, coded: ExactFrame) -> int:
    """Return the bytes of a file of one frame, but for a few that sizes take."""
    heads = _HEAD_BYTES + _CHECK_BYTES * len(coded.checks) + 2 * len(coded.payloads)
    return len(write_exact_header(header)) + heads + sum(map(len, coded.payloads))


def measure(path: Path, n_places: int) -> dict[str, Any]:
    """Code a picture with tiles of every side."""
    picture = read_picture(path, keep_identity=False, allow_burned_in=False)
    frame = picture.frames[0]
    planned = plan_picture([frame], bits=picture.bits, signed=picture.signed)
    found: dict[str, Any] = {}
    for bits in TILE_BITS:
        header = replace(planned, tile_bits=bits)
        coded = FrameCoder(header).encode(frame, encode_otherwise)
        total = size_of(header, coded)
        places: dict[str, Any] = {}
        for side in SIDES:
            rng = np.random.default_rng(1)
            most_x, most_y = header.width - side, header.height - side
            corners = rng.integers(0, (most_x + 1, most_y + 1), (n_places, 2)).tolist()
            shares = [share_of(header, coded, (x, y, side, side), total) for x, y in corners]
            places[f"{side}x{side}"] = {
                "mean": round(float(np.mean(shares)), 4),
                "worst": round(max(shares), 4),
            }
        found[str(1 << bits)] = {"bytes": total, "regions": places}
        say(f"{path.stem}, tiles of {1 << bits}: {json.dumps(found[str(1 << bits)])}")
    return found


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    figures = {
        "command": "python -m benchmarks.study_tiles",
        "commit": commit(),
        "machine": hardware(),
        "versions": versions(),
        "places": args.places,
        "pictures": {name: measure(args.data / f"{name}.dcm", args.places) for name in SOURCES},
    }
    args.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
