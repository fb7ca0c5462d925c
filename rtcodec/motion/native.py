"""
Motion search, prediction and painting in C, through ctypes.

Only this module, `latents`, `hyper`, `within` and `cleaning` may call the library, and they check
every argument before they do. The GIL is released while C runs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.build import MOTION_LIBRARY
from rtcodec.entropy.library import Signatures, address, load_library
from rtcodec.types import QP_MAX

LIBRARY_VERSION = 13
"What rtc_motion_version of a library built from this source returns."

BLOCK_SAMPLES = 384
BLOCK_PX, BORDER_PX = 16, 32
_TILE_BLOCKS = 4  # along a side

FINE = 16
"Steps of a sample of references and predictions in one of a byte's."

Fine = NDArray[np.uint16]
"Blocks [h16, w16, 384] of samples 0..4080, `FINE` times those of bytes."

Steps = tuple[int, int]
"What a symbol of 1 is in luma and in chroma, in steps of `Fine` times those of the transform."

Vectors = NDArray[np.int16]
"""int16 [h16, w16, 4, 2]: across and down, in quarters of a luma sample, of the quarters of each
block: top left, top right, bottom left, bottom right."""

QUARTERS = 4

INTRA, ALONE, WHOLE = 1, 2, 4
"""What is said of a block beside its vectors: it has no prediction; those of its tile do not
overlap; its luma is one part, without edges within."""

NO_QP = 255
"In place of a qp: see `Reference.qps`."

_PTR, _U32 = ctypes.c_void_p, ctypes.c_uint32


class _Planes(ctypes.Structure):
    """`rtc_reference`."""

    _fields_ = (
        *((name, _PTR) for name in ("y", "u", "v")),
        ("rows", _U32),
        ("columns", _U32),
    )


class _Sights(ctypes.Structure):
    """`rtc_sights`."""

    _fields_ = (("reference", _PTR), ("planes", _PTR * 4))


_SIGNATURES: Signatures = {
    "rtc_motion_version": (_U32, ()),
    "rtc_reference_fill": (None, (_PTR, _PTR)),
    "rtc_predict": (None, (_PTR, _PTR, _PTR, _PTR)),
    "rtc_predict_best": (None, (_PTR, _PTR, _PTR, _PTR, _U32, _PTR)),
    "rtc_sights_fill": (None, (_PTR,)),
    "rtc_search": (None, (_PTR, _PTR, _U32, _U32, _PTR, _PTR)),
    "rtc_motion_symbols": (None, (_PTR, _PTR, _U32, _U32, _PTR)),
    "rtc_blocks_fill": (None, (_PTR, _U32, _U32, _PTR)),
    "rtc_planes_fill": (None, (_PTR, _U32, _PTR)),
    "rtc_rounded": (None, (_PTR, _U32, _PTR)),
    "rtc_transform": (_U32, (_PTR, _PTR, _PTR, _U32, _PTR, _PTR, _PTR, _PTR)),
    "rtc_describe": (_U32, (_PTR, _PTR, _PTR, _PTR, _PTR, _U32, _U32, _PTR, _PTR)),
    "rtc_nonzero": (_U32, (_PTR, _U32, _PTR)),
    "rtc_paint": (None, (_PTR, _PTR, _PTR, _U32, _U32, _U32, _PTR, _PTR)),
    "rtc_spatial_paint": (None, (_PTR, _U32, _U32, _U32) + 4 * (_PTR,) + (_U32, _PTR, _U32)),
    "rtc_spatial_matches": (_U32, (_PTR, _PTR, _PTR, _U32, _U32, _PTR, _PTR, _PTR)),
    "rtc_spatial_choose": (_U32, (_PTR, _U32, _U32, _PTR, _U32) + 7 * (_PTR,) + (_U32, _PTR, _PTR)),
    "rtc_spatial_quantise": (None, (_PTR, _U32, _U32) + 6 * (_PTR,) + (_U32, _PTR)),
    "rtc_smooth": (None, (_PTR, _PTR, _PTR, _PTR, _PTR, _PTR, _U32, _U32)),
    "rtc_refine": (None, (_PTR, _PTR, _PTR, _PTR)),
    "rtc_average": (None, 4 * (_PTR,)),
    "rtc_shrink": (None, (*(4 * (_PTR,)), ctypes.c_float, _U32, _U32, _PTR, _PTR)),
    "rtc_quantise": (_U32, (_PTR, _PTR, _U32, _PTR, _PTR, _PTR, _U32, _PTR, _PTR, _PTR)),
}


@cache
def library() -> ctypes.CDLL:
    """
    Load the compiled library.

    Raises:
        ConfigError: As `load_library`.
    """
    return load_library(MOTION_LIBRARY, _SIGNATURES, LIBRARY_VERSION)


class Reference:
    """One stored picture, with its edges repeated so that vectors may point outside."""

    def __init__(self, rows: int, columns: int) -> None:
        """
        Args:
            rows: Of 16x16 blocks, at least 1.
            columns: Of 16x16 blocks, at least 1.
        """
        if rows < 1 or columns < 1:
            raise ValueError(f"no reference of {rows} x {columns} blocks")
        self._library = library()
        self.shape = (rows, columns)
        self.qps = np.full((rows // _TILE_BLOCKS, columns // _TILE_BLOCKS), NO_QP, np.uint8)
        "At which qp each tile was last coded; `NO_QP` where nothing is left to refine."
        sides = [
            (rows * n + 2 * border, columns * n + 2 * border, border)
            for n, border in ((BLOCK_PX, BORDER_PX), *((BLOCK_PX // 2, BORDER_PX // 2),) * 2)
        ]
        self._planes = [np.zeros((height, width), np.uint16) for height, width, _ in sides]
        starts = [
            _inner(plane, border) for plane, (*_, border) in zip(self._planes, sides, strict=True)
        ]
        self._c = _Planes(*starts, rows, columns)
        self._sights: tuple[_Sights, NDArray[np.uint8]] | None = None
        self._is_seen = False  # whether what the search looks at is of this picture

    @property
    def as_c(self) -> int:
        """Where its `rtc_reference` lies."""
        return ctypes.addressof(self._c)

    def fill(self, blocks: Fine | NDArray[np.uint8]) -> None:
        """Take the picture *blocks*, [h16, w16, 384], `Fine` or in bytes."""
        if blocks.dtype == np.uint8:
            blocks = blocks.astype(np.uint16) * FINE
        self._check(blocks, np.uint16, BLOCK_SAMPLES)
        self._library.rtc_reference_fill(ctypes.byref(self._c), address(blocks))
        self._is_seen = False

    def predict(self, vectors: Vectors, intra: NDArray[np.uint8]) -> Fine:
        """
        Return the blocks that *vectors* bring; see `predict.predict`.

        Args:
            vectors: Any numbers.
            intra: uint8 [h16, w16] of `INTRA` and `ALONE`.
        """
        out = np.empty((*self.shape, BLOCK_SAMPLES), np.uint16)
        self._check(vectors, np.int16, QUARTERS, 2)
        self._check(intra, np.uint8)
        arguments = (address(array) for array in (vectors, intra, out))
        self._library.rtc_predict(ctypes.byref(self._c), *arguments)
        return out

    def predict_best(
        self, vectors: Vectors, intra: NDArray[np.uint8], wanted: NDArray[np.uint8], step: float
    ) -> Fine:
        """
        Return the blocks that *vectors* bring, overlapped where that is nearer to *wanted*.

        Args:
            vectors: From `search`.
            intra: From `search`; `ALONE` is set in a block of each tile that is not overlapped.
            wanted: The picture to predict, uint8 [h16, w16, 384].
            step: Of the quantiser, in a byte's steps: errors below count for little.
        """
        out = np.empty((*self.shape, BLOCK_SAMPLES), np.uint16)
        self._check(vectors, np.int16, QUARTERS, 2)
        self._check(intra, np.uint8)
        self._check(wanted, np.uint8, BLOCK_SAMPLES)
        self._library.rtc_predict_best(
            ctypes.byref(self._c), address(vectors), address(intra), address(wanted),
            max(1, round(FINE * step)), address(out),
        )  # fmt: skip
        return out

    def refine(self, how: ctypes.Array[Any], qps: NDArray[np.uint8]) -> Fine:
        """
        Return the picture refined.

        Args:
            how: An `rtc_refinement` for each qp, see `refinement`.
            qps: Of the tiles, uint8 [h16 / 4, w16 / 4]; those that are no qp stay as they are.
        """
        tiles = tuple(side // _TILE_BLOCKS for side in self.shape)
        if qps.dtype != np.uint8 or qps.shape != tiles or not qps.flags.c_contiguous:
            raise ValueError(f"{qps.dtype} {qps.shape} are not the qp of {tiles} tiles")
        if any(side % _TILE_BLOCKS for side in self.shape) or len(how) != QP_MAX + 1:
            raise ValueError(f"{self.shape} blocks are not whole tiles, or not all qp are said")
        out = np.empty((*self.shape, BLOCK_SAMPLES), np.uint16)
        self._library.rtc_refine(
            ctypes.byref(self._c), ctypes.addressof(how), address(qps), address(out)
        )
        return out

    def search(
        self, blocks: NDArray[np.uint8], *, bit_price: float, calm: float, start: Vectors | None
    ) -> tuple[Vectors, NDArray[np.uint8]]:
        """
        Find the vectors that lead to *blocks*, and where none does.

        Args:
            blocks: The picture to predict, uint8 [h16, w16, 384].
            bit_price: What a bit may save, in sums of sample differences.
            calm: A block that differs from the same place of the reference by less a sample rests
                there without a search.
            start: Vectors to try first, such as those of the frame before.

        Returns:
            Vectors, and intra uint8 [h16, w16], 1 where a block is better off without.
        """
        if any(side % _TILE_BLOCKS for side in self.shape):
            raise ValueError(f"{self.shape} blocks are not whole tiles")
        self._check(blocks, np.uint8, BLOCK_SAMPLES)
        vectors = np.zeros((*self.shape, QUARTERS, 2), np.int16) if start is None else start.copy()
        self._check(vectors, np.int16, QUARTERS, 2)
        intra = np.empty(self.shape, np.uint8)
        price, rest = (max(0, min(1 << 16, round(16 * x))) for x in (bit_price, calm))
        self._library.rtc_search(
            ctypes.byref(self._seen()), address(blocks), price, rest, address(vectors),
            address(intra),
        )  # fmt: skip
        return vectors, intra

    def _seen(self) -> _Sights:
        """What the search looks at; decoders never do, so it is made when first asked for."""
        if self._sights is None:
            planes = np.zeros((4, *self._planes[0].shape), np.uint8)
            starts = (_inner(plane, BORDER_PX) for plane in planes)
            self._sights = _Sights(ctypes.addressof(self._c), (_PTR * 4)(*starts)), planes
        sights, _ = self._sights
        if not self._is_seen:
            self._library.rtc_sights_fill(ctypes.byref(sights))
            self._is_seen = True
        return sights

    def _check(self, array: NDArray[np.generic], kind: type[np.generic], *last: int) -> None:
        shape = (*self.shape, *last)
        if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} {shape} in order")


def rounded(fine: Fine, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return *fine* samples as bytes, in *out* if that is given."""
    if out is None:
        out = np.empty(fine.shape, np.uint8)
    fits = fine.dtype == np.uint16 and out.dtype == np.uint8 and fine.shape == out.shape
    if not fits or not fine.flags.c_contiguous or not out.flags.c_contiguous:
        raise ValueError(f"{fine.dtype} {fine.shape} and {out.dtype} {out.shape} do not fit")
    library().rtc_rounded(address(fine), fine.size, address(out))
    return out


def paint(
    symbols: NDArray[np.int16], blocks: Fine, still: NDArray[np.bool_], steps: Steps
) -> NDArray[np.uint8]:
    """
    Add what symbols make to a prediction, in place, and return which parts have any of those.

    See `transform.paint`; what is returned is uint8 [h16, w16], bit k for part k.

    Args:
        symbols: int16 [h16, w16, K], K > 384; the first 384 are of latents, the last one is not 0
            where luma is in 4x4.
        blocks: From `Reference.predict`.
        still: Where those stay as they are, bool [h16, w16].
        steps: Of luma and of chroma.
    """
    h, w, stride = symbols.shape
    check_blocks(blocks, np.uint16, (h, w))
    for array, kind in ((symbols, np.int16), (still, np.bool_)):
        if array.dtype != kind or not array.flags.c_contiguous or array.shape[:2] != (h, w):
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} in order")
    if stride <= BLOCK_SAMPLES or still.ndim != 2:
        raise ValueError("symbols do not fit")
    coded = np.empty((h, w), np.uint8)
    as_integers = np.asarray(steps, np.int32)
    library().rtc_paint(
        address(symbols), address(still), address(as_integers), h * w, stride, stride - 1,
        address(blocks), address(coded),
    )  # fmt: skip
    return coded


def smooth(
    blocks: Fine,
    coded: NDArray[np.uint8],
    vectors: Vectors,
    intra: NDArray[np.uint8],
    still: NDArray[np.bool_],
    limits: NDArray[np.int32],
) -> None:
    """
    Smooth the edges between the quarters of *blocks*, in place; see `smoothing.smooth`.

    Args:
        blocks: What `paint` made.
        coded: From `paint`.
        vectors: Of the prediction.
        intra: Of the prediction.
        still: As for `paint`.
        limits: int32 [2, 3], from `smoothing.limits`.
    """
    h, w = still.shape
    check_blocks(blocks, np.uint16, (h, w))
    fits = (
        (coded, np.uint8, (h, w)),
        (vectors, np.int16, (h, w, QUARTERS, 2)),
        (intra, np.uint8, (h, w)),
        (still, np.bool_, (h, w)),
        (limits, np.int32, (2, 3)),
    )
    for array, kind, shape in fits:
        if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} {shape} in order")
    addresses = [address(array) for array, _, _ in fits]
    library().rtc_smooth(address(blocks), *addresses, h, w)


def check_blocks(
    array: NDArray[np.generic], kind: type[np.generic], places: tuple[int, ...]
) -> None:
    """Raise ValueError unless *array* has blocks of *kind* for *places*, in order."""
    shape = (*places, BLOCK_SAMPLES)
    if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} {shape} in order")


def nonzero(symbols: NDArray[np.int16]) -> NDArray[np.uint32]:
    """Return where *symbols*, in order in memory, are not 0, as `np.flatnonzero`."""
    if symbols.dtype != np.int16 or not symbols.flags.c_contiguous:
        raise ValueError(f"symbols are {symbols.dtype} {symbols.shape}, not int16 in order")
    at = np.empty(symbols.size, np.uint32)
    return at[: library().rtc_nonzero(address(symbols), symbols.size, address(at))]


def _inner(plane: NDArray[np.generic], border: int) -> int:
    """Address of the first sample inside a border."""
    offset: int = border * (plane.shape[1] + 1) * plane.itemsize
    return address(plane) + offset
