"""Progressive pictures: any prefix decodes, and C does what the plain decoder does."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtcodec.bitstream.inspect_command import inspection
from rtcodec.bitstream.progressive_file import (
    HEADER_BYTES,
    ProgressiveFile,
    Transform,
    read_progressive,
    write_progressive,
)
from rtcodec.bitstream.sequence import ColorRange
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.progressive import refine
from rtcodec.progressive.native import Passes, Plane, decode_payload
from rtcodec.progressive.picture import decode_picture, encode_picture
from rtcodec.progressive.plain import decode_plainly
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from support.sanitizer import fuzz

Picture = tuple[Plane, Plane, Plane]


def picture(height: int, width: int, seed: int = 1) -> Picture:
    """Return a smooth ground with an edge and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ground = 120 + 60 * np.sin(x / 9) * np.cos(y / 7) + 50.0 * (x + 2 * y > width)
    luma = np.clip(ground + rng.normal(0, 4, ground.shape), 0, 255).astype(np.uint8)
    half = luma[::2, ::2]
    return luma, 255 - half, (half // 2 + 40).astype(np.uint8)


def drawing(height: int, width: int) -> Picture:
    """Return flat areas with sharp edges."""
    y, x = np.mgrid[:height, :width]
    luma = np.where((x // 5 + y // 7) % 3 == 0, 20, 230).astype(np.uint8)
    half = np.full(luma[::2, ::2].shape, 128, np.uint8)
    return luma, half, half


def encoded(planes: Picture, **options: object) -> bytes:
    return encode_picture(planes, color_range=ColorRange.FULL, color_matrix=6, **options)  # type: ignore[arg-type]


def psnr(planes: Picture, data: bytes) -> float:
    return picture_psnr(Planes(*planes), Planes(*decode_picture(read_progressive(data)))).yuv


def equal(one: Picture, other: tuple[NDArray[np.uint8], ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


SIZES = [(1, 1), (1, 9), (10, 1), (2, 3), (8, 8), (17, 40), (33, 21)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("transform", Transform)
def test_c_decodes_what_the_plain_decoder_does_wherever_the_file_is_cut(
    size: tuple[int, int], transform: Transform
) -> None:
    data = encoded(picture(*size), transform=transform, finest_step=1.0)
    for cut in {HEADER_BYTES, HEADER_BYTES + 4, HEADER_BYTES + 41, len(data) * 2 // 3, len(data)}:
        file = read_progressive(data[: max(cut, HEADER_BYTES)])
        assert equal(decode_picture(file), decode_plainly(file.header, file.payload))


@given(st.binary(max_size=400), st.integers(0, 16), st.sampled_from(Transform))
def test_c_reads_any_payload_as_the_plain_decoder_does(
    payload: bytes, n_planes: int, transform: Transform
) -> None:
    payload = payload[:3] + b"\xff" + payload[4:]  # a state that is large enough
    header = read_progressive(encoded(picture(11, 9), transform=transform)).header
    counts = (n_planes, 3, 0)
    try:
        planes = decode_payload(payload, 9, 11, transform, counts)
    except Corrupt:
        return
    assert equal(planes, decode_plainly(replace(header, plane_counts=counts), payload))


def test_more_bytes_are_a_better_picture() -> None:
    planes = picture(96, 128)
    data = encoded(planes, finest_step=1.0)
    cuts = np.geomspace(60, len(data), 12).astype(int)
    qualities = [psnr(planes, data[:cut]) for cut in cuts]
    assert all(after > before for before, after in pairwise(qualities))
    assert qualities[-1] > 50


def known_until(planes: Picture, plane: int, transform: Transform) -> NDArray[np.int64]:
    """Return luma as it is known when a bit plane begins, in 64ths from mid grey."""
    passes = Passes(planes, transform)
    for _ in range(4 * (passes.plane_counts[0] - 1 - plane) - 2):
        passes.next(0, (0, 0))
    return passes.known(0).clip(refine.LEAST, refine.MOST).astype(np.int64)


@pytest.mark.parametrize("plane", [6, 4, 2])
def test_refining_brings_a_picture_nearer(plane: int) -> None:
    planes = picture(96, 128)
    wanted, known = (
        64 * (planes[0].astype(np.int64) - 128),
        known_until(planes, plane, Transform.WIDE),
    )
    before, after = (
        float(np.square(wanted - one).mean())
        for one in (known, refine.refined(known, plane, 0, is_chroma=False))
    )
    assert after < before


def test_what_is_refined_is_of_many_classes_and_nothing_wraps() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :128]
    seen = set()
    for angle, contrast, blur in product(
        range(8), (0, 30, 150, 800, 1500, 3000, 8000), (0, 0.1, 0.3)
    ):
        along = np.sin((x * np.cos(angle * np.pi / 8) + y * np.sin(angle * np.pi / 8)) / 3)
        samples = contrast * (along + rng.normal(0, blur, along.shape))
        of = refine.classes(samples.clip(refine.LEAST, refine.MOST).astype(np.int64), 64)
        seen |= set(of.ravel().tolist())
    assert seen == set(range(refine.CLASSES))
    most = (
        2
        * refine.step_of(refine.COARSEST, 0)
        * np.abs(refine.WEIGHTS.astype(np.int64)).sum(1).max()
    )
    assert most < 1 << 31  # C sums up in 32 bits


@pytest.mark.parametrize("transform", Transform)
def test_photographs_are_refined_and_drawings_are_not(transform: Transform) -> None:
    planes = picture(64, 96)
    luma, _, _ = decode_picture(
        read_progressive(encoded(planes, finest_step=0.5, transform=transform))
    )
    known = known_until(planes, -1, transform)
    if transform is Transform.WIDE:
        known = refine.refined(known, 0, 3, is_chroma=False)
    assert np.array_equal(luma, ((known + 32 >> 6) + 128).clip(0, 255))


def test_every_cut_decodes() -> None:
    planes = picture(24, 40)
    data = encoded(planes)
    whole = [read_progressive(data[:cut]).is_whole for cut in range(HEADER_BYTES, len(data) + 1)]
    assert whole == [False] * (len(data) - HEADER_BYTES) + [True]
    for cut in range(HEADER_BYTES, len(data)):
        decode_picture(read_progressive(data[:cut]))


def test_what_ends_earlier_is_the_beginning_of_what_ends_later() -> None:
    planes = picture(64, 64)
    coarse, fine = encoded(planes, finest_step=8.0), encoded(planes, finest_step=1.0)
    assert len(coarse) < len(fine)
    cut = fine[: len(coarse)]
    assert abs(psnr(planes, cut) - psnr(planes, coarse)) < 0.2


def test_drawings_are_taken_in_pairs_and_photographs_are_not() -> None:
    assert read_progressive(encoded(drawing(64, 96))).header.transform is Transform.PAIRS
    assert read_progressive(encoded(picture(64, 96))).header.transform is Transform.WIDE


def chroma_bits(planes: Picture, complete: int) -> float:
    """Return what U and V take where the components before are complete from a plane on."""
    passes = Passes(planes, Transform.WIDE)
    bits = 0.0
    for component in (1, 2):
        for _ in range(4 * passes.plane_counts[component] - 2):
            items = passes.next(component, (complete, complete))
            ones = (items & 0x7FFF) / (1 << 14)
            bits -= float(np.log2(np.where(items >> 15, ones, 1 - ones)).sum())
    return bits


def test_chroma_that_sees_luma_takes_fewer_bits() -> None:
    planes = picture(96, 128)
    assert chroma_bits(planes, 0) < 0.9 * chroma_bits(planes, 16)


def test_one_colour_takes_no_payload_to_speak_of() -> None:
    grey = np.full((40, 40), 128, np.uint8)
    data = encoded((grey, grey[::2, ::2], grey[::2, ::2]))
    assert len(data) == HEADER_BYTES + 8
    assert equal((grey, grey[::2, ::2], grey[::2, ::2]), decode_picture(read_progressive(data)))


def test_a_file_is_what_was_written() -> None:
    data = encoded(picture(20, 30))
    file = read_progressive(data)
    assert write_progressive(file.header, file.payload) == data
    assert (file.header.width, file.header.height) == (30, 20)
    assert (file.header.color_range, file.header.color_matrix) == (ColorRange.FULL, 6)
    with pytest.raises(ValueError, match="for a payload of"):
        write_progressive(file.header, file.payload + b"\0")


def resealed(data: bytes, at: int, *values: int) -> bytes:
    """Change bytes of a header and make its CRC right again."""
    header = bytearray(data[: HEADER_BYTES - 4])
    header[at : at + len(values)] = bytes(values)
    return bytes(header) + zlib.crc32(header).to_bytes(4, "big") + data[HEADER_BYTES:]


def broken() -> Iterator[tuple[bytes, type[BitstreamError], int]]:
    data = encoded(picture(20, 30))
    end = len(data)
    yield data[: HEADER_BYTES - 1], Truncated, HEADER_BYTES - 1
    yield b"", Truncated, 0
    yield b"\x89RTC" + data[4:], Corrupt, 3
    yield resealed(data, 4, 1), Unsupported, 4  # had no refining
    yield resealed(data, 4, 2), Unsupported, 4  # coded chroma without looking at luma
    yield resealed(data, 4, 3), Unsupported, 4  # refined by what is near alone
    yield resealed(data, 4, 5), Unsupported, 4
    yield resealed(data, 5, 0x80), Corrupt, 5  # 9 bits
    yield resealed(data, 5, 0x7F, 0xFF, 0xFF, 0xFF), Corrupt, 5  # too large
    yield resealed(data, 9, 0xF0), Corrupt, 9
    yield resealed(data, 10, 2), Unsupported, 10
    yield resealed(data, 11, 0x7F), Corrupt, 11
    yield data[:18] + bytes([data[18] ^ 1]) + data[19:], Corrupt, 17
    yield data[:-1] + bytes([data[-1] ^ 1]), Corrupt, end - 4
    yield data + b"\0", Corrupt, end


@pytest.mark.parametrize(("data", "kind", "offset"), list(broken()))
def test_what_is_no_picture_is_refused(
    data: bytes, kind: type[BitstreamError], offset: int
) -> None:
    with pytest.raises(kind) as caught:
        read_progressive(data)
    assert caught.value.offset == offset


def test_a_payload_that_begins_wrong_or_does_not_end_is_refused() -> None:
    header = read_progressive(encoded(picture(8, 8))).header
    with pytest.raises(Corrupt, match="state is too small"):
        decode_picture(ProgressiveFile(header, b"\0\0\0\0", is_whole=False))
    with pytest.raises(Corrupt, match="bytes are left over"):
        decode_payload(b"\0\0\1\0\0", 8, 8, Transform.WIDE, (0, 0, 0))
    with pytest.raises(Corrupt, match="a state is left over"):
        decode_payload(b"\1\0\1\0", 8, 8, Transform.WIDE, (0, 0, 0))


def test_arguments_that_do_not_fit_are_refused() -> None:
    y, u, v = picture(8, 8)
    with pytest.raises(ValueError, match="planes of"):
        encoded((y, u[:1], v))
    with pytest.raises(ValueError, match="a picture of"):
        decode_payload(b"", 0, 8, Transform.WIDE, (1, 1, 1))
    with pytest.raises(ValueError, match="more than"):
        decode_payload(b"", 16384, 16384, Transform.WIDE, (1, 1, 1))
    with pytest.raises(ValueError, match="bit planes"):
        decode_payload(b"", 8, 8, Transform.WIDE, (17, 1, 1))


def test_inspect_shows_the_header_of_a_whole_file_only() -> None:
    data = encoded(picture(20, 30))
    assert any("planes" in line and "Y " in line for line in inspection(data))
    with pytest.raises(Truncated, match="beginning of a progressive picture"):
        inspection(data[:-9])


def test_no_input_makes_c_read_or_write_outside(tmp_path: Path) -> None:
    decoded, refused = fuzz("progressive_fuzz.c", tmp_path, rounds=60)
    assert decoded > 20  # not vacuous
    assert refused > 5
