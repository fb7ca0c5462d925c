"""Where things lie in exact files: against what the reader of whole files finds there."""

import io
from dataclasses import replace

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import ExactFrame, ExactReader, ExactWriter, FrameKind, place_of
from rtcodec.bitstream.exact_format import COMMON_FITS, STEPS, Component, ExactFormat
from rtcodec.bitstream.exact_index import (
    END_BYTES,
    Region,
    frame_offsets,
    head_max_bytes,
    index_frames,
    read_frame_head,
    read_header,
    region_of,
    step_spans,
)
from rtcodec.errors import BitstreamError, Corrupt, Truncated

COLOR = ExactFormat(
    70, 40, 2, 8, False, False, 5, 0, (Component(0, 255, None, COMMON_FITS),) * 3, b"{}"
)
N_TILES = 3 * 2 * 3  # components, rows and columns


def frames() -> list[ExactFrame]:
    rng = np.random.default_rng(1)
    payloads = tuple(rng.bytes(int(n)) for n in rng.integers(0, 9, STEPS * N_TILES))
    tiles = ExactFrame(FrameKind.TILES, bytes(range(32)), tuple(range(N_TILES)), payloads)
    return [tiles, ExactFrame(FrameKind.RAW, bytes(32), (), (b"ab", b"", b"cde"))]


def written() -> bytes:
    stream = io.BytesIO()
    writer = ExactWriter(stream, COLOR)
    for frame in frames():
        writer.write(frame)
    writer.close()
    return stream.getvalue()


def test_heads_and_payloads_lie_where_the_reader_finds_them() -> None:
    data = written()
    header, header_bytes = read_header(data)
    assert header == COLOR
    sizes = index_frames(header, header_bytes, data)
    offsets = frame_offsets(header_bytes, sizes)
    assert offsets[-1] + END_BYTES == len(data)
    for frame, offset in zip(ExactReader(io.BytesIO(data)), offsets, strict=False):
        head = read_frame_head(header, data[offset:])
        assert head.open_frame(data, offset) == frame
        assert head.size_bytes <= head_max_bytes(header)
        places = range(len(frame.payloads))
        upto = head.open_frame(data, offset, upto=2).payloads
        assert upto == (*frame.payloads[:2], *[b""] * (len(places) - 2))


@pytest.mark.parametrize(
    "region", [None, Region(0, 0, 2, 3), Region(0, 1, 1, 3), Region(1, 2, 2, 3)]
)
def test_spans_of_a_step_are_its_payloads_of_the_region(region: Region | None) -> None:
    frame, offset = frames()[0], 0
    data = written()
    header, header_bytes = read_header(data)
    offset = header_bytes
    head = read_frame_head(header, data[offset:])
    for step in range(STEPS):
        found = b"".join(
            data[offset + a : offset + b] for a, b in step_spans(header, head, step, region)
        )
        box = region or Region(0, 0, 2, 3)
        tiles = [r * 3 + c for r in range(box.top, box.bottom) for c in range(box.left, box.right)]
        wanted = (frame.payloads[place_of(header, step, k, t)] for k in range(3) for t in tiles)
        assert found == b"".join(wanted)


def test_a_frame_of_another_kind_is_all_in_the_last_step() -> None:
    data = written()
    header, header_bytes = read_header(data)
    offset = frame_offsets(header_bytes, index_frames(header, header_bytes, data))[1]
    head = read_frame_head(header, data[offset:])
    spans = [list(step_spans(header, head, step, None)) for step in range(STEPS)]
    assert spans == [[]] * (STEPS - 1) + [[head.span(0, 2)]]


@pytest.mark.parametrize(
    ("box", "region"),
    [
        ((0, 0, 1, 1), Region(0, 0, 1, 1)),
        ((31, 31, 2, 2), Region(0, 0, 2, 2)),
        ((60, 0, 999, 999), Region(0, 1, 2, 3)),
        ((70, 0, 1, 1), None),
        ((0, 40, 1, 1), None),
        ((5, 5, 0, 3), None),
    ],
)
def test_a_region_is_the_tiles_that_it_touches(
    box: tuple[int, int, int, int], region: Region | None
) -> None:
    assert region_of(COLOR, *box) == region


def test_every_beginning_of_a_head_is_truncated() -> None:
    data = written()
    header, header_bytes = read_header(data)
    head = read_frame_head(header, data[header_bytes:])
    for cut in range(head.size_bytes):
        with pytest.raises(Truncated):
            read_frame_head(header, data[header_bytes : header_bytes + cut])


def test_files_that_are_too_short_or_too_long_are_told() -> None:
    data = written()
    header, header_bytes = read_header(data)
    with pytest.raises(Truncated):
        index_frames(header, header_bytes, data[:-6])
    with pytest.raises(Corrupt):
        index_frames(header, header_bytes, data + b"\0")
    with pytest.raises(Corrupt):
        index_frames(header, header_bytes, data[:header_bytes] + b"\x07" + data[header_bytes + 1 :])
    with pytest.raises(BitstreamError):
        index_frames(replace(header, frames=9), header_bytes, data)
