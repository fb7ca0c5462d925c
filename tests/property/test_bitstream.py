"""Laws of every reader and writer of the bitstream, whatever the values."""

import io
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.bitstream import (
    AccessUnit,
    Extension,
    Field,
    Packet,
    RtcReader,
    SequenceHeader,
    read_access_unit,
    read_packet,
    read_sequence_header,
    split_tiles,
    tile_indices,
    write_access_unit,
    write_packet,
    write_sequence_header,
)
from rtcodec.bitstream.cursor import Cursor, write_varint
from rtcodec.errors import BitstreamError, Corrupt, Truncated
from rtcodec.timebase import rescale_ticks, ticks_to_us, unwrap, us_to_ticks
from rtcodec.types import tile_grid
from support.bitstreams import (
    Trickle,
    access_units,
    any_packets,
    rtc_of,
    sequence_headers,
    sequence_of,
    streams,
)

T = TypeVar("T")

SEQUENCE = sequence_of(references=3)


@given(any_packets)
def test_packets_survive_a_round_trip(packet: Packet | Extension) -> None:
    assert read_packet(write_packet(packet)) == packet


@given(sequence_headers())
def test_sequence_headers_survive_a_round_trip(header: SequenceHeader) -> None:
    wire = write_sequence_header(header)
    assert read_sequence_header(wire) == header
    assert 28 <= len(wire) <= 45


@given(access_units(SEQUENCE))
def test_access_units_survive_a_round_trip(unit: AccessUnit) -> None:
    assert read_access_unit(write_access_unit(unit, SEQUENCE), SEQUENCE) == unit


@given(streams())
def test_streams_survive_a_round_trip_in_drops(
    stream: tuple[SequenceHeader, list[AccessUnit]],
) -> None:
    sequence, units = stream
    reader = RtcReader(Trickle(rtc_of(sequence, units)))
    assert reader.sequence == sequence
    assert list(reader) == units


@given(any_packets, st.data())
def test_every_proper_prefix_of_a_packet_is_truncated(
    packet: Packet | Extension, data: st.DataObject
) -> None:
    assert_prefix_is_truncated(write_packet(packet), read_packet, data)


@given(sequence_headers(), st.data())
def test_every_proper_prefix_of_a_sequence_header_is_truncated(
    header: SequenceHeader, data: st.DataObject
) -> None:
    assert_prefix_is_truncated(write_sequence_header(header), read_sequence_header, data)


@given(access_units(SEQUENCE), st.data())
def test_every_proper_prefix_of_an_access_unit_is_truncated(
    unit: AccessUnit, data: st.DataObject
) -> None:
    wire = write_access_unit(unit, SEQUENCE)
    assert_prefix_is_truncated(wire, lambda b: read_access_unit(b, SEQUENCE), data)


def assert_prefix_is_truncated(
    wire: bytes, read: Callable[[bytes], object], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(Truncated) as caught:
        read(wire[:cut])
    assert caught.value.offset == cut


@given(streams(), st.data())
def test_a_stream_cut_anywhere_gives_its_complete_units_then_says_where(
    stream: tuple[SequenceHeader, list[AccessUnit]], data: st.DataObject
) -> None:
    sequence, units = stream
    wire = rtc_of(sequence, units)
    cut = data.draw(st.integers(0, len(wire) - 1))
    ends = [len(rtc_of(sequence, units[:n])) - 5 for n in range(len(units) + 1)]
    got: list[AccessUnit] = []
    with pytest.raises(Truncated) as caught:
        got.extend(RtcReader(io.BytesIO(wire[:cut])))
    assert caught.value.offset == cut
    assert got == units[: sum(end <= cut for end in ends[1:])]


@given(streams(), st.data())
def test_a_changed_byte_never_goes_unnoticed(
    stream: tuple[SequenceHeader, list[AccessUnit]], data: st.DataObject
) -> None:
    wire = bytearray(rtc_of(*stream))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError) as caught:
        list(RtcReader(io.BytesIO(bytes(wire))))
    assert 0 <= caught.value.offset <= len(wire)


def parsed(read: Callable[[], T], size_bytes: int) -> T | None:
    """What *read* gives, or None for an error whose offset lies within the bytes."""
    try:
        return read()
    except BitstreamError as error:
        if 0 <= error.offset <= size_bytes:
            return None
        raise


def versioned(first: int) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, half of them after a plausible start."""
    tail = st.binary(max_size=64)
    return st.one_of(
        tail,
        tail.map(lambda b: bytes((first, len(b))) + b),
        tail.map(lambda b: bytes((first,)) + b),
    )


@given(versioned(0x20))
def test_arbitrary_bytes_are_a_canonical_packet_or_an_error(data: bytes) -> None:
    packet = parsed(lambda: read_packet(data), len(data))
    assert packet is None or write_packet(packet) == data


@given(st.binary(max_size=64).map(lambda b: bytes((len(b) + 3, 0, 0x20, len(b))) + b))
def test_arbitrary_bytes_are_a_canonical_access_unit_or_an_error(data: bytes) -> None:
    unit = parsed(lambda: read_access_unit(data, SEQUENCE), len(data))
    assert unit is None or write_access_unit(unit, SEQUENCE) == data


@given(sequence_headers(), st.data())
def test_a_damaged_sequence_header_is_an_error(header: SequenceHeader, data: st.DataObject) -> None:
    wire = bytearray(write_sequence_header(header))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError):
        read_sequence_header(bytes(wire))


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_no_stream(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        list(RtcReader(io.BytesIO(data)))


@given(streams())
def test_recorded_fields_cover_every_byte_once_in_order(
    stream: tuple[SequenceHeader, list[AccessUnit]],
) -> None:
    wire = rtc_of(*stream)
    fields: list[Field] = []
    list(RtcReader(io.BytesIO(wire), fields=fields))
    position = 0
    for field in fields:
        assert field.offset == position, field
        position += field.size_bytes
    assert position == len(wire)
    assert len({field.name for field in fields}) == len(fields)


@given(any_packets, st.data())
def test_recording_changes_nothing(packet: Packet | Extension, data: st.DataObject) -> None:
    wire = write_packet(packet)
    damaged = bytearray(wire)
    damaged[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(0, 255))
    outcomes = []
    for fields in (None, list[Field]()):
        try:
            outcomes.append(repr(read_packet(bytes(damaged), fields=fields)))
        except BitstreamError as error:
            outcomes.append(f"{type(error)}{error}")
    assert outcomes[0] == outcomes[1]


@given(st.integers(1, 1500), st.integers(1, 1500), st.integers(1, 40), st.booleans())
def test_slices_share_out_all_tiles(width: int, height: int, slices: int, dispersed: bool) -> None:
    rows, columns = tile_grid(width, height)
    runs = split_tiles(width, height, slices, dispersed=dispersed)
    assert len(runs) == min(slices, rows * columns)
    parts = [tile_indices(run, width, height).tolist() for run in runs]
    assert sorted(chain(*parts)) == list(range(rows * columns))
    assert all(part == sorted(part) for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(4, 40))
def test_a_dispersed_slice_of_a_quarter_touches_itself_nowhere(
    width: int, height: int, slices: int
) -> None:
    rows, columns = tile_grid(2 * width, 2 * height)
    if rows % 2 or columns % 2:
        return
    for run in split_tiles(2 * width, 2 * height, slices, dispersed=True):
        tiles = set(tile_indices(run, 2 * width, 2 * height).tolist())
        if run.first * 4 // (rows * columns) != (run.end - 1) * 4 // (rows * columns):
            continue  # reaches into the next phase
        for tile in tiles:
            row, column = divmod(tile, columns)
            around = {
                (row + dy) * columns + column + dx
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (dy or dx) and 0 <= column + dx < columns
            }
            assert not tiles & around


@given(st.integers(-(2**40), 2**40), st.integers(1, 100_000))
def test_ticks_survive_microseconds(ticks: int, rate: int) -> None:
    time_base = Fraction(1, rate)
    assert us_to_ticks(ticks_to_us(ticks, time_base), time_base) == ticks


@given(st.integers(-(2**40), 2**40), st.integers(1, 1000), st.integers(1, 1000))
def test_ticks_survive_a_finer_time_base(ticks: int, rate: int, factor: int) -> None:
    coarse, fine = Fraction(1, rate), Fraction(1, rate * factor)
    assert rescale_ticks(rescale_ticks(ticks, coarse, fine), fine, coarse) == ticks


@given(st.integers(-(2**40), 2**40), st.integers(-(2**15) + 1, 2**15), st.sampled_from((16, 32)))
def test_a_wrapped_counter_near_the_last_is_restored(near: int, step: int, bits: int) -> None:
    assert unwrap((near + step) % 2**bits, near=near, bits=bits) == near + step


@given(st.binary(min_size=1, max_size=6), st.integers(0, 2**32))
def test_varints_never_exceed_their_limit(data: bytes, limit: int) -> None:
    with suppress(Truncated, Corrupt):
        cursor = Cursor(data)
        value = cursor.varint("value", limit=limit)
        assert value <= limit
        assert write_varint(value) == data[: cursor.offset]
