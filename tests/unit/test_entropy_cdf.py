"""Histograms become cumulative tables, and only valid tables are accepted."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.entropy.cdf import (
    PROB_SCALE,
    RADIUS_MAX,
    EntropyTables,
    example_tables,
    normalize_histogram,
    tables_from_histograms,
    y_tables_from_histograms,
)
from rtcodec.errors import ConfigError

GOOD = example_tables(2)


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=256))
def test_frequencies_sum_to_the_scale_and_none_is_zero(counts: list[int]) -> None:
    if sum(counts) >= 1 << 45:
        return
    frequencies = normalize_histogram(np.array(counts))
    assert frequencies.dtype == np.uint16
    assert int(frequencies.sum()) == PROB_SCALE
    assert frequencies.min() >= 1


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=64))
def test_a_more_frequent_symbol_never_gets_less(counts: list[int]) -> None:
    frequencies = normalize_histogram(np.array(counts)).astype(int)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(frequencies[order]) >= -1).all()  # ties may differ by the last unit


def test_normalising_costs_next_to_nothing_against_the_exact_shares() -> None:
    counts = np.array([1_000_000 >> k for k in range(12)])
    share = counts / counts.sum()
    coded = normalize_histogram(counts) / PROB_SCALE
    assert float((share * np.log2(share / coded)).sum()) < 1e-5


def test_units_are_taken_from_big_symbols_for_rare_ones() -> None:
    counts = np.array([10**12] + [0] * 200)
    assert normalize_histogram(counts).tolist() == [PROB_SCALE - 200] + [1] * 200


def test_missing_units_are_given_out() -> None:
    assert normalize_histogram(np.array([1, 1, 1])).tolist() == [5462, 5461, 5461]


@pytest.mark.parametrize(
    "counts", [[], [[1]], [-1, 2], np.ones(PROB_SCALE + 1, int), [1 << 44, 1 << 44]]
)
def test_what_is_not_a_histogram_is_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="histogram"):
        normalize_histogram(np.array(counts, np.int64))


def test_tables_keep_the_shape_of_their_histograms() -> None:
    tables = tables_from_histograms(np.ones((3, 2, 4), np.int64))
    assert tables.shape == (3, 2, 5)
    assert tables[0, 0].tolist() == [0, 4096, 8192, 12288, 16384]


def test_a_latent_table_is_as_wide_as_its_histogram_needs() -> None:
    counts = np.zeros((64, 401), np.int64)
    counts[1, 200] = 100_000
    counts[1, 199] = counts[1, 201] = 5_000
    counts[1, 190] = 3  # under 2**-12 of the mass: left to the escape
    counts[2, 100:301] = 7  # wider than any table may be
    radius = EntropyTables(y_tables_from_histograms(counts), GOOD.z_cdf).radius
    assert radius[:3].tolist() == [0, 1, 100]
    counts[2] = 7
    radius = EntropyTables(y_tables_from_histograms(counts), GOOD.z_cdf).radius
    assert radius[2] == RADIUS_MAX


def test_an_unseen_scale_copies_its_nearest_seen_one() -> None:
    counts = np.zeros((64, 3), np.int64)
    counts[5] = [1, 2, 1]
    counts[40] = [0, 9, 0]
    tables = y_tables_from_histograms(counts)
    assert (tables[1:23] == tables[5]).all()
    assert (tables[23:] == tables[40]).all()


def test_without_any_count_every_table_is_uniform_over_zero_and_escape() -> None:
    tables = y_tables_from_histograms(np.zeros((64, 5), np.int64))
    assert tables[1:].tolist() == [[0, PROB_SCALE // 2, PROB_SCALE]] * 63


@pytest.mark.parametrize("shape", [(64,), (63, 5), (64, 4), (64, 1)])
def test_histograms_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        y_tables_from_histograms(np.ones(shape, np.int64))


def test_tables_are_frozen_copies() -> None:
    y_cdf = GOOD.y_cdf.copy()
    tables = EntropyTables(y_cdf, GOOD.z_cdf)
    y_cdf[1, 1] += 1
    assert (tables.y_cdf == GOOD.y_cdf).all()
    with pytest.raises(ValueError, match="read-only"):
        tables.y_cdf[1, 1] = 0
    assert tables.hyper_channels == 2


def _with(row: int, column: int, value: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    changed = GOOD.y_cdf.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("y_cdf", "message"),
    [
        (GOOD.y_cdf.astype(np.int32), "y_cdf is int32"),
        (GOOD.y_cdf[:63], "shape"),
        (GOOD.y_cdf[0], "shape"),
        (GOOD.y_cdf[:, :2], "shape"),
        (np.pad(GOOD.y_cdf, ((0, 0), (0, 9)), mode="edge"), "shape"),
        (_with(0, 3, 1), "row 0"),
        (_with(7, 0, 1), "row 7"),
        (_with(63, -1, PROB_SCALE - 1), "row 63"),
        (_with(1, 2, int(GOOD.y_cdf[1, 1])), "row 1"),
        (_with(1, -2, PROB_SCALE + 1), "row 1"),
        (_with(1, 13, PROB_SCALE), "row 1"),  # an odd number of symbols
    ],
)
def test_a_wrong_latent_table_is_refused(
    y_cdf: np.ndarray[tuple[int, int], np.dtype[np.uint16]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        EntropyTables(y_cdf, GOOD.z_cdf)


def test_a_wrong_hyper_table_is_refused() -> None:
    flat = GOOD.z_cdf.copy()
    flat[12, 1, 5] = flat[12, 1, 4]
    signed: Any = GOOD.z_cdf.astype(np.int16)
    for z_cdf, message in (
        (signed, "z_cdf is int16"),
        (GOOD.z_cdf[:63], "shape"),
        (GOOD.z_cdf[..., :31], "shape"),
        (GOOD.z_cdf[0], "shape"),
        (GOOD.z_cdf[:, :0], "no channel"),
        (flat, "qp 12, channel 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            EntropyTables(GOOD.y_cdf, z_cdf)
