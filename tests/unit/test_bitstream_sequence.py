"""Sequence headers byte by byte (spec 3)."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from rtcodec.bitstream.packet import Geometry
from rtcodec.bitstream.sequence import (
    ColorRange,
    SequenceHeader,
    known_source_format,
    model_tag,
    read_sequence_header,
    write_sequence_header,
)
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from support.bitstreams import MODEL_ID, sequence_of

BODY = "89525443 01 0123456789abcdef 709fc167 01b0ea01 b0ea01e907 30 26 09 02"
# magic, version, model id, 640x360 8 bits, 1/30000 s, 30000/1001 fps,
# 4 rungs yuv420p, full range matrix 6, from rgb24, 2 references


def with_crc(body: str) -> bytes:
    data = bytes.fromhex(body)
    return data + zlib.crc32(data).to_bytes(4, "big")


def test_every_field_has_its_place() -> None:
    header = SequenceHeader(
        model_id=MODEL_ID,
        geometry=Geometry(640, 360),
        time_base=Fraction(1, 30000),
        frame_rate=Fraction(30000, 1001),
        color_range=ColorRange.FULL,
        color_matrix=6,
        source_format="rgb24",
        rungs=4,
        references=2,
    )
    assert write_sequence_header(header) == with_crc(BODY)
    assert read_sequence_header(with_crc(BODY)) == header
    assert (header.width, header.height, header.model_tag) == (640, 360, 0x0123)


def test_a_still_image_has_no_rate() -> None:
    header = replace(sequence_of(), frame_rate=None)
    assert read_sequence_header(write_sequence_header(header)) == header


def test_source_formats_without_a_name_keep_their_code() -> None:
    wire = with_crc(BODY.replace("26 09 02", "26 c8 02"))
    header = read_sequence_header(wire)
    assert header.source_format == "code-200"
    assert write_sequence_header(header) == wire
    assert known_source_format("rgb24") == "rgb24"
    assert known_source_format("bayer_bggr8") == "other"
    assert model_tag(b"\x01\x02\x03") == 0x0102


@pytest.mark.parametrize(
    ("wire", "error", "offset"),
    [
        (b"", Truncated, 0),
        (b"\x89", Truncated, 1),
        (b"\x89R", Truncated, 2),
        (b"GIF8", Corrupt, 0),
        (b"\x89PNG\r\n", Corrupt, 1),
        (with_crc(BODY.replace("89525443 01", "89525443 02")), Unsupported, 4),
        (with_crc(BODY.replace("709fc167", "609fc167")), Corrupt, 13),
        (with_crc(BODY.replace("01b0ea01 ", "00b0ea01 ")), Corrupt, 17),
        (with_crc(BODY.replace("01b0ea01 ", "0100 ")), Corrupt, 17),
        (with_crc(BODY.replace("01b0ea01 ", "021e ")), Corrupt, 17),
        (with_crc(BODY.replace("01b0ea01 ", "01ffffffff1f ")), Corrupt, 18),
        (with_crc(BODY.replace("b0ea01e907", "b0ea0100")), Corrupt, 21),
        (with_crc(BODY.replace("e907 30", "e907 31")), Unsupported, 26),
        (with_crc(BODY.replace("30 26", "30 36")), Corrupt, 27),
        (with_crc(BODY.replace("30 26", "30 2f")), Corrupt, 27),
        (with_crc(BODY.replace("09 02", "09 10")), Corrupt, 29),
        (with_crc(BODY)[:-1] + b"\x00", Corrupt, 30),
        (with_crc(BODY) + b"\x00", Corrupt, 34),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else str(value),
)
def test_malformed_headers_say_where(wire: bytes, error: type[BitstreamError], offset: int) -> None:
    with pytest.raises(error) as caught:
        read_sequence_header(wire)
    assert type(caught.value) is error
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "build",
    [
        lambda: replace(sequence_of(), model_id=b"short"),
        lambda: replace(sequence_of(), time_base=Fraction(0)),
        lambda: replace(sequence_of(), time_base=Fraction(1, 2**32)),
        lambda: replace(sequence_of(), frame_rate=Fraction(2**32, 1)),
        lambda: replace(sequence_of(), color_matrix=15),
        lambda: replace(sequence_of(), rungs=0),
        lambda: replace(sequence_of(), references=16),
        lambda: replace(sequence_of(), source_format="bayer_bggr8"),
        lambda: replace(sequence_of(), source_format="code-3"),
        lambda: replace(sequence_of(), source_format="code-256"),
        lambda: replace(sequence_of(), source_format="code-x"),
    ],
)
def test_values_the_wire_has_no_room_for_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"not|outside|no code"):
        build()
