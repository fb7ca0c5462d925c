"""
Sections 9.3 to 9.6 of SPEC.md, from the text alone: the picture of a spatial frame.

Imports nothing of rtcodec. Planes are int64 arrays of whole tiles, samples 0..4080.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.spec_copies import Copies, is_copy

Plane = NDArray[np.int64]

RANKED = sorted((v + h, v, h) for v in range(8) for h in range(8))
"Section 9.3: latent k is of the k-th of these."

WHOLE = np.array(
    [
        [1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448],
        [2009, 1703, 1138, 400, -400, -1138, -1703, -2009],
        [1892, 784, -784, -1892, -1892, -784, 784, 1892],
        [1703, -400, -2009, -1138, 1138, 2009, 400, -1703],
        [1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448],
        [1138, -2009, 400, 1703, -1703, -400, 2009, -1138],
        [784, -1892, 1892, -784, -784, 1892, -1892, 784],
        [400, -1138, 1703, -2009, 2009, -1703, 1138, -400],
    ]
)
QUARTER = np.array(
    [
        [2048, 2048, 2048, 2048],
        [2676, 1108, -1108, -2676],
        [2048, -2048, -2048, 2048],
        [1108, -2676, 2676, -1108],
    ]
)
SPLIT = np.zeros((8, 8), np.int64)
for _k in range(4):
    for _b in range(2):
        SPLIT[2 * _k + _b, 4 * _b : 4 * _b + 4] = QUARTER[_k]

_SIXTEENTHS = (1441, 1420, 1386, 1338, 1277, 1204, 1119, 1024, 919, 805, 683, 554, 420, 283, 142)
_C = dict(enumerate(_SIXTEENTHS, 1))
_C |= {32 - i: -c for i, c in _C.items()}
_C |= {64 - i: c for i, c in _C.items()}
LARGE = np.array([[_C[k * (2 * n + 1) % 64] if k else 1024 for n in range(16)] for k in range(16)])
"Section 9.6: what stands for D in 16x16."

ANGLES = dict(
    zip(range(2, 18), (32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26), strict=True)
) | dict(
    zip(
        range(34, 17, -1),
        (32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26, -32),
        strict=True,
    )
)
INVERSES = {-2: 4096, -5: 1638, -9: 910, -13: 630, -17: 482, -21: 390, -26: 315, -32: 256}


def paint(
    symbols: NDArray[np.int64],
    steps: Sequence[int],
    refinement: dict[str, Any],
    qp: int,
    *,
    across_tiles: bool,
    from_luma: bool = False,
    copies: Copies | None = None,
) -> list[Plane]:
    """
    The state that a spatial frame leaves: Y, U and V.

    Args:
        symbols: [394, 4 Th, 4 Tw].
        steps: `spatial.steps` at the frame's qp.
        refinement: `luma` and `chroma` of `refine.spatial`, and `steps`, those of delta frames.
        qp: Of the frame.
        across_tiles: Whether it is one area.
        from_luma: Whether the model's `chroma_from_luma` is 1.
        copies: Of its parts, if any.
    """
    _, h, w = symbols.shape
    planes = [np.zeros((n * h, n * w), np.int64) for n in (16, 8, 8)]
    down, across = (h, w) if across_tiles else (4, 4)
    for row in range(0, h, down):
        for column in range(0, w, across):
            area = [
                plane[n * row : n * (row + down), n * column : n * (column + across)]
                for plane, n in zip(planes, (16, 8, 8), strict=True)
            ]
            own = symbols[:, row : row + down, column : column + across]
            paint_area(area, own, steps, from_luma, copies or {})
    smooth(planes, symbols, steps)
    return refine(planes, refinement, qp)


def paint_area(
    area: list[Plane],
    symbols: NDArray[np.int64],
    steps: Sequence[int],
    from_luma: bool,
    copies: Copies,
) -> None:
    """Section 9.6: luma, u and v of one area, in place."""
    modes: dict[tuple[int, int], int] = {}
    painted: list[set[tuple[int, int]]] = [set(), set(), set()]
    _, rows, columns = symbols.shape
    for i in range(rows):
        for j in range(columns):
            large, m0, mc, m1, m2, m3, *_, split = symbols[384:, i, j].tolist()
            for q, m in enumerate((m0, m1, m2, m3)[: 1 if large else 4]):
                at = (2 * i + q // 2, 2 * j + q % 2)
                a, b = modes.get((at[0], at[1] - 1), 0), modes.get((at[0] - 1, at[1]), 0)
                mode = order_of(a, b)[rank_of(m)]
                if large:
                    added = large_residual(symbols[:384, i, j], steps[0])
                    modes |= {(at[0] + y, at[1] + x): mode for y in (0, 1) for x in (0, 1)}
                else:
                    added = residual(symbols[q:384:6, i, j], steps[0], split=split != 0)
                    modes[at] = mode
                if not large and at in copies and is_copy(at, copies[at], 2 * columns):
                    y, x = 8 * at[0], 8 * at[1]
                    copy(area[0], (y, x), copies[at], added)
                    painted[0].add(at)
                    continue
                put(area[0], painted[0], at, mode, added)
            order = order_of(modes[2 * i, 2 * j], 0)
            if from_luma:
                order.insert(1, 35)
            mode = order[min(len(order) - 1, 2 * mc - 1 if mc > 0 else -2 * mc)]
            for p in (4, 5):
                added = residual(symbols[p:384:6, i, j], steps[1], split=False)
                whole = added.copy()
                if mode == 35:
                    line_of_luma(area[0], area[p - 3], i, j, added)
                    painted[p - 3].add((i, j))
                else:
                    put(area[p - 3], painted[p - 3], (i, j), mode, added)
                for q in () if large else range(4):
                    at = (2 * i + q // 2, 2 * j + q % 2)
                    up, right = copies.get(at, (1, 1))
                    if up % 2 or right % 2 or not is_copy(at, (up, right), 2 * columns):
                        continue
                    y, x = 4 * (q // 2), 4 * (q % 2)
                    half = whole[y : y + 4, x : x + 4]
                    copy(area[p - 3], (8 * i + y, 8 * j + x), (up // 2, right // 2), half)


def copy(plane: Plane, at: tuple[int, int], by: tuple[int, int], added: Plane) -> None:
    """Section 9.7, in place."""
    n = len(added)
    (y, x), (up, right) = at, by
    there = plane[y - up : y - up + n, x + right : x + right + n]
    plane[y : y + n, x : x + n] = np.clip(there + added, 0, 4080)


def line_of_luma(luma: Plane, plane: Plane, i: int, j: int, added: Plane) -> None:
    """Section 9.6, mode 35, in place."""

    def l_at(y: int, x: int) -> int:
        square = luma[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        return (int(square.sum()) + 2) >> 2

    top, left = 8 * i, 8 * j
    around = [(top - 1, left + k) for k in range(8) if i]
    around += [(top + k, left - 1) for k in range(8) if j]
    pairs = [(l_at(y, x), int(plane[y, x])) for y, x in around]
    n = len(pairs)
    base, mean, slope = 0, 2048, 0
    if n:
        sl, sc = sum(one for one, _ in pairs), sum(one for _, one in pairs)
        a = 256 * (n * sum(one * c for one, c in pairs) - sl * sc)
        b = n * sum(one * one for one, _ in pairs) - sl * sl + 512 * n * n
        slope = a // b if a >= 0 else -(-a // b)
        slope = max(-1024, min(1024, slope))
        base, mean = sl // n, (sc + n // 2) // n
    for y in range(top, top + 8):
        for x in range(left, left + 8):
            value = mean + ((slope * (l_at(y, x) - base) + 128) >> 8)
            value = max(0, min(4080, value)) + int(added[y - top, x - left])
            plane[y, x] = max(0, min(4080, value))


def rank_of(m: int) -> int:
    return min(34, 2 * m - 1 if m > 0 else -2 * m)


def order_of(a: int, b: int) -> list[int]:
    order: list[int] = []
    for mode in (a, b, 0, 1, 26, 10):
        if mode not in order:
            order.append(mode)
    a, b = a if a >= 2 else 26, b if b >= 2 else 10
    for n in range(1, 33):
        for mode in (a - n, a + n, b - n, b + n):
            if 2 <= mode <= 34 and mode not in order:
                order.append(mode)
    return order


def residual(latents: NDArray[np.int64], step: int, *, split: bool) -> Plane:
    """Section 9.3, [8, 8]."""
    c = np.zeros((8, 8), np.int64)
    for (_, v, h), symbol in zip(RANKED, latents.tolist(), strict=True):
        c[v, h] = max(-65535, min(65535, symbol * step))
    d = SPLIT if split else WHOLE
    t = np.clip((d.T @ c + 1024) >> 11, -131071, 131071)
    return np.asarray((t @ d + 4096) >> 13)


def large_residual(latents: NDArray[np.int64], step: int) -> Plane:
    """Section 9.6, [16, 16] of the latents of a place."""
    c = np.zeros((16, 16), np.int64)
    for k, (_, v, h) in enumerate(RANKED):
        for q in range(4):
            product = int(latents[6 * k + q]) * step
            c[2 * v + (q >> 1), 2 * h + (q & 1)] = max(-65535, min(65535, product))
    t = np.clip((LARGE.T @ c + 1024) >> 11, -65535, 65535)
    return np.asarray((t @ LARGE + 4096) >> 13)


def put(
    plane: Plane, painted: set[tuple[int, int]], at: tuple[int, int], mode: int, added: Plane
) -> None:
    """Predict what begins at the 8x8 *at* (row, column), add to it, and say that it is painted."""
    n = len(added)
    y, x = 8 * at[0], 8 * at[1]
    predicted = np.array(predict(edge(plane, painted, at, n), n, mode))
    plane[y : y + n, x : x + n] = np.clip(predicted + added, 0, 4080)
    painted |= {(at[0] + i, at[1] + j) for i in range(n // 8) for j in range(n // 8)}


def edge(plane: Plane, painted: set[tuple[int, int]], at: tuple[int, int], n: int) -> list[int]:
    y, x = 8 * at[0], 8 * at[1]
    places = [(y + i, x - 1) for i in range(2 * n - 1, -1, -1)]
    places += [(y - 1, x - 1)] + [(y - 1, x + i) for i in range(2 * n)]
    there = [(row // 8, column // 8) in painted for row, column in places]
    there[2 * n] = there[2 * n - 1] and there[2 * n + 1]
    if True not in there:
        return [2048] * (4 * n + 1)
    e: list[int] = []
    for is_there, place in zip(there, places, strict=True):
        if is_there:
            e.append(int(plane[place]))
        elif e:
            e.append(e[-1])
    return [e[0]] * (4 * n + 1 - len(e)) + e


def predict(e: list[int], n: int, mode: int) -> list[list[int]]:
    straight = (9, 10, 11, 25, 26, 27)
    if mode in (0, 2, 18, 34) or (n == 16 and mode >= 2 and mode not in straight):
        inner = [(e[i - 1] + 2 * e[i] + e[i + 1] + 2) >> 2 for i in range(1, 4 * n)]
        e = [e[0], *inner, e[4 * n]]
    left, above = e[2 * n :: -1], e[2 * n :]
    side_of, b = range(n), 4 if n == 8 else 5
    if mode == 0:
        return [
            [
                (n - 1 - x) * left[y + 1] + (x + 1) * above[n + 1]
                + (n - 1 - y) * above[x + 1] + (y + 1) * left[n + 1] + n >> b
                for x in side_of
            ]
            for y in side_of
        ]  # fmt: skip
    if mode == 1:
        return [[sum(above[1 : n + 1]) + sum(left[1 : n + 1]) + n >> b] * n for _ in side_of]
    angle = ANGLES[mode]
    main, side = (above, left) if mode >= 18 else (left, above)

    def r(k: int) -> int:
        return main[k] if k >= 0 else side[(-k * INVERSES[angle] + 128) >> 8]

    out = [[0] * n for _ in side_of]
    for y in side_of:
        for x in side_of:
            d = (y + 1) * angle
            i, f = d >> 5, d % 32
            sample = (32 - f) * r(x + 1 + i) + (f * r(x + 2 + i) if f else 0) + 16 >> 5
            if mode >= 18:
                out[y][x] = sample
            else:
                out[x][y] = sample
    return out


def smooth(planes: list[Plane], symbols: NDArray[np.int64], steps: Sequence[int]) -> None:
    """Section 9.4 where every place is said to be intra and every tile coded: nearly every edge."""
    large = (symbols[384] != 0).repeat(16, 0).repeat(16, 1)
    for plane, step in zip(planes, (steps[0], steps[1], steps[1]), strict=True):
        luma = plane is planes[0]
        limits = 28 * step >> 4, 10 * step >> 4, step >> 4
        for view, inside in ((plane, large), (plane.T, large.T)):
            for x in range(8, view.shape[1], 8):
                within = luma and x % 16 == 8
                edges = ~inside[:, x] if within else np.ones(len(view), np.bool_)
                across = view[:, x - 3 : x + 3]
                across[edges] = crossed(across[edges], limits, luma=luma)


def crossed(samples: Plane, limits: tuple[int, int, int], *, luma: bool) -> Plane:
    """One edge, [length, 6]: p2 p1 p0 | q0 q1 q2."""
    a, b, t = limits
    p2, p1, p0, q0, q1, q2 = samples.T
    samples = samples.copy()
    on = (abs(p0 - q0) < a) & (abs(p1 - p0) < b) & (abs(q1 - q0) < b)
    m = (p0 + q0 + 1) >> 1
    if luma:
        new_p1 = p1 + np.clip((p2 + m - 2 * p1) >> 1, -t, t)
        new_q1 = q1 + np.clip((q2 + m - 2 * q1) >> 1, -t, t)
        samples[:, 1] = np.where(on & (abs(p2 - p0) < b), new_p1, p1)
        samples[:, 4] = np.where(on & (abs(q2 - q0) < b), new_q1, q1)
    d = np.clip((4 * (q0 - p0) + p1 - q1 + 4) >> 3, -2 * t, 2 * t)
    samples[:, 2] = np.where(on, np.clip(p0 + d, 0, 4080), p0)
    samples[:, 3] = np.where(on, np.clip(q0 - d, 0, 4080), q0)
    return samples


LUMA = (
    (0, 1), (0, 2), (0, 3), (1, -2), (1, -1), (1, 0),
    (1, 1), (1, 2), (2, -1), (2, 0), (2, 1), (3, 0),
)  # fmt: skip
CHROMA = ((0, 1), (0, 2), (1, -1), (1, 0), (1, 1), (2, 0))
TURNS = (
    lambda d, a: (d, a),
    lambda d, a: (a, d),
    lambda d, a: (-d, a),
    lambda d, a: (a, -d),
)


def refine(planes: list[Plane], refinement: dict[str, Any], qp: int) -> list[Plane]:
    """Section 9.5."""
    which = max(0, min(8, (qp - 1) // 6))
    luma_step, chroma_step = refinement["steps"]
    of_class = np.array(refinement["luma"][which])  # [40, 12, 4]
    cells, turns = classes(planes[0], luma_step)
    weights = np.zeros((*cells.shape, 12, 4), np.int64)
    for turn in range(4):
        for i, (d, a) in enumerate(LUMA):
            to = TURNS[turn](d, a)
            j = LUMA.index(to) if to in LUMA else LUMA.index((-to[0], -to[1]))
            here = turns == turn
            weights[here, j] = of_class[cells[here], i]
    everywhere = weights.repeat(4, 0).repeat(4, 1)
    out = [moved(planes[0], LUMA, everywhere, luma_step)]
    for plane, own in zip(planes[1:], np.array(refinement["chroma"][which]), strict=True):
        out.append(moved(plane, CHROMA, own[None, None], chroma_step))
    return out


def shifted(plane: Plane, down: int, across: int) -> Plane:
    """The plane's samples at (down, across) from each, its edges repeated."""
    h, w = plane.shape
    rows = np.clip(np.arange(h) + down, 0, h - 1)
    columns = np.clip(np.arange(w) + across, 0, w - 1)
    return plane[rows[:, None], columns]


def moved(
    plane: Plane, pairs: Sequence[tuple[int, int]], weights: NDArray[np.int64], step: int
) -> Plane:
    cuts = [min(step * c >> 3, 8191) for c in (13, 32, 96, 256)]
    s = np.zeros_like(plane)
    for i, (d, a) in enumerate(pairs):
        one, other = (4 * (shifted(plane, n * d, n * a) - plane) for n in (1, -1))
        for k, cut in enumerate(cuts):
            both = np.clip(one, -cut, cut) + np.clip(other, -cut, cut)
            s += (both * weights[..., i, k] + 16384) >> 15
    s = (s + 32768) % 65536 - 32768
    return np.clip(plane + ((s + 2) >> 2), 0, 4080)


def classes(luma: Plane, step: int) -> tuple[Plane, Plane]:
    """Class and turn of each 4x4."""
    h, w = luma.shape
    rows, columns = (np.clip(np.arange(-3, n + 3), 0, n - 1) for n in (h, w))
    wide = luma[rows[:, None], columns]
    sums = []
    for d, a in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        one = wide[1 + d : h + 5 + d, 1 + a : w + 5 + a]
        other = wide[1 - d : h + 5 - d, 1 - a : w + 5 - a]
        size = abs(2 * wide[1 : h + 5, 1 : w + 5] - one - other)
        total = size.cumsum(0).cumsum(1)
        total = np.pad(total, ((1, 0), (1, 0)))
        block = total[8:, 8:] - total[:-8, 8:] - total[8:, :-8] + total[:-8, :-8]
        sums.append(block[::4, ::4])
    across, down, falling, rising = sums
    straight, other = np.maximum(across, down), np.minimum(across, down)
    slant, other_slant = np.maximum(falling, rising), np.minimum(falling, rising)
    is_slant = slant * other > straight * other_slant
    most = np.where(is_slant, slant, straight)
    least = np.where(is_slant, other_slant, other)
    direction = np.where(most <= 2 * least, 0, np.where(2 * most <= 9 * least, 1, 2))
    direction = np.where((direction > 0) & ~is_slant, direction + 2, direction)
    level = np.zeros_like(direction)
    for i in range(7):
        level += (20 * step << i) >> 2 < across + down
    return 8 * direction + level, 2 * (rising > falling) + (down <= across)
