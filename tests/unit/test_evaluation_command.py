"""`evaluate` and `rtcodec eval` from end to end, with quick codecs."""

import csv
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rtcodec import cli
from rtcodec.errors import ConfigError, InputError
from rtcodec.evaluation import Clip, Codec, Encoded, evaluate, plot_curves, table, write_results
from rtcodec.evaluation.registry import RIVALS
from rtcodec.evaluation.report import as_json
from rtcodec.evaluation.row import COLUMNS
from rtcodec.media.reader import MediaReader
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.types import Planes

JPEG = RIVALS["jpeg"]


def picture(seed: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """Smooth colours with some noise, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [128 + 80 * np.sin(x / (5 + seed) + phase) * np.cos(y / 9) for phase in (0, 1, 2)]
    noisy = np.stack(waves, axis=2) + rng.normal(0, 4, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    return folder


class Broken:
    """Codes like JPEG but fails at one setting."""

    name, description, unit, settings = "broken", "fails at 2", "n", (1, 2)
    kinds = JPEG.kinds
    threaded = True
    closed = False
    prepared = 0

    def prepare(self, clip: Clip) -> None:
        self.prepared += 1

    def encode(self, clip: Clip, setting: int) -> Encoded:
        if setting == 2:
            raise ValueError("no such\nsetting")
        return JPEG.encode(clip, 50)

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        return JPEG.decode(encoded, clip)

    def close(self) -> None:
        self.closed = True


def test_every_clip_codec_and_setting_is_a_point_in_order(images: Path) -> None:
    seen: list[tuple[int, str]] = []
    result = evaluate(
        [images],
        ["webp", "jpeg"],
        settings={"webp": (10, 90), "jpeg": (20, 80)},
        threads=2,
        progress=lambda total, label: seen.append((total, label)),
    )
    assert [(p.clip, p.codec, p.setting) for p in result.points] == [
        (clip, codec, setting)
        for clip in ("0.png", "1.png")
        for codec, settings in (("webp", (10, 90)), ("jpeg", (20, 80)))
        for setting in settings
    ]
    assert result.failures == []
    assert len(seen) == 8
    assert {total for total, _ in seen} == {8}
    assert seen[0][1] == "0.png webp quality 10"


def test_the_size_is_the_file_s_and_the_quality_that_of_what_comes_back(images: Path) -> None:
    [point] = evaluate([images / "0.png"], ["jpeg"], settings={"jpeg": (60,)}).points
    with MediaReader(images / "0.png") as reader:
        [(_, planes)] = reader.frames()
    clip = Clip("x", "image", (planes,), Fraction(25))
    encoded = JPEG.encode(clip, 60)
    assert point.size_bytes == len(encoded.parts[0])
    [decoded] = JPEG.decode(encoded, clip)
    error = np.subtract(planes.y, decoded.y, dtype=np.float64)
    assert point.psnr_db.y == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)))


def test_threads_change_times_only(images: Path) -> None:
    runs = [
        evaluate([images], ["jpeg", "x264-intra"], threads=threads).points for threads in (1, 3)
    ]
    figures = [[(p.codec, p.setting, p.size_bytes, p.psnr_db) for p in run] for run in runs]
    assert figures[0] == figures[1]


def test_a_failure_is_kept_and_the_rest_goes_on(images: Path) -> None:
    broken = Broken()
    result = evaluate([images / "0.png"], [broken, JPEG], settings={"jpeg": (50,)})
    assert [(f.codec, f.setting, f.reason) for f in result.failures] == [
        ("broken", 2, "no such setting")
    ]
    assert [p.codec for p in result.points] == ["broken", "jpeg"]
    assert broken.prepared == 1
    assert not broken.closed  # the caller's codec stays the caller's


def test_files_of_one_name_keep_apart(images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(picture(7)).save(other / "0.png")
    result = evaluate(
        [images / "0.png", other / "0.png", images / "0.png"], ["jpeg"], settings={"jpeg": (50,)}
    )
    assert result.clips("image") == [str(images / "0.png"), str(other / "0.png")]


def test_clips_in_memory_need_no_file() -> None:
    planes = Planes(
        np.zeros((16, 16), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    )
    result = evaluate([Clip("black", "video", (planes,) * 3, Fraction(25))], ["png"])
    assert result.points[0].psnr_db.yuv == 100.0
    assert result.points[0].n_frames == 3


def test_input_errors_come_before_any_work(images: Path) -> None:
    broken = Broken()
    with pytest.raises(InputError):
        evaluate([images, images / "missing.png"], [broken])
    with pytest.raises(InputError, match="no input"):
        evaluate([], [broken])
    with pytest.raises(ConfigError):
        evaluate([images], [broken, "nonesuch"])
    assert broken.prepared == 0


def test_comparisons_tell_percent_and_range(images: Path) -> None:
    result = evaluate([images], ["jpeg", "webp", "png"])
    webp = result.compare("image", "jpeg", "webp")
    jpeg = result.compare("image", "webp", "jpeg")
    assert webp.percent is not None
    assert jpeg.percent is not None
    assert webp.percent < 0 < jpeg.percent
    assert webp.range_db is not None
    assert 25 < webp.range_db[0] < webp.range_db[1] < 55
    nothing = result.compare("image", "png", "jpeg")
    assert (nothing.percent, nothing.range_db) == (None, None)
    assert {(each.codec, each.anchor) for each in result.comparisons()} == {
        ("webp", "jpeg"),
        ("jpeg", "webp"),
    }
    text = table(result)
    assert "images: BD-rate in percent" in text
    assert f"{webp.percent:+.1f}" in text
    assert "jpeg and webp share" in text
    assert "png" not in text


def test_files_hold_every_point_and_comparison(images: Path, tmp_path: Path) -> None:
    result = evaluate([images], ["jpeg", "webp", "png"])
    write_results(result, tmp_path / "new" / "out")
    stored = json.loads((tmp_path / "new" / "out" / "results.json").read_text())
    with (tmp_path / "new" / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert stored == json.loads(json.dumps(as_json(result)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(stored["points"]) == len(result.points)
    assert float(rows[0]["psnr_yuv_db"]) == stored["points"][0]["psnr_yuv_db"]
    assert {each["name"] for each in stored["curves"]} == {"jpeg", "webp", "png"}
    assert len(stored["curves"][0]["results"]["bpp"]) == len(JPEG.settings)
    assert stored["bd_rate"][0]["clips"]["0.png"]["overlap_db"][0] > 0
    assert {"planes", "psnr", "size", "bd_rate"} <= set(stored["conventions"])


def test_each_codec_has_a_file_in_the_layout_of_compressai(images: Path, tmp_path: Path) -> None:
    result = evaluate([images], ["jpeg", "png"], settings={"jpeg": (20, 80)})
    write_results(result, tmp_path)
    assert {path.name for path in (tmp_path / "compressai").iterdir()} == {"jpeg.json", "png.json"}
    stored = json.loads((tmp_path / "compressai" / "jpeg.json").read_text())
    assert set(stored) == {"name", "description", "results"}
    points = [p for p in result.points if p.codec == "jpeg" and p.setting == 20]
    figures = stored["results"]
    assert {len(values) for values in figures.values()} == {2}
    assert figures["bpp"][0] == pytest.approx(np.mean([p.bpp for p in points]), abs=1e-6)
    assert figures["psnr-y"][0] == pytest.approx(np.mean([p.psnr_db.y for p in points]), abs=1e-4)
    encode_s = np.mean([p.encode_ms for p in points]) / 1000
    assert figures["encoding_time"][0] == pytest.approx(encode_s, abs=1e-6)
    assert "ms-ssim" not in figures  # the pictures are too small for it


@pytest.mark.parametrize("codecs", [["jpeg", "webp"], ["png"]])
def test_the_plot_is_a_picture_even_without_curves(
    codecs: list[str], images: Path, tmp_path: Path
) -> None:
    plot_curves(evaluate([images], codecs), tmp_path / "rd.png", title="a test")
    with Image.open(tmp_path / "rd.png") as image:
        assert image.width > 1000


def test_a_video_and_an_image_are_told_apart(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "a.mkv"
    with (
        MediaReader(images / "0.png") as reader,
        open_writer(video, MediaFormat(96, 64, Fraction(1, 25), Fraction(25))) as writer,
    ):
        [(_, planes)] = reader.frames()
        for number in range(5):
            writer.write(number, planes)
        writer.commit()
    inputs = [str(images / "0.png"), str(video)]
    args = ["--codecs", "jpeg,x264-veryfast", "--frames", "3", "--out", str(tmp_path / "out")]
    assert cli.main(["eval", *inputs, *args]) == 0
    out = capsys.readouterr().out
    assert "images: BD-rate" in out
    assert "videos: BD-rate" in out
    points = json.loads((tmp_path / "out" / "results.json").read_text())["points"]
    assert {(point["kind"], point["frames"]) for point in points} == {("image", 1), ("video", 3)}


def test_the_command_writes_its_files_and_prints_the_table(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["eval", str(images), "--codecs", "jpeg, webp", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("images: BD-rate in percent")
    assert "wrote" in captured.err
    assert sorted(path.name for path in out.iterdir()) == [
        "compressai", "rd.png", "results.csv", "results.json",
    ]  # fmt: skip


def test_json_on_stdout_is_the_file(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = ["eval", str(images / "0.png"), "--codecs", "jpeg", "--out", str(out), "--json"]
    assert cli.main(args) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["missing.png", "--codecs", "jpeg"], 1, "missing.png: no such file"),
        (["{0}", "--codecs", "jpg"], 2, "did you mean jpeg?"),
        (["{0}", "--codecs", "jpeg", "--threads", "0"], 2, "--threads 0"),
        (["{0}", "--codecs", "jpeg", "--frames", "-1"], 2, "--frames -1"),
        (["{0}", "--codecs", "jpeg", "--keyframe-interval", "0"], 2, "--keyframe-interval 0"),
        (["{0}", "--codecs", "jpeg", "--anchor", "vp8"], 2, "--anchor vp8 is not among"),
        (["{0}", "--codecs", "jpeg", "--reuse", "none.json"], 1, "none.json: no results to reuse"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(
    args: list[str],
    code: int,
    said: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = [word.format(images / "0.png") for word in args]
    assert cli.main(["eval", *words, "--out", str(out)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("wrong", [["--qps", "1,a"], ["--qps", "64"], ["--codecs", " , "], []])
def test_arguments_that_make_no_sense_are_usage_errors(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["eval", *(["x.png"] if wrong else []), *wrong])
    assert stop.value.code == 2


def test_an_interrupted_run_keeps_what_it_measured(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("rtcodec.evaluation.still.WebP.write", interrupt)
    out = tmp_path / "out"
    assert cli.main(["eval", str(images), "--codecs", "jpeg,webp", "--out", str(out)]) == 130
    stored = json.loads((out / "results.json").read_text())
    assert len(stored["points"]) == len(JPEG.settings)


def test_what_failed_is_said_and_makes_the_exit_code_1(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken: Codec = Broken()
    monkeypatch.setitem(RIVALS, "broken", broken)
    args = ["eval", str(images / "0.png"), "--codecs", "broken", "--out", str(tmp_path / "out")]
    assert cli.main(args) == 1
    assert "0.png: broken at 2 failed: no such setting" in capsys.readouterr().err
