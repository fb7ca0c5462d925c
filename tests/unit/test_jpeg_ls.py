"""JPEG-LS as it stands in for tiles: the standard's own example, CharLS, hostile images."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.errors import Corrupt
from rtcodec.exact.native import decode_jpeg_ls
from support.sanitizer import fuzz

EXAMPLE = bytes.fromhex(
    "ffd8 fff7000b080004000401011100 ffda00080101000000 00"
    "c000006c80208e01c0000057400000 6ee6000001bc18000005d800009160 ffd9"
)
"T.87 annex H.3."
SAMPLES = [[0, 0, 90, 74], [68, 50, 43, 205], [64, 145, 145, 145], [100, 145, 145, 145]]
SIZE, SCAN = EXAMPLE.index(b"\xff\xf7"), EXAMPLE.index(b"\xff\xda")


def changed(offset: int, byte: int) -> bytes:
    return EXAMPLE[:offset] + bytes([byte]) + EXAMPLE[offset + 1 :]


def with_segment(marker: int, content: bytes) -> bytes:
    """Put a segment before the scan."""
    segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return EXAMPLE[:SCAN] + segment + EXAMPLE[SCAN:]


def preset(*words: int) -> bytes:
    return with_segment(0xF8, b"\x01" + b"".join(word.to_bytes(2, "big") for word in words))


def test_the_example_of_the_standard_comes_back() -> None:
    assert decode_jpeg_ls(EXAMPLE, 4, 4).tolist() == SAMPLES
    assert decode_jpeg_ls(with_segment(0xFE, b"a comment"), 4, 4).tolist() == SAMPLES
    assert decode_jpeg_ls(with_segment(0xE8, b"SPIFF"), 4, 4).tolist() == SAMPLES
    assert decode_jpeg_ls(preset(0, 0, 0, 0, 0), 4, 4).tolist() == SAMPLES
    assert decode_jpeg_ls(preset(255, 3, 7, 21, 64), 4, 4).tolist() == SAMPLES


def test_every_cut_is_refused() -> None:
    for size in range(len(EXAMPLE)):
        with pytest.raises(Corrupt):
            decode_jpeg_ls(EXAMPLE[:size], 4, 4)
    with pytest.raises(Corrupt, match="bytes are left over"):
        decode_jpeg_ls(EXAMPLE + b"\0", 4, 4)
    with pytest.raises(Corrupt, match="not a JPEG-LS"):
        decode_jpeg_ls(EXAMPLE[:-2] + b"\0" * 9, 4, 4)  # no end where it has to be


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (changed(1, 0xD9), "not a JPEG-LS"),
        (changed(SIZE + 1, 0xC3), "not a JPEG-LS"),  # lossless, but of the older kind
        (changed(SIZE + 4, 17), "not a JPEG-LS"),
        (changed(SIZE + 6, 5), "not a JPEG-LS"),  # another height
        (changed(SIZE + 9, 3), "of a form"),  # components
        (changed(SCAN + 4, 3), "of a form"),
        (changed(SCAN + 6, 1), "of a form"),  # a mapping table
        (changed(SCAN + 7, 128), "not a JPEG-LS"),  # no bound
        (changed(SCAN + 8, 2), "of a form"),  # interleaved
        (changed(SCAN + 9, 1), "of a form"),  # a point transform
        (preset(100, 0, 0, 0, 0), "of a form"),  # MAXVAL
        (preset(0, 5, 4, 21, 0), "not a JPEG-LS"),  # thresholds that fall
        (preset(0, 0, 0, 256, 0), "not a JPEG-LS"),
        (preset(0, 0, 0, 0, 2), "not a JPEG-LS"),  # RESET
        (preset(0, 0, 0, 0, 256), "not a JPEG-LS"),
        (with_segment(0xF8, b"\x02ab"), "of a form"),
        (with_segment(0xF8, b""), "not a JPEG-LS"),
        (with_segment(0xDD, b"\0\1"), "of a form"),  # restart intervals
        (EXAMPLE[:SCAN] + EXAMPLE[SIZE:], "not a JPEG-LS"),  # its size, twice
        (EXAMPLE[:SIZE] + EXAMPLE[SCAN:], "not a JPEG-LS"),  # and never
    ],
)
def test_what_it_does_not_decode_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(Corrupt, match=reason):
        decode_jpeg_ls(image, 4, 4)


def test_a_size_that_no_picture_has_is_the_callers_mistake() -> None:
    for height, width in ((0, 4), (4, 65536)):
        with pytest.raises(ValueError, match="an image of"):
            decode_jpeg_ls(EXAMPLE, height, width)


def draw_samples(rng: np.random.Generator, kind: int, bits: int) -> NDArray[np.uint16]:
    """Draw samples: runs, noise, slopes, waves, dots, and rows of one value."""
    height, width = (int(n) for n in rng.integers(1, 60, 2))
    high = (1 << bits) - 1
    noise = rng.integers(0, high + 1, (height, width))
    slopes = rng.integers(-2, 3, (height, width)).cumsum(0).cumsum(1) % (high + 1)
    walks = np.clip(high / 2 + rng.normal(0, high / 50, (height, width)).cumsum(1), 0, high)
    dots = np.where(rng.random((height, width)) < 0.05, noise, 0)
    drawn = (np.full_like(noise, noise[0, 0]), noise, slopes, walks, dots, noise[:, :1])
    return np.broadcast_to(drawn[kind], noise.shape).astype(np.uint16)


def test_what_charls_writes_is_what_charls_reads() -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")
    rng = np.random.default_rng(1)
    for number in range(900):
        bits = 2 + number % 15
        samples = draw_samples(rng, number % 6, bits)
        if bits <= 8 and number % 2:
            samples = samples.astype(np.uint8)
        near = min(int(rng.choice([0, 0, 1, 3, 20, 255])), ((1 << bits) - 1) // 2, 127)
        image = bytes(imagecodecs.jpegls_encode(samples, level=near))
        decoded = decode_jpeg_ls(image, *samples.shape)
        assert np.array_equal(decoded, imagecodecs.jpegls_decode(image))
        assert np.abs(decoded.astype(np.int32) - samples).max() <= near


def test_no_image_makes_c_read_or_write_outside(tmp_path: Path) -> None:
    complete, refused = fuzz("jpeg_ls_fuzz.c", tmp_path, rounds=6000)
    assert complete > 500  # not vacuous
    assert refused > 500
