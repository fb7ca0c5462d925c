"""The video benchmark: its file, its summary, and a rerun that reuses the others' points."""

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rate_distortion_video as benchmark
from rtcodec.evaluation.row import COLUMNS
from rtcodec.media.writer import MediaFormat, open_writer
from support.pictures import picture

DATA = Path(__file__).parents[3] / "shared" / "data" / "dev" / "video"
KEPT = benchmark.ROOT / "benchmarks" / "rate_distortion_video.json"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("call_a.mkv", "street_b.mkv"):
        form = MediaFormat(96, 64, Fraction(1, 25), Fraction(25))
        with open_writer(folder / name, form) as writer:
            for number in range(2):
                writer.write(number, picture(96, 64, number + len(name)))
            writer.commit()
    return folder


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *args: str) -> dict[str, Any]:
    output = tmp_path / "video.json"
    where = ["--output", str(output), "--plot", str(tmp_path / "video.png")]
    monkeypatch.setattr(sys, "argv", ["rate_distortion_video", *where, *args])
    assert benchmark.main() == 0
    return benchmark.read_document(output)


def test_the_second_run_measures_nothing_again(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "RIVALS", ["vp8", "x264-veryfast"])
    first = run(monkeypatch, tmp_path, "--data", str(clips), "--models", "")
    second = run(monkeypatch, tmp_path, "--data", str(clips), "--models", "")
    assert not any(point["reused"] for point in first["points"])
    assert all(point["reused"] for point in second["points"])
    assert first["summary"] == second["summary"]
    against = first["summary"]["psnr_yuv"]["vp8"]["x264-veryfast"]
    assert against["calls"] == against["clips"]["call_a.mkv"]
    assert against["motion"] == against["clips"]["street_b.mkv"]
    assert (tmp_path / "video.png").stat().st_size > 0


def test_an_old_file_that_says_nothing_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "video.json"
    assert benchmark.earlier(path) is None
    for text in ("{}", "[", '{"columns": [], "points": []}'):
        path.write_text(text)
        assert benchmark.earlier(path) is None


def test_a_document_comes_back(tmp_path: Path) -> None:
    document = {"commit": "x", "points": [dict.fromkeys(COLUMNS, n) for n in range(3)]}
    benchmark.write_document(tmp_path / "a.json", document)
    assert benchmark.read_document(tmp_path / "a.json") == document
    assert len((tmp_path / "a.json").read_text().splitlines()) < 40


def test_without_the_clips_it_skips_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path / "none")])
    assert benchmark.main() == 0
    assert "skipped: no clips" in capsys.readouterr().err


@pytest.mark.skipif(not DATA.is_dir(), reason="the development clips are not here")
def test_the_kept_file_holds_every_rival_on_every_clip() -> None:
    document = json.loads(KEPT.read_text())
    names = {path.name for path in DATA.iterdir()}
    assert set(document["clips"]) == names
    clip, codec = (document["columns"].index(column) for column in ("clip", "codec"))
    assert {(row[clip], row[codec]) for row in document["points"]} >= {
        (name, rival) for name in names for rival in benchmark.RIVALS
    }
