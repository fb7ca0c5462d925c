"""Missing tiles filled from the past."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.codec.conceal import conceal_tiles
from rtcodec.quality import picture_psnr
from rtcodec.types import Planes
from support.pictures import picture


def moved(planes: Planes, dy: int, dx: int) -> Planes:
    shifted = (
        np.roll(plane, (dy // scale, dx // scale), (0, 1))
        for plane, scale in ((planes.y, 1), (planes.u, 2), (planes.v, 2))
    )
    return Planes(*shifted)


def without_tile(planes: Planes, row: int, column: int) -> tuple[Planes, NDArray[np.bool_]]:
    broken = Planes(planes.y.copy(), planes.u.copy(), planes.v.copy())
    for plane, side in ((broken.y, 64), (broken.u, 32), (broken.v, 32)):
        plane[row * side : (row + 1) * side, column * side : (column + 1) * side] = 128
    present = np.ones((-(-planes.height // 64), -(-planes.width // 64)), np.bool_)
    present[row, column] = False
    return broken, present


@pytest.mark.parametrize("move", [(0, 0), (4, -8), (-12, 12)])
@pytest.mark.parametrize(("width", "height"), [(256, 192), (201, 171)])
def test_a_tile_that_moved_is_found_in_the_past(
    move: tuple[int, int], width: int, height: int
) -> None:
    past = picture(width, height, seed=3)
    now = moved(past, *move)
    broken, present = without_tile(now, 1, 1)
    mended = conceal_tiles(broken, present, past)
    assert picture_psnr(now, mended).yuv > 40 > picture_psnr(now, broken).yuv


def test_nothing_is_changed_where_nothing_is_missing_or_nothing_fits() -> None:
    past = picture(192, 128, seed=1)
    now = Planes(255 - past.y, past.u, past.v)
    assert conceal_tiles(now, np.ones((2, 3), np.bool_), past) is now
    broken, present = without_tile(now, 0, 1)
    assert (conceal_tiles(broken, present, past).y == broken.y).all()


def test_where_nothing_came_the_past_stands() -> None:
    past = picture(192, 128, seed=1)
    seen = conceal_tiles(picture(192, 128, seed=2), np.zeros((2, 3), np.bool_), past)
    assert (seen.y == past.y).all()
