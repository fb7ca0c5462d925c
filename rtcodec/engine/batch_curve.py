"""What frames cost when they run together: whether, and how many of them, should."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rtcodec.errors import ConfigError

WORTH: Final = 0.85
"Of the time for each frame in a smaller batch, at most, or the first of the batch waits in vain."


@dataclass(frozen=True, slots=True)
class BatchCurve:
    """
    Engine time of a batch by its size, one frame's being 1.

    A CPU, which runs one frame after the other, has `BatchCurve(((2, 2.0),))`: nothing is gained.
    """

    points: Sequence[tuple[int, float]] = ()
    "Frames and time, ascending from 2; none: any number costs as much as one."

    def __post_init__(self) -> None:
        """Refuse points that are no curve."""
        sizes = [size for size, _ in self.points]
        if sizes != sorted(set(sizes)) or any(size < 2 for size in sizes):
            raise ConfigError(f"batches of {sizes} frames are no curve")

    def best(self, n_ready: int) -> int:
        """Return how many of *n_ready* frames to run together: as many as are worth it."""
        if not self.points:
            return n_ready
        best, each = 1, 1.0
        for size, cost in self.points:
            if size <= n_ready and cost / size <= WORTH * each:
                best, each = size, cost / size
        return best
