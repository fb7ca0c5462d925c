"""Exact pictures: the same samples back, whatever they are; the C coder equals the slow one."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.bitstream.exact_file import ExactReader, ExactWriter
from rtcodec.bitstream.exact_format import (
    ALL_STEPS,
    BOUND_MAX,
    STEPS,
    ExactFormat,
    TileModel,
    common_fits,
)
from rtcodec.errors import BitstreamError, Truncated
from rtcodec.exact.fallback import encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven, tile_spans
from rtcodec.exact.native import TileCoder
from rtcodec.exact.tile import TileReference
from support.exact_pictures import (
    Picture,
    draw_fits,
    draw_picture,
    palette_format,
    plain_format,
    planned_format,
    with_fits,
)
from support.sanitizer import fuzz

BATCHES, BATCH = 20, 500
PLANNED_OF = 25
"One of so many is coded as the command does, fits and all; the others with common fits."

BOUND_OF = 3
"One of so many is within a bound on the way."

PALETTE_OF = 7
"One of so many of the others has a palette, whether that pays or not."


def written(header: ExactFormat, picture: Picture) -> bytes:
    stream = io.BytesIO()
    writer = ExactWriter(stream, header)
    writer.write(FrameCoder(header).encode(picture.frame, encode_otherwise))
    writer.close()
    return stream.getvalue()


def read_back(data: bytes) -> np.ndarray:
    """Return the frame of a file, proven, and held to the bound that it promises on the way."""
    reader = ExactReader(io.BytesIO(data))
    [coded] = reader
    header, coder = reader.header, FrameCoder(reader.header)
    frame = coder.decode(coded)
    assert is_proven(header, coded, frame)
    for span in tile_spans(header) if header.bound else ():
        on_the_way = coder.decode_tile(coded, span, steps=STEPS).astype(np.int64)
        assert np.abs(on_the_way - frame[span.rows, span.columns]).max() <= header.bound
    return frame


@pytest.mark.parametrize("batch", range(BATCHES))
def test_ten_thousand_pictures_come_back_the_same(batch: int) -> None:
    rng = np.random.default_rng(batch)
    for number in range(BATCH):
        picture = draw_picture(rng)
        plan = planned_format if number % PLANNED_OF == 0 else plain_format
        bound = int(rng.integers(1, BOUND_MAX + 1)) if number % BOUND_OF == 0 else 0
        header = plan(picture, bound=bound)
        if number % PALETTE_OF == 0 and not bound:
            header = palette_format(picture, rng)
        frame = read_back(written(header, picture))
        assert frame.dtype == picture.frame.dtype
        np.testing.assert_array_equal(frame, picture.frame, strict=True)


@given(st.integers(0, 2**32), st.integers(1, 300), st.booleans())
def test_no_sample_is_further_off_than_was_promised(seed: int, bound: int, planned: bool) -> None:
    picture = draw_picture(np.random.default_rng(seed))
    plan = planned_format if planned else plain_format
    frame = read_back(written(plan(picture, max_error=bound), picture))
    assert np.abs(frame.astype(np.int64) - picture.frame).max() <= bound


@given(st.integers(0, 2**32), st.sampled_from([0, 0, 1, 5, 300]), st.booleans(), st.integers(0, 11))
def test_the_fast_coder_equals_the_slow_one(
    seed: int, max_error: int, is_own: bool, bound: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = draw_picture(rng, most=24)
    high = (1 << picture.bits) - 1
    plane = picture.frame[..., 0].astype(np.int64) + (high + 1 >> 1 if picture.signed else 0)
    pad = int(plane.flat[0]) if rng.integers(2) else None
    bound = 0 if max_error else bound
    fits = draw_fits(rng, bound=bound) if is_own else common_fits(bound)
    model = TileModel(high, pad, max_error, fits, bound)
    steps = ALL_STEPS if bound else STEPS
    fast, slow = TileCoder(model), TileReference(model)
    samples, same = plane.astype(np.uint16), plane.astype(np.uint16)
    payloads = []
    for coder in (fast, slow):
        coder.begin(*plane.shape)
    for _ in range(steps):
        payloads.append(fast.encode(samples))
        assert payloads[-1] == slow.encode(same)
    np.testing.assert_array_equal(samples, same)
    for coder in (fast, slow):
        coder.begin(*plane.shape)
        decoded = np.zeros_like(samples)
        for payload in payloads:
            coder.decode(payload, decoded)
        np.testing.assert_array_equal(decoded, samples)


@given(st.integers(0, 2**32), st.data())
def test_every_cut_is_reported_as_one(seed: int, data: st.DataObject) -> None:
    picture = draw_picture(np.random.default_rng(seed), most=12)
    whole = written(plain_format(picture), picture)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Truncated):
        list(ExactReader(io.BytesIO(whole[:cut])))


@given(st.integers(0, 2**32), st.data())
def test_a_changed_byte_is_found(seed: int, data: st.DataObject) -> None:
    picture = draw_picture(np.random.default_rng(seed), most=12)
    whole = bytearray(written(plain_format(picture), picture))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError):
        read_back(bytes(whole))


@given(st.binary(max_size=200), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_any_payload_decodes_or_is_corrupt(
    payload: bytes, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    high = int(rng.choice([0, 1, 255, 65535]))
    max_error, bound = int(rng.integers(0, 3)), int(rng.integers(0, BOUND_MAX + 1))
    bound = 0 if max_error else bound
    pad, fits = int(rng.integers(0, 65536)), draw_fits(rng, bound=bound)
    model = TileModel(high, pad, max_error, fits, bound)
    faults = []
    for coder in (TileCoder(model), TileReference(model)):
        samples = np.zeros((height, width), np.uint16)
        coder.begin(height, width)
        try:
            for _ in range(ALL_STEPS if bound else STEPS):
                coder.decode(payload, samples)
        except BitstreamError:
            faults.append(True)
        else:
            faults.append(False)
        assert samples.max() <= high
    assert faults[0] == faults[1]


@given(st.integers(0, 2**32))
def test_fits_and_notes_survive_the_header(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = draw_picture(rng, most=8)
    bound = int(rng.integers(0, BOUND_MAX + 1))
    header = with_fits(plain_format(picture, bound=bound), draw_fits(rng, bound=bound))
    data = written(header, picture)
    assert ExactReader(io.BytesIO(data)).header == header


@given(st.integers(0, 2**32))
def test_palettes_survive_the_header(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = draw_picture(rng, most=8)
    header = palette_format(picture, rng)
    assert ExactReader(io.BytesIO(written(header, picture))).header == header


@pytest.mark.parametrize("flags", [(), ("-DRTC_PORTABLE",)], ids=["dispatched", "portable"])
def test_no_input_makes_c_read_or_write_outside(flags: tuple[str, ...], tmp_path: Path) -> None:
    decoded, refused = fuzz("exact_fuzz.c", tmp_path, *flags, rounds=400)
    assert decoded > 1000  # not vacuous
    assert refused > 300
