"""Durations in buckets: percentiles close to the truth, and the same however they were added up."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec_client.load.tally import Tally, read_tally


def tally_of(values: list[float]) -> Tally:
    tally = Tally()
    for value in values:
        tally.add(value)
    return tally


@given(st.lists(st.floats(0.02, 60_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 1]))
def test_a_quantile_is_within_a_hundredth_of_the_true_one(
    values: list[float], fraction: float
) -> None:
    exact = float(np.quantile(values, fraction, method="inverted_cdf"))
    assert tally_of(values).quantile(fraction) == pytest.approx(exact, rel=0.0112)


@given(st.lists(st.floats(0, 1e5), max_size=50), st.lists(st.floats(0, 1e5), max_size=50))
def test_tallies_of_two_processes_add_up_to_that_of_one(one: list[float], two: list[float]) -> None:
    merged = tally_of(one)
    merged.merge(read_tally(json.loads(json.dumps(tally_of(two).write()))))
    assert merged.report() == tally_of(one + two).report()
    assert merged.n == len(one) + len(two)


def test_nothing_has_no_quantile() -> None:
    assert Tally().report() == {"p50": None, "p95": None, "p99": None, "max": None}


def test_the_largest_value_is_exact_and_bounds_the_quantiles() -> None:
    tally = tally_of([1.0] * 99 + [7.77])
    assert tally.max_ms == 7.77
    assert tally.quantile(1.0) == pytest.approx(7.77, rel=0.006)
    assert tally_of([1.0, 1.001]).quantile(1.0) == 1.001
    assert tally_of([0.0]).quantile(0.5) == 0.0
