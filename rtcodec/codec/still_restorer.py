"""
JPEG files without their artefacts: as planes for an encoder, or as RGB to look at.

A shell around a `Restorer`: what knows of files, tables and subsampling.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtcodec.engine.restorer import Restorer, open_restorer
from rtcodec.errors import InputError
from rtcodec.media.color import FULL_BT601, double, halve, planes_to_rgb
from rtcodec.media.quantiser import jpeg_steps
from rtcodec.media.reader import MediaReader
from rtcodec.restorer_model import JPEG, load_restorer_model
from rtcodec.types import Planes

SUFFIXES: Final = (".jpg", ".jpeg")
_HALF_CHROMA: Final = ("yuvj420p", "yuv420p")
"Formats whose chroma `MediaReader` gives as it is in the file."


@dataclass(frozen=True, slots=True, eq=False)
class RestoredStill:
    """One picture."""

    rgb: NDArray[np.uint8]
    "uint8 [H, W, 3]; [H, W] of a gray picture."

    decoded: Planes
    "As the file has it, chroma of half size."

    restored: Planes
    "The same without artefacts."


def steps_of(path: Path) -> NDArray[np.float32]:
    """
    Return the steps [128] of a JPEG file.

    Raises:
        InputError: If it is none, or of no kind that can be restored.
    """
    steps = jpeg_steps(path)
    if steps is None:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        raise InputError(f"{path}: not a JPEG file of gray or YCbCr: only those can be restored")
    return steps


def restoring(path: Path, *, threads: int) -> Callable[[Planes], Planes]:
    """
    Return what takes the artefacts out of a JPEG file's planes, as `MediaReader` gives them.

    Raises:
        InputError: As `steps_of`.
        ConfigError: If nothing is installed that runs the network.
    """
    steps = steps_of(path)
    restorer = open_restorer(load_restorer_model(JPEG), threads=threads)
    return lambda planes: restorer.restore(planes, steps)


def restore_still(path: Path, restorer: Restorer) -> RestoredStill:
    """
    Decode a JPEG file and take out what coding it did.

    Raises:
        InputError: If it cannot be read or is no JPEG file of gray or YCbCr.
    """
    steps = steps_of(path)
    with MediaReader(path) as reader:
        _, decoded = next(reader.frames())
        kind = reader.source_format
    if kind not in _HALF_CHROMA and not kind.startswith("gray"):
        return _with_finer_chroma(path, steps, restorer)
    restored = restorer.restore(decoded, steps)
    rgb = restored.y if kind.startswith("gray") else planes_to_rgb(restored, FULL_BT601)
    return RestoredStill(rgb, decoded, restored)


def _with_finer_chroma(path: Path, steps: NDArray[np.float32], restorer: Restorer) -> RestoredStill:
    """Chroma of full size, or half as wide: what is done to it at half size is added to it."""
    planes = _full_size(path)
    y, chroma = planes[..., 0], planes[..., 1:].astype(np.float32)
    u, v = (np.rint(halve(chroma[..., i])).astype(np.uint8) for i in range(2))
    decoded = Planes(np.ascontiguousarray(y), u, v)
    restored = restorer.restore(decoded, steps)
    for i, (before, after) in enumerate(((u, restored.u), (v, restored.v))):
        difference = after.astype(np.float32) - before
        chroma[..., i] += double(difference, planes.shape[0], planes.shape[1])
    samples = np.clip(np.rint(chroma), 0, 255).astype(np.uint8)
    picture = Image.fromarray(np.dstack((restored.y, samples)), "YCbCr")
    return RestoredStill(np.asarray(picture.convert("RGB")), decoded, restored)


def _full_size(path: Path) -> NDArray[np.uint8]:
    """Return YCbCr, uint8 [H, W, 3], of a file that is that inside."""
    try:
        with Image.open(path) as image:
            image.draft("YCbCr", image.size)
            if image.mode != "YCbCr":
                raise InputError(f"{path}: JPEG of {image.mode}; gray and YCbCr can be restored")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
