"""`encode --progressive` and `decode --bytes` as a user meets them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtcodec import cli
from rtcodec.media.color import rgb_to_planes
from rtcodec.quality import picture_psnr


def photograph(height: int = 90, width: int = 121) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 11 + k) * np.cos(y / (9 + 3 * k)) for k in range(3)]
    noise = np.random.default_rng(2).normal(0, 5, (height, width, 3))
    return np.clip(128 + 80 * np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(photograph()).save(path)
    return path


def quality(image: Path, decoded: Path) -> float:
    planes = [
        rgb_to_planes(np.asarray(Image.open(path).convert("RGB"))) for path in (image, decoded)
    ]
    return picture_psnr(*planes).yuv


def test_a_file_decodes_whole_and_from_its_first_bytes(image: Path, tmp_path: Path) -> None:
    coded, out = tmp_path / "photo.rtc", tmp_path / "out.png"
    assert cli.main(["encode", "--progressive", str(image), str(coded)]) == 0
    qualities = []
    for n_bytes in (150, 500, 1200, None):
        first = [] if n_bytes is None else ["--bytes", str(n_bytes)]
        assert cli.main(["decode", str(coded), str(out), *first]) == 0
        qualities.append(quality(image, out))
    assert qualities == sorted(qualities)
    assert qualities[0] > 15
    assert qualities[-1] > 42


def test_only_the_bytes_asked_for_are_read(image: Path, tmp_path: Path) -> None:
    coded, out, cut = tmp_path / "photo.rtc", tmp_path / "a.png", tmp_path / "b.png"
    assert cli.main(["encode", "--progressive", str(image), str(coded)]) == 0
    assert cli.main(["decode", str(coded), str(out), "--bytes", "1000"]) == 0
    data = bytearray(coded.read_bytes())
    data[1000:] = b"x" * (len(data) - 1000)
    coded.write_bytes(data)
    assert cli.main(["decode", str(coded), str(cut), "--bytes", "1000"]) == 0
    assert out.read_bytes() == cut.read_bytes()
    assert cli.main(["decode", str(coded), str(cut)]) == 1  # its CRC is wrong


def test_a_folder_is_coded_and_what_is_no_image_is_told(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = image.parent, tmp_path / "out"
    shutil.copy(image, folder / "again.png")
    Image.open(image).save(folder / "photo.jpg")
    (folder / "notes.txt").write_text("not an image")
    assert cli.main(["encode", "--progressive", str(folder), str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    names = {"again.rtc", "photo.png.rtc", "photo.jpg.rtc"}
    assert {path.name for path in out.iterdir()} == names
    assert [one["width"] for one in report["pictures"]] == [121] * 3
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    assert cli.main(["encode", "--progressive", str(folder), str(out)]) == 1
    assert "1 of 4 are not coded" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == names


def test_a_coarser_end_is_a_smaller_file(image: Path, tmp_path: Path) -> None:
    sizes = []
    for step in ("1", "4", "16"):
        coded = tmp_path / f"{step}.rtc"
        assert cli.main(["encode", "--progressive", "--finest", step, str(image), str(coded)]) == 0
        sizes.append(coded.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)


def test_what_does_not_go_together_is_told(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded, plain = tmp_path / "photo.rtc", tmp_path / "plain.rtc"

    def says(words: str, *arguments: object) -> None:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        assert code in (1, 2)
        assert words in capsys.readouterr().err

    says("is a .rtc file", "encode", "--progressive", image, tmp_path / "photo.png")
    says("coarse to fine", "encode", "--progressive", "--lossless", image, coded)
    says("on this machine", "encode", "--progressive", "https://host/studies/1", coded)
    says("is not 0.5 to 64", "encode", "--progressive", "--finest", "99", image, coded)
    (tmp_path / "empty").mkdir()
    says("no images", "encode", "--progressive", tmp_path / "empty", tmp_path / "out")
    says("becomes a folder", "encode", "--progressive", image.parent, image)
    assert cli.main(["encode", str(image), str(plain), "--model", "n64"]) == 0
    says("--bytes is for", "decode", plain, tmp_path / "out.png", "--bytes", 100)
    assert cli.main(["encode", "--progressive", str(image), str(coded)]) == 0
    says("needs 4 bytes", "decode", coded, tmp_path / "out.png", "--bytes", 18)
