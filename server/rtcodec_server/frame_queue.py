"""
Coded frames that wait, bounded: for live ones the newest, for stored ones an unbroken run.

Plain data; what waits is the caller's.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol, TypeVar

T = TypeVar("T")

MAX_LIVE_FRAMES: Final = 2
MAX_RUN_BYTES: Final = 8 << 20


class FrameQueue(Protocol[T]):
    """Takes frames at one end and gives them out at the other."""

    def add(self, item: T, *, size_bytes: int, is_keyframe: bool) -> int:
        """
        Add a frame.

        Args:
            item: What comes out again.
            size_bytes: Of its packets.
            is_keyframe: Whether a decoder may start there.

        Returns:
            How many frames will not come out because of it, itself among them.
        """

    def take(self) -> T | None:
        """Return the oldest, or None."""

    def clear(self) -> None:
        """Forget all of them."""


class NewestFrames(FrameQueue[T]):
    """Two frames; a newer one pushes the oldest out, and its sender hears of that."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def add(self, item: T, *, size_bytes: int, is_keyframe: bool) -> int:
        """Add a frame; return how many it pushed out."""
        self._items.append(item)
        if len(self._items) <= MAX_LIVE_FRAMES:
            return 0
        self._items.popleft()
        return 1

    def take(self) -> T | None:
        """Return the oldest, or None."""
        return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Forget all of them."""
        self._items.clear()


class FrameRun(FrameQueue[T]):
    """
    Frames of a stream that nobody codes anew: none is left out between two of them.

    A frame that can be started from makes those before it needless. Where there are too many bytes
    all are given up, and those that come, until the next such frame.
    """

    def __init__(self, *, max_bytes: int = MAX_RUN_BYTES) -> None:
        """
        Args:
            max_bytes: Of all frames together.
        """
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._n_bytes = 0
        self._is_broken = True

    def __iter__(self) -> Iterator[T]:
        """Yield what is there, oldest first, and leave it."""
        return (item for item, _ in tuple(self._items))

    def __len__(self) -> int:
        """Return how many frames are there."""
        return len(self._items)

    def add(self, item: T, *, size_bytes: int, is_keyframe: bool) -> int:
        """Add a frame; return how many are given up for it, or with it."""
        n_gone = 0
        if is_keyframe:
            n_gone = len(self._items)
            self.clear()
            self._is_broken = False
        if self._is_broken:
            return 1
        self._items.append((item, size_bytes))
        self._n_bytes += size_bytes
        if self._n_bytes > self._max_bytes:
            n_gone += len(self._items)
            self.clear()
        return n_gone

    def take(self) -> T | None:
        """Return the oldest, or None; the run goes on."""
        if not self._items:
            return None
        item, size_bytes = self._items.popleft()
        self._n_bytes -= size_bytes
        return item

    def clear(self) -> None:
        """Forget all of them, and wait for one that can be started from."""
        self._items.clear()
        self._n_bytes = 0
        self._is_broken = True
