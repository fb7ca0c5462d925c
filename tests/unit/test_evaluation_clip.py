"""Reading what is compared: the same planes for everyone, clear errors."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rtcodec.errors import InputError
from rtcodec.evaluation.clip import STILL_RATE, find_inputs, read_clip
from rtcodec.evaluation.frames import frame_to_planes
from rtcodec.media.writer import planes_to_frame
from rtcodec.types import Planes


def noise(width: int, height: int, seed: int = 0) -> Planes:
    rng = np.random.default_rng(seed)
    chroma = (-(-height // 2), -(-width // 2))
    shapes = ((height, width), chroma, chroma)
    return Planes(*(rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes))


def write_video(path: Path, frames: list[Planes], pix_fmt: str = "yuv420p") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(30000, 1001))
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = pix_fmt
        for number, planes in enumerate(frames):
            frame = planes_to_frame(planes).reformat(format=pix_fmt)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 23), (64, 48)])
def test_planes_survive_a_frame_of_any_size(size: tuple[int, int]) -> None:
    planes = noise(*size)
    again = frame_to_planes(planes_to_frame(planes))
    for before, after in zip(
        (planes.y, planes.u, planes.v), (again.y, again.u, again.v), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    Image.new("RGB", (17, 23), "red").save(tmp_path / "a.png")
    clip = read_clip(tmp_path / "a.png")
    assert (clip.kind, clip.width, clip.height, len(clip.frames)) == ("image", 17, 23, 1)
    assert clip.frame_rate == STILL_RATE
    assert clip.n_pixels == 17 * 23
    assert clip.seconds == Fraction(1, 25)


def test_yuv420p_video_planes_are_taken_as_they_are(tmp_path: Path) -> None:
    frames = [noise(48, 32, seed) for seed in range(3)]
    write_video(tmp_path / "a.mkv", frames)
    clip = read_clip(tmp_path / "a.mkv", max_frames=2)
    assert (clip.kind, len(clip.frames)) == ("video", 2)
    assert clip.frame_rate == Fraction(30000, 1001)
    for before, after in zip(frames, clip.frames, strict=False):
        np.testing.assert_array_equal(before.y, after.y)
        np.testing.assert_array_equal(before.v, after.v)


def test_other_pixel_formats_are_converted(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", [noise(48, 32)], "yuv444p")
    assert read_clip(tmp_path / "a.mkv").frames[0].u.shape == (16, 24)


def test_what_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"not a video")
    for name in ("a.mkv", "missing.mkv"):
        with pytest.raises(InputError, match=name):
            read_clip(tmp_path / name)


def test_a_folder_stands_for_the_images_and_videos_in_it_in_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.mkv", ".hidden.png", "index.csv", "README"):
        (tmp_path / name).touch()
    (tmp_path / "sub.png").mkdir()
    assert [path.name for path in find_inputs([tmp_path])] == ["a.mkv", "b.PNG"]
    assert find_inputs([tmp_path / "index.csv"]) == [tmp_path / "index.csv"]
    with pytest.raises(InputError, match="no such file"):
        find_inputs([tmp_path / "c.png"])
    with pytest.raises(InputError, match="no images or videos"):
        find_inputs([tmp_path / "sub.png"])
    with pytest.raises(InputError, match="no input"):
        find_inputs([])
