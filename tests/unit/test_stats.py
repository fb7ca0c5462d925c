"""Counters and histograms."""

import pytest

from rtcodec.stats import (
    LATENCY_BOUNDS_MS,
    PLANES,
    STAGES,
    FrameLedger,
    FreezeCounters,
    Histogram,
    StreamStats,
    geometric_bounds,
)


def test_an_empty_histogram_has_no_figures() -> None:
    histogram = Histogram((1.0, 2.0))
    assert (histogram.count, histogram.mean, histogram.quantile(0.5)) == (0, None, None)


def test_a_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.mean == pytest.approx(2.8)


def test_quantiles_are_interpolated_and_end_at_the_last_bound() -> None:
    histogram = Histogram((10.0, 20.0))
    for value in (15.0, 15.0, 15.0, 99.0):
        histogram.add(value)
    assert histogram.quantile(0.375) == pytest.approx(15.0)
    assert histogram.quantile(1.0) == 20.0
    low = Histogram((10.0,))
    low.add(3.0)
    assert low.quantile(0.5) == pytest.approx(5.0)


def test_latency_quantiles_are_within_a_twentieth() -> None:
    histogram = Histogram(LATENCY_BOUNDS_MS)
    values = [0.3 * 1.01**n for n in range(600)]
    for value in values:
        histogram.add(value)
    for fraction in (0.5, 0.95, 0.99):
        true = values[int(fraction * len(values))]
        assert histogram.quantile(fraction) == pytest.approx(true, rel=0.05)


def test_geometric_bounds_double_every_octave() -> None:
    assert geometric_bounds(1.0, 8.0, per_octave=1) == (1.0, 2.0, 4.0, 8.0)


def test_the_ledger_balances() -> None:
    ledger = FrameLedger(received=5, encoded=2)
    ledger.drop("superseded")
    ledger.drop("superseded")
    assert (ledger.n_dropped, ledger.in_flight) == (2, 1)


def test_psnr_of_identical_planes_counts_as_100_db() -> None:
    stats = StreamStats()
    stats.add_psnr({"y": float("inf"), "u": 40.0, "v": 41.0, "yuv": 99.0})
    assert stats.psnr_db["y"].mean == 100.0
    stats.add_latency("engine", 1500)
    assert stats.latency_ms["engine"].mean == 1.5
    assert tuple(stats.latency_ms) == STAGES
    assert tuple(stats.psnr_db) == PLANES


def test_a_freeze_is_a_long_time_without_a_new_picture() -> None:
    freezes = FreezeCounters()
    freezes.end(now_us=5)
    for now_us in (1_000_000, 1_200_000, 1_500_000):
        freezes.shown(now_us=now_us)
    assert (freezes.freeze_count, freezes.total_freeze_us, freezes.pictures) == (1, 300_000, 3)
    freezes.end(now_us=2_000_000)
    assert (freezes.freeze_count, freezes.longest_us) == (2, 500_000)
