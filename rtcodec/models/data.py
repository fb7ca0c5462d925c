"""
Training pictures in memory, and random augmented crops of them as YUV420 planes.

Reads a folder with `images/` (what Pillow opens), `video/` (Matroska, through PyAV) or both, or
one file made by `rtcodec.models.pack`. Nothing here knows about networks.
"""

import queue
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from rtcodec.errors import InputError
from rtcodec.models.screens import ScreenPainter

Bytes = NDArray[np.uint8]
PlaneArrays = tuple[Bytes, Bytes, Bytes]
"y [H, W], u and v [H/2, W/2]; sides are even."

Batch = tuple[Tensor, Tensor, Tensor]
"Float y [N, 1, size, size], u and v half that, sample values / 255 - 0.5."

IMAGE_SUFFIXES = frozenset((".webp", ".png", ".jpg", ".jpeg"))

SCREEN_WEIGHT = 6.0
"Screen captures are few and unlike photographs: each counts this many times."

DRAWN_SCREEN_PX, DRAWN_WEIGHT = 448, 0.7
"Side of a screen drawn by code, and how often each is used."

GREY_SHARE = 0.08
"Part of the crops that lose their colour: without them luma leaked into the chroma of grey scenes."

CLIP_WEIGHT = 1.5
"The frames of one clip together count as so many photographs: they are nearly alike."


@dataclass(frozen=True, slots=True)
class Picture:
    """One YUV420 picture; sides are even."""

    y: Bytes
    u: Bytes
    v: Bytes
    weight: float
    "How often it is drawn, relative to a photograph."

    clip: int | None = None
    "Number of the clip that it is a frame of; a clip's frames follow each other in order."


def rgb_to_planes(rgb: Bytes) -> PlaneArrays:
    """
    RGB [H, W, 3] to full-range BT.601 4:2:0 planes (JFIF), chroma by 2x2 means.

    Sides are cropped to even.
    """
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    ycc = np.asarray(Image.fromarray(rgb[:height, :width]).convert("YCbCr"), np.float32)
    chroma = ycc[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    u, v = np.moveaxis(np.floor(chroma + 0.5).astype(np.uint8), 2, 0)
    return ycc[..., 0].astype(np.uint8), np.ascontiguousarray(u), np.ascontiguousarray(v)


def planes_to_rgb(y: Bytes, u: Bytes, v: Bytes) -> Bytes:
    """Invert `rgb_to_planes` but for rounding, chroma samples doubled; RGB [H, W, 3]."""
    chroma = [plane.repeat(2, 0).repeat(2, 1) for plane in (u, v)]
    picture = Image.merge("YCbCr", [Image.fromarray(plane) for plane in (y, *chroma)])
    return np.asarray(picture.convert("RGB"))


def image_files(folder: Path) -> list[Path]:
    """Images directly in *folder*, by name; InputError if it is no folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def image_weight(path: Path) -> float:
    """How often an image is drawn, by the mark for screen captures in its name."""
    return SCREEN_WEIGHT if "sc_" in path.name else 1.0


def read_image(path: Path) -> PlaneArrays:
    """Planes of one image; InputError if it is none."""
    try:
        with Image.open(path) as image:
            return rgb_to_planes(np.asarray(image.convert("RGB")))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable image: {error}") from None


def load_pictures(folder: Path) -> list[Picture]:
    """
    All pictures of *folder* (see the module's text), or of a packed `.npz`.

    Raises:
        InputError: If there is no such folder or file, or it holds no picture.
    """
    if folder.suffix == ".npz":
        from rtcodec.models.pack import unpack

        return unpack(folder)
    pictures = [Picture(*read_image(path), image_weight(path)) for path in find_images(folder)]
    for number, path in enumerate(find_clips(folder)):
        frames = list(read_clip(path))
        pictures += [Picture(*planes, CLIP_WEIGHT / len(frames), number) for planes in frames]
    if not pictures:
        raise InputError(f"{folder}: no pictures in its images/ and video/")
    return pictures


def clips_of(pictures: Sequence[Picture]) -> list[list[PlaneArrays]]:
    """The frames of every clip among *pictures*, in order."""
    clips: dict[int, list[PlaneArrays]] = {}
    for picture in pictures:
        if picture.clip is not None:
            clips.setdefault(picture.clip, []).append((picture.y, picture.u, picture.v))
    return list(clips.values())


def drawn_screens(pictures: Sequence[Picture], *, count: int, seed: int) -> list[Picture]:
    """*count* pictures by `ScreenPainter`, some of *pictures* in their windows."""
    photographs = [planes_to_rgb(p.y, p.u, p.v) for p in pictures[:: len(pictures) // 16 + 1]]
    painter = ScreenPainter(photographs, side=DRAWN_SCREEN_PX, seed=seed)
    return [Picture(*rgb_to_planes(painter.draw()), DRAWN_WEIGHT) for _ in range(count)]


def find_images(folder: Path) -> list[Path]:
    """Images of a training folder; InputError if it is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not (folder / "images").is_dir() and not (folder / "video").is_dir():
        raise InputError(f"{folder}: has neither images/ nor video/")
    return image_files(folder / "images") if (folder / "images").is_dir() else []


def find_clips(folder: Path) -> list[Path]:
    """Clips of a training folder, by name."""
    return sorted((folder / "video").glob("*.mkv"))


def read_clip(path: Path) -> Iterator[PlaneArrays]:
    """Planes of every frame of a clip, as yuv420p, sides cropped to even."""
    try:
        import av
    except ModuleNotFoundError:
        raise InputError(f"{path}: clips need PyAV; without it train from a packed file") from None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yuv = frame.reformat(format="yuv420p")
                h, w = yuv.height // 2, yuv.width // 2
                sizes = ((2 * h, 2 * w), (h, w), (h, w))
                y, u, v = (
                    np.frombuffer(memoryview(plane), np.uint8)
                    .reshape(-1, plane.line_size)[:rows, :columns]
                    .copy()
                    for plane, (rows, columns) in zip(yuv.planes, sizes, strict=True)
                )
                yield y, u, v
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path}: not a readable clip: {error}") from None


class Crops:
    """
    An endless supply of random crops: [N, 1, size, size] luma and half-size chroma, -0.5..0.5.

    Two objects with the same pictures, size and seed give the same crops.

    Raises:
        InputError: If no picture is large enough.
    """

    def __init__(self, pictures: list[Picture], *, size: int, seed: int) -> None:
        self._pictures = [p for p in pictures if min(p.y.shape) >= size]
        if not self._pictures:
            raise InputError(f"no picture has both sides of at least {size} pixels")
        self._weights = np.cumsum([p.weight for p in self._pictures])
        self._size = size
        self._random = random.Random(seed)

    def batch(self, count: int) -> Batch:
        """Draw *count* crops."""
        crops = [self._augment(self._crop()) for _ in range(count)]
        y, u, v = (torch.stack(planes) for planes in zip(*crops, strict=True))
        return y, u, v

    def _crop(self) -> list[Tensor]:
        """Planes of one crop, [1, size, size] and half, float 0..255."""
        rng, size = self._random, self._size
        place = np.searchsorted(self._weights, rng.random() * self._weights[-1], side="right")
        picture = self._pictures[min(int(place), len(self._pictures) - 1)]
        height, width = picture.y.shape
        # Resize by 1/zoom: mostly none or down (sharper detail), sometimes up (as smooth as large
        # photographs).
        zoom = 1.0
        if rng.random() < 0.4:
            zoom = rng.uniform(0.7, min(2.0, min(height, width) / size))
        side = min(int(size * zoom) // 2 * 2, height // 2 * 2, width // 2 * 2)
        top = rng.randrange(0, height - side + 1, 2)
        left = rng.randrange(0, width - side + 1, 2)
        planes = []
        for plane, scale in ((picture.y, 1), (picture.u, 2), (picture.v, 2)):
            rows = slice(top // scale, (top + side) // scale)
            columns = slice(left // scale, (left + side) // scale)
            planes.append(torch.from_numpy(plane[rows, columns].astype(np.float32))[None])
        if side != size:
            planes = [
                F.interpolate(p[None], (size // s, size // s), mode="bilinear", antialias=True)[0]
                for p, s in zip(planes, (1, 2, 2), strict=True)
            ]
        return planes

    def _augment(self, planes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Flips, exposure, saturation and range; back to 8-bit samples, / 255 - 0.5."""
        rng = self._random
        if rng.random() < 0.5:
            planes = [p.flip(2) for p in planes]
        if rng.random() < 0.15:
            planes = [p.flip(1) for p in planes]
        if rng.random() < 0.15:
            planes = [p.transpose(1, 2) for p in planes]
        y, u, v = (p / 255.0 - 0.5 for p in planes)
        if rng.random() < 0.4:
            y = y * rng.uniform(0.7, 1.15) + rng.uniform(-0.12, 0.12)
            chroma = rng.uniform(0.6, 1.3)
            u, v = u * chroma, v * chroma
        if rng.random() < 0.15:
            u, v = v, u
        if rng.random() < GREY_SHARE:
            u, v = torch.zeros_like(u), torch.zeros_like(v)
        if rng.random() < 0.5:  # limited range, as video has it
            y, u, v = y * (219 / 255) - 1.5 / 255, u * (224 / 255), v * (224 / 255)
        return _to_samples(y), _to_samples(u), _to_samples(v)


class CropsAhead:
    """
    Batches of several `Crops`, each cut ahead by a thread of its own; a context manager.

    The suppliers take turns, so the order of batches does not depend on the threads.
    """

    AHEAD = 4
    "Batches that each thread may be ahead."

    def __init__(self, suppliers: Sequence[Crops], *, count: int) -> None:
        """
        Args:
            suppliers: One for each thread, each of another seed.
            count: Crops in a batch.
        """
        self._count = count
        self._turn = 0
        self._ended = threading.Event()
        self._queues: list[queue.Queue[Batch]] = [queue.Queue(self.AHEAD) for _ in suppliers]
        self._threads = [
            threading.Thread(target=self._fill, args=pair, daemon=True)
            for pair in zip(suppliers, self._queues, strict=True)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def batch(self, count: int) -> Batch:
        """The next batch; *count* is that of the constructor."""
        if count != self._count:
            raise ValueError(f"batches of {self._count} crops are cut ahead, not of {count}")
        batch = self._queues[self._turn].get()
        self._turn = (self._turn + 1) % len(self._queues)
        return batch

    def _fill(self, crops: Crops, batches: "queue.Queue[Batch]") -> None:
        while not self._ended.is_set():
            batch = crops.batch(self._count)
            while not self._ended.is_set():
                try:
                    batches.put(batch, timeout=0.1)
                except queue.Full:
                    continue
                break


def _to_samples(plane: Tensor) -> Tensor:
    """Round to 8-bit samples: the codec never sees anything else."""
    return ((plane + 0.5) * 255).round().clamp(0, 255) / 255 - 0.5
