"""`restore` and `encode --restore` as a user meets them, with the network that ships."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtcodec import cli
from rtcodec.codec.still_restorer import restore_still
from rtcodec.engine.restorer import RESTORERS, flat_levels, open_restorer
from rtcodec.errors import ConfigError
from rtcodec.media.color import rgb_to_planes
from rtcodec.quality import psnr
from rtcodec.restorer_model import JPEG, load_restorer_model
from rtcodec.types import Planes
from rtcodec_engines import graph_restorer
from support.pictures import picture, same_picture

Run = Callable[..., tuple[int, str, str]]
IMAGES = Path(__file__).parents[3] / "shared" / "data" / "dev" / "images"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line; return exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def scene(width: int, height: int) -> np.ndarray:
    """RGB with slopes, edges and a disc: what a coarse JPEG shows rings and blocks around."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    red = 60 + 120 * columns / width
    green = 80 + 90 * rows / height
    blue = 200 - 100 * (rows + columns) / (height + width)
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(width, height) / 3) ** 2
    stripe = np.abs(rows - columns * 0.6) < 3
    rgb = np.stack((red, green, blue), -1)
    rgb[disc] = rgb[disc] * 0.5 + 90
    rgb[stripe] = 25
    return rgb.clip(0, 255).astype(np.uint8)


def save_jpeg(path: Path, rgb: np.ndarray, **options: Any) -> Path:
    Image.fromarray(rgb).save(path, **{"quality": 15, **options})
    return path


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def test_a_jpeg_file_becomes_a_better_png(tmp_path: Path, run: Run) -> None:
    rgb = scene(237, 181)
    source = save_jpeg(tmp_path / "a.jpg", rgb)
    code, out, _ = run("restore", source, tmp_path / "a.png", "--json")
    assert code == 0
    row = json.loads(out)["files"][0]
    assert (row["width"], row["height"]) == (237, 181)
    assert row["changed_luma_percent"] > 10
    restored, decoded = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "a.jpg"))
    assert psnr(luma(rgb), luma(restored)) > psnr(luma(rgb), luma(decoded)) + 0.5


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_every_subsampling_gains_in_colour_too(tmp_path: Path, subsampling: int) -> None:
    rgb = scene(160, 128)
    source = save_jpeg(tmp_path / "a.jpg", rgb, subsampling=subsampling)
    still = restore_still(source, open_restorer(load_restorer_model(JPEG)))
    assert psnr(rgb.reshape(128, -1), still.rgb.reshape(128, -1)) > 0.3 + psnr(
        rgb.reshape(128, -1), np.asarray(Image.open(source)).reshape(128, -1)
    )


def test_a_gray_file_stays_gray(tmp_path: Path, run: Run) -> None:
    gray = luma(scene(96, 80))
    Image.fromarray(gray).save(tmp_path / "a.jpg", quality=15)
    assert run("restore", tmp_path / "a.jpg", tmp_path / "a.png")[0] == 0
    restored, decoded = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "a.jpg"))
    assert psnr(gray, restored) > psnr(gray, decoded) + 0.3


def test_profile_and_orientation_are_kept(tmp_path: Path, run: Run) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    source = save_jpeg(tmp_path / "a.jpg", scene(64, 48), exif=exif, icc_profile=b"a profile")
    assert run("restore", source, tmp_path / "a.png")[0] == 0
    with Image.open(tmp_path / "a.png") as restored:
        assert restored.size == (64, 48)
        assert restored.info["icc_profile"] == b"a profile"
        assert restored.getexif()[0x0112] == 6


def test_a_folder_becomes_a_folder(tmp_path: Path, run: Run) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.JPEG"):
        save_jpeg(photos / name, scene(48, 32), format="JPEG")
    (photos / "notes.txt").write_text("not a picture")
    assert run("restore", photos, tmp_path / "out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("source", "target", "code", "message"),
    [
        ("none.jpg", "a.png", 1, "no such file"),
        ("a.png", "b.png", 1, "not a JPEG file"),
        ("a.jpg", "b.webp", 2, "is a .png file"),
        ("broken.jpg", "b.png", 1, "broken.jpg"),
        ("empty", "out", 1, "no .jpg or .jpeg files"),
        ("twice", "out", 1, "two files would become a.png"),
        ("twice", "a.png", 2, "is a folder"),
    ],
)
def test_what_cannot_be_restored_is_said(
    tmp_path: Path, run: Run, source: str, target: str, code: int, message: str
) -> None:
    save_jpeg(tmp_path / "a.jpg", scene(32, 32))
    Image.fromarray(scene(32, 32)).save(tmp_path / "a.png")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(content[:40])
    for folder in ("empty", "twice"):
        (tmp_path / folder).mkdir()
    for name in ("a.jpg", "a.jpeg"):
        (tmp_path / "twice" / name).write_bytes(content)
    found, _, err = run("restore", tmp_path / source, tmp_path / target)
    assert found == code
    assert message in err
    assert not (tmp_path / "b.png").exists()


def test_encode_codes_the_restored_picture(tmp_path: Path, run: Run) -> None:
    rgb = scene(192, 128)
    source = save_jpeg(tmp_path / "a.jpg", rgb)
    gains = {}
    for name, *words in (("plain",), ("restored", "--restore")):
        out = tmp_path / f"{name}.rtc"
        assert run("encode", source, out, "--qp", 8, *words)[0] == 0
        assert run("decode", out, out.with_suffix(".png"))[0] == 0
        decoded = np.asarray(Image.open(out.with_suffix(".png")))
        gains[name] = psnr(luma(rgb), luma(decoded))
    assert gains["restored"] > gains["plain"] + 0.4


def test_encode_restores_nothing_but_jpeg_and_never_what_is_exact(tmp_path: Path, run: Run) -> None:
    Image.fromarray(scene(32, 32)).save(tmp_path / "a.png")
    code, _, err = run("encode", tmp_path / "a.png", tmp_path / "a.rtc", "--restore")
    assert (code, "not a JPEG file" in err) == (1, True)
    words = ("encode", tmp_path / "a.png", tmp_path / "a.rtc", "--restore", "--lossless")
    code, _, err = run(*words)
    assert (code, "--lossless" in err) == (2, True)


def coded(width: int, height: int) -> Planes:
    file = io.BytesIO()
    Image.fromarray(scene(width, height)).save(file, "JPEG", quality=20)
    return rgb_to_planes(np.asarray(Image.open(file)))


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    planes, levels = coded(500, 340), flat_levels(30.0)
    restorer = open_restorer(load_restorer_model(JPEG), "onnxruntime")
    whole = restorer.restore(planes, levels)
    monkeypatch.setattr(graph_restorer, "TILE_PX", 208)
    tiled = restorer.restore(planes, levels)
    for one, other in ((whole.y, tiled.y), (whole.u, tiled.u), (whole.v, tiled.v)):
        difference = np.abs(one.astype(int) - other)
        assert difference.max() <= 1  # sums in another order
        assert (difference > 0).mean() < 1e-3
    assert not same_picture(planes, whole)


def test_runtimes_agree_and_leave_the_picture_alone() -> None:
    planes, levels = coded(101, 67), flat_levels(30.0)
    before = Planes(planes.y.copy(), planes.u.copy(), planes.v.copy())
    model = load_restorer_model(JPEG)
    one, other = (open_restorer(model, name).restore(planes, levels) for name in RESTORERS)
    assert same_picture(planes, before)
    assert one.y.shape == (67, 101)
    assert np.abs(one.y.astype(int) - other.y).max() <= 2  # bf16 where the CPU has it
    assert psnr(one.y, other.y) > 50


def test_a_restorer_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="there are auto, openvino, onnxruntime"):
        open_restorer(load_restorer_model(JPEG), "abacus")


@pytest.mark.skipif(not IMAGES.is_dir(), reason="no development images beside the checkout")
@pytest.mark.parametrize("quality", [10, 40])
def test_photographs_gain_eight_tenths_of_a_decibel(tmp_path: Path, quality: int) -> None:
    restorer = open_restorer(load_restorer_model(JPEG))
    gains = []
    for name in ("gb82_city", "gb82_girl", "gb82_night"):
        rgb = np.asarray(Image.open(IMAGES / f"{name}.png").convert("RGB"))
        still = restore_still(save_jpeg(tmp_path / "a.jpg", rgb, quality=quality), restorer)
        clean = rgb_to_planes(rgb).y
        gains.append(psnr(clean, still.restored.y) - psnr(clean, still.decoded.y))
    assert sum(gains) / len(gains) > 0.8


def test_a_flat_picture_stays_flat() -> None:
    planes = picture(64, 64)
    flat = Planes(np.full_like(planes.y, 90), np.full_like(planes.u, 128), planes.v * 0 + 128)
    restored = open_restorer(load_restorer_model(JPEG)).restore(flat, flat_levels(16.0))
    assert np.abs(restored.y.astype(int) - 90).max() <= 1
