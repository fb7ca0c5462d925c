"""Pictures, layers and the tile grid."""

import numpy as np
import pytest

from rtcodec.types import LayerId, Planes, tile_grid


def plane(height: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.zeros((height, width), np.uint8)


def test_odd_sizes_round_chroma_up() -> None:
    planes = Planes(plane(23, 17), plane(12, 9), plane(12, 9))
    assert (planes.width, planes.height) == (17, 23)


@pytest.mark.parametrize(
    ("y", "u", "v", "reason"),
    [
        (plane(4, 4).astype(np.int16), plane(2, 2), plane(2, 2), "uint8"),
        (plane(4, 4)[None], plane(2, 2), plane(2, 2), "uint8"),
        (plane(0, 4), plane(0, 2), plane(0, 2), "4x0"),
        (plane(1, 16385), plane(1, 8193), plane(1, 8193), "16385x1"),
        (plane(16385, 1), plane(8193, 1), plane(8193, 1), "1x16385"),
        (plane(4, 0), plane(2, 0), plane(2, 0), "0x4"),
        (plane(5, 5), plane(2, 2), plane(3, 3), "chroma"),
        (plane(5, 5), plane(3, 3), plane(3, 2), "chroma"),
    ],
)
def test_planes_that_do_not_fit_are_refused(
    y: np.ndarray, u: np.ndarray, v: np.ndarray, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Planes(y, u, v)


def test_tiles_cover_the_frame() -> None:
    assert tile_grid(64, 64) == (1, 1)
    assert tile_grid(65, 1) == (1, 2)
    assert tile_grid(16384, 16384) == (256, 256)


def test_layers_sort_by_rung_then_time() -> None:
    assert sorted([LayerId(1, 0), LayerId(0, 2), LayerId()]) == [
        LayerId(0, 0),
        LayerId(0, 2),
        LayerId(1, 0),
    ]
