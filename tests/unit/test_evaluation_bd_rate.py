"""BD-rate: sign, range, and what makes a curve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.evaluation.bd_rate import RatePoint, bd_rate, rising

CURVE: list[RatePoint] = [(0.1, 30.0), (0.2, 33.0), (0.4, 36.0), (0.8, 39.0)]


@given(st.floats(0.2, 5.0))
def test_a_curve_at_k_times_the_rate_is_that_many_percent_away(factor: float) -> None:
    compared = bd_rate(CURVE, [(rate * factor, db) for rate, db in CURVE])
    assert compared is not None
    assert compared.percent == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert (compared.low_db, compared.high_db) == (30.0, 39.0)


def test_the_range_is_what_both_curves_reach() -> None:
    compared = bd_rate(CURVE, [(0.1, 32.0), (0.2, 35.0), (1.0, 45.0)])
    assert compared is not None
    assert (compared.low_db, compared.high_db) == (32.0, 39.0)
    assert compared.percent < 0


@pytest.mark.parametrize(
    "other", [[], [(0.1, 35.0)], [(0.1, 40.0), (0.2, 45.0)], [(0.1, 35.0), (0.2, 100.0)]]
)
def test_without_two_points_or_a_common_range_there_is_no_figure(other: list[RatePoint]) -> None:
    assert bd_rate(CURVE, other) is None
    assert bd_rate(other, CURVE) is None


def test_points_that_cost_more_and_look_no_better_are_left_out() -> None:
    assert rising([(0.3, 34.0), (0.1, 30.0), (0.2, 34.0), (0.25, 33.0)]) == [
        (0.1, 30.0),
        (0.2, 34.0),
    ]
