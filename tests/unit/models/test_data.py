"""Training pictures: reading, packing, cropping."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from rtcodec.errors import InputError  # noqa: E402
from rtcodec.models import data  # noqa: E402
from rtcodec.models.data import (  # noqa: E402
    Crops,
    CropsAhead,
    Picture,
    drawn_screens,
    load_pictures,
    planes_to_rgb,
    rgb_to_planes,
)
from rtcodec.models.pack import grey_to_planes, pack, planes_to_grey, unpack  # noqa: E402
from rtcodec.models.screens import ScreenPainter  # noqa: E402
from support.models import crops, data_folder, picture, pictures, write_clip  # noqa: E402


def as_bytes(made: Picture) -> tuple[bytes, bytes, bytes, float]:
    return made.y.tobytes(), made.u.tobytes(), made.v.tobytes(), made.weight


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (33, 64)])
def test_planes_of_an_image_are_even_and_complete(height: int, width: int) -> None:
    y, u, v = rgb_to_planes(picture(height, width, 0))
    assert y.shape == (height // 2 * 2, width // 2 * 2)
    assert u.shape == v.shape == (height // 2, width // 2)
    assert y.dtype == u.dtype == v.dtype == np.uint8


def test_grey_has_neutral_chroma() -> None:
    y, u, v = rgb_to_planes(np.full((4, 4, 3), 77, np.uint8))
    assert (y == 77).all()
    assert (u == 128).all()
    assert (v == 128).all()


def test_crops_are_8_bit_samples_of_the_asked_size() -> None:
    for plane, size in zip(crops().batch(12), (64, 32, 32), strict=True):
        assert plane.shape == (12, 1, size, size)
        assert plane.dtype == torch.float32
        assert plane.min() >= -0.5
        assert plane.max() <= 0.5
        samples = (plane + 0.5) * 255
        torch.testing.assert_close(samples, samples.round(), atol=1e-3, rtol=0)


def test_one_seed_gives_the_same_crops_and_another_does_not() -> None:
    first, again, other = (crops(seed).batch(4) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_crops_cut_ahead_come_in_turns() -> None:
    with CropsAhead([crops(1), crops(2)], count=2) as ahead:
        got = [ahead.batch(2)[0] for _ in range(6)]
        with pytest.raises(ValueError, match="not of 3"):
            ahead.batch(3)
    first, second = crops(1), crops(2)
    for i in range(0, 6, 2):
        assert torch.equal(got[i], first.batch(2)[0])
        assert torch.equal(got[i + 1], second.batch(2)[0])


def test_heavier_pictures_are_drawn_more_often() -> None:
    grey = np.full((32, 32), 128, np.uint8)
    flat = [
        Picture(np.full((64, 64), value, np.uint8), grey, grey, weight)
        for value, weight in ((60, 1.0), (180, 4.0))
    ]
    y, _, _ = Crops(flat, size=64, seed=3).batch(300)
    bright = (y.mean((1, 2, 3)) > 0).float().mean().item()
    assert 0.7 < bright < 0.9


def test_drawn_screens_are_those_of_their_seed_and_differ() -> None:
    first, again, other = (drawn_screens(pictures(), count=3, seed=seed) for seed in (2, 2, 3))
    assert [as_bytes(made) for made in first] == [as_bytes(made) for made in again]
    assert [as_bytes(made) for made in first] != [as_bytes(made) for made in other]
    assert len({as_bytes(made) for made in first}) == 3
    assert first[0].y.shape == (448, 448)


def test_a_painter_needs_no_photographs() -> None:
    painter = ScreenPainter([], side=96, seed=1)
    for _ in range(40):
        screen = painter.draw()
        assert screen.shape == (96, 96, 3)
        assert screen.dtype == np.uint8


def test_planes_become_a_picture_again() -> None:
    planes = rgb_to_planes(picture(32, 48, 1))
    for plane, back in zip(planes, rgb_to_planes(planes_to_rgb(*planes)), strict=True):
        assert np.abs(plane.astype(int) - back).mean() < 2


def test_pictures_smaller_than_the_crop_are_left_out() -> None:
    with pytest.raises(InputError, match="at least 256 pixels"):
        Crops(pictures(), size=256, seed=1)


def test_a_folder_gives_its_images_and_the_frames_of_its_clips(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    folder = data_folder(tmp_path / "train")
    Image.fromarray(picture(70, 70, 9)).save(folder / "images" / "sc_shot.png")
    (folder / "images" / "index.csv").write_text("not an image")
    (folder / "video").mkdir()
    write_clip(folder / "video" / "a.mkv", 4)
    loaded = load_pictures(folder)
    assert [made.weight for made in loaded] == [1.0, 1.0, 6.0, *[0.375] * 4]
    assert loaded[3].y.shape == (64, 96)
    assert [int(made.y[0, 0]) for made in loaded[3:]] == [10, 30, 50, 70]
    assert [int(made.u[0, 0]) for made in loaded[3:]] == [90, 91, 92, 93]


def test_a_packed_file_loads_as_the_folder_does(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    folder = data_folder(tmp_path / "train")
    (folder / "video").mkdir()
    write_clip(folder / "video" / "a.mkv", 3)
    packed = tmp_path / "train.npz"
    count, size_bytes = pack(folder, packed, limit_bytes=10**6)
    assert count == 5
    assert size_bytes == packed.stat().st_size < 10**6
    from_folder, from_pack = load_pictures(folder), load_pictures(packed)
    assert {as_bytes(made) for made in from_pack} == {as_bytes(made) for made in from_folder}
    assert list(tmp_path.glob(".*")) == []


def test_packing_takes_first_and_last_frames_before_those_between(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "video").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / "video" / f"{name}.mkv", 5)
    pack(tmp_path, tmp_path / "all.npz", limit_bytes=10**6)
    one = (tmp_path / "all.npz").stat().st_size // 10
    count, size_bytes = pack(tmp_path, tmp_path / "few.npz", limit_bytes=8 * one)
    assert size_bytes <= 8 * one
    assert 2 < count < 10
    shades = [int(made.y[0, 0]) for made in unpack(tmp_path / "few.npz")]
    assert shades[:3] == [10, 10, 90]
    assert sum(made.weight for made in unpack(tmp_path / "few.npz")) == pytest.approx(3.0)


def test_planes_come_back_from_one_grey_picture() -> None:
    planes = rgb_to_planes(picture(32, 48, 1))
    for plane, back in zip(planes, grey_to_planes(planes_to_grey(*planes)), strict=True):
        assert (plane == back).all()


def test_images_that_exceed_the_limit_are_not_packed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 1000"):
        pack(data_folder(tmp_path / "train"), tmp_path / "x.npz", limit_bytes=1000)
    assert not (tmp_path / "x.npz").exists()


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_pictures(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither images/ nor video/"):
        load_pictures(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        load_pictures(tmp_path)
    with pytest.raises(InputError, match="no pictures to pack"):
        pack(tmp_path, tmp_path / "x.npz", limit_bytes=1000)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    folder = data_folder(tmp_path / "train", images=1)
    (folder / "images" / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png: not a readable image"):
        load_pictures(folder)


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "bad.mkv").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.mkv: not a readable clip"):
        load_pictures(tmp_path)


def test_clips_without_pyav_point_to_the_packed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match="packed file"):
        list(data.read_clip(tmp_path / "a.mkv"))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04junk"])
def test_what_is_no_packed_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="not a packed data file"):
        load_pictures(path)


def test_a_packed_file_without_weights_or_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, other=np.zeros(1))
    with pytest.raises(InputError, match="not a packed data file"):
        unpack(path)
    np.savez(path, weights=np.zeros(0))
    with pytest.raises(InputError, match="holds no pictures"):
        unpack(path)
