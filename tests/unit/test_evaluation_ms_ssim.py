"""MS-SSIM: the law of Wang et al., known values, and a slow program that is obviously it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtcodec.evaluation.ms_ssim import (
    LEAST_SIDE_PX,
    SCALE_WEIGHTS,
    ms_ssim,
    ms_ssim_db,
    ssim,
)

Plane = NDArray[np.uint8]
Real = NDArray[np.float64]


def blocks(height: int = 192, width: int = 256) -> NDArray[np.int64]:
    """Gradients and edges, in integers alone, so that they are the same everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    edges = (x // 16 + y // 16) % 2 * 60
    return np.asarray(40 + abs((3 * x + 2 * y) % 128 - 64) + edges, np.int64)


def coarse(plane: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sixteen levels and a fine pattern on them."""
    y, x = np.indices(plane.shape)
    return np.asarray(plane // 16 * 16 + (x * 7 + y * 13) % 11, np.int64)


def samples(plane: NDArray[np.int64]) -> Plane:
    return plane.astype(np.uint8)


def slow_ms_ssim(x: Real, y: Real) -> float:
    """Means, variances and covariance under the window, as the paper has them."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def blurred(plane: Real) -> Real:
        patches = np.lib.stride_tricks.sliding_window_view(plane, (11, 11))
        return np.asarray(np.einsum("hwij,ij->hw", patches, window))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        mean_x, mean_y = blurred(x), blurred(y)
        var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
        covariance = blurred(x * y) - mean_x * mean_y
        similarity = (2 * covariance + c2) / (var_x + var_y + c2)
        if scale == len(SCALE_WEIGHTS) - 1:
            similarity *= (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        result *= max(0.0, float(similarity.mean())) ** weight
        x, y = (
            np.pad(p, [(0, side % 2) for side in p.shape], mode="edge")
            .reshape(-(-p.shape[0] // 2), 2, -(-p.shape[1] // 2), 2)
            .mean(axis=(1, 3))
            for p in (x, y)
        )
    return result


def test_the_exponents_sum_to_one_as_in_the_paper() -> None:
    assert sum(SCALE_WEIGHTS) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("decoded", "value"),
    [
        (coarse(blocks()), 0.992638166),
        (np.roll(blocks(), 1, axis=1), 0.952039387),
        (blocks() // 2 + 60, 0.812766961),
        (255 - blocks(), 0.0),
    ],
)
def test_it_is_what_another_program_says(decoded: NDArray[np.int64], value: float) -> None:
    # pytorch-msssim 1.0.0: ms_ssim(x, y, data_range=255), x and y float64 [1, 1, 192, 256]
    assert ms_ssim(samples(blocks()), samples(decoded)) == pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize("size", [(161, 161), (176, 208), (163, 245)], ids=str)
def test_the_fast_program_is_the_slow_one(size: tuple[int, int]) -> None:
    reference = blocks(*size)
    for decoded in (coarse(reference), np.roll(reference, 3, axis=0)):
        slow = slow_ms_ssim(reference.astype(np.float64), decoded.astype(np.float64))
        assert ms_ssim(samples(reference), samples(decoded)) == pytest.approx(slow, abs=2e-6)


def test_identical_planes_are_one_and_order_does_not_matter() -> None:
    reference, decoded = samples(blocks()), samples(coarse(blocks()))
    assert ms_ssim(reference, reference) == 1.0
    assert ms_ssim(reference, decoded) == ms_ssim(decoded, reference)


def test_flat_and_extreme_planes_have_a_figure() -> None:
    black, white = np.zeros((200, 170), np.uint8), np.full((200, 170), 255, np.uint8)
    assert ms_ssim(black, black) == 1.0
    assert 0 <= ms_ssim(black, white) < 0.5


def test_more_noise_is_worse_and_a_brighter_picture_hardly() -> None:
    reference = np.clip(blocks(), 20, 235)
    rng = np.random.default_rng(1)
    pattern = rng.normal(0, 1, reference.shape)
    noisy = [
        ms_ssim(samples(reference), np.clip(reference + level * pattern, 0, 255).astype(np.uint8))
        for level in (1, 4, 16, 40)
    ]
    assert noisy == sorted(noisy, reverse=True)
    assert noisy[0] > 0.99
    # equal error in the mean: a shift of all samples keeps structure, noise does not
    assert ms_ssim(samples(reference), samples(reference + 16)) > noisy[2]


def test_planes_that_have_none_are_refused() -> None:
    small = np.zeros((LEAST_SIDE_PX - 1, 400), np.uint8)
    with pytest.raises(ValueError, match="no MS-SSIM"):
        ms_ssim(small, small)
    with pytest.raises(ValueError, match="no MS-SSIM"):
        ms_ssim(np.zeros((200, 200), np.uint8), np.zeros((200, 202), np.uint8))


def test_decibels_rise_with_it_and_end_at_100() -> None:
    assert ms_ssim_db(0.0) == 0.0
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(1.0) == ms_ssim_db(1 - 1e-16) == 100.0


def test_at_one_scale_it_is_what_the_paper_says_of_a_picture_of_one_window() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 256, (2, 11, 11), dtype=np.uint8)
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(window, window) / window.sum() ** 2

    def mean(values: NDArray[np.float64]) -> float:
        return float((weights * values).sum())

    a, b = x.astype(np.float64), y.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    luminance = (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
    expected = luminance * (2 * covariance + c2) / (variances + c2)
    assert ssim(x, y) == pytest.approx(expected, abs=1e-4)
    assert ssim(x, x) == pytest.approx(1)
    with pytest.raises(ValueError, match="no SSIM"):
        ssim(x[:10], y[:10])
