"""Bits against qp, learnt from frames."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.size_model import SLOPE, SLOPE_RANGE, SizeModel, Try


def cost(qp: int, level: float = 18.0, slope: float = SLOPE) -> int:
    return round(2 ** (level - slope * qp))


def test_before_the_first_frame_a_guess_answers() -> None:
    model = SizeModel(32, 15.0)
    assert not model.learnt
    assert model.bits(32) == 2**15
    assert model.qp_for(2**15) == 32


def test_the_first_frame_replaces_the_guess() -> None:
    model = SizeModel(32, 10.0)
    model.learn([Try(20, cost(20))])
    assert model.learnt
    assert model.bits(30) == pytest.approx(cost(30), rel=0.01)


def test_noise_moves_the_level_a_little_and_motion_at_once() -> None:
    model = SizeModel(20, 16.0)
    model.learn([Try(20, 2**16)])
    model.learn([Try(20, round(2**16.1))])
    assert log2(model.bits(20)) == pytest.approx(16.03, abs=0.01)
    model.learn([Try(20, 2**18)])
    assert log2(model.bits(20)) == pytest.approx(18, abs=0.01)


@pytest.mark.parametrize("slope", [0.05, 0.12])
def test_two_tries_of_one_frame_teach_the_slope(slope: float) -> None:
    model = SizeModel(20, 16.0)
    tries = [Try(10, cost(10, 18, slope)), Try(30, cost(30, 18, slope))]
    assert model.slope_through(tries) == pytest.approx(slope, rel=0.01)
    for _ in range(6):
        model.learn(tries)
    assert model.slope == pytest.approx(slope, rel=0.05)


def test_tries_one_step_apart_or_none_teach_no_slope() -> None:
    model = SizeModel(20, 16.0)
    model.learn([Try(20, 9000), Try(20, 9000)])
    assert model.slope_through([Try(20, 9000), Try(20, 9000)]) == SLOPE
    model.learn([Try(20, 9000), Try(21, 5000)])
    assert model.slope == SLOPE


@pytest.mark.parametrize("slope", [0.06, 0.11])
def test_frames_at_other_qps_turn_the_slope_slowly(slope: float) -> None:
    model = SizeModel(20, 16.0)
    for number in range(200):
        qp = 20 + 12 * (number % 2)
        model.learn([Try(qp, cost(qp, 18, slope))])
    assert abs(model.slope - slope) < abs(SLOPE - slope)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 10**9)), min_size=1, max_size=40))
def test_whatever_frames_cost_the_slope_stays_in_range(frames: list[tuple[int, int]]) -> None:
    model = SizeModel(20, 16.0)
    for number in range(0, len(frames), 2):
        model.learn([Try(*frame) for frame in frames[number : number + 2]])
        assert SLOPE_RANGE[0] <= model.slope <= SLOPE_RANGE[1]
        assert model.bits(0) > model.bits(63) > 0
