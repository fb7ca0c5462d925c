"""
What is compared: pictures and videos as yuv420p planes, read once.

Every codec gets the same planes and is measured against them, so no codec pays
for a conversion that another one does not. Images (RGB) are converted here once,
full-range BT.601 as in JFIF, chroma averaged over 2x2. yuv420p video planes are
taken as they are.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rtcodec.errors import InputError
from rtcodec.evaluation.frames import frame_to_planes
from rtcodec.types import MAX_SIDE_PX, Planes

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"Read as one picture through Pillow; everything else is a video."

STILL_RATE = Fraction(25)
"Frame rate a still picture is given where a video codec wants one."

Kind = Literal["image", "video"]


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


def find_inputs(paths: list[Path]) -> list[Path]:
    """
    Return the files meant by *paths*: folders stand for the files in them.

    Raises:
        InputError: If one does not exist, or there is no file at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(f for f in path.iterdir() if f.is_file() and f.name[0] != ".")
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    if not found:
        raise InputError("no input files")
    return found


def read_clip(path: Path, *, max_frames: int | None = None) -> Clip:
    """
    Read an image or a video.

    Args:
        path: A file that Pillow (by its suffix) or FFmpeg reads.
        max_frames: Stop after so many frames; None reads all.

    Raises:
        InputError: If it cannot be read, holds no picture or is too large.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Clip(path.name, "image", (_read_image(path),), STILL_RATE)
    return _read_video(path, max_frames)


def rgb_to_planes(rgb: NDArray[np.uint8]) -> Planes:
    """
    Convert RGB to full-range BT.601 yuv420p. # JFIF 1.02, ITU-T T.871

    Args:
        rgb: uint8 [H, W, 3], H and W 1 or more; odd sizes repeat the last row
            and column for chroma.
    """
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    r, g, b = (padded[..., channel].astype(np.float32) for channel in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u = (b - y) * np.float32(0.5 / (1 - 0.114)) + 128
    v = (r - y) * np.float32(0.5 / (1 - 0.299)) + 128
    return Planes(_to_uint8(y)[:height, :width], _halve(u), _halve(v))


def _halve(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = plane.shape
    blocks = plane.reshape(height // 2, 2, width // 2, 2)  # [h, 2, w, 2]
    return _to_uint8(blocks.mean(axis=(1, 3)))


def _to_uint8(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.clip(np.rint(plane), 0, 255).astype(np.uint8))


def _read_image(path: Path) -> Planes:
    try:
        with Image.open(path) as image:
            if max(image.size) > MAX_SIDE_PX:
                raise InputError(f"{path}: {image.width}x{image.height} is too large")
            return rgb_to_planes(_rgb(ImageOps.exif_transpose(image)))
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not an image that can be read") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3]; transparent parts on white, 16 bits cut to 8."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return np.asarray(image.convert("RGB"))


def _read_video(path: Path, max_frames: int | None) -> Clip:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: no video in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate or STILL_RATE
            frames: list[Planes] = []
            for frame in container.decode(stream):
                frames.append(frame_to_planes(frame))
                if max_frames is not None and len(frames) >= max_frames:
                    break
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: not a video that can be read ({reason})") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not frames:
        raise InputError(f"{path}: no frames in it")
    if any(frame.y.shape != frames[0].y.shape for frame in frames):
        raise InputError(f"{path}: the frame size changes on the way")
    return Clip(path.name, "video", tuple(frames), Fraction(rate))
