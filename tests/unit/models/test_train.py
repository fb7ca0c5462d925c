"""Training runs: steps, stopping, resuming, and the command's errors."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from rtcodec import cli  # noqa: E402
from rtcodec.errors import InputError  # noqa: E402
from rtcodec.models import train as train_module  # noqa: E402
from rtcodec.models.config import TrainConfig  # noqa: E402
from rtcodec.models.loop import Stop  # noqa: E402
from rtcodec.models.loss import (  # noqa: E402
    MSE_FLOOR,
    distortion,
    rate_distortion,
    weighted_psnr,
)
from rtcodec.models.network import pack_planes  # noqa: E402
from rtcodec.models.parts import bring_back, join  # noqa: E402
from rtcodec.models.run import Run, read_averages, read_tensors  # noqa: E402
from rtcodec.models.tier import TIERS  # noqa: E402
from rtcodec.models.training import resumed  # noqa: E402
from rtcodec.models.validation import QPS, Validation  # noqa: E402
from support.models import (  # noqa: E402
    TINY,
    assert_go_on_alike,
    codec,
    crops,
    data_folder,
    picture,
    started,
)

CONFIG = TrainConfig(tier="tiny", crop_px=64, batch=2, warm_up_steps=2)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)


def command(data: Path, out: Path, *more: str) -> list[str]:
    words = ["train", "--tier", "tiny", "--data", str(data), "--out", str(out), "--device", "cpu"]
    words += ["--crop", "64", "--batch", "1", "--screens", "0", "--minutes", "0.0005"]
    return [*words, *more]


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run = started(CONFIG, tmp_path)
    for progress in (0.0, 0.1):
        run.advance(progress)
    run.elapsed_s = 12.5
    run.save()
    resumed = started(CONFIG, tmp_path)
    assert (resumed.step, resumed.elapsed_s) == (2, 12.5)
    assert_go_on_alike(run, resumed)


def test_a_saved_run_is_its_checkpoint_byte_for_byte(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run = started(CONFIG, tmp_path)
    run.advance(0.0)
    run.save()
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert sorted(before) == ["ema.safetensors", "last.safetensors"]
    started(CONFIG, tmp_path).save()
    for name, content in before.items():
        tensors = load_file(tmp_path / name)
        (tmp_path / "old").write_bytes(content)
        for key, value in load_file(tmp_path / "old").items():
            assert torch.equal(value, tensors[key]), key


def test_steps_bring_the_loss_down(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run = started(CONFIG, tmp_path)
    figures = [run.advance(0.0) for _ in range(30)]
    assert sum(f["log_cost"] for f in figures[-8:]) < sum(f["log_cost"] for f in figures[:8])


def test_a_run_may_start_from_the_averages_of_another(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = started(CONFIG, tmp_path)
    first.advance(0.0)
    first.save()
    (tmp_path / "next").mkdir()
    second = started(CONFIG, tmp_path / "next", init=tmp_path / "ema.safetensors", compiled=False)
    assert second.step == 0
    for name, value in first.averages.items():
        assert torch.equal(value, second.net.state_dict()[name])


def test_a_checkpoint_goes_together_again_from_small_parts(tmp_path: Path) -> None:
    run = started(CONFIG, tmp_path)
    run.advance(0.0)
    run.save()
    (tmp_path / "parts").mkdir()
    bring_back(tmp_path, tmp_path / "parts", part_bytes=100_000)
    parts = sorted((tmp_path / "parts").glob("resume.*.safetensors"))
    assert len(parts) > 2
    assert all(part.stat().st_size < 200_000 for part in parts)
    whole, again = read_tensors(tmp_path / "last.safetensors"), read_tensors(join(parts[0].parent))
    assert whole[0] == again[0]
    assert whole[1].keys() == again[1].keys()
    assert all(torch.equal(value, again[1][key]) for key, value in whole[1].items())


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    bring_back(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no resume"):
        join(tmp_path)


def test_files_that_are_no_checkpoint_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ema.safetensors"
    with pytest.raises(InputError, match="no such file"):
        read_tensors(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a checkpoint"):
        read_tensors(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not written by rtcodec train"):
        read_tensors(path)
    save_file({"a": torch.zeros(1)}, path, {"step": "1", "elapsed_s": "1", "tier": "tiny"})
    with pytest.raises(InputError, match="of tier tiny, not s128"):
        read_tensors(path, "s128")
    with pytest.raises(InputError, match="do not fit tier tiny"):
        read_averages(path)
    path.rename(tmp_path / "last.safetensors")
    with pytest.raises(InputError, match="not a checkpoint"):
        started(CONFIG, tmp_path)


def test_the_distortion_is_the_error_in_samples_of_equal_planes() -> None:
    x = torch.full((2, 384, 4, 4), 0.5 / 255)  # sample 128
    d = distortion(x + 3 / 255, x)
    assert d.tolist() == pytest.approx([9 + MSE_FLOOR] * 2, rel=1e-4)
    assert weighted_psnr(x + 3 / 255, x) == pytest.approx(38.588, abs=1e-2)


def test_the_loss_counts_bits_and_error() -> None:
    net = codec().train()
    x = pack_planes(*crops().batch(2))
    loss, figures = rate_distortion(net(x, torch.tensor([9, 50])), x, torch.tensor([9, 50]), CONFIG)
    assert loss.requires_grad
    assert loss.item() > 0
    assert 0 < figures["bpp_z"] < figures["bpp"]
    assert 0 <= figures["skipped"] <= 1


def test_validation_reports_every_qp_and_finer_is_better(tmp_path: Path) -> None:
    folder = data_folder(tmp_path) / "images"
    Image.fromarray(picture(40, 200, 0)).save(folder / "too_flat.png")
    net = codec().train()
    rows = Validation(folder)(net)
    assert net.training
    assert [row["qp"] for row in rows] == list(QPS)
    assert rows[0]["bpp"] > rows[-1]["bpp"] > 0
    assert rows[0]["psnr"] > rows[-1]["psnr"]


def test_validation_needs_a_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no PNG image"):
        Validation(tmp_path)


def test_the_command_trains_saves_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = data_folder(tmp_path / "data"), tmp_path / "run"
    assert cli.main(command(data, out, "--seed", "3", "--threads", "1")) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "steps in" in captured.err
    config = json.loads((out / "config.json").read_text())
    assert (config["seed"], config["batch"], config["crop_px"]) == (3, 1, 64)
    facts, _ = read_tensors(out / "last.safetensors")
    assert int(facts["step"]) >= 1
    more = str(float(facts["elapsed_s"]) / 60 + 0.0005)
    assert cli.main(command(data, out, "--minutes", more)) == 0
    assert int(read_tensors(out / "last.safetensors")[0]["step"]) > int(facts["step"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_before_the_end(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Run):
        def advance(self, progress: float) -> dict[str, float]:
            os.kill(os.getpid(), number)
            return super().advance(progress)

    monkeypatch.setattr(train_module, "Run", Interrupted)
    before = signal.getsignal(number)
    data, out = data_folder(tmp_path / "data"), tmp_path / "run"
    assert cli.main(command(data, out, "--minutes", "10")) == code
    assert signal.getsignal(number) == before
    assert read_tensors(out / "last.safetensors")[0]["step"] == "1"


def test_a_second_interrupt_ends_at_once() -> None:
    with Stop().listening() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_deadline_ends_a_run_like_a_signal(tmp_path: Path) -> None:
    late = Stop(deadline_s=time.monotonic())
    config = TrainConfig(tier="tiny", crop_px=64, batch=1, screens=0)
    data = data_folder(tmp_path / "data")
    done = train_module.train(config, data, None, tmp_path / "run", CPU, stop=late)
    assert done.step == 0
    assert late.is_set()
    assert not late.signal
    assert (tmp_path / "run" / "last.safetensors").exists()


def test_a_run_may_have_its_crops_cut_ahead(tmp_path: Path) -> None:
    config = TrainConfig(tier="tiny", crop_px=64, batch=1, screens=1, minutes=0.0005)
    data = data_folder(tmp_path / "data")
    done = train_module.train(config, data, None, tmp_path / "run", CPU, workers=2)
    assert done.step >= 1
    assert resumed(tmp_path / "run") == (done.step, done.elapsed_s)
    assert resumed(tmp_path / "other") == (0, 0.0)


def test_the_command_packs_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_folder(tmp_path / "data")
    packed = tmp_path / "data.npz"
    assert cli.main(["train", "--data", str(data), "--pack", str(packed)]) == 0
    assert "2 pictures" in capsys.readouterr().err
    assert cli.main(command(packed, tmp_path / "run")) == 0


def test_bad_arguments_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_folder(tmp_path / "data")
    blocked = tmp_path / "file"
    blocked.write_text("")
    for words, code, said in (
        (command(tmp_path / "nowhere", tmp_path / "run"), 1, "no such folder"),
        (command(data, blocked), 1, "not a folder"),
        (command(data, tmp_path / "run", "--crop", "128"), 1, "at least 128 pixels"),
        (command(data, tmp_path / "run", "--crop", "100"), 2, "multiple of 64"),
        (command(data, tmp_path / "run", "--batch", "0"), 2, "--batch"),
        (command(data, tmp_path / "run", "--device", "abacus"), 2, "not a device"),
        (command(data, tmp_path / "run", "--validate", str(tmp_path / "no")), 1, "no such folder"),
        (command(data, tmp_path / "run", "--init", str(tmp_path / "no")), 1, "no such file"),
        (["train", "--data", str(data)], 2, "--out FOLDER"),
        (["train", "--data", str(data), "--pack", "x.zip"], 2, "ends in .npz"),
    ):
        assert cli.main(words) == code, words
        captured = capsys.readouterr()
        assert said in captured.err
        assert captured.err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_is_refused_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_folder(tmp_path / "data")
    assert cli.main(command(data, tmp_path / "run", "--device", "cuda")) == 2
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "nan"])
def test_no_rate_is_above_the_usual_or_not_above_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: str
) -> None:
    assert cli.main(command(tmp_path, tmp_path / "run", f"--rate={rate}")) == 2
    assert "--rate" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
