"""`rtcodec refine`, from a folder of pictures to a model that says more."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.bundle import Bundle, find_bundle
from rtcodec.cli import main
from support.models import write_clip


def test_the_command_fits_a_refinement_into_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "video").mkdir(parents=True)
    (data / "images").mkdir()
    write_clip(data / "video" / "a.mkv", 8)
    rng = np.random.default_rng(1)
    picture = np.clip(rng.normal(120, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(picture).resize((192, 192)).save(data / "images" / "a.png")
    words = ["refine", "--model", "n64", "--data", str(data), "--out", str(out), "--screens", "1"]
    assert main(words) == 0
    made, before = Bundle.load(out / "n64.rtcm"), find_bundle("n64")
    assert capsys.readouterr().out == f"n64 {made.model_id.hex()[:16]}\n"
    assert made.model_id != before.model_id
    assert made.graph_sha256 == before.graph_sha256
    assert made.card["refinement"]["delta"]["clips"] == 1
    assert made.card["refinement"]["intra"]["pictures"] == 2
    kept = {name for name in before.tensors if not name.startswith("refine.")}
    assert all(np.array_equal(made.tensors[name], before.tensors[name]) for name in kept)
    assert np.abs(made.tensors["refine.intra.luma"]).max() > 100
    assert not made.tensors["refine.delta.luma"].any()  # noise predicts nothing: no delta frames
    assert main([*words, "--clips", "-1"]) == 2
