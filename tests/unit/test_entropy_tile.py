"""Tiles are copied out of frames and back, in numpy and in C."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.entropy import native_tiles, tile

FORMS = pytest.mark.parametrize("form", [tile, native_tiles], ids=["reference", "native"])
KINDS = pytest.mark.parametrize("kind", [np.uint8, np.int16])


def make_plane(kind: type, channels: int = 3, rows: int = 2, columns: int = 5) -> NDArray[Any]:
    size = channels * rows * columns * 16
    return np.arange(size).astype(kind).reshape(channels, 4 * rows, 4 * columns)


def tile_list(*tiles: int) -> NDArray[np.uint32]:
    return np.array(tiles, np.uint32)


@FORMS
@KINDS
def test_a_tile_is_four_by_four_of_every_channel(form: ModuleType, kind: type) -> None:
    plane = make_plane(kind)
    values = form.gather_tiles(plane, tile_list(7, 0))
    assert values.dtype == kind
    assert values.flags.c_contiguous
    assert (values[0] == plane[:, 4:8, 8:12].reshape(3, 16)).all()
    assert (values[1] == plane[:, :4, :4].reshape(3, 16)).all()


@FORMS
@KINDS
def test_scattered_tiles_go_where_they_were_and_nowhere_else(form: ModuleType, kind: type) -> None:
    plane = make_plane(kind)
    order = tile_list(9, 2, 4, 0)
    copy = np.zeros_like(plane)
    form.scatter_tiles(form.gather_tiles(plane, order), order, copy)
    assert (form.gather_tiles(copy, order) == form.gather_tiles(plane, order)).all()
    untouched = tile_list(1, 3, 5, 6, 7, 8)
    assert not form.gather_tiles(copy, untouched).any()


@FORMS
@KINDS
def test_no_tiles_are_no_work(form: ModuleType, kind: type) -> None:
    plane = make_plane(kind)
    none = form.gather_tiles(plane, tile_list())
    assert none.shape == (0, 3, 16)
    form.scatter_tiles(none, tile_list(), plane)
    assert (plane == make_plane(kind)).all()


@FORMS
def test_values_and_tiles_need_not_be_contiguous(form: ModuleType) -> None:
    plane = make_plane(np.int16)
    order = np.arange(10, dtype=np.uint32)
    reverse = order[::-1]
    values = np.asfortranarray(form.gather_tiles(plane, reverse))
    copy = np.zeros_like(plane)
    form.scatter_tiles(values, reverse, copy)
    assert (copy == plane).all()


LAYOUTS = {
    "channels last": lambda plane: plane.transpose(1, 2, 0).copy().transpose(2, 0, 1),
    "columns first": np.asfortranarray,
    "upside down": lambda plane: plane[:, ::-1].copy()[:, ::-1],
    "part of a wider one": lambda plane: np.pad(plane, ((0, 1), (0, 4), (0, 8)))[:-1, :-4, :-8],
}


@FORMS
@KINDS
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_plane_may_have_any_layout(
    form: ModuleType, kind: type, layout: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    plane, order = make_plane(kind), tile_list(9, 2, 4, 0)
    other = layout(plane)
    assert not other.flags.c_contiguous
    assert (other == plane).all()
    values = form.gather_tiles(plane, order)
    assert (form.gather_tiles(other, order) == values).all()
    other[...] = 0
    form.scatter_tiles(values, order, other)
    expected = np.zeros_like(plane)
    form.scatter_tiles(values, order, expected)
    assert (other == expected).all()


def test_an_empty_plane_has_its_channels_last() -> None:
    plane = tile.empty_plane(3, 4, 8, np.int16)
    assert plane.shape == (3, 4, 8)
    assert plane.strides == (2, 48, 6)


def test_hyper_latents_follow_the_same_order() -> None:
    z = np.arange(24, dtype=np.int8).reshape(4, 2, 3)
    order = tile_list(5, 1)
    values = tile.gather_hyper(z, order)
    assert values.flags.c_contiguous
    assert values.tolist() == [[5, 11, 17, 23], [1, 7, 13, 19]]
    copy = np.zeros_like(z)
    tile.scatter_hyper(values, order, copy)
    assert copy.reshape(4, 6)[:, [5, 1]].T.tolist() == values.tolist()
    assert not copy.reshape(4, 6)[:, [0, 2, 3, 4]].any()


@FORMS
@pytest.mark.parametrize(
    ("plane", "tiles", "message"),
    [
        (make_plane(np.int32), tile_list(0), "not a plane"),
        (make_plane(np.uint8)[0], tile_list(0), "not a plane"),
        (make_plane(np.uint8)[:, :7].copy(), tile_list(0), "4 x 4"),
        (make_plane(np.uint8)[:, :, :18].copy(), tile_list(0), "4 x 4"),
        (make_plane(np.uint8), np.array([0]), "not uint32"),
        (make_plane(np.uint8), tile_list(0)[None], "not uint32"),
        (make_plane(np.uint8), tile_list(0, 10), "tile 10 is outside 2 x 5"),
    ],
)
def test_what_does_not_fit_is_refused(
    form: ModuleType, plane: NDArray[Any], tiles: NDArray[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        form.gather_tiles(plane, tiles)
    with pytest.raises(ValueError, match=message):
        form.scatter_tiles(np.zeros((1, 3, 16), plane.dtype), tiles, plane)


@FORMS
@pytest.mark.parametrize("values", [np.zeros((1, 3, 16), np.uint8), np.zeros((2, 3, 16), np.int16)])
def test_values_of_another_form_are_refused(form: ModuleType, values: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="values are"):
        form.scatter_tiles(values, tile_list(3), make_plane(np.int16))


@FORMS
def test_a_read_only_plane_is_not_written(form: ModuleType) -> None:
    plane = make_plane(np.int16)
    plane.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        form.scatter_tiles(np.zeros((1, 3, 16), np.int16), tile_list(3), plane)
