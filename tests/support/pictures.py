"""Pictures for tests: deterministic, cheap, with edges and gradients."""

import numpy as np

from rtcodec.types import Planes


def picture(width: int, height: int, seed: int = 0) -> Planes:
    """Return waves with a little noise, different for every *seed*."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    waves = 60 * np.sin(rows / 9 + seed) + 50 * np.cos(columns / 13 - seed)
    luma = 128 + waves + rng.normal(0, 2, (height, width))
    chroma = luma[::2, ::2] * 0.5 + 64
    return Planes(_samples(luma), _samples(chroma), _samples(255 - chroma))


def noise(width: int, height: int, seed: int = 0) -> Planes:
    """Return uniform noise in every plane."""
    rng = np.random.default_rng(seed)
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (rng.integers(0, 256, size, dtype=np.uint8) for size in ((height, width), half, half))
    return Planes(y, u, v)


def same_picture(one: Planes, other: Planes) -> bool:
    """Say whether two pictures are equal in every sample."""
    return all(
        np.array_equal(a, b) for a, b in ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    )


def _samples(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))
