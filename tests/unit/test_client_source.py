"""Inputs of the publisher, and reading them ahead."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rtcodec.errors import ConfigError, InputError
from rtcodec.media.picture import frame_of, planes_of, rgb_of, rotated
from rtcodec.types import Planes
from rtcodec_client.read_ahead import ReadAhead
from rtcodec_client.source import Source, SourceFrame, SourceOptions, open_source, parse_size
from support.pictures import noise, same_picture


def clip(path: Path, times: list[int], size: tuple[int, int] = (32, 18)) -> list[Planes]:
    """Write a lossless clip with time stamps in milliseconds; return its frames."""
    pictures = [noise(*size, seed) for seed in range(len(times))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms, picture in zip(times, pictures, strict=True):
            frame = frame_of(picture)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return pictures


def read(path: Path, **options: object) -> list[SourceFrame]:
    return list(open_source(str(path), SourceOptions(**options)))  # type: ignore[arg-type]


def test_a_file_gives_its_own_planes_at_its_own_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    pictures = clip(path, [0, 40, 120, 130])
    frames = read(path)
    assert [frame.time_us for frame in frames] == [0, 40_000, 120_000, 130_000]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert all(same_picture(f.planes, p) for f, p in zip(frames, pictures, strict=True))


def test_a_given_rate_overrules_the_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    clip(path, [0, 40, 120])
    assert [frame.time_us for frame in read(path, frame_rate=10)] == [0, 100_000, 200_000]


def test_a_given_rate_changes_how_long_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    clip(path, [i * 40 for i in range(50)])
    assert open_source(str(path), SourceOptions()).duration_s == pytest.approx(2.0, abs=0.05)
    source = open_source(str(path), SourceOptions(frame_rate=10))
    assert source.duration_s == pytest.approx(5.0, abs=0.15)


def test_a_duration_cuts_and_a_size_scales(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    clip(path, [0, 40, 80, 120])
    frames = read(path, seconds=0.08, size=(16, 10))
    assert len(frames) == 2
    assert (frames[0].planes.width, frames[0].planes.height) == (16, 10)


def test_a_loop_starts_over_without_a_step_in_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    pictures = clip(path, [0, 40, 80])
    source = open_source(str(path), SourceOptions(loop=True))
    frames = list(islice(source, 7))
    assert [frame.time_us for frame in frames] == [i * 40_000 for i in range(7)]
    assert same_picture(frames[6].planes, pictures[0])


def test_a_still_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    Image.fromarray(np.full((9, 7, 3), 200, np.uint8)).save(path)
    (frame,) = read(path)
    assert (frame.planes.width, frame.planes.height) == (7, 9)


def test_a_pattern_is_drawn_at_the_size_and_rate_it_names() -> None:
    source = open_source("pattern:64x36@10", SourceOptions(seconds=0.35))
    frames = list(source)
    assert [frame.time_us for frame in frames] == [0, 100_000, 200_000, 300_000]
    assert (frames[0].planes.width, frames[0].planes.height) == (64, 36)
    assert source.frame_rate == 10
    assert source.duration_s == 0.35


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("pattern:fast", SourceOptions(), "not a pattern"),
        ("pattern:0x10", SourceOptions(), "outside"),
        ("pattern:9000x10", SourceOptions(), "outside"),
        ("pattern:@0", SourceOptions(), "outside"),
        ("pattern:", SourceOptions(frame_rate=-1), "outside"),
        ("pattern:", SourceOptions(seconds=0), "not a duration"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(
    text: str, options: SourceOptions, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(text, options)


def test_what_is_no_video_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, message in (
        ("missing.mp4", "no such file"),
        ("text.mp4", "not a video"),
        ("empty.mp4", "not a video"),
        ("", "is a directory"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            open_source(str(tmp_path / name), SourceOptions())
        assert "\n" not in str(caught.value)


def test_a_file_without_video_or_frames_is_refused(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video"):
        open_source(str(sound), SourceOptions())
    empty = tmp_path / "empty.y4m"
    empty.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\n")
    with pytest.raises(InputError, match=r"no frames|not a video"):
        open_source(str(empty), SourceOptions())


def test_a_camera_that_is_not_there_is_their_error() -> None:
    with pytest.raises(InputError, match="camera"):
        open_source("camera:/dev/no-such-camera", SourceOptions())


@pytest.mark.parametrize("text", ["640", "640x", "0x10", "99999x1", "a x b"])
def test_a_size_is_two_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (64, 36)])
def test_planes_survive_the_way_through_a_frame(size: tuple[int, int]) -> None:
    picture = noise(*size, 3)
    assert same_picture(planes_of(frame_of(picture)), picture)
    assert rgb_of(picture).shape == (size[1], size[0], 3)


def test_turning_four_times_changes_nothing() -> None:
    picture = noise(6, 4, 0)
    assert (rotated(picture, 1).width, rotated(picture, 1).height) == (4, 6)
    assert same_picture(rotated(picture, 4), picture)


# ---- reading ahead


def frames_of(count: int, fail: Exception | None = None) -> Iterator[tuple[int, Planes]]:
    for index in range(count):
        yield index * 1000, noise(16, 16, index)
    if fail is not None:
        raise fail


def source_of(frames: Iterator[tuple[int, Planes]], *, live: bool = False) -> Source:
    return Source("test", frames, frame_rate=Fraction(30), live=live)


def test_every_frame_comes_out_once_and_in_order() -> None:
    ahead = ReadAhead(source_of(frames_of(20)), budget_bytes=1000)
    first = ahead.peek()
    taken = []
    while (frame := ahead.next_frame()) is not None:
        taken.append(frame.index)
    assert taken == list(range(20))
    assert first is not None
    assert first.index == 0
    assert ahead.peek() is None


def test_reading_ahead_stops_at_the_budget() -> None:
    seen = []

    def counted() -> Iterator[tuple[int, Planes]]:
        for item in frames_of(100):
            seen.append(item)
            yield item

    ahead = ReadAhead(source_of(counted()), budget_bytes=384 * 5)
    ahead.wait_until_full()
    assert len(seen) <= 7
    ahead.close()


def test_a_live_source_is_not_read_ahead() -> None:
    ahead = ReadAhead(source_of(frames_of(3), live=True), budget_bytes=1 << 20)
    ahead.wait_until_full()  # returns at once
    assert ahead.next_frame() is not None
    ahead.close()


def test_a_failing_source_fails_after_what_it_gave() -> None:
    ahead = ReadAhead(source_of(frames_of(2, InputError("broken"))), budget_bytes=1 << 20)
    assert [ahead.next_frame() is not None for _ in range(2)] == [True, True]
    with pytest.raises(InputError, match="broken"):
        ahead.next_frame()
    with pytest.raises(InputError, match="broken"):
        ahead.peek()


def test_closing_wakes_whoever_waits() -> None:
    gate = threading.Event()

    def stuck() -> Iterator[tuple[int, Planes]]:
        gate.wait(10)
        yield 0, noise(2, 2, 0)

    ahead = ReadAhead(source_of(stuck()), budget_bytes=0)
    taken: list[SourceFrame | None] = []
    thread = threading.Thread(target=lambda: taken.append(ahead.next_frame()))
    thread.start()
    ahead.close()
    thread.join(5)
    gate.set()
    assert taken == [None]
