"""Numbers that look random and are the same on every machine, for models and streams of vectors."""

import hashlib

import numpy as np
from numpy.typing import NDArray


class Dice:
    """Endless bytes that are the same on every machine: SHA-256 of a counter."""

    def __init__(self, seed: str) -> None:
        """Start over from *seed*."""
        self._seed = seed
        self._count = 0

    def words(self, count: int) -> NDArray[np.uint32]:
        """Return the next *count* numbers, uint32."""
        blocks = []
        for _ in range(-(-count // 8)):
            blocks.append(hashlib.sha256(f"{self._seed}/{self._count}".encode()).digest())
            self._count += 1
        return np.frombuffer(b"".join(blocks), "<u4")[:count].astype(np.uint32)

    def integers(self, low: int, high: int, *shape: int) -> NDArray[np.int64]:
        """Return integers of low..high, int64 of the given shape."""
        words = self.words(int(np.prod(shape, dtype=np.int64))).astype(np.int64)
        return low + (words % (high - low + 1)).reshape(shape)
