"""
Frozen integer probability tables of the entropy coder (SPEC, "Entropy coding").

Everything here is integers: histograms in, cumulative tables out, the same on
every machine. No float array may enter this module.

A table of A symbols is A + 1 increasing numbers 0 = c[0] < ... < c[A] = 2**14;
symbol s has probability (c[s + 1] - c[s]) / 2**14, so none is impossible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.contexts import Offsets, check_offsets
from rtcodec.errors import ConfigError

PROB_BITS = 14
"Probabilities of every table sum to 2**PROB_BITS."
PROB_SCALE = 1 << PROB_BITS

QP_COUNT = 64
SCALE_COUNT = 64
"Scale indices are 0..63; index 0 is skipped and has no table."
SAID_COUNT = 32
"Tables that models may have besides, for what is said of blocks: index i reads table 64 + i // 2."
RADIUS_MAX = 127
"A latent's table covers -R..R with R at most this, then the escape symbol."
Z_MAX = 15
"Hyper-latents are -15..15."
Z_SYMBOLS = 2 * Z_MAX + 1
SYMBOL_MAX = 32767
"Largest magnitude of a latent symbol; larger ones cannot be coded."

_TAIL_SHIFT = 12  # at most 2**-12 of the observed mass may need the escape
_RANK_SHIFT = 30  # fixed point of the marginal costs compared while normalising


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EntropyTables:
    """
    The validated tables of one model, immutable.

    Raises:
        ConfigError: If a shape, a dtype or a table's form is wrong.
    """

    y_cdf: NDArray[np.uint16]
    """[64, K], 3 <= K <= 257: row i >= 1 holds the cumulative table of the symbols
    -R..R and the escape, then 2**14 up to K; row 0 is all zero. [96, K] with tables for what is
    said of blocks, see `SAID_COUNT`."""

    z_cdf: NDArray[np.uint16]
    "[64 qp, Cz, 32]: cumulative tables of -15..15."

    contexts: Offsets | None = None
    """int8 [30, 16], `rtcodec.entropy.contexts`: tables depend on symbols read before; tiles then
    have 394 channels. None: on scale indices alone."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "y_cdf", _frozen(self.y_cdf, "y_cdf"))
        object.__setattr__(self, "z_cdf", _frozen(self.z_cdf, "z_cdf"))
        _check_y_cdf(self.y_cdf)
        _check_z_cdf(self.z_cdf)
        if self.contexts is not None:
            object.__setattr__(self, "contexts", check_offsets(self.contexts))
        elif self.has_said:
            raise ConfigError("y_cdf has tables for what is said of blocks, which needs contexts")

    @property
    def hyper_channels(self) -> int:
        """Cz, the number of hyper-latents of a tile."""
        return int(self.z_cdf.shape[1])

    @property
    def has_said(self) -> bool:
        """Whether what is said of blocks has tables of its own."""
        return len(self.y_cdf) > SCALE_COUNT

    @property
    def radius(self) -> NDArray[np.int32]:
        """R of each table, int32 [64 or 96]; 0 for index 0."""
        used = (self.y_cdf[:, :-1] < PROB_SCALE).sum(axis=1)  # symbols, escape included
        radius: NDArray[np.int32] = ((used - 2) // 2).astype(np.int32)
        radius[0] = 0
        return radius


def _frozen(array: NDArray[np.uint16], name: str) -> NDArray[np.uint16]:
    """Return a private read-only C-contiguous copy of a uint16 table."""
    if array.dtype != np.uint16:
        raise ConfigError(f"{name} is {array.dtype}, not uint16")
    copy = np.array(array, dtype=np.uint16, order="C")
    copy.flags.writeable = False
    return copy


def _check_y_cdf(cdf: NDArray[np.uint16]) -> None:
    counts = (SCALE_COUNT, SCALE_COUNT + SAID_COUNT)
    if cdf.ndim != 2 or cdf.shape[0] not in counts or not 3 <= cdf.shape[1] <= 2 * RADIUS_MAX + 3:
        raise ConfigError(f"y_cdf has shape {cdf.shape}, not [64 or 96, 3..257]")
    if cdf[0].any():
        raise ConfigError("y_cdf row 0 is not all zero")
    rows = cdf[1:].astype(np.int32)
    steps = np.diff(rows, axis=1)
    used = (rows[:, :-1] < PROB_SCALE).sum(axis=1)
    grows = (steps > 0) == (np.arange(steps.shape[1]) < used[:, None])
    bad = (rows[:, 0] != 0) | (rows[:, -1] != PROB_SCALE) | ~grows.all(axis=1) | (used % 2 == 1)
    if bad.any():
        raise ConfigError(f"y_cdf row {int(bad.argmax()) + 1} is not a cumulative table")


def _check_z_cdf(cdf: NDArray[np.uint16]) -> None:
    if cdf.ndim != 3 or cdf.shape[0] != QP_COUNT or cdf.shape[2] != Z_SYMBOLS + 1:
        raise ConfigError(f"z_cdf has shape {cdf.shape}, not [64, channels, 32]")
    if not cdf.shape[1]:
        raise ConfigError("z_cdf has no channel")
    rows = cdf.astype(np.int32)
    good = (rows[..., 0] == 0) & (rows[..., -1] == PROB_SCALE) & (np.diff(rows) > 0).all(axis=-1)
    if not good.all():
        qp, channel = np.unravel_index(int(good.argmin()), good.shape)
        raise ConfigError(f"z_cdf of qp {qp}, channel {channel} is not a cumulative table")


def normalize_histogram(counts: NDArray[np.integer]) -> NDArray[np.uint16]:
    """
    Turn counts into frequencies that sum to 2**14, each at least 1.

    Starts from rounded shares and moves single units where they cost the
    least expected bits; ties go to the lowest symbol. Zero total means uniform.

    Args:
        counts: [A] non-negative integers, 1 <= A <= 2**14, sum below 2**45.

    Returns:
        uint16 [A].
    """
    count = np.asarray(counts).astype(np.int64)
    if count.ndim != 1 or not 1 <= count.size <= PROB_SCALE or (count < 0).any():
        raise ValueError("a histogram is 1 to 2**14 non-negative counts")
    if not count.any():
        count = np.ones_like(count)
    total = int(count.sum())
    if total >= 1 << 45:
        raise ValueError("histogram counts sum to 2**45 or more")
    shift = max(0, total.bit_length() - (62 - _RANK_SHIFT - 1))  # keeps the ranks below 2**62
    weight = count >> shift
    freq = np.maximum(1, (count * PROB_SCALE + total // 2) // total)
    excess = int(freq.sum()) - PROB_SCALE
    while excess > 0:  # d bits / d freq = count / freq: take where that is least
        rank = (weight << _RANK_SHIFT) // (2 * freq - 1)
        rank[freq == 1] = np.iinfo(np.int64).max
        freq[int(rank.argmin())] -= 1
        excess -= 1
    while excess < 0:
        rank = (weight << _RANK_SHIFT) // (2 * freq + 1)
        freq[int(rank.argmax())] += 1
        excess += 1
    return freq.astype(np.uint16)


def tables_from_histograms(counts: NDArray[np.integer]) -> NDArray[np.uint16]:
    """
    Turn histograms into cumulative tables, one per row.

    Args:
        counts: [..., A] non-negative integers.

    Returns:
        uint16 [..., A + 1].
    """
    rows = np.asarray(counts).reshape(-1, counts.shape[-1])
    cdf = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint16)
    for row, out in zip(rows, cdf, strict=True):
        out[1:] = np.cumsum(normalize_histogram(row))
    return cdf.reshape(*counts.shape[:-1], -1)


def y_tables_from_histograms(counts: NDArray[np.integer]) -> NDArray[np.uint16]:
    """
    Build the latent tables from histograms of symbols by scale index.

    Row i gets the smallest radius that leaves at most 2**-12 of its mass to
    the escape; a row without counts copies its nearest neighbour with counts.

    Args:
        counts: [64 or 96, 2 * W + 1] integers, W >= 1: how often symbol s - W was seen
            with each table; the first and last bins may also hold
            everything beyond. Row 0 is ignored.

    Returns:
        uint16 [64 or 96, K], as `EntropyTables.y_cdf`.
    """
    rows = np.asarray(counts).astype(np.int64)
    if rows.ndim != 2 or rows.shape[0] % SAID_COUNT or rows.shape[1] % 2 == 0 or rows.size < 192:
        raise ValueError(f"histograms have shape {rows.shape}, not [64 or 96, 2 * W + 1]")
    tables: list[NDArray[np.uint16]] = []
    for group in (range(1, SCALE_COUNT), range(SCALE_COUNT, len(rows))):
        seen = np.array([i for i in group if rows[i].any()], np.int64)
        for i in group:
            nearest = seen[np.abs(seen - i).argmin()] if seen.size else i
            tables.append(_y_table(rows[nearest]))
    cdf = np.zeros((len(rows), max(table.size for table in tables)), np.uint16)
    for i, table in enumerate(tables, 1):
        cdf[i] = PROB_SCALE
        cdf[i, : table.size] = table
    return cdf


def _y_table(histogram: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return the cumulative table of -R..R and the escape for one histogram."""
    centre = histogram.size // 2
    allowed = int(histogram.sum()) >> _TAIL_SHIFT
    widest = min(centre, RADIUS_MAX)
    radius, tail = 0, int(histogram.sum() - histogram[centre])
    while radius < widest and tail > allowed:
        radius += 1
        tail -= int(histogram[centre - radius] + histogram[centre + radius])
    body = histogram[centre - radius : centre + radius + 1]
    return tables_from_histograms(np.append(body, tail))


def example_tables(hyper_channels: int) -> EntropyTables:
    """
    Two-sided geometric tables for tests and untrained models.

    Scale index i has P(|s| + 1) / P(|s|) about i / (i + 3), hyper-latents the
    same with (64 - qp) / 80.

    Args:
        hyper_channels: Cz, at least 1.
    """
    y = [_geometric(i, i + 3, RADIUS_MAX) for i in range(SCALE_COUNT)]
    z = [_geometric(64 - qp, 80, Z_MAX) for qp in range(QP_COUNT)]
    z_cdf = tables_from_histograms(np.array(z))
    return EntropyTables(
        y_tables_from_histograms(np.array(y)),
        np.repeat(z_cdf[:, None], hyper_channels, axis=1),
    )


def _geometric(numerator: int, denominator: int, radius: int) -> list[int]:
    """Return integer counts of -radius..radius that fall by a fixed ratio."""
    side = [1 << 24]
    for _ in range(radius):
        side.append(side[-1] * numerator // denominator)
    return side[:0:-1] + side
