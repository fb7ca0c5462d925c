"""The other codecs: planes in, real files or packets, planes out."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from rtcodec.errors import ConfigError
from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.codec import Codec, Encoded, Unprepared
from rtcodec.evaluation.frames import video_context
from rtcodec.evaluation.measure import measure
from rtcodec.evaluation.motion import MOTION_CODECS, Motion
from rtcodec.evaluation.registry import DEFAULTS, RIVALS, CodecShelf, available
from rtcodec.types import Planes

USABLE = [codec for codec in RIVALS.values() if available(codec) is None]
LOSSLESS = ("png", "jpegls")


def scene(width: int, height: int, shift: int = 0) -> Planes:
    """Smooth waves with a little texture, a picture that codecs like."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    luma = 128 + 60 * np.sin((x + shift) / 9) + 40 * np.cos(y / 7) + 6 * np.sin(x * y / 5)
    rows, columns = -(-height // 2), -(-width // 2)
    v, u = np.mgrid[0:rows, 0:columns].astype(np.float32)
    planes = (luma, 128 + 30 * np.sin(u / 6), 128 + 30 * np.cos(v / 5))
    return Planes(*(np.clip(plane, 0, 255).astype(np.uint8) for plane in planes))


def clip(width: int, height: int, n_frames: int = 1) -> Clip:
    frames = tuple(scene(width, height, 2 * number) for number in range(n_frames))
    return Clip("scene", "video" if n_frames > 1 else "image", frames, Fraction(25))


def test_every_rival_of_the_defaults_is_known() -> None:
    for names in DEFAULTS.values():
        assert {name for name in names if name not in RIVALS} <= {"s128", "n64"}


def test_the_reference_codecs_are_usable_here() -> None:
    usable = {codec.name for codec in USABLE}
    assert {"jpeg", "webp", "png", "jpegls", "vp8", "vp9", "x264-intra", "x265"} <= usable


@pytest.mark.parametrize("codec", USABLE, ids=lambda codec: codec.name)
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (9, 1), (96, 64)], ids=str)
def test_any_size_comes_back(codec: Codec, size: tuple[int, int]) -> None:
    point = measure(codec, clip(*size), codec.settings[-1])
    assert (point.width, point.height) == size
    assert point.size_bytes > 0
    if codec.name not in ("avif", "jpegxl") or size == (96, 64):  # RGB costs on specks
        assert point.psnr_db.yuv > 34


@pytest.mark.parametrize("codec", USABLE, ids=lambda codec: codec.name)
def test_finer_settings_cost_more_and_look_better(codec: Codec) -> None:
    source = clip(128, 96, n_frames=3)
    if codec.name in LOSSLESS:
        assert measure(codec, source, 0).psnr_db.yuv == 100.0
        return
    coarse, fine = (measure(codec, source, codec.settings[i]) for i in (0, -1))
    assert coarse.size_bytes < fine.size_bytes
    assert coarse.psnr_db.yuv < fine.psnr_db.yuv
    assert fine.n_frames == 3
    assert fine.kbps == pytest.approx(8 * fine.size_bytes * 25 / 3 / 1000)
    assert fine.bpp == pytest.approx(8 * fine.size_bytes / (128 * 96 * 3))


def test_jpeg_loses_nothing_to_chroma_resampling() -> None:
    checker = np.indices((24, 24)).sum(axis=0) % 2
    planes = Planes(
        np.full((48, 48), 128, np.uint8),
        (112 + 32 * checker).astype(np.uint8),
        (140 - 24 * checker).astype(np.uint8),
    )
    point = measure(RIVALS["jpeg"], Clip("checker", "image", (planes,), Fraction(25)), 95)
    assert point.psnr_db.u > 40
    assert point.psnr_db.v > 40


def test_files_are_what_other_programs_read() -> None:
    heads = {"jpeg": b"\xff\xd8\xff", "webp": b"RIFF", "png": b"\x89PNG", "jpegls": b"\xff\xd8\xff"}
    for name, head in heads.items():
        [file] = RIVALS[name].encode(clip(32, 32), RIVALS[name].settings[0]).parts
        assert file.startswith(head)


def test_a_still_codec_writes_one_file_per_frame() -> None:
    assert len(RIVALS["jpeg"].encode(clip(32, 32, 4), 50).parts) == 4


def test_only_the_first_frame_of_a_video_is_a_key_frame() -> None:
    def is_idr(packet: bytes) -> bool:
        return b"\0\0\1\x65" in packet  # ITU-T H.264 7.3.1: reference idc 3, type 5

    parts = {
        name: RIVALS[name].encode(clip(128, 96, 4), 30).parts
        for name in ("vp8", "x264-veryfast", "x264-intra")
    }
    assert [part[0] & 1 for part in parts["vp8"]] == [0, 1, 1, 1]  # RFC 6386 9.1
    assert [is_idr(part) for part in parts["x264-veryfast"]] == [True, False, False, False]
    assert all(is_idr(part) for part in parts["x264-intra"])


VIDEO = [codec for codec in MOTION_CODECS if codec.gop_size > 1 and available(codec) is None]


def key_frames(codec: Motion, source: Clip) -> list[int]:
    """Return the numbers of the frames that the decoder says are key frames."""
    context = video_context(codec.decoder, "r")
    packets = [av.Packet(part) for part in codec.encode(source, codec.settings[2]).parts]
    frames = [frame for packet in [*packets, None] for frame in context.decode(packet)]
    return [number for number, frame in enumerate(frames) if frame.key_frame]


@pytest.mark.parametrize("codec", VIDEO, ids=lambda codec: codec.name)
def test_key_frames_come_once_or_at_the_interval_asked_for(codec: Motion) -> None:
    source = clip(128, 96, n_frames=11)
    assert key_frames(codec, source) == [0]
    assert key_frames(codec.with_keyframes(4), source) == [0, 4, 8]
    assert "gop=4" in codec.with_keyframes(4).description


@pytest.mark.parametrize("codec", VIDEO, ids=lambda codec: codec.name)
def test_every_frame_is_a_packet_and_none_waits_for_a_later_one(codec: Motion) -> None:
    source = clip(128, 96, n_frames=6)
    encoded = codec.encode(source, codec.settings[2])
    assert encoded.sizes_bytes(6) == [len(part) for part in encoded.parts]
    alone = codec.encode(replace(source, frames=source.frames[:3]), codec.settings[2])
    assert alone.parts == encoded.parts[:3]


def test_an_interval_is_for_codecs_that_have_other_frames() -> None:
    shelf = CodecShelf(keyframe_interval=30)
    names = ["vp8", "x264-intra", "jpeg"]
    vp8, intra, jpeg = shelf.resolve(names, "video")
    assert "gop=30" in vp8.description
    assert intra is RIVALS["x264-intra"]
    assert jpeg is RIVALS["jpeg"]
    assert "gop=9999" in RIVALS["vp8"].description


def test_the_encoder_s_signature_is_not_counted() -> None:
    for name in ("x264-intra", "x265"):
        data = b"".join(RIVALS[name].encode(clip(64, 64), 30).parts)
        assert b"x264 - core" not in data
        assert b"x265 (build" not in data


def test_settings_run_from_coarse_to_fine_within_the_reference_ranges() -> None:
    for codec in MOTION_CODECS:
        assert list(codec.settings) == sorted(codec.settings, reverse=True)
    assert (min(RIVALS["vp8"].settings), max(RIVALS["vp8"].settings)) == (6, 63)
    assert (min(RIVALS["x265"].settings), max(RIVALS["x265"].settings)) == (18, 42)
    assert (min(RIVALS["jpeg"].settings), max(RIVALS["jpeg"].settings)) == (8, 95)
    assert all(codec.description for codec in RIVALS.values())


def test_a_codec_that_returns_other_frames_is_caught() -> None:
    class Short(Unprepared):
        name, description, unit, settings = "short", "loses a frame", "n", (0, 1)
        kinds: frozenset[Kind] = frozenset({"video"})

        def encode(self, clip: Clip, setting: int) -> Encoded:
            return Encoded((bytes([setting]),))

        def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
            yield from clip.frames[1:] if encoded.parts[0][0] == 0 else clip.frames * 2

    with pytest.raises(ValueError, match="1 of 2 frames"):
        measure(Short(), clip(16, 16, 2), 0)
    with pytest.raises(ValueError, match="more than 2 frames"):
        measure(Short(), clip(16, 16, 2), 1)


def test_an_unknown_codec_is_named_and_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean jpeg"):
        CodecShelf().resolve(["jpg"], "image")
    with pytest.raises(ConfigError, match="known: "):
        CodecShelf().resolve(["qqqqqq"], "image")


def test_a_codec_that_this_installation_lacks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(ConfigError, match="avif is not available: this Pillow has no AVIF"):
        CodecShelf().resolve(["avif"], "image")


def test_codecs_of_the_extra_medical_say_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtcodec.evaluation.registry.find_spec", lambda name: None)
    for name in ("jpeg2000", "jpegxl", "jpegls-near"):
        with pytest.raises(ConfigError, match="extra medical"):
            CodecShelf().resolve([name], "image")
    assert CodecShelf().resolve(["progressive"], "image")[0].name == "progressive"
