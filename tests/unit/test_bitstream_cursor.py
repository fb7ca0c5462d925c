"""Reading numbers without ever leaving the bytes."""

import pytest

from rtcodec.bitstream.cursor import Cursor, Field, write_varint
from rtcodec.errors import Corrupt, Truncated


def test_fixed_numbers_are_big_endian() -> None:
    cursor = Cursor(bytes(range(1, 10)))
    assert cursor.peek("first", 0) == 1
    assert (cursor.u8("a"), cursor.u16("b"), cursor.u32("c")) == (1, 0x0203, 0x04050607)
    assert cursor.raw("d", 2) == b"\x08\x09"
    cursor.end("test")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**62])
def test_varints_take_seven_bits_a_byte(value: int) -> None:
    wire = write_varint(value)
    assert len(wire) == max(1, -(-value.bit_length() // 7))
    assert Cursor(wire).varint("value", limit=value) == value


@pytest.mark.parametrize(
    ("wire", "limit", "reason"),
    [
        (b"\x05", 4, "exceeds"),
        (b"\x80\x01", 127, "exceeds"),
        (b"\xff\xff\xff\xff\xff\xff\xff", 1000, "exceeds"),
        (b"\x80\x00", 1000, "shortest"),
        (b"\x85\x80\x00", 100_000, "shortest"),
    ],
)
def test_a_varint_beyond_its_limit_or_form_is_corrupt(wire: bytes, limit: int, reason: str) -> None:
    with pytest.raises(Corrupt, match=reason) as caught:
        Cursor(wire, origin=7).varint("value", limit=limit)
    assert caught.value.offset == 7


def test_running_out_is_truncated_outside_and_corrupt_inside() -> None:
    with pytest.raises(Truncated) as truncated:
        Cursor(b"\x01", origin=4).u16("word")
    assert truncated.value.offset == 5
    cursor = Cursor(b"\x01\x02\x03")
    inner = cursor.inner("box", 2)
    with pytest.raises(Corrupt) as corrupt:
        inner.u32("word")
    assert corrupt.value.offset == 2
    assert cursor.u8("after") == 3
    with pytest.raises(Truncated):
        cursor.peek("more", 0)
    with pytest.raises(Truncated):
        Cursor(b"\x80").varint("cut", limit=1000)


def test_left_over_bytes_are_corrupt() -> None:
    with pytest.raises(Corrupt, match="2 bytes after the box") as caught:
        Cursor(b"ab").end("box")
    assert caught.value.offset == 0


def test_a_watched_cursor_records_what_it_reads() -> None:
    fields: list[Field] = []
    cursor = Cursor(bytes(20) + b"\x81\x01\x07", origin=100, fields=fields, path="top.")
    cursor.raw("short", 2)
    cursor.raw("long", 18)
    with cursor.within("part[0]"):
        cursor.varint("count", limit=500)
        cursor.explain(lambda: "many")
        cursor.inner("box", 1).u8("x")
    assert fields == [
        Field(100, 2, "top.short", "0000"),
        Field(102, 18, "top.long", "00" * 16 + "..."),
        Field(120, 2, "top.part[0].count", 129, "many"),
        Field(122, 1, "top.part[0].x", 7),
    ]
