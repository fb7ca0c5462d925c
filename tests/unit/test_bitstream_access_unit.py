"""Access units: packets of one frame that fit together and the stream (spec 5)."""

from dataclasses import replace
from unittest.mock import patch

import pytest

from rtcodec.bitstream import access_unit
from rtcodec.bitstream.access_unit import (
    AccessUnit,
    frame_geometry,
    read_access_unit,
    write_access_unit,
)
from rtcodec.bitstream.cursor import write_varint
from rtcodec.bitstream.packet import (
    Description,
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    write_packet,
)
from rtcodec.bitstream.tiles import TileRange
from rtcodec.errors import Corrupt, Truncated
from rtcodec.types import LayerId
from support.bitstreams import MODEL_ID, header_of, sequence_of, unit_of

SEQUENCE = replace(sequence_of(), rungs=2, references=4)
TAG = int.from_bytes(MODEL_ID[:2], "big")


def slice_of(first: int, count: int, *, last: bool = False) -> PacketHeader:
    return replace(header_of(), tiles=TileRange(first, count), last=last)


def unit_with(*headers: PacketHeader) -> AccessUnit:
    return AccessUnit(3, tuple(Packet(header, b"x") for header in headers))


def raw(unit: AccessUnit) -> bytes:
    """What a writer without checks would write."""
    body = write_varint(unit.pts << 1) + b"".join(map(write_packet, unit.packets))
    return write_varint(len(body)) + body


def test_a_unit_is_size_pts_and_packets() -> None:
    wire = bytes.fromhex("0a 03 20 07 02 14 fffe 0000 ff")
    unit = read_access_unit(wire, SEQUENCE)
    assert unit == AccessUnit(-2, (Packet(header_of(65534), b"\xff"),))
    assert write_access_unit(unit, SEQUENCE) == wire
    assert unit.header.frame_number == 65534


def test_slices_and_extensions_may_alternate() -> None:
    packets = (
        Extension(1, b"tail"),
        Packet(slice_of(0, 2), b"a"),
        Extension(9, b""),
        Packet(slice_of(3, 3, last=True), b"b"),
        Extension(9, b"after"),
    )
    unit = AccessUnit(2**62 - 1, packets)
    assert read_access_unit(write_access_unit(unit, SEQUENCE), SEQUENCE) == unit
    assert unit.slices == (packets[1], packets[3])


def test_another_rung_may_have_another_size() -> None:
    small = Description(TAG, Geometry(64, 64))
    header = replace(header_of(), layer=LayerId(1), description=small, tiles=TileRange(0, 1))
    unit = unit_with(header)
    assert read_access_unit(raw(unit), SEQUENCE) == unit
    assert frame_geometry(header, SEQUENCE) == Geometry(64, 64)
    assert frame_geometry(header_of(), SEQUENCE) == Geometry(130, 70)


MISFITS = [
    (replace(header_of(), description=Description(1, Geometry(130, 70))), "model tag"),
    (replace(header_of(), description=Description(TAG, Geometry(130, 71))), "rung 0"),
    (replace(header_of(), layer=LayerId(2)), "rung 2 of 2"),
    (slice_of(4, 3), "tiles up to 7 in a frame of 6"),
    (
        replace(
            slice_of(0, 2),
            layer=LayerId(1),
            description=Description(TAG, Geometry(64, 64)),
        ),
        "tiles up to 2 in a frame of 1",
    ),
]


@pytest.mark.parametrize(("header", "reason"), MISFITS, ids=str)
def test_a_slice_that_does_not_fit_the_stream_is_refused(header: PacketHeader, reason: str) -> None:
    unit = unit_with(header)
    with pytest.raises(Corrupt, match=reason) as caught:
        read_access_unit(raw(unit), SEQUENCE)
    assert caught.value.offset == 2
    with pytest.raises(ValueError, match=reason):
        write_access_unit(unit, SEQUENCE)


@pytest.mark.parametrize(
    "header", [replace(header_of(), reference=0), replace(header_of(), store=0)]
)
def test_a_stream_has_no_more_slots_than_it_says(header: PacketHeader) -> None:
    unit = unit_with(header)
    assert read_access_unit(raw(unit), SEQUENCE) == unit
    with pytest.raises(Corrupt, match="slot 0 of 0"):
        read_access_unit(raw(unit), sequence_of())


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (header_of(), "whole frame"),
        (replace(slice_of(2, 1), tiles=TileRange(2, 1, True)), "tile orders"),
        (slice_of(1, 1), "position 1 comes after 1"),
        (replace(slice_of(2, 1), spatial=True), "spatial"),
        (replace(slice_of(2, 1), frame_number=1), "frame_number"),
        (replace(slice_of(2, 1), qp=3), "qp"),
        (replace(slice_of(2, 1), keyframe=True), "keyframe"),
        (replace(slice_of(2, 1), reference=3), "reference"),
        (replace(slice_of(2, 1), store=3), "store"),
        (replace(slice_of(2, 1), layer=LayerId(1)), "layer"),
        (
            replace(slice_of(2, 1), description=Description(TAG, Geometry(130, 70))),
            "description",
        ),
    ],
)
def test_slices_of_one_frame_agree(second: PacketHeader, reason: str) -> None:
    unit = unit_with(slice_of(0, 2), second)
    with pytest.raises(Corrupt, match=reason) as caught:
        read_access_unit(raw(unit), SEQUENCE)
    assert caught.value.offset == 2 + len(write_packet(unit.packets[0]))


def test_nothing_follows_the_last_slice_or_the_whole_frame() -> None:
    for first in (slice_of(0, 2, last=True), replace(header_of(), last=False)):
        with pytest.raises(Corrupt, match=r"after the last one|whole frame"):
            read_access_unit(raw(unit_with(first, slice_of(2, 1))), SEQUENCE)


@pytest.mark.parametrize(
    ("wire", "error", "offset"),
    [
        ("", Truncated, 0),
        ("00", Corrupt, 0),
        ("0a 03 20", Truncated, 3),
        ("8080808001", Corrupt, 0),
        ("01 00", Corrupt, 1),
        ("01 80", Corrupt, 2),
        ("0a ffffffffffffffffff01", Corrupt, 1),
        ("03 00 3f 00", Corrupt, 1),
        ("02 00 20", Corrupt, 3),
        ("09 00 20 07 02 14 0000 0000 ff", Corrupt, 10),
        ("0b 00 20 07 02 14 0000 0000 ff 20", Corrupt, 12),
        ("0a 00 20 07 02 14 0000 0000 ff ee", Corrupt, 11),
    ],
    ids=str,
)
def test_malformed_units_say_where(wire: str, error: type[Corrupt], offset: int) -> None:
    with pytest.raises(error) as caught:
        read_access_unit(bytes.fromhex(wire), SEQUENCE)
    assert caught.value.offset == offset


def test_the_number_of_packets_is_bounded() -> None:
    unit = AccessUnit(0, (*unit_of(0).packets, Extension(1, b""), Extension(1, b"")))
    wire = write_access_unit(unit, SEQUENCE)
    with patch.object(access_unit, "MAX_PACKETS", 2):
        with pytest.raises(Corrupt, match="over 2 packets") as caught:
            read_access_unit(wire, SEQUENCE)
        assert caught.value.offset == len(wire) - 2
        with pytest.raises(ValueError, match="3 packets"):
            write_access_unit(unit, SEQUENCE)


def test_units_that_cannot_be_are_not_written() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        write_access_unit(replace(unit_of(0), pts=2**62), SEQUENCE)
    with pytest.raises(ValueError, match="0 packets"):
        write_access_unit(AccessUnit(0, ()), SEQUENCE)
    with pytest.raises(ValueError, match="1 packets"):
        write_access_unit(AccessUnit(0, (Extension(1, b""),)), SEQUENCE)
    big = unit_of(0, bytes(100))
    with (
        patch.object(access_unit, "MAX_UNIT_BYTES", 100),
        pytest.raises(ValueError, match="exceeds 100"),
    ):
        write_access_unit(big, SEQUENCE)
