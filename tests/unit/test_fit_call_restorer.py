"""Fitting filters to coded calls: they undo part of what coding did."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.codec.call_restorer import CallRestorer
from rtcodec.errors import InputError
from rtcodec.models.coded_clips import coded_frames
from rtcodec.quality import psnr
from rtcodec.restorer_model import CALLS, load_restorer_model
from rtcodec_engines import fit_call_restorer
from support.models import write_clip
from support.pictures import picture


def test_fitted_filters_bring_frames_nearer_to_what_they_were() -> None:
    clip = [picture(192, 128, seed=seed) for seed in range(4)]
    tensors = {}
    for codec in ("vp8", "h264"):
        sums = fit_call_restorer.fit([clip], codec, codings=3, seed=1)
        tensors[f"{codec}.luma"], tensors[f"{codec}.chroma"] = sums.weights()
    restorer = CallRestorer(tensors)
    for codec in ("vp8", "h264"):
        gains = [
            psnr(f.clean.y, restorer.restore(f.coded, codec, f.step).y) - psnr(f.clean.y, f.coded.y)
            for f in coded_frames([clip], codec, codings=3, seed=1)
        ]
        assert np.mean(gains) > 0.2


def test_the_command_writes_what_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    write_clip(tmp_path / "video" / "a.mkv", 3)
    words = ["--data", str(tmp_path), "--out", str(tmp_path), "--codings", "1"]
    assert fit_call_restorer.main([*words, "--trained-on", "waves"]) == 0
    CallRestorer.load(tmp_path)
    assert load_restorer_model(CALLS, tmp_path).card["data"] == "waves"
    assert load_restorer_model(CALLS, tmp_path).card["clips"] == 1


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        fit_call_restorer.main(["--data", str(tmp_path), "--out", str(tmp_path)])
