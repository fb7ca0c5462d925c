"""A line of streams, by their turn; whoever leaves it from the middle is skipped at the head."""

import heapq
from collections.abc import Iterator
from typing import Final

_SPARE: Final = 64
"Entries of streams that left, before they are cleared away."


class Line:
    """
    Streams in the order of a key; each stands there once at most.

    Entering and leaving cost the logarithm of its length.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int]] = []  # key, job, stream
        self._jobs: dict[int, int] = {}  # stream -> the job it stands for

    def __len__(self) -> int:
        """Return how many stand in it."""
        return len(self._jobs)

    @property
    def n_kept(self) -> int:
        """Entries in memory, those of streams that left too."""
        return len(self._heap)

    def __contains__(self, stream: int) -> bool:
        """Return whether a stream stands in it."""
        return stream in self._jobs

    def enter(self, stream: int, key: int, job_id: int) -> None:
        """Let a stream stand in line, once more if it does already: with this key."""
        self._jobs[stream] = job_id
        heapq.heappush(self._heap, (key, job_id, stream))
        if len(self._heap) > 2 * len(self._jobs) + _SPARE:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)

    def leave(self, stream: int) -> None:
        """Let a stream go; one that is not there is ignored."""
        self._jobs.pop(stream, None)

    def head(self) -> tuple[int, int, int] | None:
        """Return key, job and stream of the first, or None."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def take(self, n_most: int) -> Iterator[int]:
        """Let the first *n_most* go, and yield them in order."""
        for _ in range(n_most):
            first = self.head()
            if first is None:
                return
            self.leave(first[2])
            yield first[2]

    def _stands(self, entry: tuple[int, int, int]) -> bool:
        return self._jobs.get(entry[2]) == entry[1]
