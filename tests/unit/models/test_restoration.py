"""Restorers: what JPEG does in torch, the bound on what is taken back, training, export."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from PIL import Image  # noqa: E402

from rtcodec.errors import ConfigError, InputError  # noqa: E402
from rtcodec.models import export_restorer, train_restorer  # noqa: E402
from rtcodec.models.degradation import Jpeg, JpegSupply, quality_tables  # noqa: E402
from rtcodec.models.restoration import Restorer, transformed  # noqa: E402
from rtcodec.models.restorer_shape import Shape, block_transform, macs_per_pixel  # noqa: E402
from rtcodec.models.train_restorer import RestorerConfig, RestorerRun  # noqa: E402
from rtcodec.restorer_model import load_restorer_model  # noqa: E402
from support.models import crops, data_folder  # noqa: E402
from support.pictures import picture  # noqa: E402

TINY = Shape(channels=48, blocks=1)
CONFIG = RestorerConfig(shape=TINY, crop_px=64, batch=2, warm_up_steps=2)


def tensors(width: int = 64, height: int = 48) -> tuple[Any, ...]:
    planes = picture(width, height)
    return tuple(torch.from_numpy(p).float()[None, None] for p in (planes.y, planes.u, planes.v))


def roused(net: Restorer) -> Restorer:
    """A network that changes what it is given, by as much as it may."""
    torch.manual_seed(7)
    with torch.no_grad():
        for layer in (net.head, net.chroma_head, net.lead):
            layer.weight.normal_(0, 3)
    return net.eval()


@pytest.mark.parametrize("quality", [10, 40, 90])
def test_jpeg_in_torch_is_that_of_files(quality: int) -> None:
    y, u, v = tensors(256, 256)
    file = io.BytesIO()
    Image.fromarray(y[0, 0].numpy().astype(np.uint8)).save(file, "JPEG", quality=quality)
    steps = quality_tables(quality)
    with Image.open(file) as image:
        tables: Any = image
        assert tables.quantization[0] == steps[:64].astype(int).tolist()
        decoded = np.asarray(image, np.float32)
    ours = Jpeg().decoded((y, u, v), torch.from_numpy(steps)[None, :, None, None])[0][0, 0]
    assert np.abs(ours.numpy() - decoded).mean() < 0.3
    assert np.abs(decoded - y[0, 0].numpy()).mean() > 1


def test_chroma_tables_are_those_of_files() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=35)
    with Image.open(file) as image:
        tables: Any = image
        assert tables.quantization[1] == quality_tables(35)[64:].astype(int).tolist()


def test_an_untrained_network_changes_nothing() -> None:
    planes = tensors()
    levels = torch.full((1, 128, 1, 1), 20.0)
    for before, after in zip(planes, Restorer(TINY)(*planes, levels), strict=True):
        assert torch.equal(before, after)


def test_no_coefficient_is_moved_further_than_the_limit() -> None:
    planes = tensors()
    levels = torch.from_numpy(quality_tables(20))[None, :, None, None]
    with torch.no_grad():
        restored = roused(Restorer(TINY))(*planes, levels)
    transform = torch.from_numpy(block_transform()).float()
    for before, after, bound in zip(
        planes, restored, (levels[:, :64], levels[:, 64:], levels[:, 64:]), strict=True
    ):
        moved = (transformed(after, transform) - transformed(before, transform)).abs() / bound
        assert 0.4 < moved.max() <= TINY.limit + 1e-3


def test_a_map_of_levels_says_what_one_for_all_places_does() -> None:
    planes = tensors()
    levels = torch.from_numpy(quality_tables(20))[None, :, None, None]
    net = roused(Restorer(TINY))
    with torch.no_grad():
        whole = net(*planes, levels)
        by_place = net(*planes, levels.expand(-1, -1, 6, 8))
    for one, other in zip(whole, by_place, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=0)


def test_the_shipped_shape_is_within_eight_thousand_products() -> None:
    assert macs_per_pixel(Shape()) <= 8000


def jpeg_supply() -> JpegSupply:
    return JpegSupply(crops(), batch=2, qualities=((10, 20),), seed=1)


def test_training_makes_pictures_better(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run = RestorerRun(CONFIG, tmp_path, jpeg_supply())
    gains = [run.advance(step / 120)["luma_gain_db"] for step in range(120)]
    assert sum(gains[-20:]) / 20 > 0.3


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run = RestorerRun(CONFIG, tmp_path, jpeg_supply())
    for _ in range(2):
        run.advance(0.1)
    run.save()
    again = RestorerRun(CONFIG, tmp_path, jpeg_supply())
    assert again.step == 2
    run.supply = jpeg_supply()
    assert run.advance(0.2) == again.advance(0.2)
    for one, other in zip(run.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_may_begin_with_another_ones_averages(tmp_path: Path) -> None:
    first = RestorerRun(CONFIG, tmp_path, jpeg_supply())
    first.advance(0.1)
    first.save()
    (tmp_path / "second").mkdir()
    again = RestorerRun(
        CONFIG, tmp_path / "second", jpeg_supply(), init=tmp_path / "ema.safetensors"
    )
    assert again.step == 0
    for one, other in zip(first.averages.values(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="not averages"):
        RestorerRun(
            RestorerConfig(), tmp_path / "second", jpeg_supply(), init=tmp_path / "ema.safetensors"
        )


def test_the_command_trains_and_what_it_leaves_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")
    data, out, weights = data_folder(tmp_path / "data"), tmp_path / "run", tmp_path / "weights"
    weights.mkdir()
    words = ["--data", str(data), "--out", str(out), "--minutes", "0.0001", "--batch", "1"]
    words += ["--channels", "48", "--blocks", "1", "--crop", "64"]
    assert train_restorer.main(words) == 0
    words = ["--run", str(out), "--name", "own", "--out", str(weights), "--trained-on", "waves"]
    assert export_restorer.main(words) == 0
    model = load_restorer_model("own", weights)
    assert model.card["data"] == "waves"
    assert model.card["steps"] >= 1
    assert model.card["config"]["shape"]["channels"] == 48
    with pytest.raises(InputError, match="not a run"):
        export_restorer.read_run(tmp_path, "own", trained_on="", hardware="")


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_file_that_was_altered_is_refused(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")
    RestorerRun(CONFIG, tmp_path, jpeg_supply()).save()
    (tmp_path / "config.json").write_text(json.dumps({"shape": {"channels": 48, "blocks": 1}}))
    (tmp_path / "metrics.jsonl").write_text("")
    export_restorer.read_run(tmp_path, "own", trained_on="", hardware="").save(tmp_path)
    path = tmp_path / f"restorer.own.{kind}"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"hash|not the graph"):
        load_restorer_model("own", tmp_path)
