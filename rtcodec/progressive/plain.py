"""
The decoder of progressive pictures, plainly: SPEC.md in the order it is read.

Slow and obvious; `_decode.c` is checked against it, sample by sample. May not be used to show
pictures.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.progressive_file import ProgressiveHeader, Transform
from rtcodec.progressive import refine

LEVELS_MAX, SMALLEST, BLOCK, UNSAID = 6, 8, 8, 31
FRACTION, STEP_FRACTION, LIFT = 6, 8, 13
LIKELY_ONES, POSSIBLE_ONES, FRESH, FINER = range(4)
NEW_LIKELY, NEW, SECOND, THIRD, LATER, SIGN = range(6)
LEAST: Final = (40, 12, 0)
LIFTS: Final = (-12994, -434, 7233, 3633)
LOW_UNSCALE: Final = 10078
NORMS: Final = {
    Transform.WIDE: (
        (503, 318, 202), (1055, 629, 375), (2155, 1317, 806),
        (4336, 2688, 1666), (8685, 5406, 3365), (17377, 10829, 6748),
    ),
    Transform.PAIRS: tuple(tuple(256 << k >> j for j in (0, 1, 2)) for k in range(1, 7)),
}  # fmt: skip
LOGISTIC: Final = (
    22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922, 1179, 1506, 1921,
    2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768,
    36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428, 63090,
    63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438,
    65459, 65476, 65489, 65500, 65508, 65514,
)  # fmt: skip
SHARES: Final = (
    40960, 25206, 18204, 14247, 11703, 9930, 8623, 7620, 6827, 6183, 5650, 5201, 4819, 4489,
    4201, 3948, 3724, 3523, 3344, 3181, 3034, 2900, 2777, 2664, 2560, 2464, 2374, 2291, 2214,
    2142, 2074, 2010,
)  # fmt: skip
WEIGHT, SIGN_WEIGHT, USED_MAX, LOGIT_MAX, LEARN = 9830, 29490, 100, 2047, 16


class Ended(Exception):
    """The payload ends before what is asked for."""


class Reader:
    """Bits of a payload (SPEC.md 3)."""

    def __init__(self, payload: bytes) -> None:
        self._words = payload[4:]
        self._at = 0
        self._state = int.from_bytes(payload[:4], "little")
        self._is_open = len(payload) >= 4

    def bit(self, width: int) -> int:
        """Read a bit whose probability of being 1 is *width* of 2**14."""
        if not self._is_open:
            raise Ended
        slot, high = self._state & 16383, self._state >> 14
        bit = int(slot < width)
        self._state = width * high + slot if bit else (16384 - width) * high + slot - width
        if self._state < 1 << 16:
            word = self._words[self._at : self._at + 2]
            self._is_open = len(word) == 2
            self._at += 2
            self._state = self._state << 16 | int.from_bytes(word, "little")
        return bit


@dataclass
class Counter:
    """Probability of a one, of 2**22, and how often it was used (SPEC.md 5.1)."""

    p: int
    used: int = 0

    def count(self, bit: int) -> None:
        """Move towards a bit."""
        share = SHARES[self.used] if self.used < 32 else 65536 // (self.used + 2)
        self.p += ((bit * ((1 << 22) - 1) - self.p) * share) >> 16
        self.used = min(self.used + 1, USED_MAX)

    @property
    def width(self) -> int:
        """Probability of a one, of 2**14, never certain."""
        return min(max(self.p >> 8, 1), 16383)


def squash(logit: int) -> int:
    """Return the probability, of 65536, of a logit."""
    k, f = divmod(logit + 2048, 64)
    return (LOGISTIC[k] * (64 - f) + LOGISTIC[k + 1] * f + 32) >> 6


def _logits() -> Iterator[int]:
    logit = -LOGIT_MAX
    for p in range(4096):
        while logit < LOGIT_MAX and squash(logit) < p * 16 + 8:
            logit += 1
        yield logit


LOGITS: Final = tuple(_logits())


def within(logit: int) -> int:
    """Return *logit*, limited."""
    return min(max(logit, -LOGIT_MAX), LOGIT_MAX)


def level_of(e: int) -> int:
    """Return halves of octaves of an energy."""
    if e < 4:
        return e
    top = e.bit_length() - 1
    return min(2 * top + (e >> top - 1 & 1), 31)


def octave_of(e: int) -> int:
    """Return octaves of an energy."""
    return min(level_of(e) // 2, 7)


@dataclass
class Band:
    """Coefficients of one orientation and level, two zeros around; blocks, one around."""

    height: int
    width: int
    orientation: int
    level: int
    size: list[list[int]] = field(init=False)
    said: list[list[int]] = field(init=False)
    sign: list[list[int]] = field(init=False)
    live: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        def grid(value: int, height: int, width: int) -> list[list[int]]:
            return [[value] * width for _ in range(height)]

        h, w = self.height + 4, self.width + 4
        self.size, self.said, self.sign = grid(0, h, w), grid(UNSAID, h, w), grid(0, h, w)
        self.live = grid(0, -(-self.height // BLOCK) + 2, -(-self.width // BLOCK) + 2)


def _zeros() -> list[list[int]]:
    return [[0] * 3 for _ in range(3)]


@dataclass
class Twin:
    """Sizes and signs (-1, 0, 1) of an earlier component around a place, [3, 3]."""

    sizes: list[list[int]] = field(default_factory=_zeros)
    signs: list[list[int]] = field(default_factory=_zeros)

    @classmethod
    def at(cls, band: Band, y: int, x: int, complete: int) -> "Twin":
        """Return what is known of a band's planes from *complete* on."""
        twin = cls()
        for j in range(3):
            for i in range(3):
                r, c = y + 1 + j, x + 1 + i
                twin.sizes[j][i] = band.size[r][c] >> complete << complete
                twin.signs[j][i] = (1 - 2 * band.sign[r][c]) * (twin.sizes[j][i] > 0)
        return twin

    @property
    def cross(self) -> int:
        """Twice the size in the middle and those on its four sides."""
        s = self.sizes
        return 2 * s[1][1] + s[0][1] + s[1][0] + s[1][2] + s[2][1]


class Component:
    """One of Y, U and V (SPEC.md 4 to 6)."""

    def __init__(
        self, height: int, width: int, n_planes: int, earlier: "tuple[Component, ...]" = ()
    ) -> None:
        self.earlier = earlier
        self.complete = [0 for _ in earlier]  # planes from which on all of those is known
        self.shape = height, width
        self.plane, self.turn, self.done = n_planes - 1, FRESH, n_planes == 0
        self.levels = 0
        while self.levels < LEVELS_MAX and max(height, width) >> self.levels > SMALLEST:
            self.levels += 1
        bands: list[Band] = []
        h, w = height, width
        for level in range(1, self.levels + 1):
            low_h, low_w = (h + 1) // 2, (w + 1) // 2
            bands[:0] = [
                Band(low_h, w // 2, 1, level), Band(h // 2, low_w, 2, level),
                Band(h // 2, w // 2, 3, level),
            ]  # fmt: skip
            h, w = low_h, low_w
        self.bands = [Band(h, w, 0, self.levels), *bands]
        self.mixed: dict[tuple[int, int, int], Counter] = {}
        self.signs: defaultdict[int, Counter] = defaultdict(lambda: Counter(1 << 21))
        self.blocks: defaultdict[int, Counter] = defaultdict(lambda: Counter(1 << 21))
        self.weights: dict[tuple[int, int], list[int]] = {}

    def read_pass(self, reader: Reader) -> None:
        """Read the pass that comes next (SPEC.md 6)."""
        self.complete = [0 if one.done else one.plane + 1 for one in self.earlier]
        for number, band in enumerate(self.bands):
            for row in range(len(band.live) - 2):
                for column in range(len(band.live[0]) - 2):
                    self._block(reader, number, row, column)
        self.turn = (self.turn + 1) % 4
        if self.turn == LIKELY_ONES:
            self.done = self.plane == 0
            self.plane -= 1

    def _block(self, reader: Reader, number: int, row: int, column: int) -> None:
        band, plane = self.bands[number], self.plane
        if not band.live[row + 1][column + 1]:
            if self.turn != FRESH:
                return
            counter = self.blocks[self._block_context(number, row, column)]
            bit = reader.bit(counter.width)
            counter.count(bit)
            band.live[row + 1][column + 1] = bit
            if not bit:
                return
        for y in range(row * BLOCK, min(row * BLOCK + BLOCK, band.height)):
            for x in range(column * BLOCK, min(column * BLOCK + BLOCK, band.width)):
                size = band.size[y + 2][x + 2]
                if band.said[y + 2][x + 2] == plane or (size > 0) != (self.turn == FINER):
                    continue
                e = self._sight(number, y, x)
                if self.turn != FINER and e["all"] < LEAST[self.turn]:
                    continue
                kind = NEW_LIKELY if self.turn == LIKELY_ONES else NEW
                if self.turn == FINER:
                    above = size >> plane + 1
                    kind = SECOND if above < 2 else THIRD if above < 4 else LATER
                bit = self._mixed_bit(reader, number, y, x, kind, e)
                if bit and self.turn != FINER:
                    band.sign[y + 2][x + 2] = self._sign(reader, band, y, x)
                band.size[y + 2][x + 2] |= bit << plane
                band.said[y + 2][x + 2] = plane

    def _above(self, number: int) -> Band | None:
        """Return the band of the same orientation a level up."""
        band = self.bands[number]
        if not band.orientation or band.level == self.levels:
            return None
        above = self.bands[number - 3]
        return above if above.width and above.height else None

    def _block_context(self, number: int, row: int, column: int) -> int:
        band, above = self.bands[number], self._above(number)
        r, c = row + 1, column + 1
        live = band.live
        context = live[r][c - 1] + live[r][c + 1] + live[r - 1][c] + live[r + 1][c]
        if above is not None:
            y = min(row // 2, (above.height - 1) // BLOCK)
            x = min(column // 2, (above.width - 1) // BLOCK)
            context += 5 * above.live[y + 1][x + 1]
        return self._group(band) * 16 + context

    def _group(self, band: Band) -> int:
        return self.levels - band.level + (band.orientation > 0)

    def _sight(self, number: int, y: int, x: int) -> dict[str, int]:
        band, above, plane = self.bands[number], self._above(number), self.plane
        s = [row[x : x + 5] for row in band.size[y : y + 5]]  # its own is s[2][2]
        across, down = s[2][1] + s[2][3], s[1][2] + s[3][2]
        corners = s[1][1] + s[1][3] + s[3][1] + s[3][3]
        far_across, far_down = s[2][0] + s[2][4], s[0][2] + s[4][2]
        near = 3 * (across + down) + 2 * corners
        wide = far_across + far_down
        if band.orientation == 1:
            near, wide = 2 * across + 4 * down + corners, far_across + 2 * far_down
        elif band.orientation == 2:
            near, wide = 4 * across + 2 * down + corners, 2 * far_across + far_down
        others: list[int] = []
        sibling = parent = up = 0
        if band.orientation:
            first = number - band.orientation + 1
            for other in self.bands[first : first + 3]:
                if other is not band and x < other.width and y < other.height:
                    others.append(other.size[y + 2][x + 2])
                    sibling += _cross(other, y, x, 2)
        if above is not None:
            row, column = min(y // 2, above.height - 1), min(x // 2, above.width - 1)
            up, parent = above.size[row + 2][column + 2], _cross(above, row, column, 4)
        one, two = [*others, 0, 0][:2]
        return {
            "all": (2 * near + wide + parent // 2 + sibling // 2) >> plane,
            "near": 2 * near >> plane,
            "wide": 4 * wide >> plane,
            "parent": 2 * parent >> plane,
            "sibling": 2 * sibling >> plane,
            "one": min(one >> plane, 7),
            "two": min(two >> plane, 7),
            "up": min(up >> plane, 7),
        }

    def _mixed_bit(
        self, reader: Reader, number: int, y: int, x: int, kind: int, e: dict[str, int]
    ) -> int:
        band, plane = self.bands[number], self.plane
        s = [row[x : x + 5] for row in band.size[y : y + 5]]
        group, near, all_ = self._group(band), level_of(e["near"]), level_of(e["all"])
        left, above = min(s[2][1] >> plane, 7), min(s[1][2] >> plane, 7)
        right, below = min(s[2][3] >> plane, 2), min(s[3][2] >> plane, 2)
        corners = sum(one >> plane > 0 for one in (s[1][1], s[1][3], s[3][1], s[3][3]))
        before = (s[1][1] + s[1][3] + s[2][0] + s[0][2]) * 4 >> plane
        parent, sibling = octave_of(e["parent"]), octave_of(e["sibling"])
        own = min(s[2][2] >> plane >> 1, 15)
        if kind <= NEW:
            own = group << 1 | (band.orientation == 3)
        pattern = ((min(left, 2) * 3 + min(above, 2)) * 3 + right) * 3 + below
        contexts: tuple[int, ...] = (
            near << 4 | own,
            (parent << 3 | sibling) << 3 | min(near // 2, 7),
            pattern * 5 + corners,
            all_ << 4 | band.orientation << 2 | min(self.levels - band.level, 3),
            min(level_of(e["wide"]), 15) << 5 | near,
            (e["one"] << 3 | e["two"]) << 3 | min(near // 2, 7),
            (e["up"] << 3 | octave_of(before)) << 3 | min(all_ // 2, 7),
            (left << 3 | above) << 3 | octave_of((e["wide"] + e["parent"] + e["sibling"]) // 2),
        )
        if self.earlier:
            luma, first = self._twins(band, y, x)
            in_luma, in_first = (octave_of(4 * one.cross >> plane) for one in (luma, first))
            at_luma, at_first = (
                min(level_of(2 * one.sizes[1][1] >> plane), 7) for one in (luma, first)
            )
            contexts += (
                (in_luma << 3 | in_first) << 3 | min(all_ // 2, 7),
                (at_luma << 3 | at_first) << 3 | min(near // 2, 7),
            )
        return self._mix(reader, kind, contexts, (group, all_, parent << 3 | sibling))

    def _mix(
        self, reader: Reader, kind: int, contexts: tuple[int, ...], sets: tuple[int, ...]
    ) -> int:
        even, weight = kind > NEW, SIGN_WEIGHT if kind == SIGN else WEIGHT
        counters = [
            self.mixed.setdefault((table, kind, context), Counter(1 << 21 if even else 1 << 18))
            for table, context in enumerate(contexts)
        ]
        weights = [
            self.weights.setdefault((which, kind << 8 | index), [weight] * len(contexts))
            for which, index in enumerate(sets)
        ]
        return _mixed(reader, counters, weights)

    def _twins(self, band: Band, y: int, x: int) -> "tuple[Twin, Twin]":
        """Return what earlier components are around a place, of luma and of U."""
        found = [Twin(), Twin()]
        for which, (other, complete) in enumerate(zip(self.earlier, self.complete, strict=True)):
            level = band.level + (which == 0)
            if level > other.levels or (not band.orientation and level != other.levels):
                continue
            number = 3 * (other.levels - level) + band.orientation if band.orientation else 0
            found[which] = Twin.at(other.bands[number], y, x, complete)
        return found[0], found[1]

    def _sign(self, reader: Reader, band: Band, y: int, x: int) -> int:
        beside = self._sign_context(band, y, x)
        if not self.earlier:
            counter = self.signs[beside]
            sign = reader.bit(counter.width)
            counter.count(sign)
            return sign
        luma, first = self._twins(band, y, x)
        signs = (luma.signs[1][1] + 1) * 3 + first.signs[1][1] + 1
        agree_luma, agree_first = (self._agreement(band, y, x, one) + 2 for one in (luma, first))
        in_luma, in_first = (
            min(octave_of(4 * one.sizes[1][1] >> self.plane) // 2, 3) for one in (luma, first)
        )
        group = self._group(band)
        contexts = (
            beside,
            (signs * 7 + group) * 2 + (band.orientation == 3),
            (agree_luma * 5 + agree_first) * 9 + signs,
        )
        return self._mix(reader, SIGN, contexts, (group, in_luma * 4 + in_first, signs))

    def _agreement(self, band: Band, y: int, x: int, twin: "Twin") -> int:
        """Return whether signs around a place are those of an earlier component, -2 to 2."""
        total = sum(
            (1 - 2 * band.sign[y + 1 + j][x + 1 + i])
            * (band.size[y + 1 + j][x + 1 + i] > 0)
            * twin.signs[j][i]
            for j in range(3)
            for i in range(3)
            if (j, i) != (1, 1)
        )
        return min(max(total, -2), 2)

    def _sign_context(self, band: Band, y: int, x: int) -> int:
        def sign(down: int, across: int) -> int:
            r, c = y + 2 + down, x + 2 + across
            return (1 - 2 * band.sign[r][c]) * (band.size[r][c] > 0)

        context = band.orientation
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
            both = sign(down, across) + sign(-down, -across)
            context = context * 3 + (1 if both > 0 else 2 if both < 0 else 0)
        return context

    def paint(self, transform: Transform) -> NDArray[np.uint8]:
        """Return samples [H, W], as far as they are known (SPEC.md 4)."""
        low = _coefficients(self.bands[0], transform)
        for level in range(self.levels, 0, -1):
            at = 1 + 3 * (self.levels - level)
            across, down, both = (_coefficients(b, transform) for b in self.bands[at : at + 3])
            h, w = low.shape[0] + down.shape[0], low.shape[1] + across.shape[1]
            grid = np.zeros((h, w), np.int64)
            grid[::2, ::2], grid[::2, 1::2], grid[1::2, ::2], grid[1::2, 1::2] = (
                low, across, down, both,
            )  # fmt: skip
            low = _synthesise(_synthesise(grid, transform).T, transform).T
        if transform == Transform.WIDE:
            plane, turn = (0, FINER) if self.done else (self.plane, self.turn)
            low = low.clip(refine.LEAST, refine.MOST)
            low = refine.refined(low, plane, turn, is_chroma=bool(self.earlier))
        samples = (_wrapped(low + 32) >> FRACTION).clip(-128, 127) + 128
        return np.asarray(samples, np.uint8)


def _cross(band: Band, y: int, x: int, weight: int) -> int:
    s, r, c = band.size, y + 2, x + 2
    return weight * s[r][c] + s[r][c - 1] + s[r][c + 1] + s[r - 1][c] + s[r + 1][c]


def _mixed(reader: Reader, counters: list[Counter], sets: list[list[int]]) -> int:
    """Read a bit, and learn from it (SPEC.md 5.2)."""
    logits = []
    for counter in counters:
        logit = LOGITS[counter.p >> 10]
        halved = logit // 2 if logit >= 0 else -(-logit // 2)
        logits.append(0 if counter.used == 0 else halved if counter.used < 3 else logit)
    says = [
        within(sum(a * b for a, b in zip(logits, weights, strict=True)) >> 16) for weights in sets
    ]
    total = sum(says)
    mean = total // 3 if total >= 0 else -(-total // 3)
    bit = reader.bit(min(max(squash(mean) >> 2, 1), 16383))
    for weights, said in zip(sets, says, strict=True):
        error = ((bit << 16) - squash(said)) * LEARN
        for k, logit in enumerate(logits):
            weights[k] += logit * error + (1 << 19) >> 20
    for counter in counters:
        counter.count(bit)
    return bit


def _coefficients(band: Band, transform: Transform) -> NDArray[np.int64]:
    norm = 256
    if band.level:
        norm = NORMS[transform][band.level - 1][(0, 1, 1, 2)[band.orientation]]
    step = (256 << FRACTION + STEP_FRACTION - 1) // norm
    values = np.zeros((band.height, band.width), np.int64)
    for y in range(band.height):
        for x in range(band.width):
            size, plane = band.size[y + 2][x + 2], band.said[y + 2][x + 2]
            if size:
                middle = (7 if size >> plane == 1 else 8) << plane
                value = (16 * size + middle) * step >> STEP_FRACTION + 4
                values[y, x] = -value if band.sign[y + 2][x + 2] else value
    return values


def _wrapped(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what is left of *values* in 32 bits with a sign."""
    return values.astype(np.int32).astype(np.int64)


def _synthesise(rows: NDArray[np.int64], transform: Transform) -> NDArray[np.int64]:
    """Put lines of low and high, one after the other, together: [N, M]."""
    rows = rows.copy()
    n = rows.shape[0]
    if n < 2:
        return rows
    if transform == Transform.PAIRS:
        pairs = n // 2 * 2
        rows[0:pairs:2] = _wrapped(rows[0:pairs:2] - (rows[1:pairs:2] >> 1))
        rows[1:pairs:2] = _wrapped(rows[1:pairs:2] + rows[0:pairs:2])
        return rows
    half = 1 << LIFT - 1
    rows[::2] = _wrapped(rows[::2] * LOW_UNSCALE + half >> LIFT)
    for parity, weight in ((0, -LIFTS[3]), (1, -LIFTS[2]), (0, -LIFTS[1]), (1, -LIFTS[0])):
        for k in range(parity, n, 2):
            beside = rows[k - 1 if k else 1] + rows[k + 1 if k + 1 < n else k - 1]
            rows[k] = _wrapped(rows[k] + _wrapped(beside * weight + half >> LIFT))
    return rows


def decode_plainly(
    header: ProgressiveHeader, payload: bytes
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return Y, U and V as far as a payload, or the beginning of one, says them."""
    half = (header.height + 1) // 2, (header.width + 1) // 2
    shapes = ((header.height, header.width), half, half)
    components: list[Component] = []
    for shape, n in zip(shapes, header.plane_counts, strict=True):
        components.append(Component(*shape, n, tuple(components)))
    reader = Reader(payload)
    try:
        while there := [one for one in components if not one.done]:
            number = 0
            while number < len(there) - 1 and not reader.bit(1 << 13):
                number += 1
            there[number].read_pass(reader)
    except Ended:
        pass
    y, u, v = (component.paint(header.transform) for component in components)
    return y, u, v
