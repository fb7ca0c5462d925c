"""Palettes: which pictures get one, in which order, and that nothing but their size changes."""

import io

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import ExactFrame, ExactReader, FrameKind
from rtcodec.bitstream.exact_format import STEPS, ExactFormat
from rtcodec.exact.fallback import decode_otherwise, encode_otherwise
from rtcodec.exact.frame import FrameCoder, Samples, is_proven, spacing_of, tile_spans
from rtcodec.exact.palette import COLORS_TRIED, Palette, find_colors
from rtcodec.exact.plan import plan_picture
from support.exact_pictures import doppler, file_of


def coded_size(header: ExactFormat, frames: list[Samples]) -> int:
    coder = FrameCoder(header)
    return len(file_of(header, *(coder.encode(frame, never) for frame in frames)))


def never(header: ExactFormat, frame: Samples) -> ExactFrame:
    raise AssertionError("it came back otherwise")


def planned(frame: Samples, *, bits: int = 8, signed: bool = False, bound: int = 0) -> ExactFormat:
    return plan_picture([frame], bits=bits, signed=signed, bound=bound, may_drop_bound=True)


def test_few_colours_are_numbers_gray_first_and_take_less() -> None:
    frame = doppler()
    header = planned(frame)
    assert header.palette
    assert (header.version, header.channels, len(header.components)) == (4, 3, 1)
    is_gray = [len(set(color)) == 1 for color in header.palette]
    assert is_gray == sorted(is_gray, reverse=True)
    assert 0 < sum(is_gray) < len(is_gray)
    without = plan_picture([frame], bits=8, signed=False, bound=11)  # a bound has none
    assert not without.palette
    assert coded_size(header, [frame]) < 0.9 * coded_size(without, [frame])


def test_what_is_decoded_is_colours_at_every_step_and_proven() -> None:
    frame = doppler()
    header = planned(frame)
    coder = FrameCoder(header)
    [coded] = ExactReader(io.BytesIO(file_of(header, coder.encode(frame, never))))
    decoded = coder.decode(coded)
    np.testing.assert_array_equal(decoded, frame, strict=True)
    assert is_proven(header, coded, decoded)
    for steps in range(1, STEPS):
        for span in tile_spans(header):
            spacing = spacing_of(steps)
            tile = coder.decode_tile(coded, span, steps=steps)
            np.testing.assert_array_equal(
                tile, frame[span.rows, span.columns][::spacing, ::spacing], strict=True
            )


@pytest.mark.parametrize("signed", [False, True])
def test_values_that_are_left_out_cost_nothing(signed: bool) -> None:
    """As of samples that were scaled after they were made."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((150, 170))
    wave = 300 + 200 * np.sin(rows / 31) * np.cos(columns / 19) + rng.normal(0, 4, rows.shape)
    dense = np.clip(wave, 0, 511).astype(np.int16)[..., None]
    apart = (dense * 7 - 1700 * signed).astype(np.int16 if signed else np.uint16)
    header = planned(apart, bits=13, signed=signed)
    assert header.palette == tuple((value,) for value in np.unique(apart).tolist())
    usual = plan_picture([dense.astype(np.uint16)], bits=9, signed=False)
    assert not usual.palette
    size, least = coded_size(header, [apart]), coded_size(usual, [dense.astype(np.uint16)])
    assert size < 1.01 * least + 100
    coder = FrameCoder(header)
    again = coder.decode(coder.encode(apart, never))
    np.testing.assert_array_equal(again, apart, strict=True)


def test_photographs_and_dense_values_have_none() -> None:
    rng = np.random.default_rng(7)
    photograph = rng.integers(0, 256, (80, 90, 3), np.uint8)
    assert find_colors([photograph]) is None
    few = np.zeros((COLORS_TRIED, 1, 3), np.uint16)
    few[:, 0, 1] = np.arange(COLORS_TRIED)
    found = find_colors([few])
    assert found is not None
    assert len(found) == COLORS_TRIED
    assert find_colors([few, few + 1]) is None  # one more
    assert find_colors([rng.integers(0, 256, (80, 90, 1), np.uint8)]) is None
    assert find_colors([np.full((8, 8, 1), -5, np.int16)]) is None


def test_colours_are_those_of_all_frames() -> None:
    frames = [doppler(60, 70), 255 - doppler(60, 70)]
    header = plan_picture(frames, bits=8, signed=False)
    assert header.palette
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in frames])
    assert set(header.palette) == set(map(tuple, pixels.tolist()))
    coder = FrameCoder(header)
    for frame in frames:
        np.testing.assert_array_equal(coder.decode(coder.encode(frame, never)), frame, strict=True)


def test_a_promised_error_or_bound_is_kept() -> None:
    frame = doppler(60, 70)
    assert not plan_picture([frame], bits=8, signed=False, max_error=1).palette
    assert plan_picture([frame], bits=8, signed=False, bound=2).bound == 2
    dropped = planned(frame, bound=2)
    assert dropped.palette
    assert (dropped.bound, dropped.steps) == (0, STEPS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_numbers_and_colours_are_inverse(dtype: type[np.integer], channels: int) -> None:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(11)
    colors = rng.integers(info.min, info.max, (40, channels), dtype, endpoint=True)
    colors[0], colors[1] = info.min, info.max
    palette = Palette(tuple(map(tuple, colors.tolist())), np.dtype(dtype))
    frame = colors[rng.integers(0, 40, (9, 13))]
    numbers = palette.numbers(frame)
    assert numbers.shape == (9, 13, 1)
    assert numbers.dtype == np.uint16
    np.testing.assert_array_equal(palette.colors(numbers[..., 0]), frame, strict=True)


@pytest.mark.parametrize("value", [0, 4, 9])
def test_a_colour_that_has_no_number_is_refused(value: int) -> None:
    palette = Palette(((3,), (8,), (5,)), np.dtype(np.uint8))
    with pytest.raises(ValueError, match="not in the palette"):
        palette.numbers(np.full((2, 2, 1), value, np.uint8))


def test_a_frame_that_does_not_come_back_is_kept_as_colours() -> None:
    frame = doppler(60, 70)
    header = planned(frame)
    coded = encode_otherwise(header, frame)
    assert len(coded.payloads) == 3
    [seen] = ExactReader(io.BytesIO(file_of(header, coded)))
    assert seen.kind in (FrameKind.JPEG_LS, FrameKind.RAW)
    np.testing.assert_array_equal(decode_otherwise(header, seen), frame, strict=True)
