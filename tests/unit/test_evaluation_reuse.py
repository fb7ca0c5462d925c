"""Taking over an earlier run's points: when it may be, when it may not."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtcodec.errors import InputError
from rtcodec.evaluation import Clip, Evaluation, Point, Reuse, evaluate, write_results
from rtcodec.evaluation.clip import clip_sha256
from rtcodec.evaluation.registry import RIVALS
from rtcodec.evaluation.report import as_json
from rtcodec.evaluation.row import COLUMNS, frames_name, read_row, write_row
from rtcodec.types import Planes
from support.pictures import picture

SETTINGS = {"vp8": (56, 24), "jpeg": (30,)}


def clip(name: str = "waves.mkv", rate: int = 25) -> Clip:
    frames = tuple(picture(192, 176, seed) for seed in range(3))
    return Clip(name, "video", frames, Fraction(rate))


def run(source: Clip, reuse: Reuse | None = None, **options: Any) -> Evaluation:
    return evaluate([source], ["vp8", "jpeg"], settings=SETTINGS, reuse=reuse, **options)


def n_reused(result: Evaluation) -> int:
    return sum(point.reused for point in result.points)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("earlier")
    write_results(run(clip()), out)
    return out / "results.json"


@pytest.fixture
def document(earlier: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(earlier.read_text())
    return stored


def test_a_row_comes_back(earlier: Path) -> None:
    [point, *_] = run(clip()).points
    row = write_row(point)
    assert tuple(row) == COLUMNS
    back = read_row(json.loads(json.dumps(row)))
    assert write_row(back) == row
    assert (back.bpp, back.kbps, back.frames) == (point.bpp, point.kbps, ())


def test_the_same_points_come_back_under_the_name_that_the_clip_has_now(earlier: Path) -> None:
    first = run(clip()).points
    again = run(clip("renamed.mkv"), Reuse.read(earlier)).points
    assert [(p.clip, p.codec, p.setting, p.size_bytes, p.reused) for p in again] == [
        ("renamed.mkv", p.codec, p.setting, p.size_bytes, True) for p in first
    ]
    for one, other in zip(first, again, strict=True):
        assert one.psnr_db.yuv == pytest.approx(other.psnr_db.yuv, abs=1e-3)
        assert one.ms_ssim == pytest.approx(other.ms_ssim, abs=1e-6)
        assert [f.size_bytes for f in one.frames] == [f.size_bytes for f in other.frames]
        assert other.encode_ms is not None


def test_results_of_reused_points_can_be_reused(earlier: Path, tmp_path: Path) -> None:
    write_results(run(clip(), Reuse.read(earlier)), tmp_path)
    again = run(clip(), Reuse.read(tmp_path / "results.json"))
    assert n_reused(again) == 3
    assert all(len(point.frames) == 3 for point in again.points)


def test_a_codec_with_nothing_to_measure_is_not_prepared(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("rtcodec.evaluation.codec.Unprepared.prepare", refuse)
    monkeypatch.setattr("rtcodec.evaluation.runner.measure", refuse)
    assert n_reused(run(clip(), Reuse.read(earlier))) == 3


def test_another_sample_rate_or_key_frame_interval_is_measured_again(earlier: Path) -> None:
    reuse = Reuse.read(earlier)
    first, *rest = clip().frames
    luma = first.y.copy()
    luma[0, 0] ^= 1
    changed = replace(clip(), frames=(Planes(luma, first.u, first.v), *rest))
    assert n_reused(run(changed, reuse)) == 0
    assert n_reused(run(clip(rate=30), reuse)) == 0
    assert n_reused(run(replace(clip(), frames=clip().frames[:2]), reuse)) == 0
    intervals = run(clip(), reuse, keyframe_interval=2).points
    assert [(p.codec, p.reused) for p in intervals] == [
        ("jpeg", True),
        ("vp8", False),
        ("vp8", False),
    ]


def test_only_versions_that_matter_to_a_codec_count(document: dict[str, Any]) -> None:
    document["versions"]["openvino"] = "0"
    assert n_reused(run(clip(), Reuse(document))) == 3
    document["versions"]["pillow"] = "0"
    assert {p.codec for p in run(clip(), Reuse(document)).points if p.reused} == {"vp8"}
    document["versions"]["av"] = "0"
    assert n_reused(run(clip(), Reuse(document))) == 0


def test_figures_of_other_conventions_are_not_taken(document: dict[str, Any]) -> None:
    document["conventions"]["ms_ssim"] = "of all planes"
    assert n_reused(run(clip(), Reuse(document))) == 0


def test_another_processor_s_times_are_left_out(document: dict[str, Any]) -> None:
    document["hardware"]["processor"] = "slide rule"
    [point, *_] = run(clip(), Reuse(document)).points
    assert point.reused
    assert (point.encode_ms, point.decode_ms) == (None, None)
    assert write_row(point)["encode_ms"] is None
    json.dumps(as_json(run(clip(), Reuse(document))))


def test_points_without_vmaf_are_measured_where_there_is_one(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in document["points"]:
        row["vmaf"] = None
    monkeypatch.setattr("rtcodec.evaluation.vmaf.why_not", lambda: None)
    source, found = clip(), Reuse(document)
    assert found.find(RIVALS["vp8"], source, clip_sha256(source), 56) is None


def test_our_own_points_are_always_measured(document: dict[str, Any]) -> None:
    class Ours:
        """Our own code, under a description that is known."""

        name, unit, settings = "s128", "qp", (56,)
        description = RIVALS["vp8"].description
        kinds, threaded = RIVALS["vp8"].kinds, True
        encode, decode = RIVALS["vp8"].encode, RIVALS["vp8"].decode
        prepare, close = RIVALS["vp8"].prepare, RIVALS["vp8"].close

    assert n_reused(evaluate([clip()], [Ours()], reuse=Reuse(document))) == 0


def test_lost_figures_per_frame_are_left_out(
    earlier: Path, document: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    names = sorted(path.name for path in (earlier.parent / "frames").iterdir())
    assert names == ["waves.mkv.jpeg.30.csv", "waves.mkv.vp8.24.csv", "waves.mkv.vp8.56.csv"]
    lines = (earlier.parent / "frames" / names[1]).read_text().splitlines()
    (folder / names[1]).write_text("\n".join(lines[:-1]))
    result = run(clip(), Reuse(document, folder))
    assert n_reused(result) == 3
    assert all(point.frames == () for point in result.points)


def test_names_that_are_paths_make_one_file_each() -> None:
    point = replace(_any_point(), clip="../a/b.mkv", codec="models/m x.rtcm")
    other = replace(point, clip="..%2Fa/b.mkv")
    assert frames_name(point) == "..%2Fa%2Fb.mkv.models%2Fm x.rtcm.56.csv"
    assert frames_name(other) != frames_name(point)


@pytest.mark.parametrize("damage", ["points", "codecs", "clips", "versions", "conventions"])
def test_half_a_document_is_an_input_error(damage: str, document: dict[str, Any]) -> None:
    del document[damage]
    with pytest.raises(InputError, match="incomplete"):
        Reuse(document)


@pytest.mark.parametrize("text", ["[]", "{", "\x00"])
def test_a_file_that_is_something_else_is_an_input_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"results\.json: no results to reuse"):
        Reuse.read(path)


def test_the_digest_is_of_what_is_coded() -> None:
    flat = np.zeros((4, 4), np.uint8)
    half = flat[:2, :2]
    planes = Planes(flat, half, half)
    one = Clip("a", "image", (planes,), Fraction(25))
    assert clip_sha256(one) == clip_sha256(replace(one, name="b"))
    assert clip_sha256(one) != clip_sha256(replace(one, kind="video"))
    assert clip_sha256(one) != clip_sha256(replace(one, frames=(planes, planes)))


def _any_point() -> Point:
    return next(point for point in run(clip()).points if point.setting == 56)
