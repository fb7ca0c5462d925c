"""
Training pictures in memory, and random augmented crops of them as YUV420 planes.

Reads a folder with `images/` (anything Pillow opens) and `video/` (anything PyAV opens; skipped where PyAV is
absent), or one packed file made by `pack`. Nothing here knows about networks.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Bytes = NDArray[np.uint8]

SCREEN_WEIGHT = 6.0
"Screen captures are few and unlike photographs: each counts this many times."


@dataclass(frozen=True, slots=True)
class Picture:
    """One YUV420 picture; sides are even."""

    y: Bytes
    u: Bytes
    v: Bytes
    weight: float
    "How often it is drawn, relative to a photograph."


def rgb_to_planes(rgb: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """RGB [H, W, 3] to full-range BT.601 4:2:0 planes (JFIF), chroma by 2x2 means; sides cropped to even."""
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    ycc = np.asarray(Image.fromarray(rgb[:height, :width]).convert("YCbCr"), np.float32)
    chroma = ycc[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    u, v = np.moveaxis(np.floor(chroma + 0.5).astype(np.uint8), 2, 0)
    return ycc[..., 0].astype(np.uint8), np.ascontiguousarray(u), np.ascontiguousarray(v)


def load_pictures(folder: Path) -> list[Picture]:
    """All pictures of *folder* (see the module's text); frames of one clip share the weight of one photograph and a half."""
    if folder.suffix == ".npz":
        return unpack(folder)
    pictures = []
    for path in sorted((folder / "images").iterdir()):
        if path.suffix.lower() not in {".webp", ".png", ".jpg", ".jpeg"}:
            continue
        weight = SCREEN_WEIGHT if "sc_" in path.name else 1.0
        with Image.open(path) as image:
            pictures.append(Picture(*rgb_to_planes(np.asarray(image.convert("RGB"))), weight))
    for path in sorted((folder / "video").glob("*.mkv")):
        frames = list(read_clip(path))
        pictures += [Picture(*planes, 1.5 / len(frames)) for planes in frames]
    return pictures


def read_clip(path: Path) -> Iterator[tuple[Bytes, Bytes, Bytes]]:
    """Planes of every frame of a yuv420p clip."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes = frame.reformat(format="yuv420p").to_ndarray()  # [H * 3 / 2, W]
            h, w = frame.height, frame.width
            yield (
                planes[:h].copy(),
                planes[h : h + h // 4].reshape(h // 2, w // 2).copy(),
                planes[h + h // 4 :].reshape(h // 2, w // 2).copy(),
            )


def pack(folder: Path, out: Path) -> None:
    """Write *folder* as one uncompressed-index, deflated .npz that needs only numpy to read."""
    arrays: dict[str, NDArray[np.generic]] = {}
    pictures = load_pictures(folder)
    for i, picture in enumerate(pictures):
        arrays |= {f"y{i}": picture.y, f"u{i}": picture.u, f"v{i}": picture.v}
    arrays["weights"] = np.array([picture.weight for picture in pictures])
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]


def unpack(path: Path) -> list[Picture]:
    """Read what `pack` wrote."""
    with np.load(path, allow_pickle=False) as data:
        weights = data["weights"]
        return [
            Picture(data[f"y{i}"], data[f"u{i}"], data[f"v{i}"], float(weight))
            for i, weight in enumerate(weights)
        ]


class Crops:
    """An endless supply of random crops: [N, 1, size, size] luma and half-size chroma, in -0.5..0.5."""

    def __init__(self, pictures: list[Picture], *, size: int, seed: int) -> None:
        self._pictures = [p for p in pictures if min(p.y.shape) >= size]
        if not self._pictures:
            raise ValueError(f"no picture has both sides of at least {size} pixels")
        self._weights = np.cumsum([p.weight for p in self._pictures])
        self._size = size
        self._random = random.Random(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw *count* crops."""
        crops = [self._crop() for _ in range(count)]
        y, u, v = (torch.stack(planes) for planes in zip(*crops, strict=True))
        return y, u, v

    def _crop(self) -> tuple[Tensor, Tensor, Tensor]:
        rng, size = self._random, self._size
        place = np.searchsorted(self._weights, rng.random() * self._weights[-1], side="right")
        picture = self._pictures[min(int(place), len(self._pictures) - 1)]
        height, width = picture.y.shape
        # Resize by 1/zoom: mostly none or down (sharper detail), sometimes up (the smoothness of large photographs).
        zoom = 1.0
        if rng.random() < 0.4:
            zoom = rng.uniform(0.7, min(2.0, min(height, width) / size))
        side = min(int(size * zoom) // 2 * 2, height // 2 * 2, width // 2 * 2)
        top = rng.randrange(0, height - side + 1, 2)
        left = rng.randrange(0, width - side + 1, 2)
        planes = []
        for plane, scale in ((picture.y, 1), (picture.u, 2), (picture.v, 2)):
            part = plane[
                top // scale : (top + side) // scale, left // scale : (left + side) // scale
            ]
            planes.append(torch.from_numpy(part.astype(np.float32))[None])
        if side != size:
            planes = [
                F.interpolate(p[None], (size // s, size // s), mode="bilinear", antialias=True)[0]
                for p, s in zip(planes, (1, 2, 2), strict=True)
            ]
        return self._augment(planes)

    def _augment(self, planes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
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
        if rng.random() < 0.5:  # limited range, as video has it
            y, u, v = y * (219 / 255) - 1.5 / 255, u * (224 / 255), v * (224 / 255)
        # Back to 8-bit samples: the codec never sees anything else.
        return tuple(((p + 0.5) * 255).round().clamp(0, 255) / 255 - 0.5 for p in (y, u, v))  # type: ignore[return-value]
