"""
What the symbols of a tile that were read say about its next ones (SPEC 7.3), in plain Python.

    scale index of section 8 --+ offset of (kind of symbol, level of what is around it)--> index

The symbols of a delta frame's tile are read in stages: frequencies from low to high, then motion,
then the choice of transform. Within a stage nothing depends on anything of it, so a decoder does
all of a stage at once. Integers of one tile of one packet; `native` is the fast form.

Dims: T tiles, M = 394 channels, 16 = 4 x 4 places of a tile.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.errors import ConfigError

PARTS: Final = 6
"Parts of a place's samples that are transformed alone: four of luma, u, v."
LUMA_PARTS: Final = 4
FREQUENCIES: Final = 64
RESIDUAL: Final = PARTS * FREQUENCIES
"Channels of residual: channel 6 k + p is frequency k of part p."
MOTION: Final = 10
CHANNELS: Final = RESIDUAL + MOTION

DIAGONALS: Final = 15
"Frequencies v + h alike are a stage."
LAST_KIND: Final = 9
"Diagonals from this one on have one kind for luma, and one for chroma."
KINDS: Final = 2 * (LAST_KIND + 1) + MOTION
LEVELS: Final = 16
READ_FROM: Final = 3
"Latents whose index is less are not coded: they are zero but for a few in ten thousand."
OFFSET_MAX: Final = 63
FIRST_SAID: Final = 64
"Table of the lowest indices of what is said of blocks, two to a table, where a model has those."

STAGES: Final = tuple(
    (6 * (d * (d + 1) // 2), 6 * ((d + 1) * (d + 2) // 2))
    if d < 8
    else (6 * (64 - (15 - d) * (16 - d) // 2), 6 * (64 - (14 - d) * (15 - d) // 2))
    for d in range(DIAGONALS)
) + tuple((RESIDUAL + j, RESIDUAL + j + 1) for j in range(MOTION))
"First channel of each stage, and the one after its last."

ENERGY_LEVELS: Final = (4, 10, 17, 31, 52, 100, 200)
"From these energies on a level of residual is one higher."
CAPPED: Final = 15
"What a symbol adds to an energy is 16 times its modulus, up to this."
COUNT_LEVELS: Final = (1, 3, 8)
"The same for luma's symbols that are not 0, for motion across,"
SIZE_LEVELS: Final = (1, 2, 4, 8)
"for moduli of vectors,"
MOVED_LEVELS: Final = (1, 4)
"for those of a block's vector, for its quarters',"
SPLIT_LEVELS: Final = (2, 3, 4, 5, 8, 13)
"and for luma's symbols that are not 0, for the choice of transform."

Offsets = NDArray[np.int8]
"int8 [KINDS, LEVELS], moduli up to 63."


def check_offsets(offsets: Offsets) -> Offsets:
    """
    Return a private read-only copy of a model's offsets.

    Raises:
        ConfigError: If they are not int8 [30, 16] within +-63.
    """
    if offsets.dtype != np.int8 or offsets.shape != (KINDS, LEVELS):
        raise ConfigError(f"contexts are {offsets.dtype} {offsets.shape}, not int8 [30, 16]")
    if np.abs(offsets.astype(np.int16)).max() > OFFSET_MAX:
        raise ConfigError(f"an offset of a context is beyond +-{OFFSET_MAX}")
    copy = np.array(offsets, order="C")
    copy.flags.writeable = False
    return copy


def kind_of(channel: int) -> int:
    """Kind of a channel's symbols: which row of the offsets is theirs."""
    if channel >= RESIDUAL:
        return KINDS - CHANNELS + channel
    stage = next(s for s, (_, end) in enumerate(STAGES) if channel < end)
    return min(stage, LAST_KIND) + (LAST_KIND + 1) * (channel % PARTS >= LUMA_PARTS)


def adjusted(
    indices: NDArray[np.uint8],
    symbols: NDArray[np.int16],
    offsets: Offsets,
    *,
    has_said: bool = False,
) -> NDArray[np.uint8]:
    """
    Return the indices that choose tables, for an encoder: all symbols are known.

    Args:
        indices: uint8 [T, 394, 16], of the scale network.
        symbols: int16 [T, 394, 16].
        offsets: Of the model.
        has_said: Whether it has tables for what is said of blocks, `EntropyTables.has_said`.
    """
    out = np.empty_like(indices)
    for stage in range(len(STAGES)):
        first, end = STAGES[stage]
        out[:, first:end] = adjusted_stage(stage, indices, symbols, offsets, has_said=has_said)
    return out


def adjusted_stage(
    stage: int,
    indices: NDArray[np.uint8],
    symbols: NDArray[np.int16],
    offsets: Offsets,
    *,
    has_said: bool = False,
) -> NDArray[np.uint8]:
    """As `adjusted`, the channels of one stage; only symbols of earlier stages are looked at."""
    first, end = STAGES[stage]
    levels = levels_of(stage, symbols)  # [T, parts, 16]
    kinds = [kind_of(channel) for channel in range(first, end)]
    base = indices[:, first:end].astype(np.int64)
    level = levels[:, np.arange(end - first) % levels.shape[1]]
    moved = np.clip(base + offsets.astype(np.int64)[np.array(kinds)[:, None], level], 1, 63)
    if stage < DIAGONALS:
        moved = np.where(moved < READ_FROM, 0, moved)
    elif has_said:
        moved = FIRST_SAID + moved // 2
    if end == CHANNELS:  # where there is no luma, no transform is chosen
        moved = np.where(_luma_count(symbols)[:, None] > 0, moved, 0)
    return np.asarray(np.where(base > 0, moved, 0), np.uint8)


def levels_of(stage: int, symbols: NDArray[np.int16]) -> NDArray[np.int64]:
    """Levels of a stage's symbols, [T, 6, 16] by part, or [T, 1, 16] of motion."""
    if stage < DIAGONALS:
        return _level(_energy(stage, symbols), ENERGY_LEVELS)
    moduli = np.abs(symbols[:, RESIDUAL:].astype(np.int64))
    vector = moduli[:, 0] + moduli[:, 1]
    channel = stage - DIAGONALS
    if channel == 0:
        level = _level(_luma_count(symbols), COUNT_LEVELS)
    elif channel == 1:
        level = _level(moduli[:, 0], SIZE_LEVELS)
    elif channel == 2:
        level = _level(vector, SIZE_LEVELS)
    elif channel < MOTION - 1:
        before = moduli[:, 3:channel].sum(1)
        level = _level(before, SIZE_LEVELS) + 5 * _level(vector, MOVED_LEVELS)
    else:
        level = _level(_luma_count(symbols), SPLIT_LEVELS)
    return level[:, None]


def _energy(stage: int, symbols: NDArray[np.int16]) -> NDArray[np.int64]:
    """What the frequencies before a stage amount to, the near ones most: [T, 6, 16]."""
    energy = np.zeros((len(symbols), PARTS, 16), np.int64)
    for first, end in STAGES[:stage]:
        moduli = np.minimum(np.abs(symbols[:, first:end].astype(np.int64)), CAPPED)
        energy += 16 * moduli.reshape(len(symbols), -1, PARTS, 16).sum(1) - (energy >> 2)
    return energy


def _luma_count(symbols: NDArray[np.int16]) -> NDArray[np.int64]:
    """How many symbols of a place's luma are not 0: [T, 16]."""
    by_part = symbols[:, :RESIDUAL].reshape(len(symbols), FREQUENCIES, PARTS, 16)
    return np.asarray(np.count_nonzero(by_part[:, :, :LUMA_PARTS], axis=(1, 2)), np.int64)


def _level(values: NDArray[np.int64], thresholds: tuple[int, ...]) -> NDArray[np.int64]:
    return np.searchsorted(np.array(thresholds), values, side="right")
