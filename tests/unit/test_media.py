"""Files in and out: planes as they are where they can be, clear words where they cannot."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtcodec.bitstream.sequence import ColorRange
from rtcodec.errors import ConfigError, InputError
from rtcodec.media.atomic import atomic_file
from rtcodec.media.color import (
    FULL_BT601,
    Color,
    gray_to_planes,
    known_matrix,
    planes_to_rgb,
    rgb_to_planes,
)
from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from support.pictures import noise, picture, same_picture

SIZES = [(1, 1), (2, 1), (17, 23), (64, 48), (8191, 3)]
VIDEO = Color(ColorRange.LIMITED, 1)


def write(path: Path, frames: list[Planes], color: Color = VIDEO) -> None:
    media = MediaFormat(
        frames[0].width, frames[0].height, Fraction(1, 90_000), Fraction(30_000, 1001), color
    )
    with open_writer(path, media) as writer:
        for number, planes in enumerate(frames):
            writer.write(3003 * number, planes)
        writer.commit()


def read(path: Path) -> tuple[MediaReader, list[tuple[int, Planes]]]:
    with MediaReader(path) as reader:
        return reader, list(reader.frames())


def rgb(width: int, height: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return planes_to_rgb(picture(width, height), FULL_BT601)


@pytest.mark.parametrize("kind", [".y4m", ".mkv"])
@pytest.mark.parametrize("size", SIZES)
def test_exact_files_return_the_planes_and_their_meaning(
    tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    frames = [noise(*size, seed) for seed in range(3)]
    write(tmp_path / f"clip{kind}", frames)
    reader, got = read(tmp_path / f"clip{kind}")

    assert (reader.width, reader.height) == size
    assert reader.frame_rate == Fraction(30_000, 1001)
    assert reader.color.color_range is ColorRange.LIMITED
    assert reader.source_format == "yuv420p"
    assert [round(pts * reader.time_base * 1000) for pts, _ in got] == [0, 33, 67]
    assert all(same_picture(a, b) for (_, a), b in zip(got, frames, strict=True))


@pytest.mark.parametrize("size", SIZES)
def test_mp4_takes_any_size_and_loses_little(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [picture(*size, seed) for seed in range(2)]
    write(tmp_path / "clip.mp4", frames)
    reader, got = read(tmp_path / "clip.mp4")
    assert [pts for pts, _ in got] == [0, 3003]
    assert reader.time_base == Fraction(1, 90_000)
    assert picture_psnr(frames[0], got[0][1]).y > 38


def test_one_frame_is_one_png_and_several_are_numbered(tmp_path: Path) -> None:
    frames = [picture(20, 10, seed) for seed in range(3)]
    write(tmp_path / "one.png", frames[:1], FULL_BT601)
    write(tmp_path / "many.png", frames, FULL_BT601)
    write(tmp_path / "f%02d.png", frames[:2], FULL_BT601)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "f01.png",
        "f02.png",
        *(f"many_{n:06d}.png" for n in (1, 2, 3)),
        "one.png",
    ]
    shown = np.asarray(Image.open(tmp_path / "many_000002.png"))
    assert np.array_equal(shown, planes_to_rgb(frames[1], FULL_BT601))


def test_npy_holds_rgb_frames(tmp_path: Path) -> None:
    frames = [picture(17, 23, seed) for seed in range(12)]
    write(tmp_path / "clip.npy", frames)
    array = np.load(tmp_path / "clip.npy")
    assert (array.dtype.name, array.shape) == ("uint8", (12, 23, 17, 3))
    assert np.array_equal(array[11], planes_to_rgb(frames[11], VIDEO))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.dcm", "only exact pictures become DICOM"),
        ("x.avi", "unknown kind"),
        ("x", "unknown kind"),
    ],
)
def test_other_kinds_of_output_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_writer(tmp_path / name, MediaFormat(2, 2, Fraction(1, 25)))


def test_a_numbered_name_takes_one_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has one %d"):
        open_writer(tmp_path / "f%s%d.png", MediaFormat(2, 2, Fraction(1, 25)))


@pytest.mark.parametrize("name", ["clip.y4m", "clip.mkv", "clip.mp4", "clip.png", "clip.npy"])
def test_nothing_is_left_behind_without_a_commit(tmp_path: Path, name: str) -> None:
    media = MediaFormat(16, 16, Fraction(1, 25), Fraction(25))
    with open_writer(tmp_path / name, media) as writer:
        writer.write(0, noise(16, 16))
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / name, media) as writer:
        writer.write(1 // 0, noise(16, 16))
    assert not list(tmp_path.iterdir())


def test_time_stamps_that_stand_still_are_moved_on(tmp_path: Path) -> None:
    media = MediaFormat(16, 16, Fraction(1, 25), Fraction(25))
    with open_writer(tmp_path / "clip.mkv", media) as writer:
        for _ in range(3):
            writer.write(5, noise(16, 16))
        writer.commit()
    assert len(read(tmp_path / "clip.mkv")[1]) == 3


def test_a_still_has_no_frame_rate(tmp_path: Path) -> None:
    Image.fromarray(rgb(30, 20)).save(tmp_path / "still.png")
    reader, frames = read(tmp_path / "still.png")
    assert reader.frame_rate is None
    assert [pts for pts, _ in frames] == [0]
    assert (reader.source_format, reader.color) == ("rgb24", FULL_BT601)
    assert same_picture(frames[0][1], rgb_to_planes(rgb(30, 20)))


def test_a_jpeg_gives_its_own_planes(tmp_path: Path) -> None:
    Image.fromarray(rgb(30, 20)).save(tmp_path / "still.jpg", quality=95, subsampling="4:2:0")
    reader, frames = read(tmp_path / "still.jpg")
    assert reader.source_format == "yuvj420p"
    assert reader.color.color_range is ColorRange.FULL
    shown = planes_to_rgb(frames[0][1], reader.color).astype(int)
    jpeg = np.asarray(Image.open(tmp_path / "still.jpg")).astype(int)
    assert np.abs(shown - jpeg).mean() < 1.5


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_of_image_is_read(tmp_path: Path, mode: str) -> None:
    source = Image.fromarray(rgb(30, 20))
    path = tmp_path / ("still.tif" if mode == "CMYK" else "still.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 256).save(path)
    else:
        source.convert(mode).save(path)
    frame = read(path)[1][0][1]
    if mode in ("L", "I;16"):
        assert np.abs(frame.y.astype(int) - np.asarray(source.convert("L"))).max() <= 1
        assert (frame.u == 128).all()
    assert (frame.width, frame.height) == (30, 20)


@pytest.mark.parametrize("kind", ["webp", "gif", "tiff", "png"])
def test_animations_keep_their_frames_and_times(tmp_path: Path, kind: str) -> None:
    images = [Image.fromarray(rgb(30 + 0 * n, 20)).rotate(90 * n) for n in range(4)]
    path = tmp_path / f"clip.{kind}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=70)
    reader, frames = read(path)
    step_s = 0.1 if kind == "tiff" else 0.07
    assert len(frames) == 4
    for number, (pts, _) in enumerate(frames):
        assert float(pts * reader.time_base) == pytest.approx(number * step_s, abs=1e-3)


def test_other_yuv_is_brought_to_420_with_its_range(tmp_path: Path) -> None:
    import av

    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv444p"
        frame = av.VideoFrame(32, 16, "yuv444p")
        for value, plane in zip((200, 90, 160), frame.planes, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader, frames = read(path)
    planes = frames[0][1]
    assert reader.source_format == "yuv444p"
    assert ((planes.y == 200).all(), (planes.u == 90).all(), (planes.v == 160).all()) == (True,) * 3


def test_what_is_no_media_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    Image.fromarray(rgb(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    for name in ("empty.mp4", "text.mp4", "cut.png", "missing.mp4", "."):
        with pytest.raises(InputError) as caught:
            MediaReader(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_sound_without_a_picture_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match="no video in it"):
        MediaReader(path)


def test_a_cut_video_gives_what_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "clip.mkv", [noise(64, 64, seed) for seed in range(8)])
    whole = (tmp_path / "clip.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 5 // 8])
    frames = read(tmp_path / "cut.mkv")[1]
    assert 3 <= len(frames) <= 5


def test_a_size_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    for number, side in enumerate((32, 48)):
        write(tmp_path / f"part{number}.mkv", [noise(side, side)])
    joined = tmp_path / "joined.tiff"
    Image.fromarray(rgb(32, 32)).save(
        joined, save_all=True, append_images=[Image.fromarray(rgb(48, 48))]
    )
    with MediaReader(joined) as reader, pytest.raises(InputError, match="frame 1 is 48x48"):
        list(reader.frames())


def test_rgb_survives_the_round_trip_where_chroma_is_smooth() -> None:
    source = rgb(64, 48)
    back = planes_to_rgb(rgb_to_planes(source), FULL_BT601).astype(int)
    assert np.abs(back - source)[2:-2, 2:-2].mean() < 3


@pytest.mark.parametrize(
    ("color", "level"), [(Color(), 128), (Color(ColorRange.LIMITED, 9), 128), (FULL_BT601, 126)]
)
def test_gray_is_gray_under_every_matrix(color: Color, level: int) -> None:
    shown = planes_to_rgb(gray_to_planes(np.full((9, 7), 126, np.uint8)), color)
    assert (shown == level).all()


def test_black_and_white_of_limited_range_are_stretched() -> None:
    levels = gray_to_planes(np.array([[16, 235]], np.uint8))
    assert planes_to_rgb(levels, VIDEO)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("written", "read_back"), [(1, 1), (8, 8), (14, 14), (3, 2), (15, 2), (17, 2)]
)
def test_a_matrix_that_cannot_be_said_is_unspecified(
    tmp_path: Path, written: int, read_back: int
) -> None:
    write(tmp_path / "x.mkv", [noise(16, 16)], Color(ColorRange.LIMITED, written))
    reader, _ = read(tmp_path / "x.mkv")
    assert reader.color == Color(ColorRange.LIMITED, read_back)
    assert known_matrix(written) == read_back


def test_an_unspecified_matrix_depends_on_the_height() -> None:
    assert Color().weights(480) == Color(ColorRange.FULL, 6).weights(480)
    assert Color().weights(720) == Color(ColorRange.FULL, 1).weights(720)


def test_an_atomic_file_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before")
    with pytest.raises(UnicodeEncodeError), atomic_file(target) as partial:
        partial.write_text("half \udc80", encoding="utf-8")
    assert target.read_text() == "before"
    with atomic_file(target) as partial:
        partial.write_text("after")
    assert target.read_text() == "after"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_an_atomic_file_follows_links_and_leaves_devices_alone(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    link.symlink_to(real)
    with atomic_file(link) as partial:
        partial.write_text("after")
    assert link.is_symlink()
    assert real.read_text() == "after"
    with atomic_file(Path(os.devnull)) as device:
        assert device == Path(os.devnull)


def test_a_target_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "no" / "x", "does not exist")):
        with pytest.raises(InputError, match=message), atomic_file(path):
            pass
