"""Figures per frame: the meter, its CSV, and VMAF's way through a filter."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rtcodec.evaluation import figures, vmaf
from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.figures import FrameFigures, Meter, mean, read_frames, write_frames
from rtcodec.evaluation.vmaf import Comparator, Vmaf, read_log, why_not
from rtcodec.quality import PlanePsnr, picture_psnr
from rtcodec.types import Planes
from support.pictures import picture

LOG = """{"version": "3.0", "frames": [
 {"frameNum": 0, "metrics": {"integer_motion2": 0.0, "vmaf": 62.50848}},
 {"frameNum": 1, "metrics": {"integer_motion2": 1.9, "vmaf": 100.0}}],
 "pooled_metrics": {"vmaf": {"mean": 81.25}}}"""
"What libvmaf's filter writes with log_fmt=json, shortened."


def clip(width: int, height: int, n_frames: int, kind: Kind = "video") -> Clip:
    frames = tuple(picture(width, height, seed) for seed in range(n_frames))
    return Clip("waves", kind, frames, Fraction(25))


def darker(planes: Planes) -> Planes:
    return Planes(planes.y // 2 * 2, planes.u, planes.v)


class Fake:
    """Stands for VMAF: as many figures as frames."""

    def __init__(self, width: int, height: int) -> None:
        self.n_frames = 0

    def add(self, reference: Planes, decoded: Planes) -> None:
        self.n_frames += 1

    def finish(self) -> list[float]:
        return [90.0 + number for number in range(self.n_frames)]


def test_every_frame_has_its_figures() -> None:
    source = clip(180, 170, 2)
    meter = Meter(source)
    meter.add(source.frames[0])
    meter.add(darker(source.frames[1]))
    first, second = meter.finish([100, 20])
    assert (first.size_bytes, second.size_bytes) == (100, 20)
    assert first.psnr_db.yuv == 100.0
    assert first.ms_ssim == 1.0
    assert second.psnr_db == picture_psnr(source.frames[1], darker(source.frames[1]))
    assert second.ms_ssim is not None
    assert 0.9 < second.ms_ssim < 1


def test_what_cannot_be_measured_is_empty() -> None:
    source = clip(64, 64, 1, "image")
    meter = Meter(source)
    meter.add(source.frames[0])
    [only] = meter.finish(None)
    assert (only.size_bytes, only.ms_ssim, only.vmaf) == (None, None, None)


def test_other_numbers_of_frames_are_caught() -> None:
    source = clip(16, 16, 2)
    meter = Meter(source)
    meter.add(source.frames[0])
    with pytest.raises(ValueError, match="1 of 2 frames"):
        meter.finish(None)
    meter.add(source.frames[1])
    with pytest.raises(ValueError, match="more than 2 frames"):
        meter.add(source.frames[1])


def test_vmaf_is_measured_of_videos_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "why_not", lambda: None)
    monkeypatch.setattr(figures, "Vmaf", Fake)
    scores: dict[Kind, list[float | None]] = {}
    for source in (clip(32, 32, 2), clip(32, 32, 1, "image")):
        meter = Meter(source)
        for planes in source.frames:
            meter.add(planes)
        scores[source.kind] = [frame.vmaf for frame in meter.finish(None)]
    assert scores == {"video": [90.0, 91.0], "image": [None]}


def test_means_exist_only_if_every_value_does() -> None:
    assert mean([1.0, 3.0]) == 2.0
    assert mean([1.0, None]) is None
    assert mean([]) is None


def test_the_file_of_frames_comes_back(tmp_path: Path) -> None:
    frames = tuple(
        FrameFigures(size_bytes=size, psnr_db=PlanePsnr(30.5, 40.25, 41), ms_ssim=ssim, vmaf=score)
        for size, ssim, score in ((7, 0.987654, 93.5), (None, None, None))
    )
    write_frames(tmp_path / "a.csv", frames)
    assert read_frames(tmp_path / "a.csv") == frames
    text = (tmp_path / "a.csv").read_text()
    assert text.splitlines()[0] == ",".join(figures.COLUMNS)
    assert text.splitlines()[2] == "1,,30.5,40.25,41,33.0312,,"


def test_another_file_is_no_file_of_frames(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match="no figures per frame"):
        read_frames(tmp_path / "a.csv")


def test_a_comparing_filter_sees_the_frames_side_by_side(tmp_path: Path) -> None:
    log = tmp_path / "a name: with signs.log"
    comparator = Comparator(64, 48, "psnr", stats_file=str(log))
    pairs = [(picture(64, 48, seed), darker(picture(64, 48, seed))) for seed in range(3)]
    for original, decoded in pairs:
        comparator.add(original, decoded)
    comparator.close()
    lines = log.read_text().splitlines()
    assert len(lines) == 3
    for line, (original, decoded) in zip(lines, pairs, strict=True):
        told = dict(part.split(":") for part in line.split())
        assert float(told["psnr_y"]) == pytest.approx(picture_psnr(original, decoded).y, abs=0.01)


def test_vmaf_s_log_is_a_figure_per_frame() -> None:
    assert read_log(LOG) == [62.50848, 100.0]


def test_vmaf_is_probed_and_its_absence_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmaf, "FILTER", "nonesuch")
    assert why_not() == "this FFmpeg has no nonesuch"
    monkeypatch.setattr(vmaf, "FILTER", "psnr")
    assert why_not() is None


@pytest.mark.skipif(why_not() is not None, reason=f"VMAF: {why_not()}")
def test_vmaf_falls_with_noise() -> None:
    meter = Vmaf(256, 192)
    rng = np.random.default_rng(2)
    for number in range(3):
        original = picture(256, 192, number)
        noise = rng.integers(0, 40 * number + 1, original.y.shape)
        noisy = np.clip(original.y + noise, 0, 255).astype(np.uint8)
        meter.add(original, Planes(noisy, original.u, original.v))
    scores = meter.finish()
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 90
