"""Section 7.3 of SPEC.md, from the text alone: which table the next symbol of a delta tile has."""

PLACES = 16
DIAGONALS = sorted(v + h for v in range(8) for h in range(8))
"v + h of latent k, section 9.3: coefficients are sorted by it first."
LATENTS = [[k for k in range(64) if DIAGONALS[k] == d] for d in range(15)]

Known = dict[tuple[int, int, int], int]
"Energies of one tile by diagonal, part and place: what they are made from is read by then."


def table_of(
    index: int, read: list[int], contexts: list[list[int]], known: Known, rows: int
) -> int:
    """
    The index of the next symbol's table.

    Args:
        index: Its scale index.
        read: All symbols of the tile before it, in order.
        contexts: [30][16].
        known: Empty for a tile's first symbol, then passed on.
        rows: Of `y_cdf`, 64 or 96.
    """
    channel, place = divmod(len(read), PLACES)
    if channel == 393 and not luma_count(read, place):
        return 0
    if not index:
        return 0
    if channel >= 384:
        kind, level = 20 + channel - 384, motion_level(channel - 384, read, place)
    else:
        k, part = divmod(channel, 6)
        kind = min(DIAGONALS[k], 9) + (10 if part >= 4 else 0)
        level = above(energy(DIAGONALS[k], part, place, read, known), 4, 10, 17, 31, 52, 100, 200)
    moved = max(1, min(63, index + contexts[kind][level]))
    if channel >= 384:
        return moved if rows == 64 else 64 + moved // 2
    return 0 if moved < 3 else moved


def energy(diagonal: int, part: int, place: int, read: list[int], known: Known) -> int:
    if not diagonal:
        return 0
    at = (diagonal, part, place)
    if at not in known:
        value = energy(diagonal - 1, part, place, read, known)
        said = [read[(6 * k + part) * PLACES + place] for k in LATENTS[diagonal - 1]]
        known[at] = value - (value >> 2) + 16 * sum(min(abs(symbol), 15) for symbol in said)
    return known[at]


def luma_count(read: list[int], place: int) -> int:
    return sum(read[(6 * k + part) * PLACES + place] != 0 for k in range(64) for part in range(4))


def motion_level(j: int, read: list[int], place: int) -> int:
    s = [abs(read[(384 + i) * PLACES + place]) for i in range(j)]
    if j == 0:
        return above(luma_count(read, place), 1, 3, 8)
    if j == 1:
        return above(s[0], 1, 2, 4, 8)
    if j == 2:
        return above(s[0] + s[1], 1, 2, 4, 8)
    if j == 9:
        return above(luma_count(read, place), 2, 3, 4, 5, 8, 13)
    return above(sum(s[3:]), 1, 2, 4, 8) + 5 * above(s[0] + s[1], 1, 4)


def above(value: int, *thresholds: int) -> int:
    return sum(threshold <= value for threshold in thresholds)
