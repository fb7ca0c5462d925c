"""
Normative interleaved rANS coder of one slice, in plain Python (SPEC, "Entropy coding").

    payload = lane states, 32 bits each | 16-bit words, in the order they are read

The j-th coded symbol of a slice belongs to lane j mod *lanes*: first every
hyper-latent (tile, channel), then every latent whose index is not 0 (tile,
channel, row, column). The index is that of the scale network, moved by what was
read of the tile where the model has contexts. `native` is the fast form and gives the same bytes.

Dims: T tiles of the slice, Cz hyper channels, M latent channels, 16 = 4 x 4
positions of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy import contexts
from rtcodec.entropy.cdf import (
    PROB_BITS,
    PROB_SCALE,
    QP_COUNT,
    SCALE_COUNT,
    SYMBOL_MAX,
    Z_MAX,
    EntropyTables,
)
from rtcodec.errors import Corrupt, LocalProtocolError, Truncated

LANES = (1, 2, 4, 8)
"Allowed numbers of interleaved states."
STATE_MIN = 1 << 16
"States live in 2**16 .. 2**32 - 1 and begin (for a decoder: end) at 2**16."
WORD_BITS = 16
ESCAPE_LENGTH_BITS = 4
"An escape is 5 raw bits (4 bits of length n, 1 of sign), then n raw bits."


def encode_slice(
    tables: EntropyTables,
    z: NDArray[np.int8],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
    qp: int,
    lanes: int,
) -> bytes:
    """
    Code the symbols of some tiles into one payload.

    Args:
        tables: Of the model.
        z: int8 [T, Cz], magnitudes up to 15.
        symbols: int16 [T, M, 16], magnitudes up to 32767, 0 where the index is 0.
        indices: uint8 [T, M, 16], 0..63, of the scale network.
        qp: 0..63.
        lanes: 1, 2, 4 or 8.

    Raises:
        ValueError: If an argument is not as described.
    """
    check_arguments(tables, z.shape[0], qp, lanes)
    check_hyper_latents(tables, z)
    check_indices(indices, z.shape[0])
    check_channels(tables, indices)
    check_symbols_form(symbols, indices)
    if tables.contexts is not None:
        indices = contexts.adjusted(indices, symbols, tables.contexts, has_said=tables.has_said)
    if symbols[indices == 0].any():
        raise ValueError("a skipped symbol is not 0")
    writer = LaneWriter([STATE_MIN] * lanes)
    flat_index, flat_symbol = indices.reshape(-1), symbols.reshape(-1)
    coded = np.flatnonzero(flat_index)
    radius = tables.radius
    for j in range(z.size + coded.size - 1, z.size - 1, -1):
        position = coded[j - z.size]
        index, symbol = int(flat_index[position]), int(flat_symbol[position])
        cdf = tables.y_cdf[index]
        reach = int(radius[index])
        if abs(symbol) > reach:
            writer.put_escape(j % lanes, abs(symbol) - reach, symbol < 0)
            symbol = reach + 1
        writer.put(j % lanes, cdf, symbol + reach)
    for j in range(z.size - 1, -1, -1):
        cdf = tables.z_cdf[qp, j % tables.hyper_channels]
        writer.put(j % lanes, cdf, int(z.flat[j]) + Z_MAX)
    return writer.payload()


class SliceDecoder:
    """
    Reads the symbols of one payload: `read_z`, then `read_y`, once each.

    Args:
        tables: Of the model that wrote the payload.
        payload: The whole payload, nothing after it.
        n_tiles: T.
        qp: 0..63.
        lanes: 1, 2, 4 or 8.

    Raises:
        Truncated: If *payload* does not hold the lane states.
        Corrupt: If a lane state is below 2**16.
        ValueError: If an argument is not as described.
    """

    def __init__(
        self, tables: EntropyTables, payload: bytes, n_tiles: int, qp: int, lanes: int
    ) -> None:
        check_arguments(tables, n_tiles, qp, lanes)
        self._tables = tables
        self._n_tiles = n_tiles
        self._qp = qp
        self._reader = LaneReader(bytes(payload), lanes)
        self._steps = 0
        self._coded = 0  # symbols read so far

    def read_z(self) -> NDArray[np.int8]:
        """
        Read the hyper-latents of all tiles.

        Returns:
            int8 [T, Cz].

        Raises:
            Truncated: If the payload ends early.
            LocalProtocolError: If called twice.
        """
        self._begin_step(0)
        channels = self._tables.hyper_channels
        z = np.empty((self._n_tiles, channels), np.int8)
        for j in range(z.size):
            z.flat[j] = self._next(self._tables.z_cdf[self._qp, j % channels]) - Z_MAX
        return z

    def read_y(self, indices: NDArray[np.uint8]) -> NDArray[np.int16]:
        """
        Read the latents and check that the payload ends here.

        Args:
            indices: uint8 [T, M, 16], 0..63, from the hyper-latents just read.

        Returns:
            int16 [T, M, 16], 0 where the index is 0.

        Raises:
            Truncated: If the payload ends early.
            Corrupt: If an escape is out of range, bytes are left over, or a
                lane does not end in its initial state.
            ValueError: If *indices* are not as described.
            LocalProtocolError: If called before `read_z` or twice.
        """
        check_indices(indices, self._n_tiles)
        check_channels(self._tables, indices)
        self._begin_step(1)
        symbols = np.zeros(indices.shape, np.int16)
        for tile in range(self._n_tiles):
            one = slice(tile, tile + 1)
            self._read_tile(indices[one], symbols[one])
        self._reader.finish()
        return symbols

    def _read_tile(self, indices: NDArray[np.uint8], symbols: NDArray[np.int16]) -> None:
        """Fill the symbols of one tile; both [1, M, 16]."""
        offsets = self._tables.contexts
        if offsets is None:
            self._read_latents(indices[0], symbols[0])
            return
        for stage, (first, end) in enumerate(contexts.STAGES):
            moved = contexts.adjusted_stage(
                stage, indices, symbols, offsets, has_said=self._tables.has_said
            )
            self._read_latents(moved[0], symbols[0, first:end])

    def _read_latents(self, indices: NDArray[np.uint8], symbols: NDArray[np.int16]) -> None:
        """Fill *symbols* where *indices* are not 0; both [channels, 16]."""
        radius = self._tables.radius
        for channel, place in zip(*np.nonzero(indices), strict=True):
            index = int(indices[channel, place])
            reach = int(radius[index])
            lane = self._coded % self._reader.lanes
            symbol = self._next(self._tables.y_cdf[index]) - reach
            if symbol > reach:
                symbol = self._reader.take_escape(lane, reach)
            symbols[channel, place] = symbol

    def _begin_step(self, step: int) -> None:
        if self._steps != step:
            raise LocalProtocolError("a slice is read once: read_z, then read_y")
        self._steps += 1

    def _next(self, cdf: NDArray[np.uint16]) -> int:
        lane = self._coded % self._reader.lanes
        self._coded += 1
        return self._reader.take(lane, cdf)


@dataclass(slots=True)
class LaneWriter:
    """Codes backwards: the last symbol of a slice is put first."""

    states: list[int]
    words: list[int] = field(default_factory=list)
    "In reverse of the order they are read."

    def put(self, lane: int, cdf: NDArray[np.uint16], symbol: int) -> None:
        """Put symbol number *symbol* of a cumulative table."""
        start, end = int(cdf[symbol]), int(cdf[symbol + 1])
        state = self._make_room(lane, (end - start) << (32 - PROB_BITS))
        quotient, remainder = divmod(state, end - start)
        self.states[lane] = (quotient << PROB_BITS) + remainder + start

    def put_escape(self, lane: int, excess: int, negative: bool) -> None:
        """Put what follows an escape; *excess* is |symbol| - R, at least 1."""
        n_bits = excess.bit_length() - 1
        self.put_raw(lane, excess - (1 << n_bits), n_bits)
        self.put_raw(lane, n_bits + (negative << ESCAPE_LENGTH_BITS), ESCAPE_LENGTH_BITS + 1)

    def put_raw(self, lane: int, bits: int, n_bits: int) -> None:
        """Put *n_bits* bits, 0 to 16, all equally likely."""
        state = self._make_room(lane, 1 << (32 - n_bits))
        self.states[lane] = (state << n_bits) + bits

    def _make_room(self, lane: int, limit: int) -> int:
        state = self.states[lane]
        if state >= limit:
            self.words.append(state & 0xFFFF)
            state >>= WORD_BITS
        return state

    def payload(self) -> bytes:
        """Return lane states and words in the order a decoder reads them."""
        head = np.array(self.states, "<u4").tobytes()
        return head + np.array(self.words[::-1], "<u2").tobytes()


class LaneReader:
    """
    Lane states and the words that refill them.

    Raises:
        Truncated: From every method, if the payload ends early.
        Corrupt: As `SliceDecoder` says.
    """

    def __init__(self, payload: bytes, lanes: int) -> None:
        self.lanes = lanes
        self._payload = payload
        self._position = 4 * lanes
        if len(payload) < self._position:
            raise Truncated("lane states are incomplete", offset=len(payload))
        self._states = [int(state) for state in np.frombuffer(payload, "<u4", lanes)]
        for lane, state in enumerate(self._states):
            if state < STATE_MIN:
                raise Corrupt(f"state {state} of lane {lane} is below 2**16", offset=4 * lane)

    def take(self, lane: int, cdf: NDArray[np.uint16]) -> int:
        """Take a symbol's number in a cumulative table."""
        state = self._states[lane]
        slot = state & (PROB_SCALE - 1)
        symbol = int(np.searchsorted(cdf, slot, side="right")) - 1
        start, end = int(cdf[symbol]), int(cdf[symbol + 1])
        self._refill(lane, (end - start) * (state >> PROB_BITS) + slot - start)
        return symbol

    def take_escape(self, lane: int, reach: int) -> int:
        """Take what follows an escape of a table with radius *reach*."""
        head = self.take_raw(lane, ESCAPE_LENGTH_BITS + 1)
        n_bits = head & ((1 << ESCAPE_LENGTH_BITS) - 1)
        magnitude = reach + (1 << n_bits) + self.take_raw(lane, n_bits)
        if magnitude > SYMBOL_MAX:
            raise Corrupt(f"escaped symbol {magnitude} is beyond 32767", offset=self._position)
        return -magnitude if head >> ESCAPE_LENGTH_BITS else magnitude

    def take_raw(self, lane: int, n_bits: int) -> int:
        """Take *n_bits* bits, 0 to 16."""
        state = self._states[lane]
        self._refill(lane, state >> n_bits)
        return state & ((1 << n_bits) - 1)

    def _refill(self, lane: int, state: int) -> None:
        if state < STATE_MIN:
            word = self._payload[self._position : self._position + 2]
            if len(word) < 2:
                raise Truncated("a 16-bit word is missing", offset=len(self._payload))
            self._position += 2
            state = (state << WORD_BITS) + int.from_bytes(word, "little")
        self._states[lane] = state

    def finish(self) -> None:
        """Raise Corrupt unless all is read and every lane is back where it began."""
        left = len(self._payload) - self._position
        if left:
            raise Corrupt(f"{left} bytes after the last symbol", offset=self._position)
        for lane, state in enumerate(self._states):
            if state != STATE_MIN:
                raise Corrupt(f"lane {lane} does not end in 2**16", offset=self._position)


def check_arguments(tables: EntropyTables, n_tiles: int, qp: int, lanes: int) -> None:
    """Raise ValueError unless the arguments shared by encoder and decoder are in range."""
    if not 0 <= qp < QP_COUNT:
        raise ValueError(f"qp {qp} is not 0..{QP_COUNT - 1}")
    if lanes not in LANES:
        raise ValueError(f"{lanes} lanes are not one of {LANES}")
    if n_tiles < 0 or n_tiles * tables.hyper_channels >= 1 << 31:
        raise ValueError(f"{n_tiles} tiles")


def check_hyper_latents(tables: EntropyTables, z: NDArray[np.int8]) -> None:
    """Raise ValueError unless *z* is int8 [T, Cz] within +-15."""
    if z.dtype != np.int8 or z.ndim != 2 or z.shape[1] != tables.hyper_channels:
        raise ValueError(f"z is {z.dtype} {z.shape}, not int8 [T, {tables.hyper_channels}]")
    if z.size and (int(z.max()) > Z_MAX or int(z.min()) < -Z_MAX):
        raise ValueError(f"hyper-latents beyond +-{Z_MAX}")


def check_indices(indices: NDArray[np.uint8], n_tiles: int, count: int = SCALE_COUNT) -> None:
    """Raise ValueError unless *indices* are uint8 [T, M, 16] below *count*."""
    shape = indices.shape
    if indices.dtype != np.uint8 or indices.ndim != 3 or (shape[0], shape[2]) != (n_tiles, 16):
        raise ValueError(f"indices are {indices.dtype} {shape}, not uint8 [{n_tiles}, M, 16]")
    if indices.size >= 1 << 31:
        raise ValueError(f"{indices.size} latents in a slice")
    if indices.size and int(indices.max()) >= count:
        raise ValueError(f"scale indices beyond {count - 1}")


def check_channels(tables: EntropyTables, indices: NDArray[np.uint8]) -> None:
    """Raise ValueError unless *indices* [T, M, 16] have the channels that contexts are made for."""
    if tables.contexts is not None and indices.shape[1] != contexts.CHANNELS:
        raise ValueError(f"{indices.shape[1]} channels; contexts are of {contexts.CHANNELS}")


def check_symbols_form(symbols: NDArray[np.int16], indices: NDArray[np.uint8]) -> None:
    """Raise ValueError unless *symbols* are int16 in the shape of *indices* and in range."""
    if symbols.dtype != np.int16 or symbols.shape != indices.shape:
        raise ValueError(f"symbols are {symbols.dtype} {symbols.shape}, not as the indices")
    if symbols.size and int(symbols.min()) < -SYMBOL_MAX:
        raise ValueError(f"symbols beyond +-{SYMBOL_MAX}")
