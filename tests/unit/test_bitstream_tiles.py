"""Runs of tiles in raster and dispersed order."""

import numpy as np
import pytest

from rtcodec.bitstream.tiles import TileRange, split_tiles, tile_indices, tile_order

WIDTH, HEIGHT = 4 * 64, 3 * 64


def test_the_whole_frame_is_every_tile() -> None:
    assert tile_indices(None, WIDTH, HEIGHT).tolist() == list(range(12))


def test_raster_runs_are_consecutive() -> None:
    tiles = tile_indices(TileRange(3, 5), WIDTH, HEIGHT)
    assert tiles.tolist() == [3, 4, 5, 6, 7]
    assert tiles.dtype == np.int64
    assert not tiles.flags.writeable


def test_dispersed_order_goes_by_phases() -> None:
    assert tile_order(3, 4, dispersed=True).tolist() == [0, 2, 8, 10, 5, 7, 1, 3, 9, 11, 4, 6]
    assert tile_order(3, 4, dispersed=False).tolist() == list(range(12))
    assert tile_indices(TileRange(2, 4, True), WIDTH, HEIGHT).tolist() == [5, 7, 8, 10]


def test_tiles_outside_the_frame_are_refused() -> None:
    assert tile_indices(TileRange(11, 1), WIDTH, HEIGHT).tolist() == [11]
    with pytest.raises(ValueError, match="tiles up to 13 in a frame of 12"):
        tile_indices(TileRange(11, 2), WIDTH, HEIGHT)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (65535, 2)])
def test_impossible_runs_are_refused(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="no"):
        TileRange(first, count)


def test_a_frame_splits_into_nearly_equal_runs() -> None:
    assert split_tiles(WIDTH, HEIGHT, 5) == [
        TileRange(0, 2),
        TileRange(2, 2),
        TileRange(4, 3),
        TileRange(7, 2),
        TileRange(9, 3),
    ]
    assert split_tiles(64, 64, 5, dispersed=True) == [TileRange(0, 1, True)]
