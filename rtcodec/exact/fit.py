"""
How the samples of a picture are best expected: the encoder's affair (SPEC.md 6).

Least squares in floats over some tiles; what comes of it are integers that are sent, and nothing
that is decoded depends on how they were found.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import (
    COMMON_FITS,
    COMMON_REFINED_FITS,
    ENERGIES,
    ENERGY_MAX,
    GROUPS,
    PHASES,
    TAPS,
    WEIGHT_MAX,
    Fit,
    Fits,
)
from rtcodec.exact.layout import (
    AROUND,
    CALM,
    ENERGY_BITS,
    NEAR,
    NEIGHBOURS,
    PLACES,
    ROWS,
    WEIGHT_BITS,
)

SAMPLES_MAX: Final = 40_000
"That are looked at for each fit."

_CLASSES: Final = 6
_CLASS_SAMPLES: Final = 2_000  # so many pay for the weights of one more class
_FEWEST: Final = 48  # samples for as many unknowns as there are taps
_ROUNDS: Final = 3
_BORDER: Final = 2

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Level:
    """One level of one tile, its planes and their errors as far as they are known."""

    def __init__(self, tile: NDArray[np.uint16], level: int) -> None:
        samples = tile[:: 1 << level, :: 1 << level].astype(np.int64)
        self.shape = samples.shape
        self.planes = [samples[down::2, right::2] for down, right in PLACES]
        self.errors: list[Integers | None] = [None] * len(PLACES)

    def taps(self, phase: int) -> Integers:
        """Return the neighbours of each sample of a phase, [n, TAPS]."""
        padded = [_padded(plane, self.planes[0]) for plane in self.planes[: phase + 1]]
        padded.append(_padded_own(self.planes[phase + 1], padded[0]))
        shape = self.planes[phase + 1].shape
        seen = [_shifted(padded[plane], shape, i, j) for plane, i, j in NEIGHBOURS[phase]]
        return np.stack(seen, 1)

    def error_sums(self, phase: int, own: Integers) -> Integers:
        """Return what energies say of errors, [n, 7], given those of the phase itself."""
        grid = self.errors[0]
        if grid is None:
            grid = np.full(self.planes[0].shape, int(own.mean()))
        known = [grid, *(error for error in self.errors[1 : phase + 1])]
        padded = [_padded(grid if plane is None else plane, grid) for plane in known]
        mine = _padded_own(own, padded[0])
        near = (_shifted(mine, own.shape, i, j) for i, j in ((0, -1), (-1, 0), (-1, -1), (-1, 1)))
        west, north, north_west, north_east = near
        sums = [np.full(own.size, 16), west, north, north_west + north_east]
        sums += [np.zeros(own.size, np.int64) for _ in range(3)]
        for plane, i, j in NEIGHBOURS[phase][: 2 * NEAR if phase == ROWS - 1 else NEAR]:
            sums[4 + plane] = sums[4 + plane] + _shifted(padded[plane], own.shape, i, j)
        return np.stack(sums, 1)

    def joined_errors(self) -> Integers:
        """Return the errors of the whole level: the grid's of the next."""
        out = np.zeros(self.shape, np.int64)
        for (down, right), errors in zip(PLACES, self.errors, strict=True):
            if errors is not None:
                out[down::2, right::2] = errors
        return out


def fit_tiles(
    tiles: Sequence[NDArray[np.uint16]],
    high: int,
    pad: int | None,
    max_error: int,
    bound: int = 0,
) -> Fits:
    """
    Return what suits *tiles* best.

    Args:
        tiles: Some of the picture's, samples 0..*high*.
        high: As `TileModel` has it, like the others.
        pad: Or None.
        max_error: Or 0.
        bound: Or 0.
    """
    groups: list[tuple[Fit, ...]] = []
    before: list[_Level] = []
    for group in reversed(range(GROUPS)):  # the last one by its finest level alone
        levels = [_Level(tile, group) for tile in tiles]
        for level, coarser in zip(levels, before, strict=False):
            level.errors[0] = coarser.joined_errors()
        most = max_error if group else max_error + bound
        groups.append(
            tuple(_fit_phase(levels, group, phase, high, pad, most) for phase in range(PHASES))
        )
        before = levels
    return tuple(reversed(groups))


def _fit_phase(
    levels: Sequence[_Level], group: int, phase: int, high: int, pad: int | None, max_error: int
) -> Fit:
    """Fit one phase, and leave its errors in *levels*."""
    usual = COMMON_FITS[group][phase]
    some = [level for level in levels if level.planes[phase + 1].size]
    if not some:
        return usual
    taps = np.concatenate([level.taps(phase) for level in some])
    truth = np.concatenate([level.planes[phase + 1].ravel() for level in some])
    wanted = np.ones(truth.size, np.bool_)
    if pad is not None:
        wanted = (truth != pad) | (taps != pad).all(1)
        taps = _without(taps, pad)
    chosen = np.flatnonzero(wanted)
    if chosen.size < _FEWEST:
        return usual
    base = _base(taps)
    thresholds, weights, moved = _fit_classes(taps, truth, chosen)
    shift = moved + (1 << WEIGHT_BITS >> 1) >> WEIGHT_BITS
    outer = np.abs(taps - base[:, None])[:, NEAR:CALM].sum(1)
    step = 2 * max_error + 1
    misses = np.abs(truth - np.clip(base + shift, 0, high))
    errors = np.where(wanted, (misses + max_error) // step * step, 0)

    sums = []
    start = 0
    for level in some:
        shape = level.planes[phase + 1].shape
        part = errors[start : start + shape[0] * shape[1]].reshape(shape)
        level.errors[phase + 1] = part
        sums.append(level.error_sums(phase, part))
        start += part.size
    near = taps[:, :NEAR]
    slopes = (near[:, 0] - near[:, 1], near[:, 2] - near[:, 3], near @ np.array([1, 1, -1, -1]))
    energy = np.column_stack([np.concatenate(sums), *map(np.abs, slopes), outer])
    own = _some(chosen, SAMPLES_MAX)
    return Fit(
        thresholds,
        weights,
        _energies(energy[own].astype(np.float64), errors[own].astype(np.float64)),
    )


def fit_refinement(
    tiles: Sequence[NDArray[np.uint16]], known: Sequence[NDArray[np.uint16]], pad: int | None
) -> tuple[Fit, ...]:
    """
    Return what suits best what *tiles* lack, a fit for each phase.

    Args:
        tiles: Some of the picture's, samples 0..high.
        known: The same, the finest level within a bound.
        pad: Or None.
    """
    truths = [_Level(tile, 0) for tile in tiles]
    nears = [_Level(tile, 0) for tile in known]
    return tuple(_fit_missing(truths, nears, phase, pad) for phase in range(PHASES))


def _fit_missing(
    truths: Sequence[_Level], nears: Sequence[_Level], phase: int, pad: int | None
) -> Fit:
    some = [pair for pair in zip(truths, nears, strict=True) if pair[0].planes[phase + 1].size]
    usual = COMMON_REFINED_FITS[GROUPS][phase]
    if not some:
        return usual
    taps = np.concatenate([_around(truth, near, phase) for truth, near in some])
    truth = np.concatenate([truth.planes[phase + 1].ravel() for truth, _ in some])
    near = np.concatenate([near.planes[phase + 1].ravel() for _, near in some])
    chosen = np.flatnonzero(np.ones(truth.size) if pad is None else near != pad)
    if chosen.size < _FEWEST:
        return usual
    if pad is not None:
        taps = _without(taps, pad)
    base = _base(taps)
    thresholds, weights, moved = _fit_classes(taps, truth, chosen)
    apart = np.abs(taps - base[:, None])
    slope = np.abs(taps[:, :NEAR] @ np.array([1, 1, -1, -1]))
    parts = np.column_stack(
        [np.full(truth.size, 16), apart[:, ::2] + apart[:, 1::2], slope, np.abs(near - base)]
    )
    errors = np.abs(truth - base - moved / (1 << WEIGHT_BITS))
    own = _some(chosen, SAMPLES_MAX)
    return Fit(thresholds, weights, _energies(parts[own].astype(np.float64), errors[own]))


def _around(truth: _Level, near: _Level, phase: int) -> Integers:
    """Return what is around each sample of a phase, refined or not yet, [n, TAPS]."""
    shape = truth.planes[phase + 1].shape
    seen = []
    for plane, i, j in AROUND[phase]:
        is_refined = plane <= phase or (plane == phase + 1 and (i, j) < (0, 0))
        level = truth if is_refined else near
        seen.append(_shifted(_padded(level.planes[plane], level.planes[0]), shape, i, j))
    return np.stack(seen, 1)


def _base(taps: Integers) -> Integers:
    mean: Integers = taps[:, :NEAR].sum(1) + 2 >> 2
    return mean


def _fit_classes(
    taps: Integers, truth: Integers, chosen: NDArray[np.intp]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], Integers]:
    """Return thresholds, weights, and what they add to the base of each in 2**WEIGHT_BITS-ths."""
    base = _base(taps)
    moved = taps - base[:, None]
    activity = np.abs(moved[:, :NEAR]).sum(1) + np.abs(moved[:, NEAR:CALM]).sum(1) // 2
    thresholds = _thresholds(activity[chosen])
    classes = np.searchsorted(thresholds, activity, side="right")
    rows = []
    for number in range(len(thresholds) + 1):
        own = _some(chosen[classes[chosen] == number], SAMPLES_MAX // (len(thresholds) + 1))
        rows.append(_weights(moved[own].astype(np.float64), (truth - base)[own].astype(np.float64)))
    weights = np.array(rows, np.int64)
    return (
        tuple(int(threshold) for threshold in thresholds),
        tuple(tuple(int(weight) for weight in row) for row in weights),
        (moved * weights[classes]).sum(1),
    )


def _thresholds(activity: Integers) -> Integers:
    """Return where classes of about as many samples each begin."""
    count = min(max(activity.size // _CLASS_SAMPLES, 1), _CLASSES)
    return np.unique(np.quantile(activity, np.arange(1, count) / count).astype(np.int64) + 1)


def _weights(moved: Floats, wanted: Floats) -> Integers:
    """Return the weights that bring *moved* [n, TAPS] nearest to *wanted*, by size, not square."""
    if len(moved) < _FEWEST:
        return np.zeros(TAPS, np.int64)
    trust = np.ones(len(moved))
    best = np.zeros(TAPS)
    for _ in range(_ROUNDS):
        best = _solve(moved, wanted, trust)
        miss = wanted - moved @ best
        trust = 1 / np.sqrt(miss * miss + (np.abs(miss).mean() + 0.5) ** 2 / 4)
    return np.clip(np.rint(best * (1 << WEIGHT_BITS)), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int64)


def _energies(parts: Floats, errors: Floats) -> tuple[int, ...]:
    """Return the factors, none negative, with which *parts* [n, ENERGIES] say most of *errors*."""
    expected = np.full(len(errors), errors.mean() + 0.3)
    factors = np.zeros(ENERGIES)
    for _ in range(2 * _ROUNDS):
        factors[:] = 0
        used = np.any(parts != 0, axis=0)
        while used.any():
            found = _solve(parts[:, used], errors, 1 / (expected + 0.1) ** 2)
            if (found >= 0).all():
                factors[used] = found
                break
            used[np.flatnonzero(used)[found < 0]] = False
        expected = np.maximum(parts @ factors, 1 / 16)
    scaled = np.rint(factors * (8 << ENERGY_BITS))
    return tuple(int(factor) for factor in np.clip(scaled, 0, ENERGY_MAX))


def _solve(a: Floats, y: Floats, trust: Floats) -> Floats:
    weighted = a * trust[:, None]
    square = a.T @ weighted
    square[np.diag_indices_from(square)] += 1e-3 * np.trace(square) / len(square) + 1e-6
    return np.linalg.solve(square, weighted.T @ y).astype(np.float64, copy=False)


def _some(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return about *most* of *places*, evenly."""
    return places[:: max(1, -(-places.size // most))]


def _without(taps: Integers, pad: int) -> Integers:
    """Put the mean of the known neighbours where padding is, as the codec does."""
    known = taps != pad
    near, everything = known[:, :NEAR].sum(1), known.sum(1)
    mean_near = (taps[:, :NEAR] * known[:, :NEAR]).sum(1) // np.maximum(near, 1)
    mean = (taps * known).sum(1) // np.maximum(everything, 1)
    filled = np.where(near > 0, mean_near, np.where(everything > 0, mean, pad))
    return np.where(known, taps, filled[:, None])


def _padded(plane: Integers, grid: Integers) -> Integers:
    """Repeat the edges; the grid stands in for a plane that is empty."""
    return np.pad(plane if plane.size else grid, _BORDER, mode="edge")


def _padded_own(plane: Integers, grid: Integers) -> Integers:
    """Repeat of the plane being coded what is known: the row above of the grid, then north."""
    out = np.pad(plane, _BORDER, mode="edge")
    out[_BORDER - 1] = grid[_BORDER - 1, : out.shape[1]]
    out[_BORDER:-_BORDER, _BORDER - 1] = out[_BORDER - 1 : -_BORDER - 1, _BORDER]
    return out


def _shifted(padded: Integers, shape: tuple[int, int], down: int, right: int) -> Integers:
    rows, columns = shape
    top, left = _BORDER + down, _BORDER + right
    return padded[top : top + rows, left : left + columns].ravel()
