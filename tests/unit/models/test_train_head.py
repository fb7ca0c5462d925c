"""Training the perceptual head: its twin in torch, what it aims at, and the command."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

import torch
from torch import Tensor

from rtcodec.cli import main
from rtcodec.codec.perceptual_head import LEVEL, PerceptualHead
from rtcodec.media.color import Color
from rtcodec.media.writer import MediaFormat, open_writer
from rtcodec.models import train_head
from rtcodec.models.class_filters import MARGIN, ClassFilters, Classified
from rtcodec.models.structure import error_loss, gradient_loss, structure_losses
from rtcodec.motion.refinement import CHROMA_SHAPE, Refinement
from rtcodec.restorer_model import PERCEPTUAL, load_restorer_model
from rtcodec.types import tile_grid
from support.models import write_clip
from support.pictures import picture


def filtered(net: ClassFilters, seen: Classified) -> np.ndarray:
    with torch.no_grad():
        shown = net(
            torch.from_numpy(seen.wide).float()[None],
            torch.from_numpy(seen.kinds)[None],
            torch.from_numpy(seen.steps)[None],
        )
    picture: np.ndarray = shown[0, 0].numpy()
    return picture


def drawn() -> tuple[ClassFilters, np.ndarray, np.ndarray]:
    torch.manual_seed(1)
    net = ClassFilters()
    torch.nn.init.normal_(net.shared, std=0.03)
    torch.nn.init.normal_(net.own, std=0.03)
    qps = np.random.default_rng(1).integers(16, 56, tile_grid(192, 128)).astype(np.uint8)
    return net, picture(192, 128).y, qps


def test_filters_in_torch_are_those_of_c_but_for_roundings() -> None:
    net, luma, qps = drawn()
    planes = picture(192, 128)
    filters = Refinement(net.weights(), np.zeros(CHROMA_SHAPE, np.int16), LEVEL)
    in_c = filters.planes(planes, qps).y
    in_torch = filtered(net, Classified.of(luma, qps, LEVEL)).clip(0, 255)
    assert np.abs(in_torch - luma).mean() > 0.5
    assert np.abs(in_torch - in_c).max() < 1


def test_a_crop_is_filtered_as_the_whole_is() -> None:
    net, luma, qps = drawn()
    seen = Classified.of(luma, qps, LEVEL)
    whole, part = filtered(net, seen), filtered(net, seen.crop(24, 36, 64))
    assert np.allclose(part, whole[24:88, 36:100], atol=1e-3)
    assert seen.wide.shape == (128 + 2 * MARGIN, 192 + 2 * MARGIN)


def structure_loss(shown: Tensor, clean: Tensor) -> Tensor:
    return structure_losses(shown, clean)[0]


def texture_loss(shown: Tensor, clean: Tensor) -> Tensor:
    return structure_losses(shown, clean)[1]


def error_to_itself(shown: Tensor, clean: Tensor) -> Tensor:
    return error_loss(shown, clean, torch.nn.functional.pad(clean, (3, 3, 3, 3))[:, 0])


@pytest.mark.parametrize("loss", [structure_loss, texture_loss, gradient_loss, error_to_itself])
def test_blur_is_further_from_a_picture_than_the_picture_and_more_blur_further(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    clean = torch.from_numpy(picture(128, 128).y).float()[None, None]
    blurred = torch.nn.functional.avg_pool2d(clean, 3, 1, 1, count_include_pad=False)
    more = torch.nn.functional.avg_pool2d(clean, 5, 1, 2, count_include_pad=False)
    found = [loss(shown, clean).item() for shown in (clean, blurred, more)]
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[0] < found[1] < found[2]


def test_the_command_trains_and_writes_what_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "video").mkdir()
    media = MediaFormat(160, 128, Fraction(1, 25), Fraction(25), Color())
    with open_writer(tmp_path / "video" / "a.mkv", media) as writer:
        for number in range(3):
            writer.write(number, picture(160, 128, seed=number))
        writer.commit()
    words = ["train-head", "--model", "n64", "--data", tmp_path, "--out", tmp_path]
    words += ["--steps", 2, "--trained-on", "waves"]
    assert main([str(word) for word in words]) == 0
    model = load_restorer_model(PERCEPTUAL, tmp_path)
    assert capsys.readouterr().out == f"perceptual {model.model_id[:16]}\n"
    assert (model.card["data"], model.card["clips"]) == ("waves", 1)
    assert model.card["steps"] == 2
    assert model.tensors["luma"].any()
    assert not model.tensors["chroma"].any()
    PerceptualHead.load(tmp_path)


def test_training_leads_towards_the_clean_picture() -> None:
    """Samples are blurred; filters that are fitted to that undo some of it."""
    clean = picture(128, 128).y
    wide = np.pad(clean.astype(np.float32), 1, mode="edge")
    shifted = [wide[i : i + 128, j : j + 128] for i in range(3) for j in range(3)]
    blurred = np.mean(shifted, axis=0)
    qps = np.full((2, 2), 40, np.uint8)
    sample = train_head.Sample(clean, Classified.of(blurred.astype(np.uint8), qps, LEVEL))
    net = train_head.train([sample], steps=60, seed=1)
    losses = [
        structure_loss(
            torch.from_numpy(shown)[None, None], torch.from_numpy(clean).float()[None, None]
        ).item()
        for shown in (filtered(ClassFilters(), sample.shown), filtered(net, sample.shown))
    ]
    assert losses[1] < 0.9 * losses[0]


def test_folders_without_clips_or_with_small_ones_are_refused(tmp_path: Path) -> None:
    words = ["train-head", "--model", "n64", "--data", str(tmp_path), "--out", str(tmp_path)]
    assert main(words) == 1
    (tmp_path / "video").mkdir()
    write_clip(tmp_path / "video" / "a.mkv", 3)
    assert main(words) == 1
