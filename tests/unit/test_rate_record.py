"""Stretches of time, and how far off the rate was in them."""

import pytest

from rtcodec.rate_record import RateRecord


def test_a_record_finds_the_worst_stretch() -> None:
    record = RateRecord()
    assert record.worst_deviation(1000) is None
    for number in range(50):
        record.add(number / 10, 200 if number == 40 else 100)
    assert record.worst_deviation(1000) == pytest.approx(0.05)
    assert record.worst_deviation(1000, from_s=3.5) is None
    assert record.worst_deviation(1100) == pytest.approx(-1 / 11)


def test_a_record_with_gaps_counts_the_time_that_passed() -> None:
    record = RateRecord()
    for number in range(20):
        record.add(number * 0.5 + (1 if number > 9 else 0), 500)
    rates = [round(bps) for _, bps in record.rates_bps(2.0, from_s=0)]
    assert set(rates) == {1000, 667, 600, 500}


def test_a_frame_longer_than_the_window_is_a_stretch_by_itself() -> None:
    record = RateRecord()
    for number in range(3):
        record.add(float(number), 100 * number)
    assert list(record.rates_bps(0.5, from_s=1)) == [(1.0, 100.0), (2.0, 200.0)]
