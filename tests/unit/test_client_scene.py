"""The drawn scene and the barcode in its corner."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcodec.errors import ConfigError
from rtcodec.types import Planes
from rtcodec_client.barcode import COUNTER_MAX, HEIGHT_PX, WIDTH_PX, draw_barcode, read_barcode
from rtcodec_client.scene import Scene
from support.pictures import noise, same_picture


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 23), (160, 90), (90, 160), (301, 3)])
def test_the_scene_has_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    planes = Scene(*size).planes(11)
    assert (planes.width, planes.height) == size


def test_a_frame_follows_from_its_index_alone() -> None:
    first, second = Scene(96, 64), Scene(96, 64)
    for index in (0, 7, 1000):
        first.planes(index + 1)
        assert same_picture(first.planes(index), second.planes(index))


def test_the_scene_moves_and_fills_the_range() -> None:
    scene = Scene(160, 90)
    one, other = scene.planes(0), scene.planes(15)
    assert not same_picture(one, other)
    assert int(one.y.max()) - int(one.y.min()) > 120
    assert one.y.min() >= 16
    assert one.y.max() <= 236


@given(number=st.integers(0, COUNTER_MAX), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_barcode_is_read_as_it_was_drawn(number: int, seed: int) -> None:
    drawn = draw_barcode(noise(WIDTH_PX + 5, HEIGHT_PX + 3, seed), number)
    assert read_barcode(drawn) == number


def test_a_barcode_survives_coarse_coding() -> None:
    drawn = draw_barcode(noise(160, 96, 1), 123_456)
    rng = np.random.default_rng(0)
    error = rng.normal(0, 30, drawn.y.shape)
    y = np.clip(drawn.y * 0.8 + 20 + error, 0, 255).astype(np.uint8)
    assert read_barcode(Planes(y=y, u=drawn.u, v=drawn.v)) == 123_456


@pytest.mark.parametrize("level", [0, 16, 128, 235, 255])
def test_a_flat_picture_holds_no_barcode(level: int) -> None:
    flat = np.full((HEIGHT_PX, WIDTH_PX), level, np.uint8)
    half = flat[::2, ::2].copy()
    assert read_barcode(Planes(y=flat, u=half, v=half)) is None


def test_a_picture_that_is_too_small_has_no_room_for_a_barcode() -> None:
    small = noise(WIDTH_PX - 1, HEIGHT_PX, 0)
    assert read_barcode(small) is None
    with pytest.raises(ConfigError, match="too small"):
        draw_barcode(small, 1)


def test_the_counter_wraps() -> None:
    assert read_barcode(draw_barcode(noise(200, 100, 0), COUNTER_MAX + 4)) == 3
