"""
A tile sample by sample, slowly and plainly (SPEC.md 3 to 5); `native.TileCoder` equals it.

    grid of the level before ─▶ odd ─▶ columns ─▶ rows ─▶ grid of the next
           neighbours ─▶ prediction, scale, sight ─▶ residual

For tests and as the text of the specification in code: a megabyte takes minutes.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import GROUPS, TAPS, Fit, TileModel
from rtcodec.entropy.rans import STATE_MIN, LaneReader, LaneWriter
from rtcodec.errors import Corrupt
from rtcodec.exact.layout import (
    AROUND,
    CALM,
    ENERGY_BITS,
    LEVELS,
    NEAR,
    NEIGHBOURS,
    NORTH,
    PLACES,
    ROWS,
    THIRD,
    WEIGHT_BITS,
    WEST,
)
from rtcodec.exact.model import (
    BEYOND,
    CALM_BELOW,
    COARSE_PAD,
    ESCAPE,
    FINE_PAD,
    OCTAVES,
    SIGHTS,
    Model,
    join_residual,
    missing_tables,
    most_halves,
    scale_of,
    shift_of,
    split_residual,
    tail_bits,
)

EXPECTED_MAX: Final = 1 << 24
"Of an expected error, in eighths."

Residual = Callable[[int, int, int, int], int]
"From two tables, shift and, to encode, the residual: the residual."

Flag = Callable[[int, bool], bool]
"From context and, to encode, whether it is padding: whether it is."


class _Plane:
    """Samples and errors of a phase; what lies outside is repeated or borrowed from the grid."""

    def __init__(self, rows: int, columns: int, grid: "_Plane | None") -> None:
        self.rows, self.columns = rows, columns
        self.sample = np.zeros((rows, columns), np.int64)
        self.error = np.zeros((rows, columns), np.int64)
        self.outside = self.sample
        "What is repeated beyond the edges."

        self._grid = grid
        self.is_done = grid is None

    def at(self, row: int, column: int) -> tuple[int, int]:
        """Return a sample and its error."""
        if not self.rows or not self.columns:
            assert self._grid is not None
            return self._grid.at(row, column)
        if not self.is_done:
            assert self._grid is not None
            if row < 0:
                return self._grid.at(0, column)
            if column < 0:
                return self.at(row - 1, 0)
        inside = min(max(row, 0), self.rows - 1), min(max(column, 0), self.columns - 1)
        samples = self.sample if inside == (row, column) else self.outside
        return int(samples[inside]), int(self.error[inside])


class TileReference:
    """Tiles of one component, as `native.TileCoder`."""

    def __init__(self, model: TileModel) -> None:
        self._tile = model
        self._model = Model()
        self._level = LEVELS
        self._grid = _Plane(0, 0, None)
        self._finest: list[_Plane] = []

    def begin(self, height: int, width: int) -> None:
        """Start a tile."""
        self._model = Model()
        self._level = LEVELS
        self._grid = _Plane(-(-height >> LEVELS), -(-width >> LEVELS), None)

    def decode(self, payload: bytes, samples: NDArray[np.uint16]) -> None:
        """
        Decode the step that comes next into *samples*.

        Raises:
            BitstreamError: If *payload* is not of such a step.
        """
        if payload and self._level < 0 and not self._tile.bound:
            raise Corrupt("bytes are left over", offset=0)
        if not payload:
            self._walk(samples, lambda *_: 0, lambda at, _: self._model.pad[at] >= 1 << 15)
            return
        reader = LaneReader(payload, 1)

        def residual(scale: int, sight: int, shift: int, _: int) -> int:
            symbol = reader.take(0, self._model.cdf(scale, sight))
            escaped = 0
            if symbol == ESCAPE:
                head = reader.take_raw(0, 5)
                rest = reader.take_raw(0, head & 15)
                escaped = BEYOND - 1 + (1 << (head & 15)) + rest
                escaped = -escaped if head & 16 else escaped
            raw = reader.take_raw(0, shift + tail_bits(symbol))
            return join_residual(symbol, escaped, raw, shift)

        def flag(context: int, _: bool) -> bool:
            return reader.take(0, self._model.pad_cdf(context)) == 0

        self._walk(samples, residual, flag)
        reader.finish()

    def encode(self, samples: NDArray[np.uint16]) -> bytes:
        """Encode the step that comes next, as `native.TileCoder` does."""
        if self._tile.bound and self._level == 0:
            samples = samples.copy()
        items: list[Callable[[], None]] = []
        writer = LaneWriter([STATE_MIN])
        says = False

        def residual(scale: int, sight: int, shift: int, value: int) -> int:
            nonlocal says
            says |= value != 0
            symbol, raws = split_residual(value, shift)
            cdf = self._model.cdf(scale, sight)
            items.append(lambda: writer.put(0, cdf, symbol))
            items.extend(lambda raw=raw: writer.put_raw(0, *raw) for raw in raws)  # type: ignore[misc]
            return value

        def flag(context: int, value: bool) -> bool:
            nonlocal says
            says |= value != (self._model.pad[context] >= 1 << 15)
            cdf = self._model.pad_cdf(context)
            items.append(lambda: writer.put(0, cdf, 0 if value else 1))
            return value

        self._walk(samples, residual, flag)
        for put in reversed(items):
            put()
        return writer.payload() if says else b""

    def _walk(self, samples: NDArray[np.uint16], residual: Residual, flag: Flag) -> None:
        if self._level == LEVELS:
            self._walk_grid(samples[:: 1 << LEVELS, :: 1 << LEVELS], residual)
        elif self._level < 0:
            if self._tile.bound:
                self._refine(samples, residual)
        else:
            spacing = 1 << self._level
            self._walk_level(samples[::spacing, ::spacing], residual, flag)
        self._level -= 1

    def _walk_grid(self, samples: NDArray[np.uint16], residual: Residual) -> None:
        grid = self._grid
        for row, column in np.ndindex(samples.shape):
            if row or column:
                west, west_error = grid.at(row, column - 1) if column else grid.at(row - 1, 0)
                north, north_error = grid.at(row - 1, column) if row else (west, west_error)
                corner = grid.at(row - 1, column - 1)[0] if row and column else west
                errors = west_error + north_error
            else:
                west = north = corner = errors = self._tile.high // 2
            least, most = min(west, north), max(west, north)
            prediction = min(max(west + north - corner, least), most)
            truth = int(samples[row, column])
            value, error = self._code(prediction, 4 * errors + 4, 0, truth, residual)
            samples[row, column] = grid.sample[row, column] = value
            grid.error[row, column] = error

    def _walk_level(self, samples: NDArray[np.uint16], residual: Residual, flag: Flag) -> None:
        height, width = samples.shape
        planes = [self._grid]
        for phase, fit in enumerate(self._tile.fits[min(self._level, GROUPS - 1)]):
            down, right = PLACES[phase + 1]
            own = samples[down::2, right::2]
            planes.append(_Plane(own.shape[0], own.shape[1], self._grid))
            for row, column in np.ndindex(own.shape):
                seen = [planes[plane].at(row + i, column + j) for plane, i, j in NEIGHBOURS[phase]]
                errors = _errors(phase, planes, row, column, [error for _, error in seen])
                truth = int(own[row, column])
                value, error = self._sample(
                    phase, fit, [sample for sample, _ in seen], errors, truth, residual, flag
                )
                own[row, column] = planes[-1].sample[row, column] = value
                planes[-1].error[row, column] = error
            planes[-1].is_done = True
        self._finest = planes
        self._grid = _Plane(height, width, None)
        for (down, right), plane in zip(PLACES, planes, strict=True):
            if plane.rows and plane.columns:
                self._grid.sample[down::2, right::2] = plane.sample
                self._grid.error[down::2, right::2] = plane.error

    def _sample(
        self,
        phase: int,
        fit: Fit,
        values: list[int],
        errors: list[int],
        truth: int,
        residual: Residual,
        flag: Flag,
    ) -> tuple[int, int]:
        """Code one sample; return it and its error."""
        pad = self._tile.pad
        if pad is not None and pad in values:
            context = _pad_context(phase, values, pad)
            is_pad = flag(context, truth == pad)
            self._model.adapt_pad(context, is_pad)
            if is_pad:
                return pad, 0
            values = _without(values, pad)
        near = values[:NEAR]
        base, activity, outer, moved = _slopes(values, fit)
        prediction = base + (moved + (1 << WEIGHT_BITS >> 1) >> WEIGHT_BITS)
        prediction = min(max(prediction, 0), self._tile.high)
        energies = [
            *errors,
            abs(near[0] - near[1]),
            abs(near[2] - near[3]),
            abs(near[0] + near[1] - near[2] - near[3]),
            outer,
        ]
        if activity < CALM_BELOW:
            sight = CALM_BELOW + activity
        else:
            sight = sum((value > prediction) << k for k, value in enumerate(near))
        return self._code(prediction, _expected(energies, fit), sight, truth, residual)

    def _code(
        self, prediction: int, eighths: int, sight: int, truth: int, residual: Residual
    ) -> tuple[int, int]:
        """Code the residual of one sample; return the sample as decoded and its error."""
        bound = self._tile.max_error + (self._tile.bound if self._level == 0 else 0)
        step = 2 * bound + 1
        scale = scale_of(eighths // step)
        shift, sight = shift_of(scale), scale // 2 * SIGHTS + sight
        wanted = truth - prediction
        size = (abs(wanted) + bound) // step
        taken = residual(scale, sight, shift, -size if wanted < 0 else size)
        self._model.adapt(scale, sight, split_residual(taken, shift)[0])
        value = min(max(prediction + taken * step, 0), self._tile.high)
        return value, abs(value - prediction)

    def _refine(self, samples: NDArray[np.uint16], residual: Residual) -> None:
        """Code what each sample of the finest level lacks."""
        self._model.begin_missing(self._tile.bound)
        planes = self._finest
        for phase, fit in enumerate(self._tile.fits[GROUPS]):
            down, right = PLACES[phase + 1]
            truth, own = samples[down::2, right::2], planes[phase + 1]
            own.outside = own.sample.copy()
            for row, column in np.ndindex(truth.shape):
                seen = [planes[plane].at(row + i, column + j)[0] for plane, i, j in AROUND[phase]]
                missing = self._missing(
                    fit, seen, int(own.sample[row, column]), int(truth[row, column]), residual
                )
                own.sample[row, column] = truth[row, column] = missing
            own.outside = own.sample

    def _missing(
        self, fit: Fit, values: list[int], known: int, truth: int, residual: Residual
    ) -> int:
        """Code what one sample lacks; return the sample."""
        pad, bound = self._tile.pad, self._tile.bound
        if pad is not None and pad in values:
            values = _without(values, pad)
        base, _, _, moved = _slopes(values, fit)
        halves = 2 * (base - known) + (moved + (1 << WEIGHT_BITS >> 2) >> WEIGHT_BITS - 1)
        apart = [abs(value - base) for value in values]
        energies = [
            16,
            *(apart[k] + apart[k + 1] for k in range(0, TAPS, 2)),
            abs(values[0] + values[1] - values[2] - values[3]),
            abs(known - base),
        ]
        octave = min(scale_of(_expected(energies, fit)) // 4, OCTAVES - 1)
        coarse, fine = missing_tables(octave, min(abs(halves), most_halves(bound) - 1), bound)
        if known == pad:
            coarse, fine = COARSE_PAD, FINE_PAD
        sign = -1 if halves < 0 else 1
        taken = residual(coarse, fine, 0, sign * (truth - known))
        self._model.adapt(coarse, fine, split_residual(taken, 0)[0])
        if abs(taken) > bound:
            raise Corrupt("a sample is beyond the bound", offset=0)
        return min(max(known + sign * taken, 0), self._tile.high)


def _slopes(values: list[int], fit: Fit) -> tuple[int, int, int, int]:
    """Return base, activity, the outer part of it, and what the fit adds in 2**WEIGHT_BITS-ths."""
    base = sum(values[:NEAR]) + 2 >> 2
    apart = [abs(value - base) for value in values]
    outer = sum(apart[NEAR:CALM])
    activity = sum(apart[:NEAR]) + outer // 2
    weights = fit.weights[sum(activity >= threshold for threshold in fit.thresholds)]
    moved = sum(w * (value - base) for w, value in zip(weights, values, strict=True))
    return base, activity, outer, moved


def _expected(energies: list[int], fit: Fit) -> int:
    """Return what is expected of an error, in eighths."""
    expected = sum(e * c for e, c in zip(energies, fit.energies, strict=True)) >> ENERGY_BITS
    return min(expected, EXPECTED_MAX)


def _errors(phase: int, planes: list[_Plane], row: int, column: int, seen: list[int]) -> list[int]:
    """Return what a phase's energies say of errors: nearby ones, then sums by plane."""
    own = planes[-1]
    west, north, north_west, north_east = (
        own.at(row + i, column + j)[1] for i, j in ((0, -1), (-1, 0), (-1, -1), (-1, 1))
    )
    by_plane = [0, 0, 0]
    count = 2 * NEAR if phase == ROWS - 1 else NEAR
    for (plane, _, _), error in zip(NEIGHBOURS[phase][:count], seen[:count], strict=True):
        by_plane[plane] += error
    return [16, west, north, north_west + north_east, *by_plane]


def _pad_context(phase: int, values: list[int], pad: int) -> int:
    n_near = sum(value != pad for value in values[:NEAR])
    west, north, third = (values[k] == pad for k in (WEST, NORTH, THIRD))
    return (phase * 5 + n_near) * 8 + 4 * west + 2 * north + third


def _without(values: list[int], pad: int) -> list[int]:
    """Return *values* with the mean of the known ones, the nearest if any, for padding."""
    known = [value for value in values[:NEAR] if value != pad] or [
        value for value in values if value != pad
    ]
    mean = sum(known) // len(known) if known else pad
    return [mean if value == pad else value for value in values]
