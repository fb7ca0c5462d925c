"""PSNR and its conventions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.quality import (
    LOSSLESS_DB,
    PlanePsnr,
    mean_psnr,
    mse,
    mse_to_psnr,
    picture_psnr,
    psnr,
)
from rtcodec.types import Planes


def flat(width: int, height: int, y: int, u: int, v: int) -> Planes:
    chroma = (-(-height // 2), -(-width // 2))
    return Planes(
        np.full((height, width), y, np.uint8),
        np.full(chroma, u, np.uint8),
        np.full(chroma, v, np.uint8),
    )


def test_mse_is_the_mean_of_squared_differences_in_both_directions() -> None:
    a = np.array([[0, 255], [10, 20]], np.uint8)
    b = np.array([[255, 0], [10, 23]], np.uint8)
    assert mse(a, b) == (255**2 * 2 + 9) / 4
    assert mse(b, a) == mse(a, b)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16]))
def test_mse_is_exact(seed: int, height: int, width: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bits == 8 else np.uint16
    a, b = rng.integers(0, 2**bits, (2, height, width)).astype(dtype)
    exact = sum((int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True))
    assert mse(a, b) == exact / (height * width)


def test_mse_of_a_large_plane_does_not_lose_the_last_bit() -> None:
    a = np.zeros((1080, 1920), np.uint8)
    b = np.full((1080, 1920), 255, np.uint8)
    b[0, 0] = 254
    assert mse(a, b) * a.size == 255**2 * (a.size - 1) + 254**2


@pytest.mark.parametrize("shape", [(2, 3), (0, 2)])
def test_planes_that_cannot_be_compared_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        mse(np.zeros(shape, np.uint8), np.zeros((0, 2), np.uint8))


def test_psnr_follows_its_definition() -> None:
    a = np.full((4, 4), 100, np.uint8)
    assert psnr(a, a + np.uint8(1)) == pytest.approx(20 * math.log10(255))
    deep = np.full((4, 4), 100, np.uint16)
    assert psnr(deep, deep + np.uint16(1), peak=4095) == pytest.approx(20 * math.log10(4095))


def test_identical_planes_count_as_100_db_and_nothing_counts_as_more() -> None:
    a = np.zeros((3000, 3000), np.uint8)
    b = a.copy()
    b[0, 0] = 1
    assert psnr(a, a) == LOSSLESS_DB == 100.0
    assert psnr(a, b) == LOSSLESS_DB
    assert mse_to_psnr(255.0**2) == 0.0


def test_a_picture_s_figure_is_weighted_six_one_one() -> None:
    measured = picture_psnr(flat(5, 3, 10, 20, 30), flat(5, 3, 11, 22, 30))
    assert measured.y == pytest.approx(20 * math.log10(255))
    assert measured.u == pytest.approx(20 * math.log10(255 / 2))
    assert measured.v == 100.0
    assert measured.yuv == pytest.approx((6 * measured.y + measured.u + measured.v) / 8)
    assert measured.as_dict() == {
        "y": measured.y,
        "u": measured.u,
        "v": measured.v,
        "yuv": measured.yuv,
    }


def test_a_clip_s_figure_is_the_mean_of_its_frames() -> None:
    mean = mean_psnr([PlanePsnr(30.0, 40.0, 50.0), PlanePsnr(40.0, 42.0, 54.0)])
    assert mean == PlanePsnr(35.0, 41.0, 52.0)
    with pytest.raises(ValueError, match="no pictures"):
        mean_psnr([])
