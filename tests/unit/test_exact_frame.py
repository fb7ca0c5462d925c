"""Frames: tiles by address, coarse before fine, and what happens when a proof fails."""

import hashlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import ExactFrame, ExactReader, FrameKind, place_of
from rtcodec.bitstream.exact_format import (
    ALL_STEPS,
    COMMON_FITS,
    COMMON_REFINED_FITS,
    STEPS,
    TileModel,
)
from rtcodec.entropy.rans import STATE_MIN
from rtcodec.errors import ConfigError, Corrupt
from rtcodec.exact.fallback import decode_otherwise, encode_otherwise
from rtcodec.exact.frame import FrameCoder, is_proven, tile_spans
from rtcodec.exact.native import TileCoder, library
from rtcodec.exact.plan import plan_picture
from rtcodec.exact.tile import TileReference
from support.exact_pictures import Picture, coded_file, file_of, plain_format, planned_format


def smooth(height: int, width: int, components: int = 1) -> Picture:
    rng = np.random.default_rng(7)
    rows, columns = np.indices((height, width))
    wave = 2000 + 1500 * np.sin(rows / 30.0) * np.cos(columns / 20.0)
    planes = [wave + rng.normal(0, 6, wave.shape) + 40 * k for k in range(components)]
    return Picture(np.clip(np.stack(planes, -1), 0, 4095).astype(np.uint16), 12, False)


PICTURE = smooth(70, 90)
HEADER = plain_format(PICTURE)
CODED = FrameCoder(HEADER).encode(PICTURE.frame, encode_otherwise)


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
def test_each_step_doubles_what_is_exact(steps: int) -> None:
    spacing = 1 << (STEPS - steps)
    for span in tile_spans(HEADER):
        tile = FrameCoder(HEADER).decode_tile(CODED, span, steps=steps)
        whole = PICTURE.frame[span.rows, span.columns]
        np.testing.assert_array_equal(tile, whole[::spacing, ::spacing])


def test_a_tile_needs_no_payload_of_another() -> None:
    spans = list(tile_spans(HEADER))
    wanted = spans[4]
    own = {place_of(HEADER, step, 0, wanted.number) for step in range(STEPS)}
    payloads = tuple(p if k in own else b"gone" for k, p in enumerate(CODED.payloads))
    alone = ExactFrame(CODED.kind, CODED.digest, CODED.checks, payloads)
    tile = FrameCoder(HEADER).decode_tile(alone, wanted)
    np.testing.assert_array_equal(tile, PICTURE.frame[wanted.rows, wanted.columns])
    with pytest.raises(Corrupt):
        FrameCoder(HEADER).decode_tile(alone, spans[0])


def test_a_wrong_check_word_names_the_tile() -> None:
    checks = (*CODED.checks[:5], CODED.checks[5] ^ 1, *CODED.checks[6:])
    wrong = ExactFrame(CODED.kind, CODED.digest, checks, CODED.payloads)
    with pytest.raises(Corrupt, match="tile 5 of component 0"):
        FrameCoder(HEADER).decode(wrong)


def test_the_hash_knows_shape_depth_and_sign() -> None:
    frame = FrameCoder(HEADER).decode(CODED)
    assert is_proven(HEADER, CODED, frame)
    assert not is_proven(replace(HEADER, bits=13), CODED, frame)
    assert not is_proven(replace(HEADER, signed=True), CODED, frame)
    assert not is_proven(HEADER, CODED, frame.reshape(90, 70, 1))
    changed = frame.copy()
    changed[-1, -1, 0] ^= 1
    assert not is_proven(HEADER, CODED, changed)


def test_what_does_not_come_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TileCoder.decode

    def wrong(self: TileCoder, payload: bytes, samples: np.ndarray) -> None:
        honest(self, payload, samples)
        samples[0, 0] += 1

    monkeypatch.setattr(TileCoder, "decode", wrong)
    coded = FrameCoder(HEADER).encode(PICTURE.frame, encode_otherwise)
    assert coded.kind != FrameKind.TILES
    np.testing.assert_array_equal(decode_otherwise(HEADER, coded), PICTURE.frame)


def test_a_decoder_that_differs_is_noticed_without_check_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = FrameCoder.decode
    monkeypatch.setattr(FrameCoder, "decode", lambda self, coded: honest(self, coded) + 1)
    coded = FrameCoder(HEADER).encode(PICTURE.frame, encode_otherwise)
    assert coded.kind != FrameKind.TILES


def test_without_imagecodecs_samples_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    signed = Picture((PICTURE.frame.astype(np.int16) - 2048), 12, True)
    header = plain_format(signed)
    coded = encode_otherwise(header, signed.frame)
    assert coded.kind == FrameKind.RAW
    np.testing.assert_array_equal(decode_otherwise(header, coded), signed.frame, strict=True)
    with pytest.raises(Corrupt, match="bytes are not"):
        decode_otherwise(header, ExactFrame(FrameKind.RAW, bytes(32), (), (b"ab",)))
    with pytest.raises(Corrupt, match="not a JPEG-LS image"):
        decode_otherwise(header, ExactFrame(FrameKind.JPEG_LS, bytes(32), (), (b"ab",)))


def test_with_imagecodecs_they_become_jpeg_ls() -> None:
    pytest.importorskip("imagecodecs", reason="the extra medical is not installed")
    coded = encode_otherwise(HEADER, PICTURE.frame)
    assert coded.kind == FrameKind.JPEG_LS
    assert len(coded.payloads[0]) < PICTURE.frame.nbytes / 1.5
    np.testing.assert_array_equal(decode_otherwise(HEADER, coded), PICTURE.frame, strict=True)
    damaged = ExactFrame(coded.kind, coded.digest, (), (coded.payloads[0][:50],))
    with pytest.raises(Corrupt, match="payload ends too early"):
        decode_otherwise(HEADER, damaged)


def test_what_jpeg_ls_makes_larger_is_kept_as_it_is() -> None:
    pytest.importorskip("imagecodecs", reason="the extra medical is not installed")
    small = Picture(PICTURE.frame[:1, :1], 12, False)
    header = plain_format(small)
    coded = encode_otherwise(header, small.frame)
    assert coded.kind == FrameKind.RAW
    [seen] = ExactReader(io.BytesIO(file_of(header, coded)))
    np.testing.assert_array_equal(decode_otherwise(header, seen), small.frame, strict=True)


def test_a_plan_finds_padding_fits_and_differences() -> None:
    frame = smooth(300, 280, 3).frame
    rows, columns = np.indices(frame.shape[:2])
    frame[np.hypot(rows - 150, columns - 140) > 130] = 77
    header = plan_picture([frame], bits=12, signed=False)
    assert header.is_modular  # nothing is so far apart that it would wrap
    green = header.components[1]
    assert (green.low, green.pad) == (77, 0)
    assert green.fits != COMMON_FITS
    coded = FrameCoder(header).encode(frame, encode_otherwise)
    usual = plain_format(Picture(frame, 12, False))
    assert sum(map(len, coded.payloads)) < 0.9 * sum(
        map(len, FrameCoder(usual).encode(frame, encode_otherwise).payloads)
    )


def test_differences_of_what_is_mostly_red_do_not_wrap() -> None:
    """As of endoscopy: red is farther from green than half the range, here and there."""
    gray = (smooth(200, 180).frame >> 4).astype(np.uint8)
    noise = np.random.default_rng(2).integers(0, 9, gray.shape, np.uint8)
    red = np.concatenate([gray // 2 + 120 + 2 * noise, gray // 2, gray // 3], -1)
    header = plan_picture([red], bits=8, signed=False)
    assert header.is_unwrapped
    assert header.components[0].high < 40
    coded = FrameCoder(header).encode(red, encode_otherwise)
    assert coded.kind == FrameKind.TILES
    np.testing.assert_array_equal(FrameCoder(header).decode(coded), red, strict=True)


@pytest.mark.parametrize("bits", [8, 15])
@pytest.mark.parametrize("max_error", [1, 4])
def test_colours_within_a_bound_keep_it_and_gray_ones_cost_little(
    bits: int, max_error: int
) -> None:
    """The others are coded as what they differ from the second one as it is decoded."""
    gray = smooth(200, 180).frame
    gray = (gray >> 4).astype(np.uint8) if bits == 8 else gray << 3
    tinted = np.concatenate([gray, gray, gray], -1)
    tinted[50:53, 70:74, 0] //= 2
    header = plan_picture([tinted], bits=bits, signed=False, max_error=max_error)
    assert header.differences
    coded = FrameCoder(header).encode(tinted, encode_otherwise)
    assert coded.kind == FrameKind.TILES
    decoded = FrameCoder(header).decode(coded)
    assert 0 < np.abs(decoded.astype(np.int64) - tinted).max() <= max_error
    alone = plan_picture([gray], bits=bits, signed=False, max_error=max_error)
    size = sum(map(len, FrameCoder(alone).encode(gray, encode_otherwise).payloads))
    assert sum(map(len, coded.payloads)) < 0.8 * 3 * size  # one by one


def test_colours_of_16_bits_within_a_bound_are_coded_one_by_one() -> None:
    frame = np.concatenate([smooth(60, 50).frame << 4] * 3, -1)
    header = plan_picture([frame], bits=16, signed=False, max_error=2)
    assert not header.differences
    coded = FrameCoder(header).encode(frame, encode_otherwise)
    decoded = FrameCoder(header).decode(coded)
    assert np.abs(decoded.astype(np.int64) - frame).max() <= 2


def test_a_plan_covers_every_frame() -> None:
    frames = [np.full((9, 9, 1), value, np.int16) for value in (-100, 5, 90)]
    header = plan_picture(frames, bits=8, signed=True)
    [component] = header.components
    assert (component.low, component.high) == (-100, 190)
    for frame in frames:
        coded = FrameCoder(header).encode(frame, encode_otherwise)
        assert coded.kind == FrameKind.TILES
        assert is_proven(header, coded, FrameCoder(header).decode(coded))


@pytest.mark.parametrize(
    ("bound", "expected"),
    [(0, "84d8f177bf648a0c"), (2, "b2c8b2c0a3ddcab7")],
)
def test_files_are_to_the_byte_what_they_were(bound: int, expected: str) -> None:
    rows, columns = np.indices((90, 70))
    plane = (40 * rows + 7 * columns + rows * columns % 23) % 4096
    picture = Picture(plane.astype(np.uint16)[..., None], 12, False)
    data = coded_file(picture, plain_format(picture, bound=bound))
    assert hashlib.sha256(data).hexdigest()[:16] == expected  # another one is another version


@pytest.mark.parametrize("bound", [1, 2, 4, 11])
def test_colours_are_within_the_bound_at_every_sample_and_then_exact(bound: int) -> None:
    rng = np.random.default_rng(bound)
    gray = np.clip(128 + rng.normal(0, 9, (70, 60, 1)).cumsum(1), 0, 255)
    frame = np.clip(np.repeat(gray, 3, 2) + rng.integers(-1, 2, (70, 60, 3)), 0, 255)
    picture = Picture(frame.astype(np.uint8), 8, False)
    header = planned_format(picture, bound=bound)
    assert header.differences
    coder = FrameCoder(header)
    coded = coder.encode(picture.frame, encode_otherwise)
    assert coded.kind == FrameKind.TILES
    [span] = tile_spans(header)
    on_the_way = coder.decode_tile(coded, span, steps=STEPS).astype(int)
    assert 0 < np.abs(on_the_way - picture.frame).max() <= bound
    np.testing.assert_array_equal(coder.decode(coded), picture.frame, strict=True)


def test_what_has_no_bound_has_nothing_to_refine() -> None:
    for coder in (TileCoder(MODEL), TileReference(MODEL)):
        coder.begin(8, 8)
        tile = np.zeros((8, 8), np.uint16)
        for _ in range(STEPS):
            coder.decode(b"", tile)
        with pytest.raises(Corrupt, match="bytes are left over"):
            coder.decode(STATE_MIN.to_bytes(4, "little"), tile)


def test_a_sample_beyond_the_bound_is_corrupt() -> None:
    model = TileModel(255, None, 0, COMMON_REFINED_FITS, 4)
    tile = np.random.default_rng(1).integers(0, 200, (16, 16)).astype(np.uint16)
    coder = TileCoder(model)
    coder.begin(16, 16)
    payloads = [coder.encode(tile) for _ in range(STEPS)]
    tile[5, 5] += 30  # more than it was said to be off
    payloads.append(coder.encode(tile))
    for one in (TileCoder(model), TileReference(model)):
        one.begin(16, 16)
        for payload in payloads[:STEPS]:
            one.decode(payload, tile)
        with pytest.raises(Corrupt, match="a sample is beyond the bound"):
            one.decode(payloads[STEPS], tile)


def test_a_frame_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of shape"):
        FrameCoder(HEADER).encode(PICTURE.frame[:-1], encode_otherwise)


MODEL = TileModel(255, None, 0, COMMON_FITS)


def test_the_c_coder_takes_nothing_that_would_reach_outside() -> None:
    coder = TileCoder(MODEL)
    tile = np.zeros((8, 8), np.uint16)
    for shape in ((0, 5), (5, 513)):
        with pytest.raises(ValueError, match="a tile of"):
            coder.begin(*shape)
    coder.begin(8, 8)
    signed: Any = tile.astype(np.int16)
    for wrong in (tile[:7], signed, tile.T, np.zeros((8, 16), np.uint16)[:, ::2]):
        with pytest.raises(ValueError, match="is no tile"):
            coder.decode(b"", wrong)
    with pytest.raises(ValueError, match="rows of a tile overlap"):
        coder.decode(b"", np.lib.stride_tricks.as_strided(tile, (8, 8), (2, 2)))
    with pytest.raises(ValueError, match="above 255"):
        coder.encode(tile + 256)
    for _ in range(ALL_STEPS - 1):
        coder.encode(tile)
    with pytest.raises(ValueError, match="no step is left"):
        coder.encode(tile)


def test_a_library_that_was_not_built_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    library.cache_clear()
    monkeypatch.setattr("rtcodec.exact.native.EXACT_LIBRARY", Path("no.so"))
    with pytest.raises(ConfigError, match=r"python -m rtcodec\.entropy\.build"):
        library()
    library.cache_clear()


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    library.cache_clear()
    monkeypatch.setattr("rtcodec.exact.native.LIBRARY_VERSION", 99)
    with pytest.raises(ConfigError, match="version 3, not 99"):
        library()
    library.cache_clear()
