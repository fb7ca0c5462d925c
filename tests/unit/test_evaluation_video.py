"""`rtcodec eval` of videos: the table against one codec, files per frame, key frames, reuse."""

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtcodec import cli
from rtcodec.evaluation import Clip, evaluate, plot_curves
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.types import Planes
from support.pictures import picture


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path, planes = tmp_path / "clip.mkv", picture(96, 64)
    form = MediaFormat(96, 64, Fraction(1, 25), Fraction(25))
    with open_writer(path, form) as writer:
        for number in range(4):
            writer.write(number, Planes(np.roll(planes.y, number), planes.u, planes.v))
        writer.commit()
    return path


def test_a_video_s_table_is_markdown_against_the_anchor(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = ["--codecs", "vp8,x264-veryfast", "--anchor", "x264-veryfast", "--out", str(out)]
    assert cli.main(["eval", str(video), *args]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("videos: BD-rate against x264-veryfast, mean over 1")
    assert "| vp8 " in captured.out
    stored = json.loads((out / "results.json").read_text())
    [kept] = stored["anchored"]
    assert kept["markdown"] == captured.out.rstrip("\n")
    assert stored["clips"]["clip.mkv"]["sha256"]
    assert "figures per frame in frames/" in captured.err
    if stored["missing"]:
        assert f"the column vmaf is empty: {stored['missing']['vmaf']}" in captured.err


def test_every_setting_of_a_video_has_a_file_per_frame(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(["eval", str(video), "--codecs", "vp8", "--out", str(out)]) == 0
    points = json.loads((out / "results.json").read_text())["points"]
    assert sorted(path.name for path in (out / "frames").iterdir()) == sorted(
        f"clip.mkv.vp8.{point['setting']}.csv" for point in points
    )
    with (out / "frames" / "clip.mkv.vp8.24.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    [point] = [point for point in points if point["setting"] == 24]
    assert [row["frame"] for row in rows] == ["0", "1", "2", "3"]
    assert sum(int(row["size_bytes"]) for row in rows) == point["size_bytes"]
    mean_db = sum(float(row["psnr_yuv_db"]) for row in rows) / 4
    assert mean_db == pytest.approx(point["psnr_yuv_db"], abs=1e-3)


def test_key_frames_cost_and_a_second_run_reuses_the_first(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sizes(name: str, *more: str) -> list[tuple[int, bool]]:
        out = tmp_path / name
        args = ["eval", str(video), "--codecs", "x264-veryfast", "--out", str(out), *more]
        assert cli.main(args) == 0
        points = json.loads((out / "results.json").read_text())["points"]
        return [(point["size_bytes"], point["reused"]) for point in points]

    once = sizes("once")
    every = sizes(
        "every", "--keyframe-interval", "1", "--reuse", str(tmp_path / "once/results.json")
    )
    assert all(more > less for (less, _), (more, _) in zip(once, every, strict=True))
    assert not any(reused for _, reused in every)
    capsys.readouterr()
    again = sizes("once", "--reuse", str(tmp_path / "once" / "results.json"))
    assert again == [(size, True) for size, _ in once]
    assert "7 of 7 points are an earlier run's" in capsys.readouterr().err


@pytest.mark.parametrize("n_clips", [1, 3, 6, 13])
def test_few_videos_have_a_panel_each_and_many_a_mean(n_clips: int, tmp_path: Path) -> None:
    planes = Planes(
        np.arange(256, dtype=np.uint8).reshape(16, 16),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
    )
    clips = [Clip(f"clip{n}.mkv", "video", (planes,), Fraction(25)) for n in range(n_clips)]
    result = evaluate(clips, ["vp8"], settings={"vp8": (63, 6)})
    plot_curves(result, tmp_path / "rd.png")
    with Image.open(tmp_path / "rd.png") as image:
        assert image.width > 1000
