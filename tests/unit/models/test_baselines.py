"""Architectures of the literature: trained, resumed, frozen, and coded into real files."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from torch import Tensor  # noqa: E402

from rtcodec import cli  # noqa: E402
from rtcodec.bundle import Bundle  # noqa: E402
from rtcodec.engine.api import DecodeJob, EncodeJob  # noqa: E402
from rtcodec.errors import ConfigError, InputError  # noqa: E402
from rtcodec.evaluation.clip import Clip  # noqa: E402
from rtcodec.evaluation.latent import open_latent_codec  # noqa: E402
from rtcodec.models.baselines import BASELINES  # noqa: E402
from rtcodec.models.baselines.engine import BaselineEngine  # noqa: E402
from rtcodec.models.config import ARCH, TrainConfig  # noqa: E402
from rtcodec.models.data import rgb_to_planes  # noqa: E402
from rtcodec.models.export import export  # noqa: E402
from rtcodec.models.run import Run, read_averages  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from rtcodec.types import Planes  # noqa: E402
from support.models import TINY, assert_go_on_alike, crops, data_folder, picture, supply  # noqa: E402

EVERY_ARCH = pytest.mark.parametrize("arch", sorted(BASELINES))


@pytest.fixture(autouse=True)
def tiny_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)


def config(arch: str) -> TrainConfig:
    return TrainConfig(arch=arch, tier="tiny", crop_px=64, batch=2, warm_up_steps=2, adam_lr=0.01)


def started(arch: str, out: Path) -> Run:
    torch.manual_seed(1)
    return Run(config(arch), out, supply(), torch.device("cpu"), crops=crops())


class OneBatch:
    """The same pictures in every step, one of them fine and one coarse."""

    def __init__(self) -> None:
        self._x, _ = supply(4).next()

    def next(self) -> tuple[Tensor, ...]:
        return self._x, torch.tensor([10.0, 45.0])

    def done(self, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """Nothing depends on it."""


def trained(arch: str, out: Path, *, steps: int) -> tuple[Run, list[float]]:
    """A run on one batch, and what each step found it to cost."""
    run = started(arch, out)
    run.supply = OneBatch()
    return run, [run.advance(step / steps)["log_cost"] for step in range(steps)]


def frozen(arch: str, out: Path, *, steps: int) -> Bundle:
    net = trained(arch, out, steps=steps)[0].averaged().cpu().eval()
    return export(net, crops(), out, batches=8, card={ARCH: arch})  # type: ignore[arg-type]


def odd_picture() -> Planes:
    y, u, v = rgb_to_planes(picture(100, 90, 5))
    return Planes(y[:99, :89].copy(), u, v)


@EVERY_ARCH
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(arch: str, tmp_path: Path) -> None:
    run = started(arch, tmp_path)
    for progress in (0.0, 0.1):
        run.advance(progress)
    run.save()
    resumed = started(arch, tmp_path)
    assert resumed.step == 2
    assert_go_on_alike(run, resumed)


@EVERY_ARCH
def test_steps_bring_the_cost_down(arch: str, tmp_path: Path) -> None:
    _, costs = trained(arch, tmp_path, steps=60)
    assert sum(costs[-5:]) / 5 < sum(costs[:5]) / 5 - 0.5  # nepers


@EVERY_ARCH
def test_a_file_decodes_to_what_its_encoder_saw(arch: str, tmp_path: Path) -> None:
    engine = BaselineEngine(frozen(arch, tmp_path, steps=3))
    planes = odd_picture()
    state = engine.open_state(planes.width, planes.height)
    for qp in (0, 31, 63):
        [coded] = engine.encode([EncodeJob(state, planes, qp, reconstruct=True)])
        assert (coded.indices == engine.scale_indices(coded.z, qp)).all()
        assert not coded.symbols[coded.indices == 0].any()
        job = DecodeJob(state, coded.z, coded.symbols, qp, planes.width, planes.height)
        [seen] = engine.decode([job])
        assert coded.reconstruction is not None
        for one, other in zip(
            (seen.y, seen.u, seen.v),
            (coded.reconstruction.y, coded.reconstruction.u, coded.reconstruction.v),
            strict=True,
        ):
            assert (one == other).all()
        assert (seen.width, seen.height) == (planes.width, planes.height)


@EVERY_ARCH
def test_integers_are_those_that_training_saw(arch: str, tmp_path: Path) -> None:
    run = started(arch, tmp_path)
    run.advance(0.0)
    net = run.averaged().eval()
    x, _ = supply(4).next()
    for qp in (0, 40, 63):
        with torch.no_grad():
            coded = net(x, torch.full((len(x),), qp))
        indices = net.integer_indices()  # type: ignore[operator]
        for z, index in zip(coded.z.to(torch.int8).numpy(), coded.index, strict=True):
            exact = indices.indices(z, qp)
            assert np.array_equal(exact, index.clamp(0, 63).numpy())


@EVERY_ARCH
def test_files_of_finer_qp_are_larger(arch: str, tmp_path: Path) -> None:
    frozen(arch, tmp_path, steps=20)
    codec = open_latent_codec(str(tmp_path / f"{arch}.rtcm"))
    assert "torch f32" in codec.description
    planes = odd_picture()
    clip = Clip("odd", "image", (planes,), Fraction(1))
    coarse, fine = (codec.encode(clip, qp) for qp in (60, 10))
    codec.close()
    assert coarse.size_bytes < fine.size_bytes


def test_the_commands_train_export_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, models = data_folder(tmp_path / "data"), tmp_path / "run", tmp_path / "models"
    words = ["train", "--arch", "cae", "--tier", "tiny", "--data", str(data), "--out", str(run)]
    words += ["--device", "cpu", "--crop", "64", "--batch", "1", "--screens", "0"]
    assert cli.main([*words, "--minutes", "0.0005"]) == 0
    assert cli.main([*words, "--minutes", "0.0005", "--arch", "mlp"]) == 1
    assert "of architecture cae, not mlp" in capsys.readouterr().err
    freeze = ["export", "--run", str(run), "--data", str(data), "--out", str(models)]
    assert cli.main([*freeze, "--batches", "2"]) == 0
    assert "cae" in capsys.readouterr().out
    measure = ["eval", str(data / "images"), "--codecs", f"{models / 'cae.rtcm'},jpeg"]
    assert cli.main([*measure, "--qps", "50,10", "--out", str(tmp_path / "eval")]) == 0
    layout = sorted(path.name for path in (tmp_path / "eval" / "compressai").iterdir())
    assert any(name.endswith("cae.rtcm.json") for name in layout)


def test_what_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = started("mlp", tmp_path)
    run.save()
    with pytest.raises(InputError, match="of architecture mlp, not rtcodec"):
        read_averages(tmp_path / "ema.safetensors", "tiny", "rtcodec")
    bundle = frozen("mlp", tmp_path, steps=1)
    other = Bundle("other", bundle.dims, bundle.tensors, card={ARCH: "abacus"})
    with pytest.raises(ConfigError, match="of none of mlp"):
        BaselineEngine(other)
    dims = {**bundle.dims, "C": 2 * bundle.dims["C"]}
    with pytest.raises(ConfigError, match="do not fit"):
        BaselineEngine(Bundle("other", dims, bundle.tensors, card={ARCH: "mlp"}))
    words = ["train", "--arch", "mlp", "--data", str(tmp_path), "--out", str(tmp_path)]
    assert cli.main([*words, "--int8"]) == 2
    assert "--arch mlp" in capsys.readouterr().err
