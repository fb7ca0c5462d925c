"""
What is expected of a residual, and how that adapts, slowly and plainly (SPEC.md 4); C: `_model.h`.

A residual is a symbol and raw bits. Two tables, chosen by how large an error is expected and by
what the nearest samples look like, are averaged; both then move towards the symbol.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import PHASES
from rtcodec.entropy.cdf import PROB_BITS

SYMBOLS: Final = 32
SCALES: Final = 76
SIGHTS: Final = 32
CALM_BELOW: Final = 16
GAP: Final = 4
LINEAR: Final = 11
TAILS: Final = 4
ESCAPE: Final = SYMBOLS - 1
BEYOND: Final = LINEAR + 2 ** (TAILS + 1) - 1
FASTEST: Final = 5
SEEN: Final = (8, 32)
"How often a table was used before it adapts at half the rate, and at a quarter."

SHIFT_MAX: Final = 12
PAD_RATE: Final = 5
QUARTERS: Final = 4
OCTAVES: Final = 18
"Of an expected error, of what is missing within a bound."

_SCALE_SHIFT: Final = 12  # from this scale on a step is more than one residual

FALL: Final = (
    2044, 4080, 8068, 11884, 15471, 18795, 21845, 24624,
    27146, 31498, 35074, 38032, 40503, 44370, 47236, 49434,
)  # fmt: skip
"""Of 2**16, how much less likely each step is than the one before: of two-sided geometric
distributions with the mean magnitude of each scale; from 12 on the same four again."""


def scale_of(eighths: int) -> int:
    """Return the scale of an expected error: eighths below 4, then quarters of octaves."""
    if eighths < 4:
        return eighths
    top = eighths.bit_length() - 1
    return min(4 * (top - 1) + (eighths >> (top - 2) & 3), SCALES - 1)


def shift_of(scale: int) -> int:
    """Return how many residuals make a step, as a power of two."""
    return 0 if scale < _SCALE_SHIFT + 4 else min(scale // 4 - 3, SHIFT_MAX)


def tail_bits(symbol: int) -> int:
    """Return how many raw bits say which step of its symbol a residual is in."""
    return (symbol - 2 * LINEAR - 1) % TAILS + 1 if 2 * LINEAR < symbol < ESCAPE else 0


def tail_step(n_bits: int) -> int:
    """Return the step nearest to 0 of a symbol with so many."""
    return LINEAR - 1 + (1 << n_bits)


def first_table(scale: int) -> list[int]:
    """Return where each symbol starts, of 2**16, before anything was seen."""
    fall = FALL[scale if scale < _SCALE_SHIFT else _SCALE_SHIFT + scale % 4]
    share = [0] * SYMBOLS
    left = 1 << 24
    for step in range(BEYOND):
        if step <= LINEAR:
            share[LINEAR - step] = share[LINEAR + step] = left
        else:
            tail = (step - LINEAR + 1).bit_length() - 1
            share[2 * LINEAR + tail] += left
            share[2 * LINEAR + TAILS + tail] += left
        left = left * fall >> 16
    share[ESCAPE] = 2 * ((left << 16) // ((1 << 16) - fall))
    return _starts(share)


def most_halves(bound: int) -> int:
    """Return below which distance, in halves, those of prediction and value are told apart."""
    return 2 * bound + 4


def missing_tables(octave: int, halves: int, bound: int) -> tuple[int, int]:
    """
    Return which tables are for what is missing: one of all scales', one of all sights'.

    Args:
        octave: Of the expected error, below OCTAVES.
        halves: From the value to the prediction, below `most_halves`.
        bound: Of the picture.
    """
    return octave * QUARTERS + halves * QUARTERS // most_halves(bound), octave * SIGHTS + halves


COARSE_PAD: Final = SCALES - 1
FINE_PAD: Final = OCTAVES * SIGHTS
"Tables for samples that look like padding."


def first_missing(octave: int, halves: int, bound: int) -> list[int]:
    """Return where each symbol starts, before anything was seen; arguments: `missing_tables`."""
    fall = FALL[4 * octave + 2] if octave < 4 else (1 << 16) - (21845 >> octave - 3)
    share = [0] * SYMBOLS
    for missing in range(-bound, bound + 1):
        distance = abs(2 * missing - halves)
        left = 1 << 24
        for _ in range(distance // 2):
            left = left * fall >> 16
        if distance % 2:
            left = left + (left * fall >> 16) >> 1
        share[LINEAR + missing] = left
    return _starts(share)


def _starts(share: Sequence[int]) -> list[int]:
    """Return where symbols start, of 2**16, that have *share* of them."""
    total = sum(share)
    widths = [GAP + part * ((1 << 16) - SYMBOLS * GAP) // total for part in share]
    return [sum(widths[:symbol]) for symbol in range(SYMBOLS)]


class Model:
    """What the payloads of one tile teach."""

    def __init__(self) -> None:
        self.by_scale = [first_table(scale) for scale in range(SCALES)]
        self.by_sight = [
            list(self.by_scale[scale]) for scale in range(1, SCALES, 2) for _ in range(SIGHTS)
        ]
        self.scale_seen = [0] * SCALES
        self.sight_seen = [0] * len(self.by_sight)
        self.pad = [1 << 15] * (PHASES * 5 * 8)

    def cdf(self, scale: int, sight: int) -> NDArray[np.uint16]:
        """Return the mean of two tables, uint16 [SYMBOLS + 1], cumulative, of 2**PROB_BITS."""
        pair = zip(self.by_scale[scale], self.by_sight[sight], strict=True)
        return np.array([*((a // 2 + b // 2) // 4 for a, b in pair), 1 << PROB_BITS], np.uint16)

    def adapt(self, scale: int, sight: int, symbol: int) -> None:
        """Move both tables towards *symbol*."""
        adapt_table(self.by_scale[scale], self.scale_seen[scale], symbol)
        adapt_table(self.by_sight[sight], self.sight_seen[sight], symbol)
        self.scale_seen[scale] += 1
        self.sight_seen[sight] += 1

    def begin_missing(self, bound: int) -> None:
        """Put the first tables of what is missing within *bound* in place of those of residuals."""
        for octave in range(OCTAVES):
            for halves in reversed(range(most_halves(bound))):
                coarse, fine = missing_tables(octave, halves, bound)
                self.by_sight[fine] = first_missing(octave, halves, bound)
                self.by_scale[coarse] = list(self.by_sight[fine])
        self.by_scale[COARSE_PAD] = first_missing(0, 0, bound)
        self.by_sight[FINE_PAD] = first_missing(0, 0, bound)
        self.scale_seen = [0] * len(self.by_scale)
        self.sight_seen = [0] * len(self.by_sight)

    def pad_cdf(self, context: int) -> NDArray[np.uint16]:
        """Return the table of a flag: set, then not set."""
        width = min(max(self.pad[context] >> 2, 1), (1 << PROB_BITS) - 1)
        return np.array([0, width, 1 << PROB_BITS], np.uint16)

    def adapt_pad(self, context: int, flag: bool) -> None:
        """Move the probability of a flag."""
        p = self.pad[context]
        self.pad[context] = p + (65535 - p >> PAD_RATE) if flag else p - (p >> PAD_RATE)


def adapt_table(table: list[int], seen: int, symbol: int) -> None:
    """Move *table*, used *seen* times before, towards *symbol*; each symbol keeps GAP."""
    rate = FASTEST + sum(seen >= n for n in SEEN)
    for place, start in enumerate(table):
        least = GAP * place
        most = least + (1 << 16) - SYMBOLS * GAP
        table[place] += (most - start >> rate) if place > symbol else -(start - least >> rate)


def split_residual(residual: int, shift: int) -> tuple[int, Sequence[tuple[int, int]]]:
    """
    Return the symbol of a residual, in steps of 2**shift, and the raw bits after it, each with
    their number.

    The inverse of `join_residual`.
    """
    rounded = residual + (1 << shift >> 1)
    step, low = rounded >> shift, rounded & (1 << shift) - 1
    size = abs(step)
    if size <= LINEAR:
        return step + LINEAR, [(low, shift)]
    if size < BEYOND:
        n_bits = (size - LINEAR + 1).bit_length() - 1
        symbol = 2 * LINEAR + n_bits + (TAILS if step < 0 else 0)
        return symbol, [((size - tail_step(n_bits)) << shift | low, shift + n_bits)]
    excess = size - (BEYOND - 1)
    n_bits = excess.bit_length() - 1
    head = n_bits | (16 if step < 0 else 0)
    return ESCAPE, [(head, 5), (excess - (1 << n_bits), n_bits), (low, shift)]


def join_residual(symbol: int, escaped: int, raw: int, shift: int) -> int:
    """
    Return a residual from its symbol, the steps of an escape, and the raw bits at its end.

    Args:
        symbol: 0 to SYMBOLS - 1.
        escaped: Signed steps, of an escape only.
        raw: Bits of the tail, then those below the step.
        shift: That it was coded with.
    """
    n_tail = tail_bits(symbol)
    step = escaped if symbol == ESCAPE else symbol - LINEAR
    if n_tail:
        step = tail_step(n_tail) + (raw >> shift)
        step = -step if symbol > 2 * LINEAR + TAILS else step
    return (step << shift) + (raw & (1 << shift) - 1) - (1 << shift >> 1)
