"""
What is compared: pictures and videos as yuv420p planes, read once.

Every codec gets the same planes and is measured against them, so no codec pays
for a conversion that another one does not. What is not yuv420p is converted
once by `rtcodec.media`: RGB images to full-range BT.601 as in JPEG.
"""

from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from rtcodec.errors import InputError
from rtcodec.media.reader import MediaReader
from rtcodec.types import Planes

STILL_RATE = Fraction(25)
"Frame rate a still picture is given where a video codec wants one."

Kind = Literal["image", "video"]

MEDIA_SUFFIXES = frozenset(
    (
        *(
            ".png",
            ".jpg",
            ".jpeg",
            ".webp",
            ".avif",
            ".bmp",
            ".gif",
            ".tif",
            ".tiff",
            ".ppm",
            ".pgm",
        ),
        *(".mkv", ".mp4", ".m4v", ".mov", ".webm", ".avi", ".y4m", ".ivf", ".ts", ".mpg", ".mpeg"),
    )
)
"What is taken from a folder; a file that is named is read whatever it is called."


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One input, decoded."""

    name: str
    "Name of the file, without folders."

    kind: Kind

    frames: tuple[Planes, ...]
    "At least one, all of one size."

    frame_rate: Fraction
    "Frames per second, positive."

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.frames[0].width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.frames[0].height

    @property
    def n_pixels(self) -> int:
        """Luma pixels of all frames."""
        return self.width * self.height * len(self.frames)

    @property
    def seconds(self) -> Fraction:
        """Duration."""
        return len(self.frames) / self.frame_rate


def clip_sha256(clip: Clip) -> str:
    """Return what tells clips apart whatever they are called: kind, rate, size and samples."""
    digest = sha256(f"{clip.kind} {clip.frame_rate} {clip.width}x{clip.height}".encode())
    for planes in clip.frames:
        for plane in (planes.y, planes.u, planes.v):
            digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def find_inputs(paths: list[Path]) -> list[Path]:
    """
    Return the files meant by *paths*: a folder stands for the images and videos in it.

    Raises:
        InputError: If one does not exist, or there is no file at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in MEDIA_SUFFIXES and file.name[0] != "." and file.is_file()
            )
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    if not found:
        raise InputError(
            "no input files" if not paths else f"{paths[0]}: no images or videos in it"
        )
    return found


def read_clip(path: Path, *, max_frames: int | None = None) -> Clip:
    """
    Read an image or a video.

    Args:
        path: A file that FFmpeg or Pillow reads.
        max_frames: Stop after so many frames; None reads all.

    Raises:
        InputError: If it cannot be read, holds no picture or is too large.
    """
    with MediaReader(path) as reader:
        frames = tuple(planes for _, planes in islice(reader.frames(), max_frames))
        kind: Kind = "image" if reader.frame_rate is None else "video"
        return Clip(path.name, kind, frames, reader.frame_rate or STILL_RATE)
