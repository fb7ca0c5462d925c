"""
What is fixed of a tile: levels, phases, which neighbours a sample is predicted from (SPEC.md 3).

    grid     o . o . o      o    known: of the level before
    odd      . 1 . 1 .      1    first phase: odd rows, odd columns
    columns  o 2 o 2 o      2    second: even rows, odd columns
    rows     3 1 3 1 3      3    third: odd rows, even columns

Numbers only; nothing is computed from samples here.
"""

from typing import Final

TILE_MAX: Final = 512
LEVELS: Final = 5
"Levels of a tile beside its coarsest grid, each of twice the spacing of the one before it."

NEAR: Final = 4
CALM: Final = 12
WEIGHT_BITS: Final = 8
ENERGY_BITS: Final = 8
"Fraction of weights and of energies."

GRID, ODD, COLUMNS, ROWS = range(4)
"Planes: phase p fills plane p + 1."

PLACES: Final = ((0, 0), (1, 1), (0, 1), (1, 0))
"Row and column of each plane's first sample, within a level."

NEIGHBOURS: Final = (
    (
        (GRID, 0, 0), (GRID, 0, 1), (GRID, 1, 0), (GRID, 1, 1),
        (GRID, -1, 0), (GRID, -1, 1), (GRID, 2, 0), (GRID, 2, 1),
        (GRID, 0, -1), (GRID, 1, -1), (GRID, 0, 2), (GRID, 1, 2),
        (ODD, 0, -1), (ODD, -1, 0), (ODD, -1, -1), (ODD, -1, 1),
    ),
    (
        (GRID, 0, 0), (GRID, 0, 1), (ODD, -1, 0), (ODD, 0, 0),
        (ODD, -1, -1), (ODD, -1, 1), (ODD, 0, -1), (ODD, 0, 1),
        (GRID, -1, 0), (GRID, -1, 1), (GRID, 1, 0), (GRID, 1, 1),
        (COLUMNS, 0, -1), (COLUMNS, -1, 0), (COLUMNS, -1, -1), (COLUMNS, -1, 1),
    ),
    (
        (GRID, 0, 0), (GRID, 1, 0), (ODD, 0, -1), (ODD, 0, 0),
        (COLUMNS, 0, -1), (COLUMNS, 0, 0), (COLUMNS, 1, -1), (COLUMNS, 1, 0),
        (GRID, 0, -1), (GRID, 0, 1), (GRID, 1, -1), (GRID, 1, 1),
        (ROWS, 0, -1), (ROWS, -1, 0), (ROWS, -1, 1), (ODD, -1, 0),
    ),
)  # fmt: skip
"""Plane, rows down and columns right of each tap of each phase: NEAR nearest ones first, CALM that
the row being coded does not touch, then west, north and another."""

AROUND: Final = (
    (
        (ROWS, 0, 0), (ROWS, 0, 1), (COLUMNS, 0, 0), (COLUMNS, 1, 0),
        (GRID, 0, 0), (GRID, 0, 1), (GRID, 1, 0), (GRID, 1, 1),
        (ODD, 0, -1), (ODD, 0, 1), (ODD, -1, 0), (ODD, 1, 0),
        (ODD, -1, -1), (ODD, -1, 1), (ODD, 1, -1), (ODD, 1, 1),
    ),
    (
        (GRID, 0, 0), (GRID, 0, 1), (ODD, -1, 0), (ODD, 0, 0),
        (ROWS, -1, 0), (ROWS, -1, 1), (ROWS, 0, 0), (ROWS, 0, 1),
        (COLUMNS, 0, -1), (COLUMNS, 0, 1), (COLUMNS, -1, 0), (COLUMNS, 1, 0),
        (COLUMNS, -1, -1), (COLUMNS, -1, 1), (COLUMNS, 1, -1), (COLUMNS, 1, 1),
    ),
    (
        (ODD, 0, -1), (ODD, 0, 0), (GRID, 0, 0), (GRID, 1, 0),
        (COLUMNS, 0, -1), (COLUMNS, 0, 0), (COLUMNS, 1, -1), (COLUMNS, 1, 0),
        (ROWS, 0, -1), (ROWS, 0, 1), (ROWS, -1, 0), (ROWS, 1, 0),
        (ROWS, -1, -1), (ROWS, -1, 1), (ROWS, 1, -1), (ROWS, 1, 1),
    ),
)  # fmt: skip
"""The same of the finest level when all of it is within a bound: nearest ones, their diagonals, the
nearest of the own plane, theirs."""

WEST, NORTH, THIRD = CALM, CALM + 1, CALM + 2
