"""Files of exact pictures: every field's limits, and what was damaged where."""

import io
import zlib
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from rtcodec.bitstream.cursor import Cursor, Field
from rtcodec.bitstream.exact_file import (
    TOGETHER_KINDS,
    ExactFrame,
    ExactReader,
    ExactWriter,
    FrameKind,
    count_payloads,
    place_of,
)
from rtcodec.bitstream.exact_format import (
    COMMON_FITS,
    COMMON_REFINED_FITS,
    Component,
    ExactFormat,
    Fit,
    read_exact_header_at,
    write_exact_header,
)
from rtcodec.bitstream.exact_index import read_frame_head
from rtcodec.errors import Corrupt, Truncated, Unsupported

GRAY = ExactFormat(
    40, 33, 1, 12, False, False, 5, 0, (Component(0, 4095, None, COMMON_FITS),), b"{}"
)
FRAME = ExactFrame(
    FrameKind.TILES, bytes(32), (1, 2, 3, 4), tuple(bytes([k]) * (k % 3) for k in range(24))
)
NUMBERS = Component(0, 3, None, COMMON_FITS)
PALETTES = (
    replace(GRAY, components=(NUMBERS,), palette=((0,), (4095,), (9,), (9,), (8,))),
    replace(GRAY, components=(NUMBERS,), palette=tuple((k, k, k) for k in range(4000))),
    replace(GRAY, components=(NUMBERS,), palette=((-2048, 2047), (2047, -2048)) * 2, signed=True),
)
OWN = Fit((5, 9), tuple(tuple(range(k, k + 16)) for k in (-9, 0, 300)), tuple(range(11)))


def sealed(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "big")


def read_header(data: bytes) -> ExactFormat:
    return read_exact_header_at(Cursor(data), data)


def written(header: ExactFormat = GRAY, frame: ExactFrame = FRAME) -> bytes:
    stream = io.BytesIO()
    writer = ExactWriter(stream, header)
    for _ in range(header.frames):
        writer.write(frame)
    writer.close()
    assert writer.size_bytes == len(stream.getvalue())
    return stream.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        GRAY,
        replace(GRAY, components=(Component(0, 4095, 0, ((OWN,) * 3,) * 3),)),
        replace(GRAY, signed=True, components=(Component(-2048, 4095, 17, COMMON_FITS),)),
        replace(GRAY, components=GRAY.components * 3, differences=True, frames=70000),
        replace(GRAY, max_error=300, width=65535, height=1, notes=b""),
        replace(GRAY, bound=11, components=(Component(0, 9, 0, ((OWN,) * 3,) * 4),)),
        replace(GRAY, bound=1, components=(Component(0, 9, 0, COMMON_REFINED_FITS),)),
        replace(GRAY, is_whole=True),
        *PALETTES,
    ],
)
def test_a_header_is_read_as_it_was_written(header: ExactFormat) -> None:
    assert read_header(write_exact_header(header)) == header


def test_the_model_of_a_component_is_its_own() -> None:
    header = replace(GRAY, max_error=2, components=(Component(-3, 7, 1, COMMON_FITS),))
    model = header.model(0)
    assert (model.high, model.pad, model.max_error) == (7, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magic": b"\x89RTC"}, "not an exact picture"),
        ({"flags": 0x4B}, "reserved flags"),
        ({"flags": 0x2B}, "three unsigned components"),
        ({"shape": 0x45}, "5 components"),
        ({"shape": 0x04}, r"tiles of 2\*\*4"),
        ({"size": b"\xfe\xff\x03\xfe\xff\x03"}, "too large"),
        ({"low": b"\x01"}, "are not within 0 to 4095"),
        ({"high": b"\x80\x20"}, "are not within 0 to 4095"),
        ({"pad": b"\x81\x20"}, "pad . 1 exceeds"),
        ({"fits": b"\x02"}, "fits of form 2"),
        ({"fits": b"\x01\x08"}, "9 classes"),
        ({"fits": b"\x01\x00" + b"\xfc\xff\x07" * 16}, "a weight is beyond"),
    ],
)
def test_a_header_out_of_range_is_corrupt(change: dict[str, bytes | int], message: str) -> None:
    parts: dict[str, bytes | int] = {
        "magic": b"\x89RTX", "version": 1, "size": b"\x27\x20", "frames": 0, "flags": 0x0B,
        "shape": 0x05, "max_error": 0, "low": 0, "high": b"\xff\x1f", "pad": 0, "fits": 0,
        "notes": 0,
    }  # fmt: skip
    values = {**parts, **change}.values()
    data = b"".join(bytes([part]) if isinstance(part, int) else part for part in values)
    with pytest.raises(Corrupt, match=message):
        read_header(sealed(data))


APART = Component(-4095, 8190, None, COMMON_FITS)
BOUND = replace(GRAY, components=(APART, GRAY.components[0], APART), differences=True, max_error=1)


def test_differences_within_a_bound_reach_both_ways() -> None:
    assert read_header(write_exact_header(BOUND)) == BOUND


@pytest.mark.parametrize(
    ("max_error", "bound", "message"),
    [(0, 0, "within 0"), (1, 2, "within 2 and then within 1"), (0, 12, "bound exceeds 11")],
)
def test_a_bound_is_of_exact_pictures_and_small(max_error: int, bound: int, message: str) -> None:
    header = replace(GRAY, bound=5, components=(Component(0, 9, 0, COMMON_REFINED_FITS),))
    data = write_exact_header(header)
    assert data[10:12] == b"\x00\x05"
    with pytest.raises(Corrupt, match=message):
        read_header(sealed(data[:10] + bytes([max_error, bound]) + data[12:-4]))


def test_what_differences_are_from_has_the_bound_alone() -> None:
    fits = COMMON_REFINED_FITS
    apart, green = Component(-4095, 8190, None, fits), Component(0, 4095, None, fits)
    header = replace(GRAY, components=(apart, green, apart), differences=True, bound=3)
    assert [header.model(k).bound for k in range(3)] == [0, 3, 0]
    assert not header.is_modular
    assert read_header(write_exact_header(header)) == header


@pytest.mark.parametrize(
    "components",
    [
        (replace(APART, high=8191), GRAY.components[0], APART),
        (replace(APART, low=-4096), GRAY.components[0], APART),
        (APART, APART, APART),
    ],
)
def test_differences_further_apart_than_samples_can_be_are_corrupt(
    components: tuple[Component, ...],
) -> None:
    with pytest.raises(Corrupt, match="are not within"):
        read_header(write_exact_header(replace(BOUND, components=components)))
    with pytest.raises(Corrupt, match="are not within"):
        read_header(write_exact_header(replace(BOUND, max_error=0)))


def test_a_palette_of_runs_is_small() -> None:
    one = replace(GRAY, components=(NUMBERS,), palette=tuple((k, k, k) for k in range(4000)))
    assert len(write_exact_header(one)) < len(write_exact_header(GRAY)) + 20
    assert (one.channels, len(one.components)) == (3, 1)
    for kind, count in ((FrameKind.TILES, 24), (FrameKind.JPEG_LS, 3), (FrameKind.RAW, 3)):
        assert count_payloads(one, kind) == count


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        (b"\x02\x00\x00\x00\x80\x40", "a sample that is none"),  # 0 and 4096
        (b"\x02\x00\x01", "a sample that is none"),  # -1
        (b"\x03\x02\xfe\x2f", "a sample that is none"),  # 3071, 6142
        (b"\x02\x02\x00", "run - 1 exceeds 1"),
        (b"\x81\x80\x04", "colors exceeds 65536"),
        (b"\x01\x00\x00", "are not within 0 to 0"),  # numbers up to 1
        (b"\x00", "either a palette or differences"),
    ],
)
def test_a_palette_out_of_range_is_corrupt(palette: bytes, message: str) -> None:
    header = replace(GRAY, components=(Component(0, 1, None, COMMON_FITS),), palette=((0,), (1,)))
    data = write_exact_header(header)[:-4]
    assert data[11:14] == b"\x02\x00\x00"  # two colours, the first a run of its own
    with pytest.raises(Corrupt, match=message):
        read_header(sealed(data[:11] + palette + data[16:]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_error": 1}, "version 4 has no error"),
        ({"differences": True, "palette": ((1, 2, 3),) * 4}, "either a palette or differences"),
    ],
)
def test_with_a_palette_there_are_neither_differences_nor_errors(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Corrupt, match=message):
        read_header(write_exact_header(replace(PALETTES[0], **change)))


def test_differences_that_do_not_wrap_reach_both_ways() -> None:
    header = replace(BOUND, max_error=0, is_unwrapped=True)
    assert (header.version, header.is_modular) == (4, False)
    assert read_header(write_exact_header(header)) == header
    with pytest.raises(Corrupt, match="are not within"):
        read_header(write_exact_header(replace(header, is_unwrapped=False)))


@pytest.mark.parametrize("version", [0, 5])
def test_another_version_is_unsupported(version: int) -> None:
    with pytest.raises(Unsupported, match=f"version {version}"):
        read_header(b"\x89RTX" + bytes([version]))


@pytest.mark.parametrize(
    "header",
    [replace(GRAY, max_error=1), replace(GRAY, components=GRAY.components * 3, differences=True)],
)
def test_without_tiles_there_are_neither_differences_nor_errors(header: ExactFormat) -> None:
    with pytest.raises(Corrupt, match=r"version 3 has no error|frames without tiles"):
        read_header(write_exact_header(replace(header, is_whole=True)))


def test_a_damaged_header_is_corrupt() -> None:
    data = bytearray(write_exact_header(GRAY))
    data[-1] ^= 1
    with pytest.raises(Corrupt, match="CRC"):
        read_header(bytes(data))


@pytest.mark.parametrize("kind", list(FrameKind))
def test_frames_are_read_as_they_were_written(kind: FrameKind) -> None:
    frame = FRAME if kind == FrameKind.TILES else ExactFrame(kind, bytes(range(32)), (), (b"abc",))
    header = replace(GRAY, frames=2, is_whole=kind in TOGETHER_KINDS)
    data = written(header, frame)
    reader = ExactReader(io.BytesIO(data))
    assert list(reader) == [frame, frame]
    assert reader.offset == len(data)


@pytest.mark.parametrize("kind", list(FrameKind))
@pytest.mark.parametrize("is_whole", [False, True])
def test_each_version_has_its_kinds_of_frames(kind: FrameKind, is_whole: bool) -> None:
    header = replace(GRAY, is_whole=is_whole)
    is_tiles = kind == FrameKind.TILES
    data = written(header, FRAME if is_tiles else ExactFrame(kind, bytes(32), (), (b"abc",)))
    start = len(write_exact_header(header))
    kinds = {FrameKind.JPEG_LS, FrameKind.RAW} | (TOGETHER_KINDS if is_whole else {FrameKind.TILES})
    for read in (
        lambda: next(iter(ExactReader(io.BytesIO(data)))),
        lambda: read_frame_head(header, data[start:]),
    ):
        with nullcontext() if kind in kinds else pytest.raises(Corrupt, match="frame of kind"):
            read()


@pytest.mark.parametrize(
    ("kind", "components", "count"),
    [
        (FrameKind.TILES, 3, 72), (FrameKind.JPEG_LS, 3, 3), (FrameKind.RAW, 2, 2),
        (FrameKind.HTJ2K, 1, 1), (FrameKind.HTJ2K, 2, 2), (FrameKind.HTJ2K, 3, 1),
        (FrameKind.JPEG_XL, 3, 1), (FrameKind.JPEG_XL, 4, 4),
    ],
)  # fmt: skip
def test_three_components_are_together_in_code_streams_that_can(
    kind: FrameKind, components: int, count: int
) -> None:
    header = replace(GRAY, components=GRAY.components * components, is_whole=kind in TOGETHER_KINDS)
    assert count_payloads(header, kind) == count
    if kind != FrameKind.TILES:
        frame = ExactFrame(kind, bytes(32), (), tuple(bytes(k + 1) for k in range(count)))
        fields: list[Field] = []
        assert list(ExactReader(io.BytesIO(written(header, frame)), fields=fields)) == [frame]
        names = [field.name for field in fields if "payloads, " in field.name]
        assert len(names) == count


def test_payloads_have_an_address() -> None:
    header = replace(GRAY, components=GRAY.components * 3)
    places = [
        place_of(header, step, component, tile)
        for step in range(6)
        for component in range(3)
        for tile in range(4)
    ]
    assert places == list(range(72))


def test_every_byte_is_recorded_once() -> None:
    fields: list[Field] = []
    data = written()
    list(ExactReader(io.BytesIO(data), fields=fields))
    at = 0
    for field in fields:
        assert field.offset == at
        at += field.size_bytes
    assert at == len(data)


def test_every_cut_is_truncated_at_its_end() -> None:
    data = written(replace(GRAY, frames=2))
    for cut in range(len(data)):
        with pytest.raises(Truncated) as caught:
            list(ExactReader(io.BytesIO(data[:cut])))
        assert caught.value.offset == cut


@pytest.mark.parametrize(
    ("at", "byte", "message"),
    [
        (0, 9, "frame of kind 9"),
        (49, 0xFF, "sizes_bytes exceeds"),
        (50, 0x80, "size needs 1 bytes"),
    ],
)
def test_a_damaged_frame_is_corrupt(at: int, byte: int, message: str) -> None:
    data = bytearray(written())
    start = len(write_exact_header(GRAY))
    data[start + at] = byte
    with pytest.raises(Corrupt, match=message):
        list(ExactReader(io.BytesIO(bytes(data))))


def test_sizes_that_claim_too_much_are_truncated_without_taking_memory() -> None:
    start = len(write_exact_header(GRAY))
    sizes = b"\xff\x3f" + bytes(23)  # 8191 bytes, of which none is there
    data = written()[: start + 49] + bytes([len(sizes)]) + sizes
    with pytest.raises(Truncated, match="needs 8191 bytes"):
        list(ExactReader(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("tail", "message"),
    [(b"\x01\0\0\0\0", "more frames"), (b"\0\0\0\0\0", "CRC is"), (None, "after the end")],
)
def test_the_end_is_checked(tail: bytes | None, message: str) -> None:
    data = written()
    data = data + b"x" if tail is None else data[:-5] + tail
    with pytest.raises(Corrupt, match=message):
        list(ExactReader(io.BytesIO(data)))


def test_frames_come_before_a_cut_is_reported() -> None:
    data = written(replace(GRAY, frames=2))
    reader = iter(ExactReader(io.BytesIO(data[:-20])))
    assert next(reader) == FRAME
    with pytest.raises(Truncated):
        next(reader)
