"""
One small file of training pictures, for machines without PyAV and the data.

    weights   float64 [K]          how often each picture is drawn
    p0000     uint8 [bytes]        an image file as it was, or
    f0000     uint8 [bytes]        a clip's frame: y above u | v as one lossless grey WebP

An .npz without pickles. Images keep their bytes, so they load exactly as from the folder. Clips
give as many frames as fit: first all first frames, then all last ones, then between.
"""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtcodec.errors import InputError
from rtcodec.models.data import (
    CLIP_WEIGHT,
    Bytes,
    Picture,
    PlaneArrays,
    find_clips,
    find_images,
    image_weight,
    read_clip,
    rgb_to_planes,
)

_OVERHEAD_BYTES = 600  # of one npz entry: local and central headers, npy header


def planes_to_grey(y: Bytes, u: Bytes, v: Bytes) -> Bytes:
    """Planes [H, W] and [H/2, W/2] twice -> one picture [H * 3 / 2, W]."""
    return np.concatenate((y, np.concatenate((u, v), 1)), 0)


def grey_to_planes(grey: Bytes) -> PlaneArrays:
    """Invert `planes_to_grey`."""
    h, half = grey.shape[0] // 3, grey.shape[1] // 2
    chroma = grey[2 * h :]
    return grey[: 2 * h].copy(), chroma[:, :half].copy(), chroma[:, half:].copy()


def pack(folder: Path, out: Path, *, limit_bytes: int) -> tuple[int, int]:
    """
    Write the images of *folder*, and as many frames of its clips as fit, to *out*.

    Returns:
        Pictures written and bytes of the file.

    Raises:
        InputError: If the folder holds no pictures or the images alone exceed the limit.
    """
    entries: list[tuple[bytes, float, str]] = []
    for path in find_images(folder):
        entries.append((path.read_bytes(), image_weight(path), "p"))
    clips = find_clips(folder)
    used = sum(len(content) + _OVERHEAD_BYTES for content, _, _ in entries)
    if used > limit_bytes:
        raise InputError(f"{folder}: images alone take {used} bytes, more than {limit_bytes}")
    chosen: list[tuple[int, bytes]] = []
    for clip, content in _frames_in_order(clips):
        used += len(content) + _OVERHEAD_BYTES
        if used > limit_bytes:
            break
        chosen.append((clip, content))
    counts = np.bincount([clip for clip, _ in chosen], minlength=len(clips))
    entries += [(content, CLIP_WEIGHT / float(counts[clip]), "f") for clip, content in chosen]
    if not entries:
        raise InputError(f"{folder}: no pictures to pack")
    _write(out, entries)
    return len(entries), out.stat().st_size


def _frames_in_order(clips: list[Path]) -> Iterator[tuple[int, bytes]]:
    """Every frame of every clip with the clip's number: firsts, lasts, then those between."""
    rank = 0
    while True:
        found = False
        for number, path in enumerate(clips):
            frames = list(read_clip(path))
            order = [0, len(frames) - 1, *range(1, len(frames) - 1)][: len(frames)]
            if rank < len(order):
                found = True
                yield number, _to_webp(planes_to_grey(*frames[order[rank]]))
        if not found:
            return
        rank += 1


def _to_webp(grey: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(buffer, "WEBP", lossless=True, method=4, quality=50)
    return buffer.getvalue()


def _write(out: Path, entries: list[tuple[bytes, float, str]]) -> None:
    """Write the .npz by rename."""
    arrays: dict[str, NDArray[np.generic]] = {
        f"{kind}{i:05d}": np.frombuffer(content, np.uint8)
        for i, (content, _, kind) in enumerate(entries)
    }
    arrays["weights"] = np.array([weight for _, weight, _ in entries])
    part = out.with_name(f".{out.name}.partial")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def unpack(path: Path) -> list[Picture]:
    """
    Read what `pack` wrote.

    Raises:
        InputError: If *path* is missing or is not such a file.
    """
    pictures: list[Picture] = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            weights = data["weights"]
            for name in sorted(set(data.files) - {"weights"}, key=lambda key: key[1:]):
                with Image.open(io.BytesIO(data[name].tobytes())) as image:
                    rgb = np.asarray(image.convert("RGB"))
                planes = grey_to_planes(rgb[..., 0]) if name[0] == "f" else rgb_to_planes(rgb)
                pictures.append(Picture(*planes, float(weights[len(pictures)])))
    except (EOFError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a packed data file: {error}") from None
    if not pictures:
        raise InputError(f"{path}: holds no pictures")
    return pictures
