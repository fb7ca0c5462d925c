"""
Fit what refines progressive pictures, the same for all of them.

    python -m rtcodec.models.fit_progressive --data DATA/train/images

The middles of photographs are coded pass by pass, and for each set and class of samples the weights
that bring what is known nearest to the picture are those of a system of equations. Classes that are
met rarely lean on their level of activity, and that on its set. Writes
`rtcodec/progressive/_weights.h` and `weights.npy`; a new set is a new version of the format.
Minutes on one core; the same pictures give the same weights.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtcodec.bitstream.progressive_file import COMPONENTS, Transform
from rtcodec.console import Progress
from rtcodec.errors import InputError
from rtcodec.media.color import rgb_to_planes
from rtcodec.models.leaning import solved
from rtcodec.progressive.native import Passes
from rtcodec.progressive.refine import (
    CLASSES,
    CLIPS,
    DIRECTIONS,
    LEAST,
    LEVELS,
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

SIDE: Final = 320
"Of what is looked at, at most: many pictures say more than many samples of few."

LEAN: Final = 100.0
"See `solved`; values are in steps."

WEIGHT_MAX: Final = 127  # they have 8 bits
IN_A_LINE: Final = 18  # of what is written

NOISY: Final = 4
"""Of so many photographs one is seen with noise, too: in those that come from the web there is
none left, and filters that only know texture would take noise for it."""

NOISES: Final = (1.0, 2.0, 4.0)
"Standard deviations, white, of R, G and B alike."


def seen(
    path: Path, noise: float = 0.0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int, int]]:
    """
    Yield a photograph's planes as they come to be known, as they are, their step and set.

    Args:
        path: Of the photograph.
        noise: Standard deviation of what is added; of a photograph with noise only luma is seen.
    """
    with Image.open(path) as image:
        left, top = (max(0, (side - SIDE) // 4 * 2) for side in image.size)
        width, height = (min(side, SIDE) for side in image.size)
        middle = image.convert("RGB").crop((left, top, left + width, top + height))
    added = np.random.default_rng(1).normal(0, noise, (height, width, 1))
    rgb = (np.asarray(middle) + added).round().clip(0, 255).astype(np.uint8)
    planes = rgb_to_planes(rgb)
    pictures = (planes.y, planes.u, planes.v)
    passes = Passes(pictures, Transform.WIDE)
    for component in range(1 if noise else COMPONENTS):
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
    systems = np.zeros((SETS, LEVELS, DIRECTIONS, n + 1, n + 1))
    of_classes = systems.reshape(SETS, CLASSES, n + 1, n + 1)
    with Progress("looking", len(paths)) as progress:
        for index, path in enumerate(paths):
            noises = (0.0, NOISES[index // NOISY % len(NOISES)])
            looks = (seen(path, noise) for noise in noises[: 1 + (index % NOISY == 0)])
            for known, wanted, step, number in chain.from_iterable(looks):
                # all planes count alike, whatever their errors
                rows = np.concatenate((differences(known, step), (wanted - known)[..., None]), -1)
                in_steps = rows.astype(np.float32) / step
                of = classes(known, step)
                for k in np.unique(of):
                    these = in_steps[of == k]
                    of_classes[number, k] += these.T @ these
            progress.step(path.name)
    found = solved(systems.sum((1, 2)))
    for pooled in (systems.sum(2), systems):
        found = solved(pooled, found[..., None, :], LEAN)
    whole = np.round(found * (1 << WEIGHT_BITS)).clip(-WEIGHT_MAX, WEIGHT_MAX)
    return np.asarray(whole.reshape(SETS * CLASSES, n), np.int64)


def write(weights: NDArray[np.int64]) -> None:
    """Write them for C and for Python."""
    split = [_wrapped([str(weight) for weight in row]) for row in weights.tolist()]
    c = "\n".join(f"    {{\n{lines}\n    }}," for lines in split)
    (FOLDER / "_weights.h").write_text(
        "/* By rtcodec.models.fit_progressive: 512ths, of pairs and limits by set and class. */\n"
        "#ifndef RTC_PROGRESSIVE_WEIGHTS_H\n#define RTC_PROGRESSIVE_WEIGHTS_H\n\n"
        "#include <stdint.h>\n\n"
        f"enum {{ REFINE_PAIRS = {len(PAIRS)}, REFINE_CLASSES = {CLASSES} }};\n"
        f"enum {{ REFINE_SETS = {SETS} }};\n\n"
        "static const int8_t REFINE_WEIGHTS"
        f"[REFINE_SETS * REFINE_CLASSES][REFINE_PAIRS * {CLIPS}] = {{\n"
        f"{c}\n}};\n\n#endif\n",
        encoding="utf-8",
    )
    np.save(FOLDER / "weights.npy", weights.astype(np.int8), allow_pickle=False)


def _wrapped(row: Sequence[str]) -> str:
    lines = [row[k : k + IN_A_LINE] for k in range(0, len(row), IN_A_LINE)]
    return ",\n".join("        " + ", ".join(line) for line in lines)


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
