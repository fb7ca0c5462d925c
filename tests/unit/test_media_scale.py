"""Pictures at other sizes keep what they show."""

import numpy as np
import pytest
from PIL import Image

from rtcodec.media.scale import PlanesScaler, picture_of, planes_of_picture
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes


def waves(width: int, height: int) -> Planes:
    """Draw something smooth, so that two good filters agree on it."""
    rows, columns = np.ogrid[:height, :width]
    y = 128 + 80 * np.sin(rows / 9) * np.cos(columns / 13)
    half = y[::2, ::2]
    return Planes(*(np.ascontiguousarray(p.astype(np.uint8)) for p in (y, 255 - half, half / 2)))


def by_pillow(planes: Planes, width: int, height: int) -> Planes:
    half = ((width + 1) // 2, (height + 1) // 2)
    sizes = ((width, height), half, half)
    return Planes(
        *(
            np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS))
            for plane, size in zip((planes.y, planes.u, planes.v), sizes, strict=True)
        )
    )


@pytest.mark.parametrize("size", [(480, 270), (320, 180), (640, 360), (98, 54)])
def test_scaled_pictures_are_those_of_another_scaler(size: tuple[int, int]) -> None:
    planes = waves(640, 360)
    scaled = PlanesScaler().scale(planes, *size)
    assert (scaled.width, scaled.height) == size
    assert picture_psnr(by_pillow(planes, *size), scaled).yuv > 45


def test_a_picture_of_the_size_wanted_is_not_touched() -> None:
    planes = waves(64, 48)
    assert PlanesScaler().scale(planes, 64, 48) is planes


def test_one_scaler_does_one_size_after_another() -> None:
    scaler, planes = PlanesScaler(), waves(320, 180)
    sizes = [(160, 90), *((240 + 2 * n, 136) for n in range(20)), (160, 90)]
    scaled = [scaler.scale(planes, *size) for size in sizes]
    assert [(each.width, each.height) for each in scaled] == sizes
    assert np.array_equal(scaled[0].y, scaled[-1].y)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 9), (64, 64)])
def test_planes_become_a_picture_and_planes_again(width: int, height: int) -> None:
    planes = waves(width, height)
    again = planes_of_picture(picture_of(planes))
    for before, after in zip(
        (planes.y, planes.u, planes.v), (again.y, again.u, again.v), strict=True
    ):
        assert np.array_equal(before, after)
