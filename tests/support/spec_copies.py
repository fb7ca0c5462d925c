"""Section 9.7 of the bitstream's specification, read again: which parts are copies, and of what."""

from typing import Protocol

Copies = dict[tuple[int, int], tuple[int, int]]
"Row and column of a part to rows up and columns right; parts that are none are left out."


class Lane(Protocol):
    """What is read from: `spec_decoder.Lanes`."""

    def symbol(self, cdf: list[int]) -> int:
        """A symbol of a table."""

    def raw(self, bits: int) -> int:
        """Some bits."""


class Bits:
    """Bits whose probabilities adapt, by name."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.p: dict[str, int] = {}

    def bit(self, name: str) -> int:
        p = self.p.get(name, 1 << 15)
        one = self.lane.symbol([0, max(1, min(16383, p >> 2)), 1 << 14]) == 0
        self.p[name] = p + ((65535 - p) >> 4) if one else p - (p >> 4)
        return int(one)

    def tree(self, name: str, n: int) -> int:
        said = ""
        for _ in range(n):
            said += str(self.bit(f"{name} {said}"))
        return int(said, 2)

    def number(self, name: str) -> int:
        size = self.tree(name, 4)
        return size if size < 2 else (1 << (size - 1)) + self.lane.raw(size - 1)


def read(lane: Lane, rows: int, columns: int) -> Copies:
    """The copies of a frame of so many parts each way."""
    bits, copies = Bits(lane), Copies()
    recent = [(0, 0)] * 8
    for row in range(rows):
        for column in range(columns):
            beside = (row, column - 1), (row - 1, column), (row - 1, column + 1)
            left, above, corner = (copies.get(at) for at in beside)
            context = (left is not None) + 2 * (above is not None) + 4 * (corner is not None)
            if not bits.bit(f"is_copy {context}"):
                continue
            if left and bits.bit("as_left"):
                own = left
            elif above and above != left and bits.bit("as_above"):
                own = above
            else:
                if bits.bit("is_recent"):
                    own = recent.pop(bits.tree("which", 3))
                else:
                    up, right = bits.number("up"), bits.number("right")
                    own = up, -right if right and bits.bit("negative") else right
                    recent.pop()
                recent.insert(0, own)
            if own != (0, 0):
                copies[row, column] = own
    return copies


def is_copy(at: tuple[int, int], copy: tuple[int, int], columns: int) -> bool:
    """Whether the part *at* row, column may be a copy in a frame so many parts wide."""
    up, right = copy
    bottom, end = 8 * at[0] - up + 8, 8 * at[1] + right + 8
    if up < 0 or bottom < 8 or end < 8 or end > 8 * columns:
        return False
    i, j = at[0] // 2, at[1] // 2
    return bottom <= 16 * i or (bottom <= 16 * (i + 1) and end <= 16 * j)
