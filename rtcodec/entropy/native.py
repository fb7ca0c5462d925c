"""
The entropy coder in C, through ctypes.

The same functions, classes and errors as the reference (`rans`), and the same
results bit for bit. The GIL is released while C runs.
"""

from __future__ import annotations

import ctypes
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import SCALE_COUNT, SYMBOL_MAX, EntropyTables
from rtcodec.entropy.library import address
from rtcodec.entropy.native_library import PTR, U32, library
from rtcodec.entropy.rans import (
    LANES,
    check_arguments,
    check_channels,
    check_hyper_latents,
    check_indices,
    check_symbols_form,
)
from rtcodec.errors import Corrupt, LocalProtocolError, Truncated
from rtcodec.types import COPY_CHANNELS


class _Decoder(ctypes.Structure):
    """`rtc_decoder`."""

    _fields_ = (
        ("payload", PTR),
        ("size", U32),
        ("position", U32),
        ("lanes", U32),
        ("next", U32),
        ("state", U32 * 8),
    )
    position: int
    state: ctypes.Array[U32]


class _Census(ctypes.Structure):
    """`rtc_census`."""

    _fields_ = (("n_coded", U32), ("n_escaped", U32), ("misplaced", U32))
    n_coded: int
    n_escaped: int
    misplaced: int


# ---- slices -------------------------------------------------------------------------------


def encode_slice(
    tables: EntropyTables,
    z: NDArray[np.int8],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
    qp: int,
    lanes: int,
) -> bytes:
    """Code some tiles into one payload: `rans.encode_slice`, fast."""
    return SliceEncoder(tables, z, symbols, indices, qp).encode(0, len(z), lanes)


class SliceEncoder:
    """Codes runs of tiles into payloads; for many of them checked once, not each."""

    def __init__(
        self,
        tables: EntropyTables,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        qp: int,
        *,
        moved: bool = False,
    ) -> None:
        """
        Args:
            tables: Of the model.
            z: int8 [T, Cz], magnitudes up to 15.
            symbols: int16 [T, M, 16], 0 where the index is 0.
            indices: uint8 [T, M, 16], 0 to 63.
            qp: 0 to 63.
            moved: Whether *indices* come from `context_indices`.

        Raises:
            ValueError: If an array has another form or a value out of range.
        """
        check_arguments(tables, z.shape[0], qp, 1)
        check_hyper_latents(tables, z)
        check_indices(indices, z.shape[0], len(tables.y_cdf) if moved else SCALE_COUNT)
        check_channels(tables, indices)
        check_symbols_form(symbols, indices)
        if not moved:
            indices = context_indices(tables, indices, symbols)
        self._hold(tables, qp, z, symbols, indices)

    def _hold(
        self,
        tables: EntropyTables,
        qp: int,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
    ) -> None:
        self.tables = tables
        "Of the model."
        self.qp = qp
        "Of all tiles."
        # C reads all of these as long as this lives.
        self._arrays = (
            np.ascontiguousarray(z),
            np.ascontiguousarray(symbols),
            np.ascontiguousarray(indices),
        )
        self._blob = _tables_blob(tables)
        self._at = tuple(address(array) for array in (self._blob, *self._arrays))

    def __len__(self) -> int:
        """Return how many tiles there are."""
        return len(self._arrays[0])

    def picked(self, rows: NDArray[np.int64]) -> SliceEncoder:
        """Return a coder of the tiles at *rows* [R], in that order, which is not checked again."""
        other = object.__new__(SliceEncoder)
        z, symbols, indices = self._arrays
        other._hold(self.tables, self.qp, z[rows], symbols[rows], indices[rows])
        return other

    def coded(self, first: int, count: int) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """Return the hyper-latents and symbols of *count* tiles from *first* on, as views."""
        z, symbols, _ = self._arrays
        return z[first : first + count], symbols[first : first + count]

    def costs(self, costs: NDArray[np.uint16]) -> NDArray[np.uint32]:
        """Return what the latents of each tile cost: `tile_costs`."""
        _, symbols, indices = self._arrays
        return _tile_costs(self.tables, costs, symbols, indices)

    def encode(self, first: int, count: int, lanes: int) -> bytes:
        """
        Code *count* tiles from *first* on into one payload: `rans.encode_slice`.

        Raises:
            ValueError: If there are no such tiles or lanes, or a skipped symbol is not 0.
        """
        z, _, indices = self._arrays
        if first < 0 or count < 0 or first + count > len(z):
            raise ValueError(f"no {count} tiles from {first} in {len(z)}")
        if lanes not in LANES:
            raise ValueError(f"{lanes} lanes are not one of {LANES}")
        coder = library()
        blob, at_z, at_symbols, at_indices = self._at
        per_tile = indices.shape[1] * 16
        start, latents = first * per_tile, count * per_tile
        listed = np.empty(latents, np.uint32)
        at_list = address(listed)
        census = _Census()
        coder.rtc_encode_list(
            blob, at_indices + start, at_symbols + 2 * start, latents, at_list,
            ctypes.addressof(census),
        )  # fmt: skip
        if census.misplaced:
            raise ValueError("a skipped symbol is not 0")
        channels = z.shape[1]
        capacity = 4 * lanes + 2 * (count * channels + census.n_coded + 2 * census.n_escaped)
        buffer = np.empty(capacity, np.uint8)
        size = coder.rtc_encode(
            blob, self.qp, at_z + first * channels, count, at_list, census.n_coded, lanes,
            address(buffer), capacity,
        )  # fmt: skip
        return buffer[capacity - size :].tobytes()


def context_indices(
    tables: EntropyTables, indices: NDArray[np.uint8], symbols: NDArray[np.int16]
) -> NDArray[np.uint8]:
    """
    Return the indices that choose tables: `contexts.adjusted`, fast; without contexts *indices*.

    Args:
        tables: Of the model.
        indices: uint8 [T, 394, 16], 0..63, of the scale network.
        symbols: int16 [T, 394, 16].

    Raises:
        ValueError: If an array has another form.
    """
    if tables.contexts is None:
        return indices
    check_indices(indices, indices.shape[0])
    check_channels(tables, indices)
    check_symbols_form(symbols, indices)
    indices, symbols = np.ascontiguousarray(indices), np.ascontiguousarray(symbols)
    moved = np.empty_like(indices)
    blob = _tables_blob(tables)  # a name holds it while C reads it
    library().rtc_context_indices(
        address(blob), address(indices), address(symbols), indices.shape[0], address(moved)
    )
    return moved


def tile_costs(
    tables: EntropyTables,
    costs: NDArray[np.uint16],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
    *,
    moved: bool = False,
) -> NDArray[np.uint32]:
    """
    Add up what the latents of each tile cost, without coding them.

    Args:
        tables: Of the model.
        costs: uint16 [64 or 96, 256], 1/256 bit: of the symbols -R..R, then the escape, of each
            table; row 0 is all zero.
        symbols: int16 [T, M, 16], 0 where the index is 0.
        indices: uint8 [T, M, 16], 0..63.
        moved: Whether *indices* come from `context_indices`.

    Returns:
        uint32 [T], in 1/256 bit, the raw bits of escapes included.
    """
    check_indices(indices, indices.shape[0], len(tables.y_cdf) if moved else SCALE_COUNT)
    check_channels(tables, indices)
    check_symbols_form(symbols, indices)
    symbols = np.ascontiguousarray(symbols)
    if not moved:
        indices = context_indices(tables, indices, symbols)
    return _tile_costs(tables, costs, symbols, np.ascontiguousarray(indices))


def _tile_costs(
    tables: EntropyTables,
    costs: NDArray[np.uint16],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
) -> NDArray[np.uint32]:
    """Do `tile_costs` for contiguous arrays that were checked, *indices* moved."""
    if costs.dtype != np.uint16 or costs.shape != (len(tables.y_cdf), 256):
        raise ValueError(f"{costs.dtype} {costs.shape} are not costs of {len(tables.y_cdf)} tables")
    costs = np.ascontiguousarray(costs)
    totals = np.empty(indices.shape[0], np.uint32)
    blob = _tables_blob(tables)  # a name holds it while C reads it
    library().rtc_tile_costs(
        address(blob), address(costs), address(indices), address(symbols),
        indices.shape[0], indices.shape[1] * 16, address(totals),
    )  # fmt: skip
    return totals


class SliceDecoder:
    """Reads the symbols of one payload: `rans.SliceDecoder`, fast."""

    def __init__(
        self, tables: EntropyTables, payload: bytes, n_tiles: int, qp: int, lanes: int
    ) -> None:
        check_arguments(tables, n_tiles, qp, lanes)
        self._tables = tables
        self._shape = (n_tiles, tables.hyper_channels)
        self._qp = qp
        self._payload = bytes(payload)  # C keeps its address
        self._blob = _tables_blob(tables)
        self._decoder = _Decoder()
        self._at = ctypes.addressof(self._decoder)
        self._steps = 0
        self._check(library().rtc_decode_begin(self._at, self._payload, len(self._payload), lanes))

    def read_z(self) -> NDArray[np.int8]:
        """Read the hyper-latents: `rans.SliceDecoder.read_z`."""
        self._begin_step(0)
        z = np.empty(self._shape, np.int8)
        self._check(
            library().rtc_decode_z(
                self._at, address(self._blob), self._qp, address(z), self._shape[0]
            )
        )
        return z

    def read_y(
        self, indices: NDArray[np.uint8], out: NDArray[np.int16] | None = None
    ) -> NDArray[np.int16]:
        """
        Read the latents and check the end: `rans.SliceDecoder.read_y`.

        Args:
            indices: uint8 [T, M, 16], 0 to 63.
            out: Where to put the latents, contiguous int16 [T, M, 16]; filled with anything where
                an error is raised.
        """
        check_indices(indices, self._shape[0])
        check_channels(self._tables, indices)
        self._begin_step(1)
        indices = np.ascontiguousarray(indices)
        symbols = np.empty(indices.shape, np.int16) if out is None else out
        if symbols.dtype != np.int16 or symbols.shape != indices.shape:
            raise ValueError(f"{symbols.dtype} {symbols.shape} cannot take the latents")
        if not (symbols.flags.c_contiguous and symbols.flags.writeable):
            raise ValueError("the array for the latents is not contiguous or not writeable")
        self._check(
            library().rtc_decode_y(
                self._at, address(self._blob), address(indices), indices.size, address(symbols)
            )
        )
        return symbols

    def _begin_step(self, step: int) -> None:
        if self._steps != step:
            raise LocalProtocolError("a slice is read once: read_z, then read_y")
        self._steps += 1

    def _check(self, status: int) -> None:
        """Turn a status of C into the reference's error."""
        _check_status(status, at=self._decoder.position, size=len(self._payload))


def _check_status(status: int, *, at: int, size: int) -> None:
    if not status:
        return
    if status == 1:
        raise Truncated("the payload ends inside a symbol or a lane state", offset=size)
    raise Corrupt(
        {
            2: "a lane state is below 2**16",
            3: f"an escaped symbol is beyond +-{SYMBOL_MAX}",
            4: f"{size - at} bytes after the last symbol",
            5: "a lane does not end in 2**16",
        }[status],
        offset=at,
    )


# ---- copies -------------------------------------------------------------------------------

_ITEMS_MAX = 16  # of a quarter


def read_copies(payload: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """Read which parts are copies: `copies.read_copies`."""
    found = np.empty((rows, columns, COPY_CHANNELS), np.int16)
    position = U32()
    status = library().rtc_copies_decode(
        payload, len(payload), rows, columns, COPY_CHANNELS, address(found),
        ctypes.addressof(position),
    )  # fmt: skip
    _check_status(status, at=position.value, size=len(payload))
    return found


def write_copies(copies: NDArray[np.int16]) -> bytes:
    """Return what says which parts are copies: `copies.write_copies`."""
    rows, columns, size = copies.shape
    if size != COPY_CHANNELS or copies.dtype != np.int16 or copies.min() < -SYMBOL_MAX:
        raise ValueError(f"{copies.dtype} {copies.shape} are no copies")
    if (copies[..., ::2] < 0).any():
        raise ValueError("a copy of what is below")
    copies = copies.copy()  # which C writes as it reads
    n_quarters = 4 * rows * columns
    items = np.empty(_ITEMS_MAX * n_quarters, np.uint32)
    buffer = np.empty(4 + 2 * items.size, np.uint8)
    n_bytes = library().rtc_copies_encode(
        address(copies), rows, columns, address(items), address(buffer), buffer.size
    )
    return buffer[buffer.size - n_bytes :].tobytes()


_blobs: WeakKeyDictionary[EntropyTables, NDArray[np.uint64]] = WeakKeyDictionary()


def _tables_blob(tables: EntropyTables) -> NDArray[np.uint64]:
    """Return `rtc_tables` of *tables*, built once and kept as long as they are."""
    blob = _blobs.get(tables)
    if blob is None:
        coder, channels = library(), tables.hyper_channels
        blob = np.empty(-(-coder.rtc_tables_size(channels) // 8), np.uint64)
        contexts = None if tables.contexts is None else address(tables.contexts)
        coder.rtc_tables_build(
            address(blob), address(tables.y_cdf), *tables.y_cdf.shape, address(tables.z_cdf),
            channels, contexts,
        )  # fmt: skip
        # Two threads may both build one: all use, and so keep alive, the first that is stored.
        blob = _blobs.setdefault(tables, blob)
    return blob
