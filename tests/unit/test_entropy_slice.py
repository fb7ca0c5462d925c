"""The reference coder and the C coder, by the same tests."""

import gc
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rtcodec.entropy import native, rans
from rtcodec.entropy.cdf import EntropyTables, example_tables
from rtcodec.entropy.rans import LANES
from rtcodec.errors import Corrupt, LocalProtocolError, Truncated
from support.latents import Slice, make_slice

CODERS = pytest.mark.parametrize("coder", [rans, native], ids=["reference", "native"])
EVERY_LANES = pytest.mark.parametrize("lanes", LANES)

TINY = EntropyTables(
    np.array([[0, 0, 0]] + [[0, 16000, 16384]] * 63, np.uint16),
    np.tile(np.array([*range(16), *range(16369, 16385)], np.uint16), (64, 1, 1)),
)
"One hyper channel, nearly always 0; latents are 0 or escapes."


def encode(coder: ModuleType, made: Slice, lanes: int) -> bytes:
    payload = coder.encode_slice(made.tables, made.z, made.symbols, made.indices, made.qp, lanes)
    assert isinstance(payload, bytes)
    return payload


def decode(coder: ModuleType, made: Slice, payload: bytes, lanes: int) -> tuple[Any, Any]:
    decoder = coder.SliceDecoder(made.tables, payload, len(made.z), made.qp, lanes)
    return decoder.read_z(), decoder.read_y(made.indices)


def assert_round_trip(coder: ModuleType, made: Slice, lanes: int) -> bytes:
    payload = encode(coder, made, lanes)
    z, symbols = decode(coder, made, payload, lanes)
    assert z.dtype == np.int8
    assert symbols.dtype == np.int16
    assert (z == made.z).all()
    assert (symbols == made.symbols).all()
    return payload


def one_latent(symbol: int, tables: EntropyTables = TINY) -> Slice:
    symbols = np.zeros((1, 1, 16), np.int16)
    symbols[0, 0, 5] = symbol
    indices = np.zeros((1, 1, 16), np.uint8)
    indices[0, 0, 5] = 7
    return Slice(tables, np.zeros((1, 1), np.int8), symbols, indices, 0)


@CODERS
@EVERY_LANES
@pytest.mark.parametrize("n_tiles", [0, 1, 2, 9])
def test_slices_come_back(coder: ModuleType, lanes: int, n_tiles: int) -> None:
    assert_round_trip(coder, make_slice(n_tiles, escapes=0.02), lanes)


@EVERY_LANES
@pytest.mark.parametrize("coded", [0.0, 0.001, 0.1, 1.0])
def test_both_coders_write_the_same_bytes(lanes: int, coded: float) -> None:
    made = make_slice(7, coded=coded, escapes=0.01)
    payload = encode(rans, made, lanes)
    assert encode(native, made, lanes) == payload
    assert (decode(native, made, payload, lanes)[1] == made.symbols).all()


@EVERY_LANES
def test_a_big_slice_agrees_too(lanes: int) -> None:
    made = make_slice(12, channels=40, coded=0.5, escapes=0.001, hyper_channels=5)
    assert assert_round_trip(native, made, lanes) == encode(rans, made, lanes)


@CODERS
def test_a_slice_of_skipped_latents_is_its_hyper_latents(coder: ModuleType) -> None:
    made = make_slice(3, coded=0.0)
    payload = assert_round_trip(coder, made, 1)
    without = Slice(made.tables, made.z, made.symbols[:, :0], made.indices[:, :0], made.qp)
    assert assert_round_trip(coder, without, 1) == payload


@CODERS
def test_an_empty_slice_is_its_lane_states(coder: ModuleType) -> None:
    assert encode(coder, make_slice(0), 2) == bytes([0, 0, 1, 0] * 2)


@CODERS
@pytest.mark.parametrize("symbol", [0, 1, -1, 2, -2, 3, 127, -128, 255, 256, 32767, -32767])
def test_escapes_reach_every_magnitude(coder: ModuleType, symbol: int) -> None:
    assert_round_trip(coder, one_latent(symbol), 1)


@CODERS
@EVERY_LANES
def test_a_slice_of_nothing_but_escapes_comes_back(coder: ModuleType, lanes: int) -> None:
    assert_round_trip(coder, make_slice(4, coded=1.0, escapes=1.0), lanes)


@CODERS
def test_the_bytes_are_as_the_specification_works_them_out(coder: ModuleType) -> None:
    assert encode(coder, one_latent(-300), 1).hex() == "a38105009805"


@CODERS
def test_size_is_close_to_the_entropy(coder: ModuleType) -> None:
    made = make_slice(10, channels=30, coded=0.4)
    cdf, radius = made.tables.y_cdf.astype(int), made.tables.radius
    index, symbol = made.indices[made.indices > 0], made.symbols[made.indices > 0]
    place = np.where(abs(symbol) > radius[index], radius[index] + 1, symbol) + radius[index]
    share = (cdf[index, place + 1] - cdf[index, place]) / 2**14
    z_cdf = made.tables.z_cdf[made.qp].astype(int)
    channel = np.arange(z_cdf.shape[0])
    z_share = (z_cdf[channel, made.z + 16] - z_cdf[channel, made.z + 15]) / 2**14
    ideal_bytes = -(np.log2(share).sum() + np.log2(z_share).sum()) / 8
    assert len(encode(coder, made, 1)) < ideal_bytes * 1.005 + 4


@CODERS
def test_arrays_need_not_be_contiguous(coder: ModuleType) -> None:
    made = make_slice(6)
    payload = encode(coder, made, 4)
    z, symbols, indices = (
        np.asfortranarray(array) for array in (made.z, made.symbols, made.indices)
    )
    assert coder.encode_slice(made.tables, z, symbols, indices, made.qp, 4) == payload
    decoder = coder.SliceDecoder(made.tables, bytearray(payload), 6, made.qp, 4)
    decoder.read_z()
    assert (decoder.read_y(indices) == made.symbols).all()


# ---- malformed payloads -------------------------------------------------------------------


def error_of(coder: ModuleType, made: Slice, payload: bytes, lanes: int) -> tuple[type, int]:
    with pytest.raises((Truncated, Corrupt)) as caught:
        decode(coder, made, payload, lanes)
    return caught.type, caught.value.offset


@CODERS
@EVERY_LANES
def test_every_proper_prefix_is_truncated_at_its_end(coder: ModuleType, lanes: int) -> None:
    made = make_slice(1, hyper_channels=3, channels=4, escapes=0.1)
    payload = encode(coder, made, lanes)
    for size in range(len(payload)):
        assert error_of(coder, made, payload[:size], lanes) == (Truncated, size)


@CODERS
@EVERY_LANES
def test_bytes_after_the_last_symbol_are_corrupt_where_they_begin(
    coder: ModuleType, lanes: int
) -> None:
    made = make_slice(2, escapes=0.1)
    payload = encode(coder, made, lanes)
    for extra in (1, 2, 100):
        assert error_of(coder, made, payload + bytes(extra), lanes) == (Corrupt, len(payload))


@CODERS
def test_a_lane_state_below_its_minimum_is_corrupt(coder: ModuleType) -> None:
    made = make_slice(1)
    payload = bytearray(encode(coder, made, 4))
    payload[10:12] = b"\0\0"
    assert error_of(coder, made, bytes(payload), 4) == (Corrupt, 8)


@CODERS
def test_a_lane_that_does_not_end_where_it_began_is_corrupt(coder: ModuleType) -> None:
    made = make_slice(0)
    assert error_of(coder, made, bytes([1, 0, 1, 0]), 1) == (Corrupt, 4)


def escape_payload(n_bits: int, low: int) -> bytes:
    """Write an escape whose bits no encoder would write, after one hyper-latent."""
    writer = rans.LaneWriter([rans.STATE_MIN])
    writer.put_raw(0, low, n_bits)
    writer.put_raw(0, n_bits, 5)
    writer.put(0, TINY.y_cdf[7], 1)
    writer.put(0, TINY.z_cdf[0, 0], 15)
    return writer.payload()


@CODERS
def test_an_escape_beyond_the_largest_symbol_is_corrupt(coder: ModuleType) -> None:
    made = one_latent(0)
    largest = escape_payload(14, (1 << 14) - 1)
    assert decode(coder, made, largest, 1)[1].max() == 32767
    beyond = escape_payload(15, 0)
    kind, offset = error_of(coder, made, beyond, 1)
    assert kind is Corrupt
    assert offset == len(beyond)


@EVERY_LANES
def test_every_bit_flip_gives_both_coders_the_same_result(lanes: int) -> None:
    made = make_slice(1, hyper_channels=3, channels=4, escapes=0.1, seed=lanes)
    payload = encode(rans, made, lanes)
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        outcomes = [outcome(coder, made, bytes(flipped), lanes) for coder in (rans, native)]
        assert outcomes[0] == outcomes[1]


def outcome(coder: ModuleType, made: Slice, payload: bytes, lanes: int) -> tuple[object, ...]:
    """Return what decoding gives: the error's type and offset, or the symbols."""
    try:
        z, symbols = decode(coder, made, payload, lanes)
    except (Truncated, Corrupt) as error:
        return type(error), error.offset
    return z.tobytes(), symbols.tobytes()


# ---- wrong calls --------------------------------------------------------------------------


@CODERS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qp": -1}, "qp"),
        ({"qp": 64}, "qp"),
        ({"lanes": 3}, "lanes"),
        ({"z": np.zeros((2, 6), np.int16)}, "z is"),
        ({"z": np.zeros((2, 5), np.int8)}, "z is"),
        ({"z": np.zeros((2, 6, 1), np.int8)}, "z is"),
        ({"z": np.full((2, 6), 16, np.int8)}, "hyper-latents"),
        ({"z": np.full((2, 6), -16, np.int8)}, "hyper-latents"),
        ({"indices": np.zeros((2, 10, 16), np.int8)}, "indices are"),
        ({"indices": np.zeros((3, 10, 16), np.uint8)}, "indices are"),
        ({"indices": np.zeros((2, 10, 4), np.uint8)}, "indices are"),
        ({"indices": np.zeros((2, 160), np.uint8)}, "indices are"),
        ({"indices": np.full((2, 10, 16), 64, np.uint8)}, "scale indices"),
        ({"symbols": np.zeros((2, 10, 16), np.int32)}, "symbols are"),
        ({"symbols": np.zeros((2, 9, 16), np.int16)}, "symbols are"),
        ({"symbols": np.full((2, 10, 16), -32768, np.int16)}, "symbols beyond"),
        ({"indices": np.zeros((2, 10, 16), np.uint8)}, "skipped"),
    ],
)
def test_arguments_outside_their_range_are_refused(
    coder: ModuleType, change: dict[str, object], message: str
) -> None:
    made = make_slice(2)
    given = {"z": made.z, "symbols": made.symbols, "indices": made.indices, "qp": 1, "lanes": 1}
    with pytest.raises(ValueError, match=message):
        coder.encode_slice(made.tables, **(given | change))


@CODERS
def test_a_decoder_refuses_sizes_no_slice_has(coder: ModuleType) -> None:
    tables = example_tables(3)
    for n_tiles in (-1, 1 << 30):
        with pytest.raises(ValueError, match="tiles"):
            coder.SliceDecoder(tables, bytes(8), n_tiles, 0, 1)
    huge = np.broadcast_to(np.uint8(0), (0, 1 << 27, 16))
    made = make_slice(0)
    decoder = coder.SliceDecoder(made.tables, encode(coder, made, 1), 0, 0, 1)
    decoder.read_z()
    assert decoder.read_y(huge).shape == huge.shape
    wide = np.broadcast_to(np.uint8(0), (1, 1 << 27, 16))
    with pytest.raises(ValueError, match="latents in a slice"):
        coder.encode_slice(made.tables, np.zeros((1, 6), np.int8), wide, wide, 0, 1)


@CODERS
def test_a_slice_is_read_once_and_in_order(coder: ModuleType) -> None:
    made = make_slice(2)
    payload = encode(coder, made, 1)
    decoder = coder.SliceDecoder(made.tables, payload, 2, made.qp, 1)
    with pytest.raises(LocalProtocolError, match="read_z, then read_y"):
        decoder.read_y(made.indices)
    decoder.read_z()
    with pytest.raises(LocalProtocolError):
        decoder.read_z()
    with pytest.raises(ValueError, match="indices are"):
        decoder.read_y(made.indices[:1])
    decoder.read_y(made.indices)
    with pytest.raises(LocalProtocolError):
        decoder.read_y(made.indices)


def test_compiled_tables_do_not_outlive_the_tables() -> None:
    tables = example_tables(1)
    alive = weakref.ref(tables)
    made = one_latent(5, tables)
    assert encode(native, made, 1) == encode(native, made, 1)
    del tables, made
    gc.collect()
    assert alive() is None


def test_runs_of_tiles_are_coded_as_if_alone() -> None:
    made = make_slice(9, escapes=0.02)
    coder = native.SliceEncoder(made.tables, made.z, made.symbols, made.indices, made.qp)
    for first, count in ((0, 9), (0, 1), (3, 4), (8, 1), (9, 0)):
        rows = slice(first, first + count)
        z, symbols = coder.coded(first, count)
        assert (z == made.z[rows]).all()
        assert (symbols == made.symbols[rows]).all()
        alone = rans.encode_slice(
            made.tables, made.z[rows], made.symbols[rows], made.indices[rows], made.qp, 2
        )
        assert coder.encode(first, count, 2) == alone


def test_tiles_that_were_picked_are_coded_as_if_alone() -> None:
    made = make_slice(9, escapes=0.02)
    whole = native.SliceEncoder(made.tables, made.z, made.symbols, made.indices, made.qp)
    rows = np.array([7, 2, 3, 0])
    alone = rans.encode_slice(
        made.tables, made.z[rows], made.symbols[rows], made.indices[rows], made.qp, 2
    )
    assert whole.picked(rows).encode(0, len(rows), 2) == alone


def test_a_coder_tells_what_its_tiles_cost() -> None:
    made = make_slice(9, escapes=0.02)
    coder = native.SliceEncoder(made.tables, made.z, made.symbols, made.indices, made.qp)
    costs = np.arange(64 * 256, dtype=np.uint16).reshape(64, 256)
    expected = native.tile_costs(made.tables, costs, made.symbols, made.indices)
    assert (coder.costs(costs) == expected).all()
    with pytest.raises(ValueError, match="are not costs"):
        coder.costs(costs[:63])


@pytest.mark.parametrize(
    ("first", "count", "lanes"), [(-1, 2, 1), (0, -1, 1), (8, 2, 1), (10, 0, 1), (0, 1, 3)]
)
def test_runs_that_are_not_there_are_refused(first: int, count: int, lanes: int) -> None:
    made = make_slice(9)
    coder = native.SliceEncoder(made.tables, made.z, made.symbols, made.indices, made.qp)
    with pytest.raises(ValueError, match=r"tiles from|lanes"):
        coder.encode(first, count, lanes)


def test_latents_are_read_to_where_they_are_wanted() -> None:
    made = make_slice(4)
    payload = native.encode_slice(made.tables, made.z, made.symbols, made.indices, made.qp, lanes=2)
    place = np.full((6, *made.symbols.shape[1:]), 99, np.int16)
    decoder = native.SliceDecoder(made.tables, payload, 4, made.qp, 2)
    decoder.read_z()
    decoder.read_y(made.indices, place[1:5])
    assert (place[1:5] == made.symbols).all()
    assert (place[[0, 5]] == 99).all()


def test_latents_are_not_read_to_where_they_do_not_fit() -> None:
    made = make_slice(4)
    payload = native.encode_slice(made.tables, made.z, made.symbols, made.indices, made.qp, lanes=2)
    shape = made.symbols.shape
    fixed = np.empty(shape, np.int16)
    fixed.setflags(write=False)
    places = (
        np.empty((3, *shape[1:]), np.int16),
        np.empty(shape, np.int32),
        np.empty((8, *shape[1:]), np.int16)[::2],
        fixed,
    )
    for place in places:
        decoder = native.SliceDecoder(made.tables, payload, 4, made.qp, 2)
        decoder.read_z()
        with pytest.raises(ValueError, match="the latents"):
            decoder.read_y(made.indices, place)  # type: ignore[arg-type]
