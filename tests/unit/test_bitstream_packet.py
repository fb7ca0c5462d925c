"""Packets byte by byte (spec 4)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rtcodec.bitstream.packet import (
    Description,
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    read_packet,
    state_id,
    state_slot,
    write_packet,
)
from rtcodec.bitstream.tiles import TileRange
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.types import LayerId
from support.bitstreams import header_of

SHORTEST = bytes.fromhex("20 07 02 14 0007 beef ff")
# ver1 slice, size, last, 1 lane qp 20, frame 7, check, payload

FULL = bytes.fromhex("20 13 fa d4 0007 beef 04 31 0123 70a0 0167 8304 05 cafe")
# size, all flags but reference and keyframe, 8 lanes qp 20, frame, check, store 4,
# rung 3 temporal 1, model tag, 641x360 8 bits, first 515, count 6, payload


def full_header() -> PacketHeader:
    return PacketHeader(
        frame_number=7,
        qp=20,
        keyframe=False,
        last=True,
        lanes=8,
        check=0xBEEF,
        store=4,
        layer=LayerId(3, 1),
        description=Description(0x0123, Geometry(641, 360)),
        tiles=TileRange(515, 6, True),
    )


def test_the_shortest_header_takes_eight_bytes() -> None:
    header = replace(header_of(7), check=0xBEEF)
    assert read_packet(SHORTEST) == Packet(header, b"\xff")
    assert write_packet(Packet(header, b"\xff")) == SHORTEST


def test_every_optional_field_has_its_place() -> None:
    assert write_packet(Packet(full_header(), b"\xca\xfe")) == FULL
    assert read_packet(FULL) == Packet(full_header(), b"\xca\xfe")


def test_a_delta_frame_names_its_reference() -> None:
    wire = bytes.fromhex("20 07 04 14 0007 beef fe")
    # slot 14, generation 15
    packet = read_packet(wire)
    assert isinstance(packet, Packet)
    assert packet.header.reference == state_id(14, 31)
    assert state_slot(packet.header.reference) == 14
    assert write_packet(packet) == wire


@pytest.mark.parametrize("keyframe", [True, False])
def test_a_spatial_frame_is_a_type_of_its_own(keyframe: bool) -> None:
    header = replace(header_of(7, keyframe=keyframe), spatial=True, check=0xBEEF)
    wire = bytes.fromhex("23 07 03 14 0007 beef ff" if keyframe else "23 07 02 14 0007 beef ff")
    assert write_packet(Packet(header, b"\xff")) == wire
    assert read_packet(wire) == Packet(header, b"\xff")


def test_a_whole_spatial_frame_is_another_type() -> None:
    header = replace(header_of(7, keyframe=True), spatial=True, across_tiles=True, check=0xBEEF)
    wire = bytes.fromhex("24 07 03 14 0007 beef ff")
    assert write_packet(Packet(header, b"\xff")) == wire
    assert read_packet(wire) == Packet(header, b"\xff")


def test_one_with_copied_parts_is_a_third() -> None:
    header = replace(header_of(7, keyframe=True), spatial=True, across_tiles=True, check=0xBEEF)
    header = replace(header, has_copies=True)
    wire = bytes.fromhex("25 07 03 14 0007 beef ff")
    assert write_packet(Packet(header, b"\xff")) == wire
    assert read_packet(wire) == Packet(header, b"\xff")


def test_unknown_types_are_carried() -> None:
    wire = bytes.fromhex("3f 02 abcd")
    assert read_packet(wire) == Extension(31, b"\xab\xcd")
    assert write_packet(Extension(31, b"\xab\xcd")) == wire


@pytest.mark.parametrize(
    ("wire", "error", "offset"),
    [
        ("", Truncated, 0),
        ("20", Truncated, 1),
        ("20 07 02", Truncated, 3),
        ("00 07 02 14 0007 beef ff", Unsupported, 0),
        ("40 07 02 14 0007 beef ff", Unsupported, 0),
        ("20 ffffff7f", Corrupt, 1),
        ("20 8700", Corrupt, 1),
        ("20 05 02 14 0007 be", Corrupt, 7),
        ("20 07 05 14 0007 beef 01", Corrupt, 2),
        ("23 07 04 14 0007 beef 01", Corrupt, 2),
        ("23 07 05 14 0007 beef 01", Corrupt, 2),
        ("24 07 04 14 0007 beef 01", Corrupt, 2),
        ("24 09 42 14 0007 beef 00 00 ff", Corrupt, 2),
        ("24 07 82 14 0007 beef ff", Corrupt, 2),
        ("20 06 80 14 0007 beef", Corrupt, 2),
        ("20 07 04 14 0007 beef ff", Corrupt, 8),
        ("20 07 08 14 0007 beef 1f", Corrupt, 8),
        ("20 07 10 14 0007 beef 00", Corrupt, 8),
        ("20 0c 20 14 0007 beef 0123 60a00167", Corrupt, 10),
        ("20 0a 40 14 0007 beef 808004 00", Corrupt, 8),
        ("20 0a 40 14 0007 beef ffff03 01", Corrupt, 11),
        ("20 07 02 14 0007 beef ff 00", Corrupt, 9),
    ],
    ids=str,
)
def test_malformed_packets_say_where(wire: str, error: type[BitstreamError], offset: int) -> None:
    with pytest.raises(error) as caught:
        read_packet(bytes.fromhex(wire))
    assert type(caught.value) is error
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "build",
    [
        lambda: replace(header_of(), frame_number=65536),
        lambda: replace(header_of(), qp=64),
        lambda: replace(header_of(), check=-1),
        lambda: replace(header_of(), reference=255),
        lambda: replace(header_of(), store=15),
        lambda: replace(header_of(), layer=LayerId(16, 0)),
        lambda: replace(header_of(), layer=LayerId(0, 16)),
        lambda: replace(header_of(), lanes=3),
        lambda: replace(header_of(keyframe=True), reference=0),
        lambda: replace(header_of(), spatial=True, reference=0),
        lambda: replace(header_of(), across_tiles=True),
        lambda: replace(header_of(), has_copies=True),
        lambda: replace(header_of(), spatial=True, has_copies=True),
        lambda: replace(
            header_of(), spatial=True, across_tiles=True, tiles=TileRange(0, 1, dispersed=False)
        ),
        lambda: Geometry(0, 1),
        lambda: Geometry(1, 16385),
        lambda: Geometry(1, 1, 7),
        lambda: Geometry(1, 1, 17),
        lambda: Description(65536, Geometry(1, 1)),
        lambda: Extension(0, b""),
        lambda: Extension(3, b""),
        lambda: Extension(4, b""),
        lambda: Extension(5, b""),
        lambda: Extension(32, b""),
        lambda: write_packet(Extension(1, bytes(1 << 24))),
        lambda: write_packet(Packet(header_of(), bytes((1 << 24) - 1))),
    ],
)
def test_values_the_wire_has_no_room_for_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"outside|lanes|alone|across|exceeds|no type"):
        build()


def test_another_check_word_changes_nothing_else() -> None:
    header = PacketHeader(frame_number=7, qp=9, keyframe=False, last=True, reference=3, lanes=4)
    assert header.with_check(0xBEEF) == replace(header, check=0xBEEF)
    assert header.check == 0
    with pytest.raises(ValueError, match="check word"):
        header.with_check(0x10000)
