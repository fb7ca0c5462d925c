"""Which bytes of a file are there: ranges, in order, that neither overlap nor touch."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class ByteRanges:
    """A set of bytes by their offsets, as few ranges as will do."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give out (start, end) of each range, in order."""
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._starts)

    @property
    def size_bytes(self) -> int:
        """How many bytes are there."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Put in the bytes from *start* up to *end*."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # the first that reaches to where these begin
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def covers(self, start: int, end: int) -> bool:
        """Return whether all bytes from *start* up to *end* are there."""
        at = bisect_right(self._starts, start) - 1
        return start >= end or (at >= 0 and self._ends[at] >= end)

    def reach(self, start: int) -> int:
        """Return the end of what is there without a gap from *start* on: *start* if nothing is."""
        at = bisect_right(self._starts, start) - 1
        return max(start, self._ends[at]) if at >= 0 else start

    def first_missing(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first range within *start* up to *end* that is not there, or None."""
        start = self.reach(start)
        if start >= end:
            return None
        after = bisect_right(self._starts, start)
        return start, min(end, self._starts[after]) if after < len(self._starts) else end
