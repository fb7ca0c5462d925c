"""Exact pictures by others' codecs: every size, depth and sign comes back, and what is damaged."""

import io
import sys
from base64 import b85decode
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from rtcodec.bitstream.exact_file import TOGETHER_KINDS, ExactFrame, ExactReader, FrameKind
from rtcodec.bitstream.exact_format import ExactFormat
from rtcodec.codec import exact_codecs
from rtcodec.codec.exact_codecs import EXACT_CODECS, decode_frame, encode_whole, whole_format
from rtcodec.codec.exact_files import decode_frames
from rtcodec.dicom import picture
from rtcodec.errors import BitstreamError, ConfigError, Corrupt, Unsupported
from rtcodec.exact.fallback import decode_otherwise
from rtcodec.exact.frame import FrameCoder, Samples, is_proven, sample_type
from support.exact_pictures import draw_picture, file_of

imagecodecs = pytest.importorskip("imagecodecs", reason="the extra medical is not installed")

NAMES = {kind: name for name, kind in EXACT_CODECS.items()}
KINDS = (FrameKind.JPEG_LS, FrameKind.HTJ2K, FrameKind.JPEG_XL)
together = pytest.mark.parametrize("kind", sorted(TOGETHER_KINDS))


def waves(height: int, width: int, components: int, bits: int, *, signed: bool = False) -> Samples:
    """Return a picture that reaches from the least sample to the largest, where it has room."""
    rows, columns, k = np.indices((height, width, components))
    high = (1 << bits) - 1
    plane = np.round(high * (0.5 + 0.5 * np.sin(rows / 9 + k) * np.cos(columns / 7)))
    plane[0, 0], plane[-1, -1] = 0, high
    least = 1 << bits - 1 if signed else 0
    frame: Samples = (plane.astype(np.int32) - least).astype(sample_type(bits, signed=signed))
    return frame


def header_of(frame: Samples, bits: int, kind: FrameKind, *, signed: bool = False) -> ExactFormat:
    return whole_format(picture.Picture([frame], bits, signed, {}), kind, b"")


def through_a_file(header: ExactFormat, coded: ExactFrame) -> tuple[Samples, bytes]:
    """Return what a reader makes of a file of a frame, proven; and the file."""
    data = file_of(header, coded)
    reader = ExactReader(io.BytesIO(data))
    assert reader.header == header
    [seen] = reader
    frame = decode_frame(reader.header, FrameCoder(reader.header), seen)
    assert is_proven(reader.header, seen, frame)
    return frame, data


def outline(words: str) -> str:
    """Return the part of a message that does not name numbers or codecs."""
    parts = ("not an image", "plain image", "one tile", "damaged", "its hash differs")
    return next(part for part in parts if part in words)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_depth_sign_and_number_of_components_comes_back(kind: FrameKind, bits: int) -> None:
    for signed, components in product((False, True), (1, 2, 3, 4)):
        frame = waves(33, 41, components, bits, signed=signed)
        header = header_of(frame, bits, kind, signed=signed)
        coded = encode_whole(header, frame, kind)
        assert coded.kind == kind
        back, _ = through_a_file(header, coded)
        np.testing.assert_array_equal(back, frame, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_pictures_come_back_whatever_they_are(kind: FrameKind) -> None:
    rng = np.random.default_rng(kind)
    kinds = set()
    for _ in range(150):
        drawn = draw_picture(rng)
        header = header_of(drawn.frame, drawn.bits, kind, signed=drawn.signed)
        coded = encode_whole(header, drawn.frame, kind)
        kinds.add(coded.kind)
        back, _ = through_a_file(header, coded)
        np.testing.assert_array_equal(back, drawn.frame, strict=True)
    assert {kind, FrameKind.RAW} <= kinds  # noise, and a sample or two, are smaller as they are


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2), (513, 257)])
def test_sizes_of_one_row_one_column_and_more_come_back(
    kind: FrameKind, shape: tuple[int, int]
) -> None:
    for components in (1, 3):
        frame = waves(*shape, components, 12)
        header = header_of(frame, 12, kind)
        back, _ = through_a_file(header, encode_whole(header, frame, kind))
        np.testing.assert_array_equal(back, frame, strict=True)


def test_files_of_jpeg_ls_are_of_the_first_version_and_the_others_of_the_third() -> None:
    frame = waves(20, 30, 1, 12)
    versions = {}
    for kind in KINDS:
        header = header_of(frame, 12, kind)
        versions[kind] = through_a_file(header, encode_whole(header, frame, kind))[1][4]
    assert versions == {FrameKind.JPEG_LS: 1, FrameKind.HTJ2K: 3, FrameKind.JPEG_XL: 3}


@together
def test_colours_together_take_less_than_one_by_one(kind: FrameKind) -> None:
    rng = np.random.default_rng(3)
    gray = (waves(90, 80, 1, 8) // 2 + rng.integers(0, 64, (90, 80, 1))).astype(np.uint8)
    colours, header = np.repeat(gray, 3, 2), header_of(gray, 8, kind)
    alone = encode_whole(header, gray, kind)
    coded = encode_whole(header_of(colours, 8, kind), colours, kind)
    assert len(coded.payloads) == 1
    assert len(coded.payloads[0]) < 1.2 * len(alone.payloads[0])


# frames of 9x7 samples of 12 bits, 64 * row + 3 * column, once written by OpenJPH and libjxl
FROZEN = {
    FrameKind.HTJ2K: (
        b"|4;u>04YEK0000700009000000000000007000090000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{"
        b"@0smY86Cj9?kdTm&kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000HUI(tlfVEb@%;"
        b"q{bN~Rr01|-y0ta*ezyK0}S^&#*0KfnffRg?JBSLim0RPz"
    ),
    FrameKind.JPEG_XL: b"{|Z0=4B!VSS_B9L0RUtGODH79M?peTTqX^`oPZB(U;`W2zy>z30R",
}


@together
def test_code_streams_of_before_are_read(kind: FrameKind) -> None:
    rows, columns = np.indices((9, 7))
    frame = (64 * rows + 3 * columns).astype(np.uint16)[..., None]
    header = header_of(frame, 12, kind)
    coded = ExactFrame(kind, bytes(32), (), (b85decode(FROZEN[kind]),))
    np.testing.assert_array_equal(decode_frame(header, FrameCoder(header), coded), frame)


@together
def test_an_image_of_another_size_or_depth_is_corrupt(kind: FrameKind) -> None:
    frame = waves(24, 40, 3, 12)
    header = header_of(frame, 12, kind)
    coded = encode_whole(header, frame, kind)
    gray = header.components[:1]
    others = (
        replace(header, width=41),
        replace(header, height=23),
        replace(header, width=24, height=40),
        replace(header, bits=8, components=(replace(gray[0], high=255),) * 3),
    )
    for other in others:
        with pytest.raises(Corrupt, match=NAMES[kind]):
            decode_frame(other, FrameCoder(other), coded)
    alone = replace(header, components=gray)
    with pytest.raises(Corrupt, match=r"not an image of \(24, 40, 1\) in 16 bits"):
        decode_frame(alone, FrameCoder(alone), coded)


@together
def test_what_is_damaged_within_a_well_formed_file_is_one_error_of_ours(kind: FrameKind) -> None:
    rng = np.random.default_rng(kind)
    frame = waves(24, 40, 1, 12)
    header = header_of(frame, 12, kind)
    coded = encode_whole(header, frame, kind)
    [whole] = coded.payloads
    said = []
    for number in range(300):
        broken = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        if number % 3 == 0:
            broken = broken[: rng.integers(len(broken))]
        data = file_of(header, replace(coded, payloads=(bytes(broken),)))
        try:
            [back] = decode_frames(io.BytesIO(data))[1]
        except BitstreamError as error:
            said.append(error.message)
        else:
            np.testing.assert_array_equal(back, frame)  # what was broken says nothing of samples
    assert len(said) > 250
    assert not any("\n" in words for words in said)
    assert {"damaged", "its hash differs"} <= set(map(outline, said))


@pytest.mark.parametrize("payload", [b"", b"\xff\x0a", b"\xff\x4f\xff\x51", bytes(100)])
@together
def test_what_is_no_code_stream_is_corrupt(kind: FrameKind, payload: bytes) -> None:
    header = header_of(waves(24, 40, 1, 12), 12, kind)
    with pytest.raises(Corrupt, match=r"not an image|no main header"):
        decode_frame(header, FrameCoder(header), ExactFrame(kind, bytes(32), (), (payload,)))


@together
def test_what_a_decoder_makes_otherwise_is_stored_otherwise(
    kind: FrameKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {FrameKind.HTJ2K: "htj2k_decode", FrameKind.JPEG_XL: "jpegxl_decode"}[kind]
    honest = getattr(imagecodecs, name)

    def wrong(data: bytes, *, out: Samples, **options: int) -> None:
        honest(data, out=out, **options)
        out[0, 0] ^= 1

    frame = waves(24, 40, 1, 12)
    header = header_of(frame, 12, kind)
    monkeypatch.setattr(imagecodecs, name, wrong)
    coded = encode_whole(header, frame, kind)
    assert coded.kind == FrameKind.JPEG_LS
    back, _ = through_a_file(header, coded)
    np.testing.assert_array_equal(back, frame, strict=True)


@together
def test_what_an_encoder_does_not_take_is_stored_otherwise(
    kind: FrameKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise ValueError("too large")

    frame = waves(24, 40, 1, 12)
    header = header_of(frame, 12, kind)
    for name in ("htj2k_encode", "jpegxl_encode"):
        monkeypatch.setattr(imagecodecs, name, refuse)
    assert encode_whole(header, frame, kind).kind == FrameKind.JPEG_LS


@together
def test_what_comes_over_a_network_reaches_no_library_of_others(kind: FrameKind) -> None:
    header = header_of(waves(24, 40, 1, 12), 12, kind)
    with pytest.raises(Unsupported, match=f"frames of {kind.name} are decoded from files only"):
        decode_otherwise(header, ExactFrame(kind, bytes(32), (), (b"",)))


@pytest.mark.parametrize("name", [name for name in EXACT_CODECS if name != exact_codecs.OWN])
def test_without_imagecodecs_nothing_is_begun(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, kind = waves(24, 40, 1, 12), EXACT_CODECS[name]
    header = header_of(frame, 12, kind)
    coded = encode_whole(header, frame, kind)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ConfigError, match=rf"{name} needs imagecodecs: .*rtcodec\[medical\]"):
        header_of(frame, 12, kind)
    if kind == FrameKind.JPEG_LS:  # by our own code
        np.testing.assert_array_equal(decode_frame(header, FrameCoder(header), coded), frame)
    else:
        with pytest.raises(ConfigError, match=rf"frames of {name} need imagecodecs"):
            decode_frame(header, FrameCoder(header), coded)
