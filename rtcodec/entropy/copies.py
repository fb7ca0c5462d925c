"""
Which parts of a frame are copies, and of what, in plain Python (SPEC.md 9.7); `native` equals it.

Part by part, row by row: whether it is one; then whether as the part on its left, or above, or one
of the eight copies last said, or how far up and across. Bits adapt; low ones of numbers are raw.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import PROB_BITS, PROB_SCALE
from rtcodec.entropy.rans import STATE_MIN, LaneReader, LaneWriter

RECENT: Final = 8
SIZE_BITS: Final = 4
RATE: Final = 4

Copy = tuple[int, int]
"Rows up and columns right; (0, 0) is none."

NONE: Final = (0, 0)

Bit = Callable[[int, int], int]
"From the width of a one, of 2**14, and, to write, the bit: the bit."

Raw = Callable[[int, int], int]
"From how many bits and, to write, the bits: the bits."


class _Walk:
    """The parts of a frame, in the order in which they are said; for both directions."""

    def __init__(self, bit: Bit, raw: Raw) -> None:
        self._bit, self._raw = bit, raw
        self._ones: dict[tuple[str, int], int] = {}
        self._recent: list[Copy] = [NONE] * RECENT

    def run(self, copies: NDArray[np.int16]) -> None:
        """Code what is in int16 [2 h16, 2 w16, 2], which becomes what was coded."""
        rows, columns, _ = copies.shape

        def at(row: int, column: int) -> Copy:
            if row < 0 or not 0 <= column < columns:
                return NONE
            return int(copies[row, column, 0]), int(copies[row, column, 1])

        for row, column in np.ndindex(rows, columns):
            left, above = at(row, column - 1), at(row - 1, column)
            corner, copy = at(row - 1, column + 1), at(row, column)
            context = (left != NONE) + 2 * (above != NONE) + 4 * (corner != NONE)
            is_copy = self._code("is_copy", context, copy != NONE)
            copies[row, column] = self._copy(copy, left, above) if is_copy else NONE

    def _copy(self, copy: Copy, left: Copy, above: Copy) -> Copy:
        if left != NONE and self._code("as_left", 0, copy == left):
            return left
        if above not in (NONE, left) and self._code("as_above", 0, copy == above):
            return above
        if self._code("is_recent", 0, copy in self._recent):
            n = self._recent.index(copy) if copy in self._recent else 0
            copy = self._recent.pop(self._tree("recent", 3, n))
        else:
            up = self._number("up", copy[0])
            across = self._number("across", abs(copy[1]))
            if across and self._code("is_left", 0, copy[1] < 0):
                across = -across
            copy = up, across
            self._recent.pop()
        self._recent.insert(0, copy)
        return copy

    def _number(self, name: str, number: int) -> int:
        size = self._tree(name, SIZE_BITS, number.bit_length())
        if size < 2:
            return size
        top = 1 << (size - 1)
        return top | self._raw(size - 1, number & (top - 1))

    def _tree(self, name: str, n_bits: int, number: int) -> int:
        node = 1
        for k in reversed(range(n_bits)):
            node = 2 * node + self._code(name, node, number >> k & 1)
        return node - (1 << n_bits)

    def _code(self, name: str, context: int, bit: int) -> int:
        p = self._ones.get((name, context), 1 << 15)
        width = min(max(p >> (16 - PROB_BITS), 1), PROB_SCALE - 1)
        bit = self._bit(width, bit)
        self._ones[name, context] = p + (65535 - p >> RATE) if bit else p - (p >> RATE)
        return bit


def read_copies(payload: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """
    Read the copies of *rows* x *columns* blocks: int16 [rows, columns, 8].

    Raises:
        BitstreamError: If *payload* is not of such a frame; offsets as in `native`.
    """
    reader = LaneReader(payload, 1)
    copies = np.zeros((2 * rows, 2 * columns, 2), np.int16)
    walk = _Walk(
        lambda width, _: int(reader.take(0, _cdf(width)) == 0),
        lambda n_bits, _: reader.take_raw(0, n_bits),
    )
    walk.run(copies)
    reader.finish()
    by_block = copies.reshape(rows, 2, columns, 2, 2).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(by_block).reshape(rows, columns, 8)


def write_copies(copies: NDArray[np.int16]) -> bytes:
    """Return the payload of copies, int16 [h16, w16, 8], none of which goes down."""
    rows, columns, _ = copies.shape
    writer = LaneWriter([STATE_MIN])
    items: list[Callable[[], None]] = []

    def bit(width: int, value: int) -> int:
        items.append(lambda: writer.put(0, _cdf(width), 0 if value else 1))
        return value

    def raw(n_bits: int, bits: int) -> int:
        items.append(lambda: writer.put_raw(0, bits, n_bits))
        return bits

    by_part = copies.reshape(rows, columns, 2, 2, 2).transpose(0, 2, 1, 3, 4)
    _Walk(bit, raw).run(np.array(by_part).reshape(2 * rows, 2 * columns, 2))
    for put in reversed(items):
        put()
    return writer.payload()


def _cdf(width: int) -> NDArray[np.uint16]:
    """Return where a one begins, where a zero begins and ends."""
    return np.array((0, width, PROB_SCALE), np.uint16)
