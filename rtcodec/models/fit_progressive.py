"""
Fit what refines progressive pictures, the same for all of them.

    python -m rtcodec.models.fit_progressive --data DATA/train/images

Photographs are coded pass by pass, and for each set and class of samples the weights that bring
what is known nearest to the picture are those of a system of equations. Writes
`rtcodec/progressive/_weights.h` and `weights.py`; a new set is a new version of the format.
Minutes on one core; the same pictures give the same weights.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtcodec.bitstream.progressive_file import COMPONENTS, Transform
from rtcodec.console import Progress
from rtcodec.errors import InputError
from rtcodec.media.color import rgb_to_planes
from rtcodec.progressive.native import Passes
from rtcodec.progressive.refine import (
    CLASSES,
    CLIPS,
    LEAST,
    MOST,
    PAIRS,
    SETS,
    WEIGHT_BITS,
    classes,
    differences,
    set_of,
    step_of,
)

FOLDER: Final = Path(__file__).parents[1] / "progressive"
PHOTOGRAPHS: Final = ("clicn_*.webp", "gb82_*.webp")
"At their full resolution: what was scaled down or compressed is smoother than what comes."

COARSEST_SEEN, FINEST_SEEN = 6, 0
"Bit planes that are looked at."

PASSES: Final = 4  # of a plane
EVERY: Final = 3  # passes: one of them is looked at, all four in turn
PRIOR: Final = 1e-3
"Weights shrink towards 0 as if this part of what a class has were noise."


def seen(path: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int, int]]:
    """Yield a photograph's planes as they come to be known, as they are, their step and set."""
    with Image.open(path) as image:
        planes = rgb_to_planes(np.asarray(image.convert("RGB")))
    pictures = (planes.y, planes.u, planes.v)
    passes = Passes(pictures, Transform.WIDE)
    for component in range(COMPONENTS):
        wanted = (pictures[component].astype(np.int64) - 128) * 64
        plane, turn = passes.plane_counts[component] - 1, 2
        while plane >= FINEST_SEEN:
            passes.next(component, (0, 0))
            turn = (turn + 1) % PASSES
            plane -= not turn
            if plane in range(FINEST_SEEN, COARSEST_SEEN + 1) and not (plane * 4 + turn) % EVERY:
                known = passes.known(component).clip(LEAST, MOST).astype(np.int64)
                is_chroma = component > 0
                yield known, wanted, step_of(plane, turn), set_of(plane, is_chroma=is_chroma)


def fit(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Return weights of each class of each set [SETS * CLASSES, pairs * CLIPS]."""
    n = len(PAIRS) * CLIPS
    products, wishes = np.zeros((SETS * CLASSES, n, n)), np.zeros((SETS * CLASSES, n))
    with Progress("looking", len(paths)) as progress:
        for path in paths:
            for known, wanted, step, number in seen(path):
                # all planes count alike, whatever their errors
                x = differences(known, step).astype(np.float32) / step
                off = (wanted - known).astype(np.float32) / step
                of = classes(known)
                for k in range(CLASSES):
                    rows = x[of == k]
                    products[number * CLASSES + k] += rows.T @ rows
                    wishes[number * CLASSES + k] += rows.T @ off[of == k]
            progress.step(path.name)
    noise = PRIOR * np.trace(products, axis1=1, axis2=2) / n + 1e-9  # of classes never met, too
    found = [
        np.linalg.solve(a + share * np.eye(n), b)
        for a, b, share in zip(products, wishes, noise, strict=True)
    ]
    return np.asarray(np.round(np.stack(found) * (1 << WEIGHT_BITS)), np.int64)


def write(weights: NDArray[np.int64]) -> None:
    """Write them for C and for Python."""
    rows = [", ".join(map(str, row)) for row in weights.tolist()]
    split = [_wrapped(row) for row in rows]
    c = "\n".join(f"    {{\n{lines}\n    }}," for lines in split)
    (FOLDER / "_weights.h").write_text(
        "/* By rtcodec.models.fit_progressive: 4096ths, of pairs and limits by set and class. */\n"
        "#ifndef RTC_PROGRESSIVE_WEIGHTS_H\n#define RTC_PROGRESSIVE_WEIGHTS_H\n\n"
        "#include <stdint.h>\n\n"
        f"enum {{ REFINE_PAIRS = {len(PAIRS)}, REFINE_CLASSES = {CLASSES} }};\n"
        f"enum {{ REFINE_SETS = {SETS} }};\n\n"
        "static const int16_t REFINE_WEIGHTS"
        f"[REFINE_SETS * REFINE_CLASSES][REFINE_PAIRS * {CLIPS}] = {{\n"
        f"{c}\n}};\n\n#endif\n",
        encoding="utf-8",
    )
    python = "\n".join(f"    (\n{lines},\n    )," for lines in split)
    (FOLDER / "weights.py").write_text(
        '"""\nWeights of refining, as `_weights.h` has them: by rtcodec.models.fit_progressive.\n'
        '"""\n\n'
        "from typing import Final\n\n"
        f"WEIGHTS: Final = (\n{python}\n)  # fmt: skip\n"
        '"4096ths, of pairs and limits, [sets * classes, pairs * CLIPS]."\n',
        encoding="utf-8",
    )


def _wrapped(row: str) -> str:
    values = row.split(", ")
    return ",\n".join("        " + ", ".join(values[k : k + 12]) for k in range(0, len(values), 12))


def main(argv: Sequence[str] | None = None) -> int:
    """Fit and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--every", type=int, default=1, help="take one in so many (default 1)")
    args = parser.parse_args(argv)
    paths = sorted(path for kind in PHOTOGRAPHS for path in args.data.glob(kind))[:: args.every]
    if not paths:
        raise InputError(f"no photographs like {' or '.join(PHOTOGRAPHS)} in {args.data}")
    write(fit(paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
