"""
Frames predicted from themselves, in C: which modes, which symbols, and the picture they make.

    blocks --choose--> modes, latents --hyper-analysis, scale network--> indices
    blocks, modes, indices --quantise--> symbols --paint--> blocks

Each 8x8 part is predicted from what is painted beside it, in its tile or, where the frame travels
whole, across tiles; so symbols and samples are made together, twice: `choose` cuts symbols roughly,
to learn what there will be to say. Once indices are known it can be asked again, and goes by what
symbols will cost. `spatial` has the plain form of `paint`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.motion.latents import Latents
from rtcodec.motion.native import BLOCK_SAMPLES, Fine, Steps, check_blocks, library
from rtcodec.motion.vectors import CHANNELS, SPLIT_CHANNEL
from rtcodec.types import COPY_CHANNELS

MODE_CHANNELS: Final = (1, 3, 4, 5, 2)
"Of the channels behind latents, those that say the modes of four quarters and of chroma."

LARGE_CHANNEL: Final = 0
"Whether luma of a block is one part."

_TILE_BLOCKS = 4
_TABLE_SIZE = 1 << 18
_ROOM = BLOCK_SAMPLES + 2  # for each block: its samples, and four modes


DEAREST: Final = 15
"Modulus of symbols from which on they have one price."


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """How likely a frame's symbols are."""

    indices: NDArray[np.uint8]
    "Scale indices, [h16, w16, 394]."

    rounding: NDArray[np.float32]
    "[64], by index: what is added to a modulus; see `rtcodec.models.prior.rounding_offsets`."

    offsets: NDArray[np.int8]
    "Those of contexts, [30, 16]."

    prices: NDArray[np.float32] | None = None
    "[64, DEAREST + 1]: squared steps that a symbol is worth, by index and modulus, to choose by."


class _Likelihood(ctypes.Structure):
    """`rtc_likelihood`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("indices", "rounding", "contexts", "prices")),
        ("stride", ctypes.c_uint32),
    )


Copies = NDArray[np.int16]
"Rows above and columns right of each quarter that it is a copy of; 0, 0: of none."


def matches(blocks: NDArray[np.uint8]) -> Copies | None:
    """
    Find parts of a picture that look as others do that are painted before them, as on screens.

    Args:
        blocks: The picture, uint8 [h16, w16, 384], whole tiles.

    Returns:
        int16 [h16, w16, 8], or None if there is none.
    """
    h, w = _check(blocks)
    planes = [
        np.ascontiguousarray(
            blocks[..., start : start + side * side].reshape(h, w, side, side).transpose(0, 2, 1, 3)
        )
        for start, side in ((0, 16), (256, 8), (320, 8))
    ]
    copies = np.empty((h, w, COPY_CHANNELS), np.int16)
    sums, table = np.empty(16 * w, np.uint64), np.zeros(_TABLE_SIZE, np.uint32)
    found = library().rtc_spatial_matches(
        *(address(plane) for plane in planes), h, w,
        address(sums), address(table), address(copies),
    )  # fmt: skip
    return copies if found else None


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """How a picture's parts are predicted, and what is left then."""

    modes: NDArray[np.int16]
    "Symbols, [h16, w16, 5]: of the quarters and of chroma."

    prediction: Fine
    "From parts that were painted with symbols cut roughly."

    latents: Latents
    "Of the blocks less that prediction, with the choice of transforms."

    across_tiles: bool = False
    "Whether parts are predicted from other tiles, too."

    linear: bool = False
    "Whether chroma may be a line of luma."

    copies: Copies | None = None
    "Which parts are copies, as `matches` returns it; None where none is."


def choose(
    blocks: NDArray[np.uint8],
    steps: Steps,
    *,
    thorough: bool = False,
    across_tiles: bool = False,
    linear: bool = False,
    likelihood: Likelihood | None = None,
    copies: Copies | None = None,
) -> Choice:
    """
    Choose how each part is predicted.

    Args:
        blocks: The picture, uint8 [h16, w16, 384], whole tiles.
        steps: Of luma and of chroma.
        thorough: Whether all modes are tried: a few times the time, 2 % fewer bits.
        across_tiles: Whether parts are predicted from other tiles, too: of a frame in one packet.
        linear: Whether chroma may be a line of luma, which the model says.
        likelihood: How likely symbols are, with prices, after a choice before: 3 % fewer bits.
        copies: From `matches`: where parts may be copied from; with *across_tiles* only.
    """
    h, w = _check(blocks)
    modes = np.empty((h, w, len(MODE_CHANNELS)), np.int16)
    prediction = np.empty((h, w, BLOCK_SAMPLES), np.uint16)
    at, values = np.empty(blocks.size, np.uint32), np.empty(blocks.size, np.float32)
    ends, split = np.empty((h, w), np.uint32), np.empty((h, w), np.uint8)
    as_integers, room = np.asarray(steps, np.int32), _room(h, w, across_tiles=across_tiles)
    if likelihood is not None and likelihood.prices is None:
        raise ValueError("nothing can be chosen without prices")
    known = None if likelihood is None else _known(likelihood, (h, w))
    if copies is not None:
        _check_arrays((copies, np.int16, (h, w, COPY_CHANNELS)))
        copies = copies.copy()
    count = library().rtc_spatial_choose(
        address(blocks), h, w, address(as_integers), thorough,
        address(modes), address(split), address(at), address(values), address(ends),
        address(prediction), None if room is None else address(room), linear,
        None if known is None else ctypes.addressof(known),
        None if copies is None else address(copies),
    )  # fmt: skip
    if copies is not None and not copies.any():
        copies = None
    latents = Latents(at[:count], values[:count], ends, split)
    return Choice(modes, prediction, latents, across_tiles, linear, copies)


def quantise(
    blocks: NDArray[np.uint8], choice: Choice, likelihood: Likelihood, steps: Steps
) -> NDArray[np.int16]:
    """
    Return all symbols of a frame, int16 [h16, w16, 394]; with copies 8 more, which are those.

    Args:
        blocks: As for `choose`.
        choice: From `choose`.
        likelihood: How likely symbols are; it decides which are worth their bits.
        steps: Of luma and of chroma.
    """
    h, w = _check(blocks)
    modes, split = choice.modes, choice.latents.split
    _check_arrays((modes, np.int16, (h, w, len(MODE_CHANNELS))), (split, np.uint8, (h, w)))
    symbols = np.zeros((h, w, BLOCK_SAMPLES + CHANNELS), np.int16)
    as_integers, known = np.asarray(steps, np.int32), _known(likelihood, (h, w))
    room = _room(h, w, across_tiles=choice.across_tiles)
    library().rtc_spatial_quantise(
        address(blocks), h, w, address(as_integers), address(modes), address(split),
        ctypes.addressof(known), address(symbols), None if room is None else address(room),
        choice.linear, None if choice.copies is None else address(choice.copies),
    )  # fmt: skip
    said = mode_symbols(modes, split)
    by_part = symbols[..., :BLOCK_SAMPLES].reshape(h, w, -1, 6)
    said[..., SPLIT_CHANNEL] *= by_part[..., :4].any((2, 3))
    symbols[..., BLOCK_SAMPLES:] = said
    return symbols if choice.copies is None else np.dstack((symbols, choice.copies))


def mode_symbols(modes: NDArray[np.int16], split: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return what is said of blocks beside latents, int16 [h16, w16, 10]."""
    said = np.zeros((*split.shape, CHANNELS), np.int16)
    said[..., MODE_CHANNELS] = modes
    said[..., SPLIT_CHANNEL] = split & 1
    said[..., LARGE_CHANNEL] = split >> 1
    return said


def paint(
    symbols: NDArray[np.int16],
    steps: Steps,
    *,
    across_tiles: bool = False,
    linear: bool = False,
) -> tuple[Fine, NDArray[np.uint8]]:
    """
    Return the blocks of symbols before smoothing, and which parts have any symbol.

    See `spatial.paint`; the latter is uint8 [h16, w16], bit k for part k; luma in 16x16 says it of
    all its parts.

    Args:
        symbols: int16 [h16, w16, 394] or, with copies, 402, any numbers; whole tiles.
        steps: Of luma and of chroma.
        across_tiles: As for `choose`.
        linear: As for `choose`.
    """
    h, w, stride = symbols.shape
    fits = symbols.dtype == np.int16 and symbols.flags.c_contiguous
    strides = BLOCK_SAMPLES + CHANNELS, BLOCK_SAMPLES + CHANNELS + COPY_CHANNELS
    if not fits or stride not in strides or h % _TILE_BLOCKS or w % _TILE_BLOCKS:
        raise ValueError(f"{symbols.dtype} {symbols.shape} are no symbols of whole tiles")
    blocks, coded = np.empty((h, w, BLOCK_SAMPLES), np.uint16), np.empty((h, w), np.uint8)
    as_integers, room = np.asarray(steps, np.int32), _room(h, w, across_tiles=across_tiles)
    own = BLOCK_SAMPLES + CHANNELS
    copies = address(symbols) + symbols.itemsize * own if stride > own else None
    library().rtc_spatial_paint(
        address(symbols), h, w, stride, address(as_integers), address(blocks), address(coded),
        None if room is None else address(room), linear, copies, stride,
    )  # fmt: skip
    return blocks, coded


def _known(likelihood: Likelihood, places: tuple[int, int]) -> _Likelihood:
    """Return it as C reads it, for as long as *likelihood* and what this returns live."""
    stride, prices = BLOCK_SAMPLES + CHANNELS, likelihood.prices
    arrays = (
        (likelihood.indices, np.uint8, (*places, stride)),
        (likelihood.rounding, np.float32, (64,)),
        (likelihood.offsets, np.int8, (30, 16)),
    )
    _check_arrays(*arrays)
    if prices is not None:
        _check_arrays((prices, np.float32, (64, DEAREST + 1)))
    addresses = [address(array) for array, _, _ in arrays]
    return _Likelihood(*addresses, None if prices is None else address(prices), stride)


def _check_arrays(*arrays: tuple[NDArray[np.generic], type[np.generic], tuple[int, ...]]) -> None:
    for array, kind, shape in arrays:
        if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} {shape} in order")


def _room(h: int, w: int, *, across_tiles: bool) -> NDArray[np.uint16] | None:
    """Where C paints a frame as one area; none where it paints tile by tile."""
    return np.empty(h * w * _ROOM, np.uint16) if across_tiles else None


def _check(blocks: NDArray[np.uint8]) -> tuple[int, int]:
    h, w = blocks.shape[:2]
    check_blocks(blocks, np.uint8, (h, w))
    if h % _TILE_BLOCKS or w % _TILE_BLOCKS:
        raise ValueError(f"{h} x {w} blocks are not whole tiles")
    return h, w
