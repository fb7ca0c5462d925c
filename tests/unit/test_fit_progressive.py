"""Weights that refine progressive pictures: fitted, and written for C and for Python."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtcodec.errors import InputError
from rtcodec.models import fit_progressive
from rtcodec.progressive.refine import (
    CLASSES,
    CLIPS,
    PAIRS,
    SETS,
    WEIGHTS,
    classes,
    differences,
)

SHAPE = (SETS * CLASSES, len(PAIRS) * CLIPS)


def photograph(folder: Path, seed: int) -> Path:
    """Draw a smooth picture with edges under a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :128]
    ground = 110 + 60 * np.sin(x / 9 + seed) * np.cos(y / 7) + 60.0 * (x + 2 * y > 130)
    rgb = ground[..., None] + rng.normal(0, 0.5, (96, 128, 3)) + [0, 20, -20]
    path = folder / f"gb82_{seed}.webp"
    Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(path, lossless=True)
    return path


def numbers(text: str) -> list[int]:
    """Return the numbers between the first brace or bracket of a table and its end."""
    table = re.split(r"[={(]\s*\n", text, maxsplit=1)[1]
    return [int(n) for n in re.findall(r"-?\d+(?=[,\n])", table)]


def test_fitted_weights_bring_pictures_nearer(tmp_path: Path) -> None:
    path = photograph(tmp_path, 1)
    weights = fit_progressive.fit([path])
    assert weights.shape == SHAPE
    before = after = 0.0
    for known, wanted, step, number in fit_progressive.seen(path):
        of_class = weights[number * CLASSES]
        moved = (differences(known, step) * of_class).sum(-1) / 512
        of = classes(known, step) == 0
        before += float(np.square((wanted - known)[of] / step).sum())
        after += float(np.square((wanted - known - moved)[of] / step).sum())
    assert after < 0.99 * before


def test_of_a_photograph_with_noise_luma_is_seen(tmp_path: Path) -> None:
    path = photograph(tmp_path, 1)
    plain, noisy = (list(fit_progressive.seen(path, noise)) for noise in (0.0, 4.0))
    assert {number < SETS // 2 for *_, number in plain} == {True, False}
    assert all(number < SETS // 2 for *_, number in noisy)
    off = (noisy[0][1] - plain[0][1]) / 64
    assert 3.5 < off.std() < 4.5


def test_what_is_written_is_the_same_for_c_and_for_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(tmp_path, 2)
    monkeypatch.setattr(fit_progressive, "FOLDER", tmp_path)
    assert fit_progressive.main(["--data", str(tmp_path)]) == 0
    written = np.load(tmp_path / "weights.npy", allow_pickle=False)
    assert written.shape == SHAPE
    assert numbers((tmp_path / "_weights.h").read_text()) == written.ravel().tolist()


def test_the_weights_of_c_are_those_of_python() -> None:
    header = Path(fit_progressive.__file__).parents[1] / "progressive" / "_weights.h"
    assert numbers(header.read_text()) == WEIGHTS.ravel().tolist()


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photographs"):
        fit_progressive.main(["--data", str(tmp_path)])
